// Blocking clients for a command-line tool: one request, one answer, with a time limit.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "env/net.h"

namespace flux::main::ctl {

// A connected TCP socket whose reads and writes give up after `timeout`.
class Socket {
 public:
  static Result<std::unique_ptr<Socket>> connect(const env::Address& address, Micros timeout);
  ~Socket();
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  Status write(std::string_view bytes);
  // Some bytes; empty at the end of the stream.
  Result<std::string> read();

 private:
  explicit Socket(int fd) : fd_(fd) {}
  const int fd_;
};

struct HttpReply {
  int status = 0;
  std::string body;
};
Result<HttpReply> http(const env::Address& address, std::string_view method, std::string_view path,
                       std::string_view body, Micros timeout);

// A RESP2 value.
struct RespValue {
  enum class Kind : uint8_t { kSimple, kError, kInteger, kBulk, kNull, kArray };
  Kind kind = Kind::kNull;
  std::string text;     // kSimple, kError, kBulk
  int64_t integer = 0;  // kInteger
  std::vector<RespValue> items;
};

class RespClient {
 public:
  static Result<std::unique_ptr<RespClient>> connect(const env::Address& address, Micros timeout);
  // An error reply is returned as kError, not as a Status.
  Result<RespValue> call(const std::vector<std::string>& arguments);

 private:
  explicit RespClient(std::unique_ptr<Socket> socket) : socket_(std::move(socket)) {}
  Result<RespValue> read_value(int depth);
  Result<std::string> read_line();
  Status fill();

  std::unique_ptr<Socket> socket_;
  std::string buffer_;
  size_t at_ = 0;
};

// A request as RESP sends it.
void append_request(std::string& out, const std::vector<std::string_view>& arguments);

// The end of the first whole reply in `data` from `at` on, without building it; 0 if it is not all there. Sets `error`
// if the reply is an error. SIZE_MAX: not RESP.
size_t skip_reply(std::string_view data, size_t at, bool& error);

}  // namespace flux::main::ctl
