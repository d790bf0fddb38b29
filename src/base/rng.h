// A seeded random generator (xoshiro256**, Blackman and Vigna 2018), the only source of chance in the cores. The
// standard distributions differ between libraries, so the few that are needed stand here.
#pragma once

#include <cstdint>

#include "base/check.h"

namespace flux {

class Rng {
 public:
  explicit Rng(uint64_t seed) {
    for (uint64_t& word : state_) {  // splitmix64, as the authors advise for seeding
      seed += 0x9E3779B97F4A7C15ULL;
      uint64_t z = seed;
      z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
      z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
      word = z ^ (z >> 31);
    }
  }

  uint64_t next() {
    const uint64_t result = rotl(state_[1] * 5, 7) * 9;
    const uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = rotl(state_[3], 45);
    return result;
  }

  // Uniform in [0, bound). REQUIRES: bound > 0.
  uint64_t below(uint64_t bound) {
    FLUX_CHECK(bound > 0);
    return static_cast<uint64_t>((__extension__ static_cast<unsigned __int128>(next()) * bound) >> 64);
  }
  // Uniform in [low, high], both included.
  uint64_t between(uint64_t low, uint64_t high) {
    FLUX_CHECK(low <= high);
    return low + below(high - low + 1);
  }
  // True with the given probability.
  bool chance(double probability) { return unit() < probability; }
  // Uniform in [0, 1).
  double unit() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
  // A generator of its own, so that one part's draws do not shift another's.
  Rng fork() { return Rng(next()); }

 private:
  static uint64_t rotl(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }
  uint64_t state_[4];
};

}  // namespace flux
