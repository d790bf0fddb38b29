#include "ctrl/state.h"

#include <fmt/core.h>

#include <algorithm>

namespace flux::ctrl {
namespace {

Status corrupt(std::string what) { return {ErrorCode::kCorruption, "state of the controller: " + std::move(what)}; }

std::map<ShardId, GroupId> owners_in(const Config& config) {
  std::map<ShardId, GroupId> owners;
  for (const auto& [id, keyspace] : config.keyspaces) {
    for (const Shard& shard : keyspace.shards) owners[shard.id] = shard.group;
  }
  return owners;
}

// An open step is about what exists, in a phase that its kind has, and its shard is where the phase says.
bool makes_sense(const Config& config, const std::map<ShardId, GroupId>& owners, const Step& step) {
  if (const auto* move = std::get_if<MoveShard>(&step.task)) {
    const Group* from = config.group(move->from);
    const Group* to = config.group(move->to);
    const auto owner = owners.find(move->shard);
    const bool handed_over = step.phase == StepPhase::kSettling;
    return from && from->alive() && to && to->alive() && owner != owners.end() && step.phase != StepPhase::kUndoing &&
           owner->second == (handed_over ? move->to : move->from);
  }
  const auto& change = std::get<ChangeReplica>(step.task);
  const Group* group = config.group(change.group);
  const auto exists = [&](NodeId id) { return id == kNobody || config.node(id); };
  return group && group->alive() && exists(change.add) && exists(change.remove) && step.phase != StepPhase::kReady &&
         step.phase != StepPhase::kSettling;
}

Status check_plans(const State& state, const std::map<ShardId, GroupId>& owners) {
  for (const auto& [id, plan] : state.plans) {
    if (id == PlanId() || plan.id != id || id > state.last_plan) return corrupt("a plan without its id");
    for (const GroupId group : plan.groups) {
      const Group* found = state.config().group(group);
      if (!found || (plan.active() && !found->alive())) return corrupt("a plan of a group that does not exist");
    }
    if (plan.node != kNobody && !state.config().node(plan.node)) return corrupt("a plan of a node that does not exist");
    if (!plan.active()) continue;
    for (const Step& step : plan.steps) {
      if (State::is_open(plan, step) && !makes_sense(state.config(), owners, step)) {
        return corrupt(fmt::format("plan {} is about what does not exist", id));
      }
    }
  }
  return {};
}

Status check(const State& state) {
  const Config& config = state.config();
  const std::map<ShardId, GroupId> owners = owners_in(config);
  size_t alive = 0;
  for (const auto& [id, group] : config.groups) {
    if (!group.alive()) continue;
    ++alive;
    if (!state.progress.contains(id)) return corrupt(fmt::format("nothing is known of group {}", id));
  }
  if (alive != state.progress.size()) return corrupt("progress of a group that is gone");
  for (const auto& [id, progress] : state.progress) {
    if (progress.changed > config.num || progress.settled > config.num) return corrupt("a group ahead of all");
  }
  for (const auto& [shard, group] : state.pins) {
    if (!owners.contains(shard) || !config.group(group)) return corrupt("a pin to what does not exist");
  }
  for (const NodeId id : state.silent) {
    const Node* node = config.node(id);
    if (!node || node->state == NodeState::kRemoved) return corrupt("a silent node that does not exist");
  }
  if (!std::includes(state.silent.begin(), state.silent.end(), state.lost.begin(), state.lost.end())) {
    return corrupt("a lost node that is heard");
  }
  for (const uint32_t limit : {state.limits.moves_max, state.limits.moves_per_group_max, state.limits.changes_max}) {
    if (limit == 0 || limit > kPlanLimitMax) return corrupt("an impossible limit of plans");
  }
  for (const auto& [id, keyspace] : config.keyspaces) {
    if (id > state.last_keyspace) return corrupt("an id that will be given again");
  }
  if (!owners.empty() && owners.rbegin()->first > state.last_shard) return corrupt("an id that will be given again");
  return check_plans(state, owners);
}

}  // namespace

const Plan* State::plan(PlanId id) const {
  const auto found = plans.find(id);
  return found == plans.end() ? nullptr : &found->second;
}

const GroupProgress& State::progress_of(GroupId group) const {
  const auto found = progress.find(group);
  FLUX_CHECK(found != progress.end(), "group {}", group);
  return found->second;
}

bool State::has_quorum(const Group& group) const {
  const auto heard =
      std::count_if(group.voters.begin(), group.voters.end(), [&](NodeId id) { return !silent.contains(id); });
  return static_cast<size_t>(heard) >= group.voters.size() / 2 + 1;
}

std::string encode_state(const State& state) { return to_bytes(state); }

Result<State> decode_state(std::string_view bytes) {
  FLUX_TRY(State state, from_bytes<State>(bytes, "state of the controller"));
  FLUX_RETURN_IF_ERROR(state.history.restore());
  FLUX_RETURN_IF_ERROR(check(state));
  return state;
}

}  // namespace flux::ctrl
