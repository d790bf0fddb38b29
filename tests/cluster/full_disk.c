// Preloaded into a server under test. While the file that FULL_DISK names exists, no file below the folder that
// FULL_DISK_DIR names may grow, as on a disk without a free block; bytes written over existing ones still land.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int refused(int fd, off_t end) {
  const char* flag = getenv("FULL_DISK");
  const char* dir = getenv("FULL_DISK_DIR");
  if (!flag || !dir || access(flag, F_OK) != 0) return 0;
  char link[64], path[4096];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  const ssize_t size = readlink(link, path, sizeof(path) - 1);
  if (size < 0 || strncmp(path, dir, strlen(dir)) != 0) return 0;
  struct stat info;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || end <= info.st_size) return 0;
  errno = ENOSPC;
  return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void* bytes, size_t size) {
  struct stat info;
  if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && refused(fd, info.st_size + (off_t)size)) return -1;
  return REAL(write)(fd, bytes, size);
}

ssize_t pwrite(int fd, const void* bytes, size_t size, off_t offset) {
  return refused(fd, offset + (off_t)size) ? -1 : REAL(pwrite)(fd, bytes, size, offset);
}

ssize_t pwrite64(int fd, const void* bytes, size_t size, off64_t offset) {
  return refused(fd, offset + (off_t)size) ? -1 : REAL(pwrite64)(fd, bytes, size, offset);
}

int ftruncate(int fd, off_t size) { return refused(fd, size) ? -1 : REAL(ftruncate)(fd, size); }

int ftruncate64(int fd, off64_t size) { return refused(fd, size) ? -1 : REAL(ftruncate64)(fd, size); }

int fallocate(int fd, int mode, off_t offset, off_t size) {
  return refused(fd, offset + size) ? -1 : REAL(fallocate)(fd, mode, offset, size);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t size) {
  return refused(fd, offset + size) ? -1 : REAL(fallocate64)(fd, mode, offset, size);
}
