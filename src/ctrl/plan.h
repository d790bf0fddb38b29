// Work that takes more than one command: moves of shards and changes of replicas. Journaled in the controller's state,
// so that whoever leads next goes on with it. Value types; not thread-safe.
#pragma once

#include <algorithm>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/types.h"
#include "ctrl/fields.h"

namespace flux::ctrl {

using PlanId = StrongId<struct PlanIdTag>;  // never given twice; 0 is none

struct MoveShard {
  ShardId shard;
  GroupId from;
  GroupId to;
  static void fields(auto& self, auto& io) { io(self.shard, self.from, self.to); }
  bool operator==(const MoveShard&) const = default;
};

// One joint change of a group's members. Either may be nobody, not both.
struct ChangeReplica {
  GroupId group;
  NodeId add;
  NodeId remove;
  static void fields(auto& self, auto& io) { io(self.group, self.add, self.remove); }
  bool operator==(const ChangeReplica&) const = default;
};

using Task = std::variant<MoveShard, ChangeReplica>;

//   move     pending -> copying <-> ready -> settling -> done
//   replica  pending -> copying -> done
//   undone from pending; from copying and ready by way of undoing; failed from any of the three
enum class StepPhase : uint8_t {
  kPending = 1,
  kCopying = 2,   // pre-copy to the receiving group, or a learner that catches up
  kReady = 3,     // what is left to copy is small: the hand-over may come
  kSettling = 4,  // a configuration has handed the shard over: no way back
  kDone = 5,
  kUndoing = 6,  // cancelled: what was staged is being dropped
  kUndone = 7,
  kFailed = 8,
};
template <>
inline constexpr StepPhase kLast<StepPhase> = StepPhase::kFailed;

struct Step {
  Task task;
  StepPhase phase = StepPhase::kPending;
  ConfigNum handed_over;  // the configuration that did; 0 before
  // As reported: what an estimate of the time left is made from. The total is 0 as long as it is not known.
  uint64_t bytes_done = 0;
  uint64_t bytes_total = 0;
  uint64_t keys_done = 0;  // of a move
  std::string reason;      // why it failed, or was undone for the sake of another step

  bool final() const { return phase == StepPhase::kDone || phase == StepPhase::kUndone || phase == StepPhase::kFailed; }
  // Whether it takes part in the limits on what runs at once.
  bool under_way() const { return !final() && phase != StepPhase::kPending; }
  bool touches(GroupId group) const;
  bool touches(NodeId node) const;
  bool moves(ShardId shard) const;
  // It is done: what was to be copied has been, whatever was reported last.
  void finish() {
    phase = StepPhase::kDone;
    bytes_done = std::max(bytes_done, bytes_total);
  }
  // What a step becomes that is given up. What a group has staged of a shard goes by itself once no step speaks of it;
  // a new learner has to be taken out again.
  StepPhase given_up() const;

  static void fields(auto& self, auto& io) {
    io(self.task, self.phase, self.handed_over, self.bytes_done, self.bytes_total, self.keys_done, self.reason);
  }
  bool operator==(const Step&) const = default;
};

enum class PlanKind : uint8_t {
  kMove = 1,
  kRebalance = 2,   // of shards and of replicas; gives way to what people ask for
  kDrainGroup = 3,  // when done, its groups are gone
  kDrainNode = 4,
  kReplaceNode = 5,  // when done, its node is removed
  kReplicate = 6,    // more or fewer voters for a keyspace
};
template <>
inline constexpr PlanKind kLast<PlanKind> = PlanKind::kReplicate;

enum class PlanState : uint8_t {
  kRunning = 1,
  kPaused = 2,      // nothing new begins; what is settling or being undone goes on
  kCancelling = 3,  // until no step is settling or being undone
  kCancelled = 4,
  kDone = 5,
  kFailed = 6,  // a step failed and no other runs: resume tries it again, cancel gives it up
};
template <>
inline constexpr PlanState kLast<PlanState> = PlanState::kFailed;

struct Plan {
  PlanId id;
  PlanKind kind = PlanKind::kMove;
  PlanState state = PlanState::kRunning;
  std::set<GroupId> groups;  // kDrainGroup: those that go
  NodeId node;               // kDrainNode, kReplaceNode: the one that goes
  std::vector<Step> steps;

  // Whether it may still change anything, by itself or when it is resumed.
  bool active() const { return state != PlanState::kCancelled && state != PlanState::kDone; }
  // The first step that is not final; steps.size() if all are.
  size_t current() const;
  size_t count(StepPhase phase) const;
  uint64_t bytes_done() const;
  uint64_t bytes_total() const;
  // Why it failed; empty if no step did.
  std::string_view reason() const;

  static void fields(auto& self, auto& io) { io(self.id, self.kind, self.state, self.groups, self.node, self.steps); }
  bool operator==(const Plan&) const = default;
};

std::string_view to_string(PlanKind kind);
std::string_view to_string(PlanState state);
std::string_view to_string(StepPhase phase);

}  // namespace flux::ctrl
