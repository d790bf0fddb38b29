#include "base/check.h"

#include <execinfo.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace flux {

void check_failed(const char* file, int line, const char* expression, const std::string& detail) {
  std::fprintf(stderr, "FLUX_CHECK failed at %s:%d: %s%s%s\n", file, line, expression, detail.empty() ? "" : ": ",
               detail.c_str());
  void* frames[64];
  const int count = backtrace(frames, 64);
  backtrace_symbols_fd(frames, count, STDERR_FILENO);
  std::fflush(stderr);
  std::abort();
}

}  // namespace flux
