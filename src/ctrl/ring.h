// Where shards go that have no place yet: a consistent-hash ring with virtual nodes and bounded loads (Mirrokni,
// Thorup, Zadimoghaddam: "Consistent Hashing with Bounded Loads", 2016). Pure.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "base/types.h"

namespace flux::ctrl {

inline constexpr uint32_t kRingPointsPerGroup = 64;

class Ring {
 public:
  // The same groups make the same ring, in whatever order they come.
  explicit Ring(const std::map<GroupId, uint32_t>& weights);

  // The group of each hash: the first one clockwise that has room. The bound is the tightest there is: the whole part
  // of a group's share by weight, and one more for as many groups as the remainders add up to. So with equal weights
  // any two groups differ by one at most.
  // REQUIRES: there are groups.
  std::vector<GroupId> assign(const std::vector<uint64_t>& hashes) const;

  // Spreads ids that are near each other over all 64 bits. Part of what replicas agree on: it never changes.
  static uint64_t mix(uint64_t value);

 private:
  std::map<GroupId, uint32_t> weights_;
  std::map<uint64_t, GroupId> points_;
};

}  // namespace flux::ctrl
