// What load drivers write: values that do not compress, and that belong to their key, so that what is read back can be
// told from what was written to another.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/rng.h"

namespace flux::main::ctl {

class BenchValues {
 public:
  explicit BenchValues(size_t size) : size_(size) {
    Rng rng(kSeed);
    while (pool_.size() < kPoolBytes + size) {
      const uint64_t word = rng.next();
      for (int shift = 0; shift < 64; shift += 8) pool_.push_back(static_cast<char>(word >> shift & 0xFF));
    }
  }
  // The value of the key with this number. Points into this object.
  std::string_view of(uint64_t rank) const {
    return std::string_view(pool_).substr(rank % kPoolBytes * kStep % kPoolBytes, size_);
  }

 private:
  // bench/systems.py computes the same values.
  static constexpr uint64_t kSeed = 1;
  static constexpr size_t kPoolBytes = 65536;
  static constexpr size_t kStep = 40503;  // odd, so that the first 65536 keys have different values

  const size_t size_;
  std::string pool_;
};

}  // namespace flux::main::ctl
