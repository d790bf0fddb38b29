// Asserts that stay on in release builds: for what cannot happen unless our own code is wrong.
//
// Outside input (a request, a frame, a file, a flag) is never checked with these; it gets a Status.
#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>

namespace flux {

// Prints where and what, a backtrace, and aborts.
[[noreturn]] void check_failed(const char* file, int line, const char* expression, const std::string& detail);

namespace internal {
inline std::string check_detail() { return {}; }
template <typename... Args>
std::string check_detail(fmt::format_string<Args...> format, Args&&... args) {
  return fmt::format(format, std::forward<Args>(args)...);
}
}  // namespace internal

}  // namespace flux

// FLUX_CHECK(condition) or FLUX_CHECK(condition, "format {}", values...).
#define FLUX_CHECK(condition, ...)                                                                       \
  do {                                                                                                   \
    if (!(condition)) [[unlikely]]                                                                       \
      ::flux::check_failed(__FILE__, __LINE__, #condition, ::flux::internal::check_detail(__VA_ARGS__)); \
  } while (false)

// For checks that cost more than a few instructions: on in dev, sanitizer and simulator builds.
#ifdef FLUX_DCHECK_ON
#define FLUX_DCHECK(condition, ...) FLUX_CHECK(condition, __VA_ARGS__)
#else
#define FLUX_DCHECK(condition, ...)                \
  do {                                             \
    if (false) FLUX_CHECK(condition, __VA_ARGS__); \
  } while (false)
#endif
