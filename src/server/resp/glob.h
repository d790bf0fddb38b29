// Patterns of KEYS and SCAN MATCH: * ? [abc] [^abc] [a-z] and \ to escape, as in Redis.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace flux::server::resp {

inline constexpr size_t kPatternBytesMax = 1024;

// No recursion, and time at most the product of both sizes, whatever the pattern (CVE-2022-36021 is the
// counter-example).
bool glob_match(std::string_view pattern, std::string_view text);

// What everything begins with that matches.
std::string glob_prefix(std::string_view pattern);

}  // namespace flux::server::resp
