// Numbers as Redis reads and writes them in values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace flux::kv {

// A decimal 64-bit integer with no sign but '-', no leading zeros, spaces or anything else; as Redis's string2ll.
std::optional<int64_t> parse_integer(std::string_view text);

// A decimal number or an infinity, with no spaces around it. long double, as Redis's INCRBYFLOAT computes with.
std::optional<long double> parse_float(std::string_view text);

// The shortest form with at most 17 decimals, no exponent and no trailing zeros, as INCRBYFLOAT replies.
std::string format_float(long double value);

}  // namespace flux::kv
