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

Status check_record(const api::NodeRecord& record) {
  for (const std::string* text :
       {&record.name, &record.peer_address, &record.resp_address, &record.http_address, &record.wire_address}) {
    if (text->size() > kNameBytesMax) return refuse(ErrorCode::kTooLarge, "a name or an address is too long");
  }
  return {};
}

// What takes the node out of the group. `by`: who takes its place; nobody, or a member already: whoever has the most
// room.
// `planned` collects the choices, so that those of several groups spread.
Result<ChangeReplica> replacement(Config& planned, const std::set<NodeId>& silent, Group& group, NodeId node,
                                  NodeId by) {
  if (!group.voters.contains(node)) return ChangeReplica{.group = group.id, .remove = node};
  std::set<NodeId> members = group.voters;
  members.insert(group.learners.begin(), group.learners.end());
  if (by == kNobody || members.contains(by)) {
    const std::vector<NodeId> chosen = choose_nodes(planned, 1, members, silent);
    if (chosen.empty()) {
      return refuse(ErrorCode::kPrecondition, "no other node that is heard can take the place of node {} in group {}",
                    node, group.id);
    }
    by = chosen.front();
  }
  group.learners.insert(by);
  return ChangeReplica{.group = group.id, .add = by, .remove = node};
}

Result<std::vector<Task>> replacements(Turn& turn, NodeId node, NodeId by) {
  FLUX_RETURN_IF_ERROR(
      turn.check_unplanned(fmt::format("node {}", node), [&](const Step& step) { return step.touches(node); }));
  FLUX_RETURN_IF_ERROR(turn.check_room_for_plan());
  Config planned = turn.config();
  std::vector<Task> tasks;
  for (auto& [id, group] : planned.groups) {
    if (!group.has(node)) continue;
    // Who is in it is agreed by its founders, and one of them may be what it waits for.
    if (group.state == GroupState::kCreating) {
      return refuse(ErrorCode::kPrecondition, "group {} has not begun: wait until it serves, or remove it", id);
    }
    FLUX_RETURN_IF_ERROR(turn.check_unplanned(fmt::format("group {}", id), [&](const Step& step) {
      return std::holds_alternative<ChangeReplica>(step.task) && step.touches(id);
    }));
    FLUX_TRY(const ChangeReplica change, replacement(planned, turn.state().silent, group, node, by));
    tasks.emplace_back(change);
  }
  return tasks;
}

}  // namespace

Status on(Turn& turn, const AddNode& command) {
  api::NodeRecord record = command.record;
  // Nodes that were removed stay in the configuration, so that no id comes back.
  const auto& nodes = turn.config().nodes;
  if (record.id == kNobody) record.id = nodes.empty() ? NodeId(1) : nodes.rbegin()->first + 1;
  if (command.cores == 0 || command.cores > kWeightMax) {
    return refuse(ErrorCode::kInvalidArgument, "a node has 1 to {} cores", kWeightMax);
  }
  if (record.name.empty()) return refuse(ErrorCode::kInvalidArgument, "a node has a name");
  FLUX_RETURN_IF_ERROR(check_record(record));
  if (const Node* old = turn.config().node(record.id)) {
    return refuse(ErrorCode::kAlreadyExists, "node {} {}", record.id,
                  old->state == NodeState::kRemoved ? "was removed, and its id never comes back" : "exists");
  }
  for (const auto& [id, node] : turn.config().nodes) {
    if (node.state != NodeState::kRemoved && node.record.name == record.name) {
      return refuse(ErrorCode::kAlreadyExists, "node {} is called '{}' already", id, record.name);
    }
    if (node.state != NodeState::kRemoved && !record.peer_address.empty() &&
        node.record.peer_address == record.peer_address) {
      return refuse(ErrorCode::kAlreadyExists, "node {} ('{}') has the address {} already", id, node.record.name,
                    record.peer_address);
    }
  }
  if (turn.config().nodes.size() >= kNodesMax) return refuse(ErrorCode::kTooLarge, "too many nodes");
  turn.draft().nodes[record.id] = {.record = record, .cores = command.cores};
  turn.added = record.id;
  return {};
}

Status on(Turn& turn, const AnnounceNode& command) {
  const Node* node = present(turn.config(), command.record.id);
  if (!node) return refuse(ErrorCode::kNotFound, "there is no node {}", command.record.id);
  if (command.cores == 0 || command.cores > kWeightMax) {
    return refuse(ErrorCode::kInvalidArgument, "a node has 1 to {} cores", kWeightMax);
  }
  FLUX_RETURN_IF_ERROR(check_record(command.record));
  if (command.record.name != node->record.name) {
    return refuse(ErrorCode::kInvalidArgument, "node {} is called '{}'", command.record.id, node->record.name);
  }
  if (node->announced && command.record == node->record && command.cores == node->cores) return {};
  Node& changed = turn.draft().nodes[command.record.id];
  changed.announced = true;
  changed.record = command.record;
  changed.cores = command.cores;
  turn.leave_lost_receivers();
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
  turn.remove(command.node);
  return {};
}

Status on(Turn& turn, const ReportSilent& command) {
  for (const NodeId id : command.nodes) {
    if (!present(turn.config(), id)) return refuse(ErrorCode::kNotFound, "there is no node {}", id);
  }
  if (!std::includes(command.nodes.begin(), command.nodes.end(), command.lost.begin(), command.lost.end())) {
    return refuse(ErrorCode::kInvalidArgument, "a node that is lost is a silent one");
  }
  turn.state().silent = command.nodes;
  turn.state().lost = command.lost;
  turn.leave_lost_receivers();
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
