// How a group's keys are spelled in the shared RocksDB. Stored on disk: never change it.
//
//   u64 group, big endian | u8 family | key
//   u64 group, big endian | 0xFF | "count"     varint: number of keys in kData
//   u64 group, big endian | 0xFF | "loading"   there while load() runs; found at open, the group's data is worthless
#pragma once

#include <bit>
#include <string>
#include <string_view>

#include "base/codec.h"
#include "engine/family.h"

namespace flux::engine {

inline constexpr size_t kGroupPrefixBytes = 8;
inline constexpr size_t kKeyPrefixBytes = kGroupPrefixBytes + 1;

inline std::string group_prefix(GroupId group) {
  std::string out(kGroupPrefixBytes, '\0');
  put_fixed_at<uint64_t>(out.data(), __builtin_bswap64(group.value()));
  return out;
}
// After all of the group's keys, before those of the next.
inline std::string group_end(GroupId group) { return group_prefix(group) + "\xFF\xFF"; }
inline GroupId group_of(std::string_view key) { return GroupId(__builtin_bswap64(get_fixed_at<uint64_t>(key.data()))); }

inline std::string count_key(GroupId group) { return group_prefix(group) + "\xFF" + "count"; }
inline std::string loading_key(GroupId group) { return group_prefix(group) + "\xFF" + "loading"; }

// Spells keys of one group into one buffer.
class RocksKey {
 public:
  explicit RocksKey(GroupId group) : bytes_(group_prefix(group)) {}

  // Valid until the next call.
  std::string_view of(Family family, std::string_view key) {
    bytes_.resize(kGroupPrefixBytes);
    bytes_.push_back(static_cast<char>(family));
    bytes_.append(key);
    return bytes_;
  }
  // The end of a half-open range; an empty `high` is the end of the family.
  std::string_view end_of(Family family, std::string_view high) {
    return high.empty() ? of(Family(static_cast<uint8_t>(family) + 1), "") : of(family, high);
  }

 private:
  std::string bytes_;
};

}  // namespace flux::engine
