// Values as RESP2 or RESP3 bytes, appended to a string.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace flux::server::resp {

// What of a client's word is said back in an error: 128 bytes at most, up to a zero byte, as Redis does.
constexpr size_t kShownBytesMax = 128;
inline std::string_view shown(std::string_view word, size_t bytes_max = kShownBytesMax) {
  return word.substr(0, std::min(bytes_max, word.find('\0')));
}

class Reply {
 public:
  Reply(std::string& out, int protocol) : out_(out), protocol_(protocol) {}

  int protocol() const { return protocol_; }
  void ok() { out_.append("+OK\r\n"); }
  void simple(std::string_view text) { line('+', text); }
  // `text` is everything after '-': "ERR syntax error".
  void error(std::string_view text) { line('-', text.substr(0, text.find_last_not_of("\r\n") + 1)); }
  void error(const Status& status);
  void integer(int64_t value);
  void bulk(std::string_view bytes);
  void null() { out_.append(protocol_ >= 3 ? "_\r\n" : "$-1\r\n"); }
  void array(size_t size) { header('*', size); }
  // A map of `pairs` keys and values; RESP2 has only flat arrays.
  void map(size_t pairs) { protocol_ >= 3 ? header('%', pairs) : header('*', pairs * 2); }
  void set(size_t size) { header(protocol_ >= 3 ? '~' : '*', size); }
  // Text for people, as INFO's.
  void verbatim(std::string_view text);

 private:
  void header(char type, size_t size);
  void line(char type, std::string_view text);

  std::string& out_;
  const int protocol_;
};

}  // namespace flux::server::resp
