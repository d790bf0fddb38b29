// A statistic that one thread counts and any thread reads, a little behind.
#pragma once

#include <atomic>
#include <cstdint>

namespace flux {

class Counter {
 public:
  // The counting thread's.
  Counter& operator++() {
    value_.store(value_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    return *this;
  }
  // Any thread's.
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_ = 0;
};

}  // namespace flux
