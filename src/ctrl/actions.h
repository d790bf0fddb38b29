// What whoever leads the controller should see done now. It follows from the state alone, so that a new leader goes on
// where the old one stopped, and asking again does no harm. Pure.
#pragma once

#include <variant>
#include <vector>

#include "ctrl/state.h"

namespace flux::ctrl {

// Start the group on its voters; it answers with ReportGroup and, once it runs, Settled.
struct StartGroup {
  GroupId group;
  bool operator==(const StartGroup&) const = default;
};

// Let the receiving group stage the shard, from where it is; it answers with ReportProgress. What a group has staged
// under a (plan, step) that no action names any more, it drops.
struct CopyShard {
  PlanId plan;
  uint32_t step = 0;
  MoveShard move;
  bool operator==(const CopyShard&) const = default;
};

// Propose HandOver: it would be accepted.
struct ProposeHandOver {
  PlanId plan;
  uint32_t step = 0;
  bool operator==(const ProposeHandOver&) const = default;
};

// Let the group change its members; it answers with ReportGroup, or ReportProgress on the way and on failure.
struct ChangeMembers {
  PlanId plan;
  uint32_t step = 0;
  ChangeReplica change;
  bool operator==(const ChangeMembers&) const = default;
};

// Take back a change of members that was begun: remove who was to be added. Answered with ReportGroup or kUndone.
struct UndoMembers {
  PlanId plan;
  uint32_t step = 0;
  ChangeReplica change;
  bool operator==(const UndoMembers&) const = default;
};

// Propose Rebalance: shards or replicas are not where they should be.
struct ProposeRebalance {
  bool shards = false;
  bool replicas = false;
  bool operator==(const ProposeRebalance&) const = default;
};

// Propose Join for so many groups of so many replicas each: there are cores that they should keep busy.
struct ProposeGroups {
  uint32_t count = 0;
  uint32_t replicas = 0;
  bool operator==(const ProposeGroups&) const = default;
};

using Action =
    std::variant<StartGroup, CopyShard, ProposeHandOver, ChangeMembers, UndoMembers, ProposeRebalance, ProposeGroups>;

// In the order of plans and their steps. What is under way comes before what could begin.
std::vector<Action> next_actions(const State& state);

// What an open step cannot go on without, for people: OK if nothing but its turn.
Status awaits(const State& state, const Step& step);

}  // namespace flux::ctrl
