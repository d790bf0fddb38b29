// Nodes that come and go.
#include <algorithm>

#include "ctrl/turn.h"

namespace flux::ctrl {
namespace {

// The node, unless it was removed; null if there is none.
const Node* present(const Config& config, NodeId id) {
  const Node* node = config.node(id);
  return node && node->state != NodeState::kRemoved ? node : nullptr;
}

// What takes the node out of the group. `by`: who takes its place; nobody: whoever has the most room.
// `planned` collects the choices, so that those of several groups spread.
Result<ChangeReplica> replacement(Config& planned, Group& group, NodeId node, NodeId by) {
  if (!group.voters.contains(node)) return ChangeReplica{.group = group.id, .remove = node};
  std::set<NodeId> members = group.voters;
  members.insert(group.learners.begin(), group.learners.end());
  if (by == kNobody) {
    const std::vector<NodeId> chosen = choose_nodes(planned, 1, members);
    if (chosen.empty()) {
      return refuse(ErrorCode::kPrecondition, "no other node can take the place of node {} in group {}", node,
                    group.id);
    }
    by = chosen.front();
  } else if (members.contains(by)) {
    return refuse(ErrorCode::kPrecondition, "node {} is a member of group {} already", by, group.id);
  }
  group.learners.insert(by);
  return ChangeReplica{.group = group.id, .add = by, .remove = node};
}

Result<std::vector<Task>> replacements(const Turn& turn, NodeId node, NodeId by) {
  FLUX_RETURN_IF_ERROR(
      turn.check_unplanned(fmt::format("node {}", node), [&](const Step& step) { return step.touches(node); }));
  FLUX_RETURN_IF_ERROR(turn.check_room_for_plan());
  Config planned = turn.config();
  std::vector<Task> tasks;
  for (auto& [id, group] : planned.groups) {
    if (!group.has(node)) continue;
    FLUX_RETURN_IF_ERROR(turn.check_unplanned(fmt::format("group {}", id), [&](const Step& step) {
      return std::holds_alternative<ChangeReplica>(step.task) && step.touches(id);
    }));
    FLUX_TRY(const ChangeReplica change, replacement(planned, group, node, by));
    tasks.emplace_back(change);
  }
  return tasks;
}

}  // namespace

Status on(Turn& turn, const AddNode& command) {
  const api::NodeRecord& record = command.record;
  if (record.id == kNobody || command.cores == 0 || command.cores > kWeightMax) {
    return refuse(ErrorCode::kInvalidArgument, "a node has an id and 1 to {} cores", kWeightMax);
  }
  if (record.name.empty()) return refuse(ErrorCode::kInvalidArgument, "a node has a name");
  for (const std::string* text : {&record.name, &record.peer_address, &record.resp_address, &record.http_address}) {
    if (text->size() > kNameBytesMax) return refuse(ErrorCode::kTooLarge, "a name or an address is too long");
  }
  if (const Node* old = turn.config().node(record.id)) {
    return refuse(ErrorCode::kAlreadyExists, "node {} {}", record.id,
                  old->state == NodeState::kRemoved ? "was removed, and its id never comes back" : "exists");
  }
  for (const auto& [id, node] : turn.config().nodes) {
    if (node.state != NodeState::kRemoved && node.record.name == record.name) {
      return refuse(ErrorCode::kAlreadyExists, "node {} is named {}", id, record.name);
    }
  }
  if (turn.config().nodes.size() >= kNodesMax) return refuse(ErrorCode::kTooLarge, "too many nodes");
  turn.draft().nodes[record.id] = {.record = record, .cores = command.cores};
  return {};
}

Status on(Turn& turn, const DrainNode& command) {
  const Node* node = present(turn.config(), command.node);
  if (!node) return refuse(ErrorCode::kNotFound, "there is no node {}", command.node);
  FLUX_TRY(const std::vector<Task> tasks, replacements(turn, command.node, kNobody));
  if (node->state == NodeState::kDraining && tasks.empty()) {
    return refuse(ErrorCode::kAlreadyExists, "node {} is drained already", command.node);
  }
  turn.draft().nodes[command.node].state = NodeState::kDraining;
  turn.begin(PlanKind::kDrainNode, tasks, {}, command.node);
  return {};
}

Status on(Turn& turn, const RemoveNode& command) {
  if (!present(turn.config(), command.node)) return refuse(ErrorCode::kNotFound, "there is no node {}", command.node);
  for (const auto& [id, group] : turn.config().groups) {
    if (!group.has(command.node)) continue;
    return refuse(ErrorCode::kPrecondition, "group {} counts on node {} for its quorum: drain or replace it first", id,
                  command.node);
  }
  FLUX_RETURN_IF_ERROR(turn.check_unplanned(fmt::format("node {}", command.node),
                                            [&](const Step& step) { return step.touches(command.node); }));
  turn.draft().nodes[command.node].state = NodeState::kRemoved;
  return {};
}

Status on(Turn& turn, const ReplaceNode& command) {
  const Node* by = present(turn.config(), command.by);
  if (!present(turn.config(), command.node)) return refuse(ErrorCode::kNotFound, "there is no node {}", command.node);
  if (!by) return refuse(ErrorCode::kNotFound, "there is no node {}", command.by);
  if (command.node == command.by || by->state != NodeState::kActive) {
    return refuse(ErrorCode::kPrecondition, "node {} takes no replica", command.by);
  }
  FLUX_TRY(const std::vector<Task> tasks, replacements(turn, command.node, command.by));
  turn.draft().nodes[command.node].state = NodeState::kDraining;
  turn.begin(PlanKind::kReplaceNode, tasks, {}, command.node);
  return {};
}

}  // namespace flux::ctrl
