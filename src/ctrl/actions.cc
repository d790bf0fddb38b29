#include "ctrl/actions.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>

#include "ctrl/balance.h"
#include "ctrl/spread.h"

namespace flux::ctrl {
namespace {

// What is on its way, against the limits.
class Budget {
 public:
  explicit Budget(const PlanLimits& limits) : limits_(limits) {}

  void take(const Task& task) {
    if (const auto* move = std::get_if<MoveShard>(&task)) {
      ++moves_, ++moves_of_[move->from], ++moves_of_[move->to];
    } else {
      changing_.insert(std::get<ChangeReplica>(task).group);
    }
  }
  bool has_room(const Task& task) {
    if (const auto* move = std::get_if<MoveShard>(&task)) {
      return moves_ < limits_.moves_max && moves_of_[move->from] < limits_.moves_per_group_max &&
             moves_of_[move->to] < limits_.moves_per_group_max;
    }
    return changing_.size() < limits_.changes_max && !changing_.contains(std::get<ChangeReplica>(task).group);
  }

 private:
  const PlanLimits& limits_;
  size_t moves_ = 0;
  std::map<GroupId, size_t> moves_of_;
  std::set<GroupId> changing_;
};

Status receiver_is_able(const State& state, const MoveShard& move) {
  const Keyspace* keyspace = state.config().place(move.shard).keyspace;
  if (!keyspace) return Status(ErrorCode::kNotFound, fmt::format("there is no shard {}", move.shard));
  return may_receive(state, state.config(), move.to, keyspace->replication);
}

class Planner {
 public:
  explicit Planner(const State& state) : state_(state), budget_(state.limits) {}

  void start_groups() {
    for (const auto& [id, group] : state_.config().groups) {
      if (group.state == GroupState::kCreating) actions_.emplace_back(StartGroup{id});
    }
  }

  void add_groups() {
    if (state_.balance == BalanceMode::kOff || !state_.groups_by_cores) return;
    const ProposeGroups missing = missing_groups(state_);
    if (missing.count > 0) actions_.emplace_back(missing);
  }

  // First all that was begun, so that it counts; then what there is room for.
  void walk_plans() {
    for_each_step([&](const Plan& plan, uint32_t at, const Step& step) {
      if (!step.under_way()) return;
      budget_.take(step.task);
      go_on(plan, at, step);
    });
    for_each_step([&](const Plan& plan, uint32_t at, const Step& step) {
      if (plan.state != PlanState::kRunning || step.phase != StepPhase::kPending) return;
      if (!can_begin(step.task) || !budget_.has_room(step.task)) return;
      budget_.take(step.task);
      work(plan, at, step);
    });
  }

  void rebalance() {
    if (state_.balance == BalanceMode::kOff) return;
    const bool shards = state_.balance == BalanceMode::kShards && !balancing_moves(state_, 1).empty();
    const bool replicas = !balancing_changes(state_, 1).empty();
    if (shards || replicas) actions_.emplace_back(ProposeRebalance{.shards = shards, .replicas = replicas});
  }

  std::vector<Action> take() { return std::move(actions_); }

 private:
  template <typename Visit>
  void for_each_step(Visit visit) {
    for (const auto& [id, plan] : state_.plans) {
      if (!plan.active()) continue;
      for (uint32_t at = 0; at < plan.steps.size(); ++at) visit(plan, at, plan.steps[at]);
    }
  }

  // Whether the receiver is as able as it was when the plan was made.
  bool can_begin(const Task& task) const {
    const auto* move = std::get_if<MoveShard>(&task);
    return move ? receiver_is_able(state_, *move).ok() : !state_.silent.contains(std::get<ChangeReplica>(task).add);
  }

  void work(const Plan& plan, uint32_t at, const Step& step) {
    if (const auto* move = std::get_if<MoveShard>(&step.task)) {
      actions_.emplace_back(CopyShard{.plan = plan.id, .step = at, .move = *move});
    } else {
      actions_.emplace_back(ChangeMembers{.plan = plan.id, .step = at, .change = std::get<ChangeReplica>(step.task)});
    }
  }

  void go_on(const Plan& plan, uint32_t at, const Step& step) {
    if (step.phase == StepPhase::kUndoing) {
      actions_.emplace_back(UndoMembers{.plan = plan.id, .step = at, .change = std::get<ChangeReplica>(step.task)});
    }
    if (plan.state != PlanState::kRunning) return;
    if (step.phase == StepPhase::kCopying) work(plan, at, step);
    if (step.phase == StepPhase::kReady) hand_over(plan, at, step);
  }

  // The copy goes on until the hand-over is committed, so that what is left stays small.
  void hand_over(const Plan& plan, uint32_t at, const Step& step) {
    work(plan, at, step);
    const auto& move = std::get<MoveShard>(step.task);
    if (!can_begin(step.task) || state_.progress_of(move.from).busy() || state_.progress_of(move.to).busy()) return;
    // One hand-over makes its groups busy, and the next one would be refused.
    if (!handing_.insert(move.from).second) return;
    if (!handing_.insert(move.to).second) return;
    actions_.emplace_back(ProposeHandOver{.plan = plan.id, .step = at});
  }

  const State& state_;
  Budget budget_;
  std::set<GroupId> handing_;
  std::vector<Action> actions_;
};

}  // namespace

Status awaits(const State& state, const Step& step) {
  const auto quorum_of = [&](GroupId id) {
    const Group* group = state.config().group(id);
    if (!group || !group->alive() || state.has_quorum(*group)) return Status();
    return Status(ErrorCode::kUnavailable, fmt::format("group {} has no quorum: too many of its nodes are silent", id));
  };
  const auto* move = std::get_if<MoveShard>(&step.task);
  if (!move) {
    const auto& change = std::get<ChangeReplica>(step.task);
    if (state.silent.contains(change.add)) {
      return Status(ErrorCode::kUnavailable, fmt::format("node {} is not heard", change.add));
    }
    return quorum_of(change.group);
  }
  FLUX_RETURN_IF_ERROR(quorum_of(move->from));
  if (step.phase == StepPhase::kSettling) return quorum_of(move->to);
  return receiver_is_able(state, *move);
}

std::vector<Action> next_actions(const State& state) {
  Planner planner(state);
  planner.start_groups();
  planner.add_groups();
  planner.walk_plans();
  planner.rebalance();
  return planner.take();
}

}  // namespace flux::ctrl
