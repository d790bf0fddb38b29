#include "ctrl/ring.h"

#include "base/check.h"

namespace flux::ctrl {

uint64_t Ring::mix(uint64_t value) {  // the finaliser of splitmix64
  value += 0x9E3779B97F4A7C15ULL;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ULL;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBULL;
  return value ^ (value >> 31);
}

Ring::Ring(const std::map<GroupId, uint32_t>& weights) : weights_(weights) {
  for (const auto& [group, weight] : weights_) {
    for (uint64_t i = 0; i < kRingPointsPerGroup; ++i) points_.emplace(mix(mix(group.value()) + i), group);
  }
}

std::vector<GroupId> Ring::assign(const std::vector<uint64_t>& hashes) const {
  FLUX_CHECK(!weights_.empty());
  uint64_t weight_sum = 0;
  for (const auto& [group, weight] : weights_) weight_sum += weight;
  struct Room {
    uint64_t whole;
    bool extra = true;
  };
  std::map<GroupId, Room> rooms;
  uint64_t extras = hashes.size();
  for (const auto& [group, weight] : weights_) {
    const uint64_t share = hashes.size() * weight / weight_sum;
    rooms[group] = {.whole = share};
    extras -= share;
  }
  const auto take = [&](GroupId group) {
    Room& room = rooms[group];
    if (room.whole > 0) return --room.whole, true;
    if (!room.extra || extras == 0) return false;
    room.extra = false;
    return --extras, true;
  };
  std::vector<GroupId> owners;
  owners.reserve(hashes.size());
  for (const uint64_t hash : hashes) {
    auto point = points_.lower_bound(hash);
    for (size_t tried = 0;; ++tried, ++point) {
      FLUX_CHECK(tried <= points_.size());
      if (point == points_.end()) point = points_.begin();
      if (take(point->second)) break;
    }
    owners.push_back(point->second);
  }
  return owners;
}

}  // namespace flux::ctrl
