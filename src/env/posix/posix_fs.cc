#include "env/posix/posix_fs.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace flux::env {
namespace {

Status error_of(int error, std::string_view verb, const std::string& path) {
  ErrorCode code = ErrorCode::kIo;
  if (error == ENOENT) code = ErrorCode::kNotFound;
  if (error == EEXIST) code = ErrorCode::kAlreadyExists;
  if (error == ENOSPC || error == EDQUOT) code = ErrorCode::kNoSpace;
  return Status(code, fmt::format("cannot {} {}: {}", verb, path, std::strerror(error)));
}

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&&) = delete;
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

int open_retrying(const std::string& path, int flags) {
  int fd = -1;
  do {
    fd = ::open(path.c_str(), flags | O_CLOEXEC, 0640);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

class PosixFile final : public File {
 public:
  PosixFile(Fd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

  Result<std::string> read_at(uint64_t offset, size_t size) const override {
    std::string out(size, '\0');
    size_t done = 0;
    while (done < size) {
      const ssize_t n = ::pread(fd_.get(), out.data() + done, size - done, static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return error_of(errno, "read", path_);
      if (n == 0) break;
      done += static_cast<size_t>(n);
    }
    out.resize(done);
    return out;
  }

  Status write_at(uint64_t offset, std::string_view data) override {
    while (!data.empty()) {
      const ssize_t n = ::pwrite(fd_.get(), data.data(), data.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return error_of(errno, "write", path_);
      data.remove_prefix(static_cast<size_t>(n));
      offset += static_cast<uint64_t>(n);
    }
    return {};
  }

  Status sync() override {
    // No retry: after a failure the kernel marks the pages clean, and a second fdatasync() would succeed over a hole.
    if (::fdatasync(fd_.get()) != 0) return error_of(errno, "sync", path_);
    return {};
  }

  Result<uint64_t> size() const override {
    struct stat info{};
    if (::fstat(fd_.get(), &info) != 0) return error_of(errno, "stat", path_);
    return static_cast<uint64_t>(info.st_size);
  }

  Status drop_cache() override {
    ::posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_DONTNEED);  // advice: a refusal changes nothing
    return {};
  }

  Status truncate(uint64_t size) override {
    if (::ftruncate(fd_.get(), static_cast<off_t>(size)) != 0) return error_of(errno, "truncate", path_);
    return {};
  }

 private:
  Fd fd_;
  std::string path_;
};

class PosixDirLock final : public DirLock {
 public:
  explicit PosixDirLock(Fd fd) : fd_(std::move(fd)) {}

 private:
  Fd fd_;
};

}  // namespace

Result<std::unique_ptr<File>> PosixFs::open(const std::string& path, OpenMode mode) {
  int flags = O_RDONLY;
  if (mode == OpenMode::kReadWrite) flags = O_RDWR;
  if (mode == OpenMode::kCreate) flags = O_RDWR | O_CREAT | O_EXCL;
  const int fd = open_retrying(path, flags);
  if (fd < 0) return error_of(errno, mode == OpenMode::kCreate ? "create" : "open", path);
  return std::unique_ptr<File>(std::make_unique<PosixFile>(Fd(fd), path));
}

Status PosixFs::remove(const std::string& path) {
  if (::unlink(path.c_str()) != 0) return error_of(errno, "remove", path);
  return {};
}

Status PosixFs::rename(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return error_of(errno, "rename", from);
  return {};
}

Status PosixFs::create_dirs(const std::string& path) {
  for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    if (::mkdir(part.c_str(), 0750) != 0 && errno != EEXIST) return error_of(errno, "create", part);
    if (end == std::string::npos) break;
  }
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return error_of(errno, "stat", path);
  if (!S_ISDIR(info.st_mode)) {
    return Status(ErrorCode::kInvalidArgument, fmt::format("{} exists and is not a directory", path));
  }
  return {};
}

Status PosixFs::sync_dir(const std::string& path) {
  const Fd fd(open_retrying(path, O_RDONLY | O_DIRECTORY));
  if (fd.get() < 0) return error_of(errno, "open", path);
  if (::fsync(fd.get()) != 0) return error_of(errno, "sync", path);
  return {};
}

Result<std::vector<std::string>> PosixFs::list(const std::string& path) {
  DIR* dir = ::opendir(path.c_str());
  if (dir == nullptr) return error_of(errno, "list", path);
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(dir)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  const int error = errno;
  ::closedir(dir);
  if (error != 0) return error_of(error, "list", path);
  std::sort(names.begin(), names.end());
  return names;
}

Result<bool> PosixFs::exists(const std::string& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) == 0) return true;
  if (errno == ENOENT) return false;
  return error_of(errno, "stat", path);
}

Result<uint64_t> PosixFs::free_bytes(const std::string& path) {
  struct statvfs info{};
  if (::statvfs(path.c_str(), &info) != 0) return error_of(errno, "stat the file system of", path);
  return static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
}

Result<std::unique_ptr<DirLock>> PosixFs::lock_dir(const std::string& path) {
  const std::string lock_path = path + "/LOCK";
  Fd fd(open_retrying(lock_path, O_RDWR | O_CREAT));
  if (fd.get() < 0) return error_of(errno, "open", lock_path);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return error_of(errno, "lock", lock_path);
    return Status(
        ErrorCode::kPrecondition,
        fmt::format("{} is in use by another process; stop that one, or give this one a directory of its own", path));
  }
  return std::unique_ptr<DirLock>(std::make_unique<PosixDirLock>(std::move(fd)));
}

}  // namespace flux::env
