#include "server/resp/glob.h"

#include <utility>

namespace flux::server::resp {
namespace {

// Matches one character against the pattern element at `p`, which is not '*'; moves `p` behind it.
bool match_one(std::string_view pattern, size_t& p, char c) {
  switch (pattern[p]) {
    case '?':
      ++p;
      return true;
    case '\\':
      if (p + 1 < pattern.size()) ++p;
      return pattern[p++] == c;
    case '[':
      break;
    default:
      return pattern[p++] == c;
  }
  ++p;
  const bool negated = p < pattern.size() && pattern[p] == '^';
  if (negated) ++p;
  bool matched = false;
  while (p < pattern.size() && pattern[p] != ']') {
    if (pattern[p] == '\\' && p + 1 < pattern.size()) {
      ++p;
      matched = matched || pattern[p] == c;
    } else if (p + 2 < pattern.size() && pattern[p + 1] == '-') {
      auto low = static_cast<unsigned char>(pattern[p]);
      auto high = static_cast<unsigned char>(pattern[p + 2]);
      if (low > high) std::swap(low, high);
      const auto byte = static_cast<unsigned char>(c);
      matched = matched || (byte >= low && byte <= high);
      p += 2;
    } else {
      matched = matched || pattern[p] == c;
    }
    ++p;
  }
  if (p < pattern.size()) ++p;  // the bracket; a set without one ends with the pattern
  return matched != negated;
}

}  // namespace

bool glob_match(std::string_view pattern, std::string_view text) {
  constexpr size_t kNone = static_cast<size_t>(-1);
  size_t p = 0;
  size_t t = 0;
  size_t star = kNone;   // behind the last '*' seen
  size_t star_text = 0;  // where what it swallows ends so far
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      while (p < pattern.size() && pattern[p] == '*') ++p;
      if (p == pattern.size()) return true;
      star = p;
      star_text = t;
      continue;
    }
    size_t next = p;
    if (p < pattern.size() && match_one(pattern, next, text[t])) {
      p = next;
      ++t;
      continue;
    }
    if (star == kNone) return false;
    p = star;
    t = ++star_text;
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

std::string glob_prefix(std::string_view pattern) {
  std::string prefix;
  for (size_t at = 0; at < pattern.size(); ++at) {
    if (pattern[at] == '*' || pattern[at] == '?' || pattern[at] == '[') break;
    if (pattern[at] == '\\' && at + 1 < pattern.size()) ++at;
    prefix.push_back(pattern[at]);
  }
  return prefix;
}

}  // namespace flux::server::resp
