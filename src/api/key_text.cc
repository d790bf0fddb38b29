#include "api/key_text.h"

#include <fmt/core.h>

#include <charconv>

#include "api/limits.h"
#include "api/slot.h"

namespace flux::api {
namespace {

constexpr std::string_view kSlotPrefix = "slot:";

void append_escaped(std::string& out, char byte) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  const auto value = static_cast<unsigned char>(byte);
  out += "\\x";
  out += kDigits[value >> 4];
  out += kDigits[value & 0xF];
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

Result<std::string> parse_slot(std::string_view digits) {
  uint16_t slot = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), slot);
  if (error != std::errc() || end != digits.data() + digits.size() || slot >= kSlotCount) {
    return Status(ErrorCode::kInvalidArgument, fmt::format("a slot is a number from 0 to {}", kSlotCount - 1));
  }
  return slot_start(slot);
}

}  // namespace

std::string key_text(std::string_view key) {
  std::string out;
  const bool like_a_slot = key.starts_with(kSlotPrefix);
  for (size_t i = 0; i < key.size(); ++i) {
    const char c = key[i];
    if (c == '\\') {
      out += "\\\\";
    } else if (c < ' ' || c > '~' || (like_a_slot && i == 0)) {
      append_escaped(out, c);
    } else {
      out += c;
    }
  }
  return out;
}

Result<std::string> parse_key_text(std::string_view text) {
  if (text.starts_with(kSlotPrefix)) return parse_slot(text.substr(kSlotPrefix.size()));
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c < ' ' || c > '~') {
      return Status(ErrorCode::kInvalidArgument,
                    fmt::format("byte {} is not printable ASCII; write it as \\xHH", i + 1));
    }
    if (c != '\\') {
      out += c;
      continue;
    }
    if (i + 1 < text.size() && text[i + 1] == '\\') {
      out += '\\';
      ++i;
      continue;
    }
    const bool is_hex =
        i + 3 < text.size() && text[i + 1] == 'x' && hex_digit(text[i + 2]) >= 0 && hex_digit(text[i + 3]) >= 0;
    if (!is_hex) {
      return Status(ErrorCode::kInvalidArgument,
                    fmt::format("after the backslash at {} comes neither \\ nor xHH", i + 1));
    }
    out += static_cast<char>(hex_digit(text[i + 2]) * 16 + hex_digit(text[i + 3]));
    i += 3;
  }
  if (out.size() > kKeyBytesMax) return Status(ErrorCode::kInvalidArgument, "the key is over its limit");
  return out;
}

}  // namespace flux::api
