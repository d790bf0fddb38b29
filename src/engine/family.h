// The families of keys an engine holds. Each is an ordered space of its own.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace flux::engine {

// Numbers are stored on disk and in snapshots: never change or reuse them.
enum class Family : uint8_t {
  kData = 0,     // encoded keys: slot (2 bytes, big endian) | key, or the key itself
  kMeta = 1,     // applied index, clock, shard states
  kSession = 2,  // exactly-once sessions
  kExpiry = 3,   // deadlines, in order
  kFeed = 4,     // change records, in order
};

inline constexpr size_t kFamilyCount = 5;
inline constexpr std::array<Family, kFamilyCount> kFamilies = {Family::kData, Family::kMeta, Family::kSession,
                                                               Family::kExpiry, Family::kFeed};

constexpr std::string_view to_string(Family family) {
  switch (family) {
    case Family::kData:
      return "data";
    case Family::kMeta:
      return "meta";
    case Family::kSession:
      return "session";
    case Family::kExpiry:
      return "expiry";
    case Family::kFeed:
      return "feed";
  }
  return "unknown";
}

}  // namespace flux::engine
