// All that the controller knows, as group 0's log has made it. A value type; not thread-safe. Replicas that have
// applied the same log encode to the same bytes.
//
// The rule of moves: what changes the shards of a group is refused until the group has settled what came before. So a
// group has at most one change of its shards before it, whatever it has missed.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>

#include "ctrl/history.h"
#include "ctrl/plan.h"

namespace flux::ctrl {

// Finished plans that are kept to be looked at, and the steps of all of them; the oldest go first.
inline constexpr size_t kFinishedPlansMax = 64;
inline constexpr size_t kFinishedStepsMax = 10'000;
inline constexpr size_t kActivePlansMax = 1'024;

// How far a group is with the configurations.
struct GroupProgress {
  ConfigNum changed;  // the newest configuration that gave it shards, took or cut some
  ConfigNum settled;  // the newest one in which it has said to be settled
  Index entry;        // where in its log the membership stands that the configuration shows

  bool busy() const { return settled < changed; }
  static void fields(auto& self, auto& io) { io(self.changed, self.settled, self.entry); }
  bool operator==(const GroupProgress&) const = default;
};

enum class BalanceMode : uint8_t {
  kOff = 1,
  kShards = 2,  // every group its share of shards, by weight: next_actions() asks for Rebalance
  kLoad = 3,    // by measured load and size: advise() says what to do
};
template <>
inline constexpr BalanceMode kLast<BalanceMode> = BalanceMode::kLoad;

// What may be under way at once.
struct PlanLimits {
  uint32_t moves_max = 8;            // shards that change groups
  uint32_t moves_per_group_max = 2;  // of which one group gives or takes
  uint32_t changes_max = 4;          // groups that change their members; each has one change at a time

  static void fields(auto& self, auto& io) { io(self.moves_max, self.moves_per_group_max, self.changes_max); }
  bool operator==(const PlanLimits&) const = default;
};
inline constexpr uint32_t kPlanLimitMax = 1'000;

struct State {
  History history;
  std::map<GroupId, GroupProgress> progress;  // of every group that is not gone
  std::map<ShardId, GroupId> pins;            // shards that rebalancing leaves where they are
  std::map<PlanId, Plan> plans;
  BalanceMode balance = BalanceMode::kShards;
  bool groups_by_cores = false;  // with balance, next_actions() asks for groups as the cluster gets more cores
  KeyspaceId last_keyspace;
  ShardId last_shard;
  PlanId last_plan;
  std::set<NodeId> silent;  // not heard for a while: they are chosen for nothing new, and lose nothing
  std::set<NodeId> lost;    // of the silent ones: for so long that their replicas go to others
  PlanLimits limits;

  const Config& config() const { return history.newest(); }
  const Plan* plan(PlanId id) const;
  // REQUIRES: the group is not gone.
  const GroupProgress& progress_of(GroupId group) const;
  // Whether a quorum of the group's voters is heard.
  bool has_quorum(const Group& group) const;
  // Whether a step may still do something: a failed step of a plan may be resumed.
  static bool is_open(const Plan& plan, const Step& step) {
    return !step.final() || (step.phase == StepPhase::kFailed && plan.active());
  }

  static void fields(auto& self, auto& io) {
    io(self.history, self.progress, self.pins, self.plans, self.balance, self.groups_by_cores, self.last_keyspace,
       self.last_shard, self.last_plan, self.silent, self.lost, self.limits);
  }
};

// What a snapshot of group 0 holds.
std::string encode_state(const State& state);
// kCorruption unless it is a state in which everything refers to what exists.
Result<State> decode_state(std::string_view bytes);

}  // namespace flux::ctrl
