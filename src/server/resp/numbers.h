// Numbers in arguments.
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

namespace flux::server::resp {

// A decimal 64-bit integer, as Redis reads one: no '+', spaces or leading zeros.
inline std::optional<int64_t> parse_integer(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  const std::string_view digits = text.starts_with('-') ? text.substr(1) : text;
  if ((digits.size() > 1 && digits.front() == '0') || text == "-0") return std::nullopt;
  return value;
}

}  // namespace flux::server::resp
