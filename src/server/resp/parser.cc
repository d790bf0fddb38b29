#include "server/resp/parser.h"

#include <fmt/core.h>

#include <charconv>
#include <deque>

namespace flux::server::resp {
namespace {

// "*3\r\n", "$16777216\r\n": no length that is allowed takes more.
constexpr size_t kLengthLineMax = 32;

enum class Length : uint8_t { kOk, kIncomplete, kBad };

// Reads the decimal after a type byte at data[at], and the line end. Strict: no sign but '-', no leading zero or space.
Length read_length(std::string_view data, size_t& at, int64_t& value) {
  const size_t end = data.find('\n', at);
  if (end == std::string_view::npos) return data.size() - at > kLengthLineMax ? Length::kBad : Length::kIncomplete;
  if (end - at > kLengthLineMax || end < at + 2 || data[end - 1] != '\r') return Length::kBad;
  const std::string_view digits = data.substr(at + 1, end - at - 2);
  const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || stop != digits.data() + digits.size()) return Length::kBad;
  const std::string_view unsigned_digits = digits.starts_with('-') ? digits.substr(1) : digits;
  if (unsigned_digits.size() > 1 && unsigned_digits.front() == '0') return Length::kBad;
  at = end + 1;
  return Length::kOk;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\0'; }

// Reads one word of an inline request at line[at], with Redis's quoting. False: unbalanced quotes.
bool read_word(std::string_view line, size_t& at, std::string& word) {
  word.clear();
  char quote = 0;
  for (; at < line.size(); ++at) {
    const char c = line[at];
    if (quote == 0) {
      if (is_space(c)) return true;
      if (c == '"' || c == '\'') {
        quote = c;
      } else {
        word += c;
      }
      continue;
    }
    if (c == quote) {
      ++at;
      return at == line.size() || is_space(line[at]);  // a closing quote ends the word
    }
    if (c != '\\' || at + 1 == line.size()) {
      word += c;
      continue;
    }
    const char next = line[++at];
    if (quote == '\'') {
      if (next != '\'') word += '\\';
      word += next;
    } else if (next == 'x' && at + 2 < line.size() && hex_digit(line[at + 1]) >= 0 && hex_digit(line[at + 2]) >= 0) {
      word += static_cast<char>(hex_digit(line[at + 1]) * 16 + hex_digit(line[at + 2]));
      at += 2;
    } else {
      constexpr std::string_view kFrom = "nrtba";
      constexpr std::string_view kTo = "\n\r\t\b\a";
      const size_t known = kFrom.find(next);
      word += known == std::string_view::npos ? next : kTo[known];
    }
  }
  return quote == 0;
}

}  // namespace

Parsed Parser::fail(std::string text) {
  error_ = std::move(text);
  return Parsed::kError;
}

Parsed Parser::parse(std::string_view data, size_t& consumed) {
  arguments_.clear();
  consumed = 0;
  if (data.empty()) return Parsed::kIncomplete;
  return data.front() == '*' ? parse_array(data, consumed) : parse_inline(data, consumed);
}

Parsed Parser::parse_array(std::string_view data, size_t& consumed) {
  size_t at = 0;
  int64_t count = 0;
  switch (read_length(data, at, count)) {
    case Length::kIncomplete:
      return Parsed::kIncomplete;
    case Length::kBad:
      return fail("Protocol error: invalid multibulk length");
    case Length::kOk:
      break;
  }
  if (count > static_cast<int64_t>(limits_.arguments_max)) return fail("Protocol error: invalid multibulk length");
  for (int64_t i = 0; i < count; ++i) {
    if (at == data.size()) return Parsed::kIncomplete;
    if (data[at] != '$') return fail(fmt::format("Protocol error: expected '$', got '{}'", data[at]));
    int64_t size = 0;
    switch (read_length(data, at, size)) {
      case Length::kIncomplete:
        return Parsed::kIncomplete;
      case Length::kBad:
        return fail("Protocol error: invalid bulk length");
      case Length::kOk:
        break;
    }
    if (size < 0 || size > static_cast<int64_t>(limits_.bulk_bytes_max)) {
      return fail("Protocol error: invalid bulk length");
    }
    const auto bytes = static_cast<size_t>(size);
    if (data.size() - at < bytes + 2) return Parsed::kIncomplete;
    if (data[at + bytes] != '\r' || data[at + bytes + 1] != '\n') {
      return fail("Protocol error: bulk string does not end with CRLF");
    }
    arguments_.push_back(data.substr(at, bytes));
    at += bytes + 2;
  }
  consumed = at;
  return Parsed::kRequest;
}

Parsed Parser::parse_inline(std::string_view data, size_t& consumed) {
  const size_t end = data.find('\n');
  if (end == std::string_view::npos) {
    return data.size() > limits_.inline_bytes_max ? fail("Protocol error: too big inline request")
                                                  : Parsed::kIncomplete;
  }
  if (end > limits_.inline_bytes_max) return fail("Protocol error: too big inline request");
  const std::string_view line = data.substr(0, end);
  unquoted_.clear();
  std::string word;
  for (size_t at = 0; at < line.size();) {
    if (is_space(line[at])) {
      ++at;
      continue;
    }
    if (!read_word(line, at, word)) return fail("Protocol error: unbalanced quotes in request");
    unquoted_.push_back(word);
    if (unquoted_.size() > limits_.arguments_max) return fail("Protocol error: too many words in an inline request");
  }
  for (const std::string& argument : unquoted_) arguments_.push_back(argument);
  consumed = end + 1;
  return Parsed::kRequest;
}

}  // namespace flux::server::resp
