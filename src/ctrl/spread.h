// Which replicas should be on which nodes, from the controller's state. Pure.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "ctrl/actions.h"
#include "ctrl/state.h"

namespace flux::ctrl {

inline constexpr uint32_t kGroupsByCoresMax = 1'024;

// How many groups there should be for so many cores, with so many replicas each: a core leads one or follows in others.
constexpr uint32_t groups_for(uint64_t cores, uint32_t replicas) {
  return static_cast<uint32_t>(std::clamp<uint64_t>(cores / std::max(1U, replicas), 1, kGroupsByCoresMax));
}
// The groups that are missing by that for the nodes that may get replicas, with as many replicas as the neediest
// keyspace wants; none while one is being created, nor where nothing is kept twice.
ProposeGroups missing_groups(const State& state);

// The changes of members that bring the replicas of lost nodes to others, and then the fewest that even out what the
// nodes have by their cores, beside the changes that are planned already; one for a group at most. A node that is heard
// and has announced itself may get replicas, one that is draining or just silent keeps what it has. Where there is a
// choice, a replica goes whose group a node with too many leaders should lead: leadership goes along.
std::vector<ChangeReplica> balancing_changes(const State& state, size_t changes_max = SIZE_MAX);

}  // namespace flux::ctrl
