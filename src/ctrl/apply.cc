#include "ctrl/apply.h"

#include <algorithm>

#include "base/codec.h"
#include "ctrl/turn.h"

namespace flux::ctrl {

Config& Turn::draft() {
  if (!draft_) {
    draft_ = state_.config();
    draft_->num = next_num();
  }
  return *draft_;
}

Status Turn::check_settled(GroupId group) const {
  const GroupProgress& progress = state_.progress_of(group);
  if (!progress.busy()) return {};
  return refuse(ErrorCode::kUnavailable, "group {} has not settled configuration {} yet: try again later", group,
                progress.changed);
}

void Turn::changes(GroupId group) {
  draft();
  state_.progress[group].changed = next_num();
}

Status Turn::check_room_for_plan() const {
  const auto active =
      std::count_if(state_.plans.begin(), state_.plans.end(), [](const auto& each) { return each.second.active(); });
  if (static_cast<size_t>(active) < kActivePlansMax) return {};
  return refuse(ErrorCode::kOverloaded, "{} plans are under way", active);
}

PlanId Turn::begin(PlanKind kind, const std::vector<Task>& tasks, std::set<GroupId> groups, NodeId node) {
  begun = ++state_.last_plan;
  Plan& fresh = state_.plans[begun];
  fresh = {.id = begun, .kind = kind, .groups = std::move(groups), .node = node};
  for (const Task& task : tasks) fresh.steps.push_back({.task = task});
  advance(fresh);
  return begun;
}

void Turn::advance(Plan& each) {
  const bool all_final =
      std::all_of(each.steps.begin(), each.steps.end(), [](const Step& step) { return step.final(); });
  if (!each.active() || !all_final) return;
  if (each.state == PlanState::kCancelling) {
    each.state = PlanState::kCancelled;
  } else if (each.count(StepPhase::kFailed) > 0) {
    each.state = PlanState::kFailed;
  } else {
    each.state = PlanState::kDone;
    finish(each);
  }
}

void Turn::release_members(GroupId gone) {
  for (auto& [id, each] : state_.plans) {
    for (Step& step : each.steps) {
      const auto* change = std::get_if<ChangeReplica>(&step.task);
      if (!change || change->group != gone || !State::is_open(each, step)) continue;
      step.phase = step.phase == StepPhase::kUndoing ? StepPhase::kUndone : StepPhase::kDone;
      advance(each);
    }
  }
}

void Turn::finish(Plan& done) {
  if (done.kind == PlanKind::kDrainGroup) {
    for (const GroupId id : done.groups) {
      FLUX_CHECK(config().owned_by(id) == 0, "group {} owns shards", id);
      const ConfigNum born = config().group(id)->born;
      draft().groups[id] = {.id = id, .state = GroupState::kGone, .born = born};
      state_.progress.erase(id);
      release_members(id);
    }
  }
  if (done.kind == PlanKind::kReplaceNode) {
    // A group that took the node in behind the plan's back keeps it, draining.
    const auto has_it = [&](const auto& item) { return item.second.has(done.node); };
    if (std::any_of(config().groups.begin(), config().groups.end(), has_it)) return;
    remove(done.node);
  }
}

void Turn::remove(NodeId node) {
  draft().nodes[node].state = NodeState::kRemoved;
  state_.silent.erase(node);
  state_.lost.erase(node);
}

Status Turn::check_gives_way(const Plan& plan, const Step& step, std::string_view what) const {
  const bool at_work = step.phase != StepPhase::kPending && step.phase != StepPhase::kFailed;
  if (plan.kind == PlanKind::kRebalance && plan.state == PlanState::kRunning && at_work) {
    return refuse(ErrorCode::kUnavailable, "a rebalance (plan {}) is at work on {}: try again later", plan.id, what);
  }
  if (plan.kind == PlanKind::kRebalance && step.given_up() == StepPhase::kUndone) return {};
  return refuse(ErrorCode::kPrecondition, "plan {} is at work on {}: cancel it or let it end", plan.id, what);
}

void Turn::give_way() {
  for (const Place& place : giving_way_) {
    Plan& plan = state_.plans[place.plan];
    plan.steps[place.step].phase = StepPhase::kUndone;
    advance(plan);
  }
}

void Turn::forget_oldest_plans() {
  size_t finished = 0, steps = 0;
  for (const auto& [id, each] : state_.plans) {
    if (!each.active()) ++finished, steps += each.steps.size();
  }
  const auto is_over = [&] { return finished > kFinishedPlansMax || (steps > kFinishedStepsMax && finished > 1); };
  for (auto at = state_.plans.begin(); at != state_.plans.end() && is_over();) {
    if (at->second.active()) {
      ++at;
    } else {
      --finished, steps -= at->second.steps.size();
      at = state_.plans.erase(at);
    }
  }
}

void Turn::commit() {
  give_way();
  forget_oldest_plans();
  if (draft_) state_.history.push(*std::move(draft_));
  draft_.reset();
}

Outcome apply(State& state, const Command& command) {
  const ConfigNum before = state.config().num;
  if (command.expected != ConfigNum() && command.expected != before) {
    return {.status = refuse(ErrorCode::kPrecondition, "the configuration is {} by now, the command was meant for {}",
                             before, command.expected),
            .config = before};
  }
  Turn turn(state);
  Status status = std::visit([&](const auto& body) { return on(turn, body); }, command.body);
  if (!status.ok()) return {.status = std::move(status), .config = before};
  turn.commit();
  return {.config = state.config().num,
          .plan = turn.begun,
          .node = turn.added,
          .group = turn.joined,
          .note = std::move(turn.note)};
}

std::string encode_outcome(const Outcome& outcome) {
  std::string out;
  Encoder encoder(out);
  encoder.u8(static_cast<uint8_t>(outcome.status.code()));
  encoder.bytes(outcome.status.ok() ? std::string_view() : std::string_view(outcome.status.message()));
  encoder.id(outcome.config);
  encoder.id(outcome.plan);
  encoder.id(outcome.node);
  encoder.id(outcome.group);
  encoder.bytes(outcome.note);
  return out;
}

Result<Outcome> decode_outcome(std::string_view bytes) {
  Decoder decoder(bytes);
  Outcome outcome;
  const uint8_t code = decoder.u8();
  if (code > static_cast<uint8_t>(kLastErrorCode)) decoder.fail();
  std::string message(decoder.bytes());
  outcome.config = decoder.id<ConfigNum>();
  outcome.plan = decoder.id<PlanId>();
  outcome.node = decoder.id<NodeId>();
  outcome.group = decoder.id<GroupId>();
  outcome.note = decoder.bytes();
  FLUX_RETURN_IF_ERROR(decoder.finish("the controller's answer"));
  if (code != 0) outcome.status = Status(static_cast<ErrorCode>(code), std::move(message));
  return outcome;
}

}  // namespace flux::ctrl
