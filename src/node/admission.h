// Whether new writes are let in: the memory ceiling, a full log disk. Thread-safe.
#pragma once

#include <fmt/core.h>

#include <atomic>

#include "base/status.h"

namespace flux::node {

class Admission {
 public:
  explicit Admission(uint64_t memory_bytes_max) : memory_bytes_max_(memory_bytes_max) {}

  void set_memory_used(uint64_t bytes) { memory_used_ = bytes; }
  void set_log_full(bool full) { log_full_ = full; }

  uint64_t memory_used() const { return memory_used_; }
  // 0: no ceiling.
  uint64_t memory_bytes_max() const { return memory_bytes_max_; }
  void set_memory_bytes_max(uint64_t bytes) { memory_bytes_max_ = bytes; }
  bool log_full() const { return log_full_; }
  bool over_memory() const {
    const uint64_t max = memory_bytes_max_;
    return max != 0 && memory_used_ > max;
  }

  // Definite: a refused write was not proposed. Writes that only erase pass the memory ceiling.
  Status check(bool erases_only) const {
    if (log_full_) return Status(ErrorCode::kNoSpace, "no space left on the disk of the log");
    if (!erases_only && over_memory()) {
      return Status(ErrorCode::kOutOfMemory,
                    fmt::format("command not allowed when used memory ({} bytes) > 'max-memory' ({} bytes)",
                                memory_used_.load(), memory_bytes_max_.load()));
    }
    return {};
  }

 private:
  std::atomic<uint64_t> memory_bytes_max_;
  std::atomic<uint64_t> memory_used_ = 0;
  std::atomic<bool> log_full_ = false;
};

}  // namespace flux::node
