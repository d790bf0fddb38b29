// Which replicas should be on which nodes, from the controller's state. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ctrl/state.h"

namespace flux::ctrl {

// The changes of members that bring the replicas of lost nodes to others, and then the fewest that even out what the
// nodes have by their cores, beside the changes that are planned already; one for a group at most. A node that is heard
// and has announced itself may get replicas, one that is draining or just silent keeps what it has. Where there is a
// choice, a replica goes whose group a node with too many leaders should lead: leadership goes along.
std::vector<ChangeReplica> balancing_changes(const State& state, size_t changes_max = SIZE_MAX);

}  // namespace flux::ctrl
