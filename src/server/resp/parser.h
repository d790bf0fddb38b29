// Requests of the Redis serialization protocol: arrays of bulk strings, or one line of words ("inline").
//
// Parses in place and keeps nothing: arguments point into the bytes given. Nothing is allocated by a length that was
// declared and has not arrived. https://redis.io/docs/reference/protocol-spec
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace flux::server::resp {

struct ParserLimits {
  size_t arguments_max = 0;
  size_t bulk_bytes_max = 0;
  size_t inline_bytes_max = 64 * 1024;
};

enum class Parsed : uint8_t {
  kRequest,     // `arguments` holds one request; it may be empty (an empty line), which has no reply
  kIncomplete,  // more bytes are needed
  kError,       // the stream cannot be read on; `error` says why
};

class Parser {
 public:
  explicit Parser(ParserLimits limits) : limits_(limits) {}

  // Parses the request at the front of `data`. On kRequest `consumed` is what it takes; the arguments are valid as long
  // as `data` is and until the next call.
  Parsed parse(std::string_view data, size_t& consumed);

  const std::vector<std::string_view>& arguments() const { return arguments_; }
  // Without the leading "-ERR ".
  const std::string& error() const { return error_; }

 private:
  Parsed parse_array(std::string_view data, size_t& consumed);
  Parsed parse_inline(std::string_view data, size_t& consumed);
  Parsed fail(std::string text);

  const ParserLimits limits_;
  std::vector<std::string_view> arguments_;
  std::vector<std::string> unquoted_;  // inline words that had quotes
  std::string error_;
};

}  // namespace flux::server::resp
