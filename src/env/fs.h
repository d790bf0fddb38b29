// Files. Durability is explicit: bytes are durable after File::sync(), names after Fs::sync_dir().
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace flux::env {

enum class OpenMode : uint8_t {
  kRead,       // must exist
  kReadWrite,  // must exist
  kCreate,     // must not exist; read and write
};

// Safe to read from several threads at once; writes and syncs are the caller's to order.
class File {
 public:
  virtual ~File() = default;

  // Reads up to `size` bytes; fewer only at the end of the file.
  virtual Result<std::string> read_at(uint64_t offset, size_t size) const = 0;
  // Writes all of `data`, extending the file where needed. After an error the range holds old bytes, new bytes or both.
  virtual Status write_at(uint64_t offset, std::string_view data) = 0;
  // Makes all completed writes durable, and the size if it changed. An error is final: the state of the range written
  // since the last successful sync is unknown, and no later sync may be trusted to repair it.
  virtual Status sync() = 0;
  virtual Result<uint64_t> size() const = 0;
  virtual Status truncate(uint64_t size) = 0;
  // Makes later reads come from the device, not from a page cache that may hold what a failed sync has lost. Call after
  // sync(). A hint: where the system cannot, it does nothing.
  virtual Status drop_cache() { return {}; }
};

// Held while a directory is ours; released by destruction or by the end of the process.
class DirLock {
 public:
  virtual ~DirLock() = default;
};

// Thread-safe. Errors: kNotFound, kAlreadyExists, kNoSpace, kIo, each naming the path.
class Fs {
 public:
  virtual ~Fs() = default;

  virtual Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) = 0;
  virtual Status remove(const std::string& path) = 0;
  // Replaces `to` if it exists. Durable after sync_dir().
  virtual Status rename(const std::string& from, const std::string& to) = 0;
  // Creates the directory and its parents; OK if it exists.
  virtual Status create_dirs(const std::string& path) = 0;
  // Makes creations, removals and renames in the directory durable.
  virtual Status sync_dir(const std::string& path) = 0;
  // The names in the directory, sorted.
  virtual Result<std::vector<std::string>> list(const std::string& path) = 0;
  virtual Result<bool> exists(const std::string& path) = 0;
  // Bytes that can still be written to the file system of `path`.
  virtual Result<uint64_t> free_bytes(const std::string& path) = 0;
  // kPrecondition if another process holds it.
  virtual Result<std::unique_ptr<DirLock>> lock_dir(const std::string& path) = 0;
};

// Reads a whole file of at most `size_max` bytes.
Result<std::string> read_file(Fs& fs, const std::string& path, uint64_t size_max);
// Writes `contents` so that after a crash the path holds all of the old or all of the new: temporary file, sync,
// rename, sync of the directory.
Status write_file_atomically(Fs& fs, const std::string& dir, const std::string& name, std::string_view contents);

}  // namespace flux::env
