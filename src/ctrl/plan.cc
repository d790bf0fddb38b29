#include "ctrl/plan.h"

#include <algorithm>

namespace flux::ctrl {

bool Step::touches(GroupId group) const {
  if (const auto* move = std::get_if<MoveShard>(&task)) return move->from == group || move->to == group;
  return std::get<ChangeReplica>(task).group == group;
}

bool Step::touches(NodeId node) const {
  const auto* change = std::get_if<ChangeReplica>(&task);
  return change && (change->add == node || change->remove == node);
}

bool Step::moves(ShardId shard) const {
  const auto* move = std::get_if<MoveShard>(&task);
  return move && move->shard == shard;
}

StepPhase Step::given_up() const {
  switch (phase) {
    case StepPhase::kPending:
      return StepPhase::kUndone;
    case StepPhase::kCopying:
    case StepPhase::kReady:
    case StepPhase::kFailed:
      return std::holds_alternative<MoveShard>(task) ? StepPhase::kUndone : StepPhase::kUndoing;
    case StepPhase::kSettling:
    case StepPhase::kDone:
    case StepPhase::kUndoing:
    case StepPhase::kUndone:
      return phase;
  }
  return phase;
}

size_t Plan::current() const {
  const auto open = std::find_if(steps.begin(), steps.end(), [](const Step& step) { return !step.final(); });
  return static_cast<size_t>(open - steps.begin());
}

size_t Plan::count(StepPhase phase) const {
  return static_cast<size_t>(
      std::count_if(steps.begin(), steps.end(), [&](const Step& step) { return step.phase == phase; }));
}

uint64_t Plan::bytes_done() const {
  uint64_t bytes = 0;
  for (const Step& step : steps) bytes += step.bytes_done;
  return bytes;
}

uint64_t Plan::bytes_total() const {
  uint64_t bytes = 0;
  for (const Step& step : steps) bytes += step.bytes_total;
  return bytes;
}

std::string_view Plan::reason() const {
  for (const Step& step : steps) {
    if (step.phase == StepPhase::kFailed) return step.reason;
  }
  return {};
}

std::string_view to_string(PlanKind kind) {
  switch (kind) {
    case PlanKind::kMove:
      return "move";
    case PlanKind::kRebalance:
      return "rebalance";
    case PlanKind::kDrainGroup:
      return "drain_group";
    case PlanKind::kDrainNode:
      return "drain_node";
    case PlanKind::kReplaceNode:
      return "replace_node";
    case PlanKind::kReplicate:
      return "replicate";
  }
  return "unknown";
}

std::string_view to_string(PlanState state) {
  switch (state) {
    case PlanState::kRunning:
      return "running";
    case PlanState::kPaused:
      return "paused";
    case PlanState::kCancelling:
      return "cancelling";
    case PlanState::kCancelled:
      return "cancelled";
    case PlanState::kDone:
      return "done";
    case PlanState::kFailed:
      return "failed";
  }
  return "unknown";
}

std::string_view to_string(StepPhase phase) {
  switch (phase) {
    case StepPhase::kPending:
      return "pending";
    case StepPhase::kCopying:
      return "copying";
    case StepPhase::kReady:
      return "ready";
    case StepPhase::kSettling:
      return "settling";
    case StepPhase::kDone:
      return "done";
    case StepPhase::kUndoing:
      return "undoing";
    case StepPhase::kUndone:
      return "undone";
    case StepPhase::kFailed:
      return "failed";
  }
  return "unknown";
}

}  // namespace flux::ctrl
