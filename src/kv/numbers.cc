#include "kv/numbers.h"

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace flux::kv {
namespace {

constexpr size_t kFloatBytes = 5 * 1024;

}  // namespace

std::optional<int64_t> parse_integer(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  const std::string_view digits = text.starts_with('-') ? text.substr(1) : text;
  if (digits.size() > 1 && digits.front() == '0') return std::nullopt;
  if (text == "-0") return std::nullopt;
  return value;
}

std::optional<long double> parse_float(std::string_view text) {
  // What format_float() writes has up to 4953 characters and is a number again; Redis's limit, too.
  if (text.empty() || text.size() >= kFloatBytes) return std::nullopt;
  if (static_cast<unsigned char>(text.front()) <= ' ') return std::nullopt;
  const std::string copy(text);
  char* end = nullptr;
  errno = 0;
  const long double value = std::strtold(copy.c_str(), &end);
  // "inf" is a number, as in Redis; what is too large or too small for one is none.
  const bool out_of_range = errno == ERANGE && (std::isinf(value) || value == 0);
  if (end != copy.c_str() + copy.size() || std::isnan(value) || out_of_range) return std::nullopt;
  return value;
}

std::string format_float(long double value) {
  char buffer[kFloatBytes];
  const int size = std::snprintf(buffer, sizeof(buffer), "%.17Lf", value);
  std::string text(buffer, static_cast<size_t>(size));
  if (text.find('.') != std::string::npos) {
    while (text.back() == '0') text.pop_back();
    if (text.back() == '.') text.pop_back();
  }
  return text == "-0" ? "0" : text;
}

}  // namespace flux::kv
