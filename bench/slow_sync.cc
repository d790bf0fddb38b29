// A library to preload (LD_PRELOAD): every sync of a file takes SLOW_SYNC_US microseconds longer, as on a slow disk.
#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>

namespace {

using Sync = int (*)(int);

void wait_a_while() {
  static const useconds_t kMicros = [] {
    const char* const text = std::getenv("SLOW_SYNC_US");
    return text == nullptr ? 2000U : static_cast<useconds_t>(std::atoi(text));
  }();
  usleep(kMicros);
}

int slowly(Sync sync, int fd) {
  wait_a_while();
  return sync(fd);
}

Sync original(const char* name) { return reinterpret_cast<Sync>(dlsym(RTLD_NEXT, name)); }

}  // namespace

extern "C" int fdatasync(int fd) {
  static const Sync kSync = original("fdatasync");
  return slowly(kSync, fd);
}

extern "C" int fsync(int fd) {
  static const Sync kSync = original("fsync");
  return slowly(kSync, fd);
}
