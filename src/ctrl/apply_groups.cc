// Join, Leave, and what groups say of themselves.
#include <algorithm>

#include "ctrl/turn.h"

namespace flux::ctrl {
namespace {

// The members of a new group; the draft already holds those before it, so that they spread.
Result<std::set<NodeId>> choose_voters(const Config& config, const std::set<NodeId>& silent, const GroupSpec& spec) {
  if (spec.voters.empty()) {
    if (spec.replicas == 0 || spec.replicas > kReplicasMax) {
      return refuse(ErrorCode::kInvalidArgument, "group {}: 1 to {} replicas", spec.id, kReplicasMax);
    }
    const std::vector<NodeId> chosen = choose_nodes(config, spec.replicas, {}, silent);
    if (chosen.size() < spec.replicas) {
      return refuse(ErrorCode::kPrecondition, "group {} wants {} nodes, of those that are heard {} may have it",
                    spec.id, spec.replicas, chosen.size());
    }
    return std::set<NodeId>(chosen.begin(), chosen.end());
  }
  if (spec.voters.size() > kReplicasMax || (spec.replicas != 0 && spec.replicas != spec.voters.size())) {
    return refuse(ErrorCode::kInvalidArgument, "group {}: its voters are not as many as its replicas", spec.id);
  }
  for (const NodeId id : spec.voters) {
    const Node* node = config.node(id);
    if (!node) return refuse(ErrorCode::kNotFound, "there is no node {}", id);
    if (node->state != NodeState::kActive) return refuse(ErrorCode::kPrecondition, "node {} takes no replica", id);
  }
  return spec.voters;
}

// One that never was: whatever disks hold of groups that are gone is none of its.
GroupId next_group(const Config& config) {
  return config.groups.empty() ? GroupId(1) : config.groups.rbegin()->first + 1;
}

bool is_settled(const State& state, const MoveShard& move, ConfigNum num) {
  return state.progress_of(move.from).settled >= num && state.progress_of(move.to).settled >= num;
}

bool has_happened(const Group& group, const ChangeReplica& change) {
  return (change.add == kNobody || group.voters.contains(change.add)) &&
         (change.remove == kNobody || !group.has(change.remove));
}

// Ends the steps that `ended` says have ended, and the plans that were waiting for them.
template <typename Ended>
void end_steps(Turn& turn, StepPhase phase, Ended ended) {
  for (auto& [id, plan] : turn.state().plans) {
    if (!plan.active()) continue;
    bool any = false;
    for (size_t at = 0; at < plan.steps.size(); ++at) {
      if (!State::is_open(plan, plan.steps[at]) || !ended(plan.steps[at])) continue;
      phase == StepPhase::kUndone ? turn.undo(plan, at) : plan.steps[at].finish();
      any = true;
    }
    if (any) turn.advance(plan);
  }
}

Status check_members(const Config& config, const ReportGroup& report) {
  if (report.voters.empty() || report.voters.size() + report.learners.size() > 64) {
    return refuse(ErrorCode::kInvalidArgument, "group {}: not a membership", report.group);
  }
  for (const auto* members : {&report.voters, &report.learners}) {
    for (const NodeId id : *members) {
      const Node* node = config.node(id);
      if (!node || node->state == NodeState::kRemoved) return refuse(ErrorCode::kNotFound, "there is no node {}", id);
      if (members == &report.learners && report.voters.contains(id)) {
        return refuse(ErrorCode::kInvalidArgument, "node {} votes and learns", id);
      }
    }
  }
  return {};
}

}  // namespace

Status on(Turn& turn, const Join& command) {
  if (command.groups.empty()) return refuse(ErrorCode::kInvalidArgument, "no group is named");
  std::vector<GroupSpec> specs = command.groups;
  for (GroupSpec& spec : specs) {
    if (spec.id == kAnyGroup) spec.id = next_group(turn.config());
    const Group* old = turn.config().group(spec.id);
    if (spec.id == kNoGroup) return refuse(ErrorCode::kInvalidArgument, "group 0 is the controller");
    if (old && old->alive()) return refuse(ErrorCode::kAlreadyExists, "group {} exists", spec.id);
    if (!old && turn.config().groups.size() >= kGroupsMax) return refuse(ErrorCode::kTooLarge, "too many groups");
    if (spec.weight == 0 || spec.weight > kWeightMax) {
      return refuse(ErrorCode::kInvalidArgument, "group {}: a weight from 1 to {}", spec.id, kWeightMax);
    }
    FLUX_TRY(std::set<NodeId> voters, choose_voters(turn.config(), turn.state().silent, spec));
    const NodeId leader = choose_leader(turn.config(), spec.id, voters);
    turn.draft().groups[spec.id] = {.id = spec.id,
                                    .weight = spec.weight,
                                    .born = turn.next_num(),
                                    .founders = voters,
                                    .voters = voters,
                                    .leader = leader};
  }
  for (const GroupSpec& spec : specs) {
    turn.state().progress[spec.id] = {};
    turn.changes(spec.id);
    turn.joined = spec.id;
  }
  return {};
}

Status on(Turn& turn, const Leave& command) {
  if (command.groups.empty()) return refuse(ErrorCode::kInvalidArgument, "no group is named");
  for (const GroupId id : command.groups) {
    const Group* group = turn.config().group(id);
    if (!group || !group->alive()) return refuse(ErrorCode::kNotFound, "there is no group {}", id);
    if (group->state == GroupState::kDraining) {
      return refuse(ErrorCode::kPrecondition, "group {} is leaving already", id);
    }
    FLUX_RETURN_IF_ERROR(
        turn.check_unplanned(fmt::format("group {}", id), [&](const Step& step) { return step.touches(id); }));
  }
  const auto stays = [&](const auto& item) {
    return item.second.state == GroupState::kServing && !command.groups.contains(item.first);
  };
  if (std::none_of(turn.config().groups.begin(), turn.config().groups.end(), stays)) {
    return refuse(ErrorCode::kPrecondition, "the last group cannot leave: nobody would serve");
  }
  FLUX_RETURN_IF_ERROR(turn.check_room_for_plan());
  FLUX_TRY(const std::vector<MoveShard> moves, leaving_moves(turn.state(), command.groups));
  if (turn.state().groups_by_cores) {
    turn.state().groups_by_cores = false;
    turn.note = "groups are no longer added as the cluster gets more cores";
  }
  for (const GroupId id : command.groups) turn.draft().groups[id].state = GroupState::kDraining;
  for (const MoveShard& move : moves) turn.state().pins.erase(move.shard);
  turn.begin(PlanKind::kDrainGroup, {moves.begin(), moves.end()}, command.groups);
  return {};
}

Status on(Turn& turn, const Settled& command) {
  const Group* group = turn.config().group(command.group);
  if (!group || !group->alive()) return refuse(ErrorCode::kNotFound, "there is no group {}", command.group);
  if (command.num > turn.config().num) {
    return refuse(ErrorCode::kInvalidArgument, "there is no configuration {} yet", command.num);
  }
  if (command.num < group->born) {
    return refuse(ErrorCode::kStaleRequest, "group {} was born in configuration {}", command.group, group->born);
  }
  GroupProgress& progress = turn.state().progress[command.group];
  if (command.num <= progress.settled) return {};
  progress.settled = command.num;
  if (group->state == GroupState::kCreating) turn.draft().groups[command.group].state = GroupState::kServing;
  end_steps(turn, StepPhase::kDone, [&](const Step& step) {
    const auto* move = std::get_if<MoveShard>(&step.task);
    return move && step.phase == StepPhase::kSettling && is_settled(turn.state(), *move, step.handed_over);
  });
  return {};
}

Status on(Turn& turn, const ReportGroup& command) {
  const Group* group = turn.config().group(command.group);
  if (!group || !group->alive()) return refuse(ErrorCode::kNotFound, "there is no group {}", command.group);
  FLUX_RETURN_IF_ERROR(check_members(turn.config(), command));
  const Index known = turn.state().progress_of(command.group).entry;
  const bool same = group->voters == command.voters && group->learners == command.learners;
  if (command.entry < known) {
    return refuse(ErrorCode::kStaleRequest, "group {} has reported entry {} already", command.group, known);
  }
  if (command.entry == known && !same) {
    return refuse(ErrorCode::kInvalidArgument, "group {}: two memberships at entry {}", command.group, known);
  }
  GroupProgress& progress = turn.state().progress[command.group];
  progress.entry = command.entry;
  if (same) return {};
  Group& changed = turn.draft().groups[command.group];
  changed.voters = command.voters;
  changed.learners = command.learners;
  if (!changed.voters.contains(changed.leader)) {
    changed.leader = choose_leader(turn.config(), changed.id, changed.voters);
  }
  end_steps(turn, StepPhase::kDone, [&](const Step& step) {
    const auto* change = std::get_if<ChangeReplica>(&step.task);
    return change && change->group == command.group && has_happened(changed, *change);
  });
  end_steps(turn, StepPhase::kUndone, [&](const Step& step) {
    const auto* change = std::get_if<ChangeReplica>(&step.task);
    return change && change->group == command.group && step.phase == StepPhase::kUndoing &&
           (change->add == kNobody || !changed.has(change->add));
  });
  return {};
}

}  // namespace flux::ctrl
