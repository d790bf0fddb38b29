// Counts the bytes that one engine and its snapshots hold. Thread-safe: snapshots are dropped on other threads.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace flux::engine {

class MemoryMeter {
 public:
  void add(size_t bytes) { bytes_.fetch_add(static_cast<int64_t>(bytes), std::memory_order_relaxed); }
  void subtract(size_t bytes) { bytes_.fetch_sub(static_cast<int64_t>(bytes), std::memory_order_relaxed); }
  uint64_t bytes() const { return static_cast<uint64_t>(bytes_.load(std::memory_order_relaxed)); }

 private:
  std::atomic<int64_t> bytes_{0};
};

// Counts one object, and each copy of it.
class Metered {
 public:
  Metered(MemoryMeter& meter, size_t bytes) : meter_(&meter), bytes_(bytes) { meter_->add(bytes_); }
  Metered(const Metered& other) : meter_(other.meter_), bytes_(other.bytes_) { meter_->add(bytes_); }
  Metered& operator=(const Metered&) = delete;
  ~Metered() { meter_->subtract(bytes_); }

 private:
  MemoryMeter* meter_;
  size_t bytes_;
};

}  // namespace flux::engine
