// A fast keyed hash for tables and content sums: 64-bit multiply and fold, after the idea of wyhash. Not for what must
// withstand an adversary who sees its output; the seed is secret and no output leaves the process.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace flux::engine {

inline uint64_t fold_multiply(uint64_t a, uint64_t b) {
  const auto product = __extension__ static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

inline uint64_t hash_bytes(uint64_t seed, std::string_view bytes) {
  constexpr uint64_t kOdd1 = 0xA0761D6478BD642FULL;
  constexpr uint64_t kOdd2 = 0xE7037ED1A0B428DBULL;
  const auto load = [](const char* at, size_t size) {
    uint64_t word = 0;
    if (size > 0) std::memcpy(&word, at, size);  // `at` may be null then
    return word;
  };
  uint64_t state = seed ^ fold_multiply(bytes.size() ^ kOdd1, kOdd2);
  const char* at = bytes.data();
  size_t left = bytes.size();
  for (; left > 16; at += 16, left -= 16) state = fold_multiply(load(at, 8) ^ kOdd1, load(at + 8, 8) ^ state);
  const uint64_t first = load(at, left < 8 ? left : 8);
  const uint64_t second = left > 8 ? load(at + 8, left - 8) : 0;
  return fold_multiply(kOdd2 ^ state, fold_multiply(first ^ kOdd1, second ^ state));
}

}  // namespace flux::engine
