// Moves, and the plans that carry them out.
#include <algorithm>

#include "ctrl/spread.h"
#include "ctrl/turn.h"

namespace flux::ctrl {
namespace {

// The step of an active plan; kNotFound or kPrecondition if there is none.
Result<Step*> find_step(Turn& turn, PlanId id, uint32_t at) {
  const auto found = turn.state().plans.find(id);
  if (found == turn.state().plans.end()) return refuse(ErrorCode::kNotFound, "there is no plan {}", id);
  Plan& plan = found->second;
  if (at >= plan.steps.size()) return refuse(ErrorCode::kNotFound, "plan {} has no step {}", id, at);
  if (!plan.active()) return refuse(ErrorCode::kPrecondition, "plan {} is {}", id, to_string(plan.state));
  return &plan.steps[at];
}

bool may_follow(const Step& step, StepPhase next) {
  const bool is_move = std::holds_alternative<MoveShard>(step.task);
  switch (next) {
    case StepPhase::kCopying:
    case StepPhase::kReady:
    case StepPhase::kFailed:
      return (next != StepPhase::kReady || is_move) &&
             (step.phase == StepPhase::kPending || step.phase == StepPhase::kCopying ||
              step.phase == StepPhase::kReady);
    case StepPhase::kUndone:
      return step.phase == StepPhase::kUndoing;
    case StepPhase::kPending:
    case StepPhase::kSettling:
    case StepPhase::kDone:
    case StepPhase::kUndoing:
      return false;
  }
  return false;
}

Status wrong_state(const Plan& plan) {
  return refuse(ErrorCode::kPrecondition, "plan {} is {}", plan.id, to_string(plan.state));
}

void resume(Plan& plan) {
  plan.state = PlanState::kRunning;
  for (Step& step : plan.steps) {
    if (step.phase == StepPhase::kFailed) step = {.task = step.task};
  }
}

void take_back_intent(Turn& turn, const Plan& plan) {
  for (const GroupId id : plan.groups) {
    const bool began = turn.state().progress_of(id).settled >= turn.config().group(id)->born;
    turn.draft().groups[id].state = began ? GroupState::kServing : GroupState::kCreating;
  }
  if (plan.node != kNobody) turn.draft().nodes[plan.node].state = NodeState::kActive;
  for (const Step& step : plan.steps) {
    const auto* move = std::get_if<MoveShard>(&step.task);
    if (!move || step.phase != StepPhase::kUndone) continue;
    const auto pin = turn.state().pins.find(move->shard);
    if (pin != turn.state().pins.end() && pin->second == move->to) turn.state().pins.erase(pin);
  }
}

void cancel(Turn& turn, Plan& plan) {
  plan.state = PlanState::kCancelling;
  for (Step& step : plan.steps) step.phase = step.given_up();
  take_back_intent(turn, plan);
  turn.note = fmt::format("{} steps undone, {} being undone; {} done stay so, {} are handed over and go on",
                          plan.count(StepPhase::kUndone), plan.count(StepPhase::kUndoing), plan.count(StepPhase::kDone),
                          plan.count(StepPhase::kSettling));
  turn.advance(plan);
}

// Whether nobody named its receivers, and it is not being given up.
bool may_choose_anew(const Plan& plan) {
  const bool goes_on = plan.state == PlanState::kRunning || plan.state == PlanState::kPaused;
  return goes_on && (plan.kind == PlanKind::kDrainNode || plan.kind == PlanKind::kReplicate);
}

}  // namespace

const Config& Turn::planned() {
  if (planned_) return *planned_;
  planned_ = config();
  for (const auto& [id, plan] : state_.plans) {
    for (const Step& step : plan.steps) {
      const auto* change = std::get_if<ChangeReplica>(&step.task);
      if (!change || change->add == kNobody || !State::is_open(plan, step)) continue;
      Group& group = planned_->groups[change->group];
      if (!group.voters.contains(change->add)) group.learners.insert(change->add);
    }
  }
  return *planned_;
}

NodeId Turn::other_receiver(GroupId group) {
  const Group& there = planned().groups.at(group);
  std::set<NodeId> members = there.voters;
  members.insert(there.learners.begin(), there.learners.end());
  const std::vector<NodeId> chosen = choose_nodes(planned(), 1, members, state_.silent);
  return chosen.empty() ? kNobody : chosen.front();
}

void Turn::undo(Plan& plan, size_t step) {
  Step& undone = plan.steps[step];
  undone.phase = StepPhase::kUndone;
  const auto* change = std::get_if<ChangeReplica>(&undone.task);
  if (!change || change->add == kNobody || !may_choose_anew(plan)) return;
  ChangeReplica again = *change;
  if (const NodeId other = other_receiver(again.group); other != kNobody) again.add = other;
  planned_->groups[again.group].learners.insert(again.add);
  undone.reason = fmt::format("node {} was lost; see step {}", change->add, plan.steps.size() + 1);
  plan.steps.push_back({.task = again});
}

void Turn::leave_lost_receivers() {
  for (auto& [id, plan] : state_.plans) {
    const bool gives_up = plan.active() && plan.kind == PlanKind::kRebalance;
    if (!gives_up && !may_choose_anew(plan)) continue;
    for (size_t at = 0, known = plan.steps.size(); at < known; ++at) {
      Step& step = plan.steps[at];
      const auto* change = std::get_if<ChangeReplica>(&step.task);
      if (!change || !state_.lost.contains(change->add) || !State::is_open(plan, step)) continue;
      if (!gives_up && other_receiver(change->group) == kNobody) continue;
      step.phase = step.given_up();
      if (step.phase == StepPhase::kUndone) undo(plan, at);
    }
    advance(plan);
  }
}

Status on(Turn& turn, const Move& command) {
  State& state = turn.state();
  const auto [keyspace, shard] = turn.config().place(command.shard);
  if (!shard) return refuse(ErrorCode::kNotFound, "there is no shard {}", command.shard);
  FLUX_RETURN_IF_ERROR(may_receive(state, turn.config(), command.to, keyspace->replication));
  FLUX_RETURN_IF_ERROR(turn.check_unplanned(fmt::format("shard {}", command.shard),
                                            [&](const Step& step) { return step.moves(command.shard); }));
  const bool stays = shard->group == command.to;
  if (stays && command.pin == state.pins.contains(command.shard)) {
    return refuse(ErrorCode::kAlreadyExists, "group {} has shard {} already", command.to, command.shard);
  }
  FLUX_RETURN_IF_ERROR(turn.check_room_for_plan());
  state.pins.erase(command.shard);
  if (command.pin) state.pins[command.shard] = command.to;
  if (stays) return {};
  turn.begin(PlanKind::kMove, {MoveShard{.shard = command.shard, .from = shard->group, .to = command.to}});
  return {};
}

Status on(Turn& turn, const Rebalance& command) {
  FLUX_RETURN_IF_ERROR(turn.check_room_for_plan());
  std::vector<Task> tasks;
  if (command.shards) {
    for (const MoveShard& move : balancing_moves(turn.state())) tasks.emplace_back(move);
  }
  if (command.replicas) {
    for (const ChangeReplica& change : balancing_changes(turn.state())) tasks.emplace_back(change);
  }
  if (!tasks.empty()) turn.begin(PlanKind::kRebalance, tasks);
  return {};
}

Status on(Turn& turn, const SetBalance& command) {
  turn.state().balance = command.mode;
  return {};
}

Status on(Turn& turn, const SetGroups& command) {
  turn.state().groups_by_cores = command.by_cores;
  return {};
}

Status on(Turn& turn, const SetLimits& command) {
  PlanLimits limits = turn.state().limits;
  const std::pair<uint32_t, uint32_t PlanLimits::*> given[] = {
      {command.limits.moves_max, &PlanLimits::moves_max},
      {command.limits.moves_per_group_max, &PlanLimits::moves_per_group_max},
      {command.limits.changes_max, &PlanLimits::changes_max}};
  for (const auto& [number, limit] : given) {
    if (number > kPlanLimitMax) return refuse(ErrorCode::kInvalidArgument, "a limit from 1 to {}", kPlanLimitMax);
    if (number != 0) limits.*limit = number;
  }
  turn.state().limits = limits;
  return {};
}

Status on(Turn& turn, const ControlPlan& command) {
  const auto found = turn.state().plans.find(command.plan);
  if (found == turn.state().plans.end()) return refuse(ErrorCode::kNotFound, "there is no plan {}", command.plan);
  Plan& plan = found->second;
  const bool is_open = plan.state == PlanState::kRunning || plan.state == PlanState::kPaused;
  switch (command.verb) {
    case PlanVerb::kPause:
      if (plan.state != PlanState::kRunning) return wrong_state(plan);
      plan.state = PlanState::kPaused;
      return {};
    case PlanVerb::kResume:
      if (plan.state != PlanState::kPaused && plan.state != PlanState::kFailed) return wrong_state(plan);
      resume(plan);
      return {};
    case PlanVerb::kCancel:
      if (!is_open && plan.state != PlanState::kFailed) return wrong_state(plan);
      cancel(turn, plan);
      return {};
  }
  return refuse(ErrorCode::kInvalidArgument, "unknown verb");
}

Status on(Turn& turn, const ReportProgress& command) {
  FLUX_TRY(Step * step, find_step(turn, command.plan, command.step));
  if (command.reason.size() > kReasonBytesMax) return refuse(ErrorCode::kTooLarge, "a reason over its limit");
  if (!may_follow(*step, command.phase)) {
    return refuse(ErrorCode::kPrecondition, "step {} of plan {} is {}, it cannot become {}", command.step, command.plan,
                  to_string(step->phase), to_string(command.phase));
  }
  Plan& plan = turn.state().plans[command.plan];
  if (command.phase == StepPhase::kUndone) {
    turn.undo(plan, command.step);
    turn.advance(plan);
    return {};
  }
  step->phase = command.phase;
  step->bytes_done = command.bytes_done;
  step->bytes_total = command.bytes_total;
  step->keys_done = command.keys_done;
  step->reason = command.reason;
  turn.advance(plan);
  return {};
}

Status on(Turn& turn, const HandOver& command) {
  FLUX_TRY(Step * step, find_step(turn, command.plan, command.step));
  const Plan& plan = turn.state().plans[command.plan];
  if (plan.state != PlanState::kRunning) return wrong_state(plan);
  const auto* move = std::get_if<MoveShard>(&step->task);
  if (!move || step->phase != StepPhase::kReady) {
    return refuse(ErrorCode::kPrecondition, "step {} of plan {} is not ready", command.step, command.plan);
  }
  const Config::Place place = turn.config().place(move->shard);
  FLUX_CHECK(place.shard && place.shard->group == move->from, "shard {}", move->shard);
  FLUX_RETURN_IF_ERROR(may_receive(turn.state(), turn.config(), move->to, place.keyspace->replication));
  FLUX_RETURN_IF_ERROR(turn.check_settled(move->from));
  FLUX_RETURN_IF_ERROR(turn.check_settled(move->to));
  step->phase = StepPhase::kSettling;
  step->handed_over = turn.next_num();
  turn.draft().keyspaces[place.keyspace->id].find(move->shard)->group = move->to;
  turn.changes(move->from);
  turn.changes(move->to);
  return {};
}

}  // namespace flux::ctrl
