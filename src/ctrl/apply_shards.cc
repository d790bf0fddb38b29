// Keyspaces and the cuts between their shards. None of it moves data.
#include <algorithm>

#include "api/slot.h"
#include "ctrl/turn.h"

namespace flux::ctrl {
namespace {

Status check_untouched(Turn& turn, const Shard& shard) {
  FLUX_RETURN_IF_ERROR(
      turn.check_unplanned(fmt::format("shard {}", shard.id), [&](const Step& step) { return step.moves(shard.id); }));
  return turn.check_settled(shard.group);
}

Result<std::vector<std::string>> starts_of(const CreateKeyspace& command) {
  if (command.kind == KeyspaceKind::kHash) {
    if (command.slot_ranges == 0 || command.slot_ranges > api::kSlotCount || !command.split_at.empty()) {
      return refuse(ErrorCode::kInvalidArgument, "a hash keyspace begins with 1 to {} shards", api::kSlotCount);
    }
    return equal_slot_ranges(command.slot_ranges);
  }
  if (command.slot_ranges != 0) return refuse(ErrorCode::kInvalidArgument, "a range keyspace has no slots");
  std::vector<std::string> starts{""};
  starts.insert(starts.end(), command.split_at.begin(), command.split_at.end());
  return starts;
}

// It stands in commands and in lists.
Status check_name(std::string_view name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  };
  if (name.empty() || name.size() > kNameBytesMax || !std::all_of(name.begin(), name.end(), allowed)) {
    return refuse(ErrorCode::kInvalidArgument, "a name is 1 to {} letters, digits, dots, underscores and hyphens",
                  kNameBytesMax);
  }
  return {};
}

// The keyspace, with shards that have no owners yet.
Result<Keyspace> make_keyspace(const Turn& turn, const CreateKeyspace& command, KeyspaceId id, ShardId first) {
  FLUX_RETURN_IF_ERROR(check_name(command.name));
  if (turn.config().keyspace(command.name)) {
    return refuse(ErrorCode::kAlreadyExists, "there is a keyspace {}", command.name);
  }
  if (command.replication == 0 || command.replication > kReplicasMax) {
    return refuse(ErrorCode::kInvalidArgument, "a replication from 1 to {}", kReplicasMax);
  }
  FLUX_TRY(std::vector<std::string> starts, starts_of(command));
  if (turn.config().keyspaces.size() >= kKeyspacesMax || id > api::kKeyspaceIdMax ||
      turn.config().shard_count() + starts.size() > kShardsMax) {
    return refuse(ErrorCode::kTooLarge, "too many keyspaces or shards");
  }
  Keyspace keyspace{.id = id, .name = command.name, .kind = command.kind, .replication = command.replication};
  for (std::string& start : starts) {
    keyspace.shards.push_back({.id = first + keyspace.shards.size(), .start = std::move(start)});
  }
  FLUX_RETURN_IF_ERROR(keyspace.validate());
  return keyspace;
}

// The groups that have shards of the keyspace, and those that have been promised some.
std::set<GroupId> holders(const State& state, const Keyspace& keyspace) {
  std::set<GroupId> groups;
  std::set<ShardId> shards;
  for (const Shard& shard : keyspace.shards) groups.insert(shard.group), shards.insert(shard.id);
  for (const auto& [id, plan] : state.plans) {
    if (!plan.active()) continue;
    for (const Step& step : plan.steps) {
      const auto* move = std::get_if<MoveShard>(&step.task);
      if (move && State::is_open(plan, step) && shards.contains(move->shard)) groups.insert(move->to);
    }
  }
  return groups;
}

// The voters that the keyspaces of each group want of it.
std::map<GroupId, uint32_t> wanted_voters(const State& state, const Config& config) {
  std::map<GroupId, uint32_t> wanted;
  for (const auto& [id, keyspace] : config.keyspaces) {
    for (const GroupId group : holders(state, keyspace)) {
      wanted[group] = std::max(wanted[group], keyspace.replication);
    }
  }
  return wanted;
}

// What brings a group to so many voters. `planned` collects the choices, so that those of several groups spread.
Result<std::vector<Task>> replica_changes(Config& planned, const std::set<NodeId>& silent, Group& group,
                                          uint32_t wanted) {
  std::vector<Task> tasks;
  std::set<NodeId> members = group.voters;
  members.insert(group.learners.begin(), group.learners.end());
  const size_t more = wanted > group.voters.size() ? wanted - group.voters.size() : 0;
  const std::vector<NodeId> chosen = choose_nodes(planned, more, members, silent);
  if (chosen.size() < more) {
    return refuse(ErrorCode::kPrecondition, "group {} wants {} more nodes, of those that are heard {} may have it",
                  group.id, more, chosen.size());
  }
  for (const NodeId node : chosen) {
    tasks.emplace_back(ChangeReplica{.group = group.id, .add = node});
    group.learners.insert(node);
  }
  size_t surplus = group.voters.size() > wanted ? group.voters.size() - wanted : 0;
  for (auto node = group.voters.rbegin(); node != group.voters.rend() && surplus > 0; ++node) {
    if (*node == group.leader) continue;
    tasks.emplace_back(ChangeReplica{.group = group.id, .remove = *node});
    --surplus;
  }
  return tasks;
}

}  // namespace

Status on(Turn& turn, const Split& command) {
  const auto [keyspace, shard] = turn.config().place(command.shard);
  if (!shard) return refuse(ErrorCode::kNotFound, "there is no shard {}", command.shard);
  FLUX_RETURN_IF_ERROR(keyspace->check_boundary(command.at));
  const auto at = static_cast<size_t>(shard - keyspace->shards.data());
  const std::string_view end = keyspace->end_of(at);
  if (command.at <= shard->start || (!end.empty() && command.at >= end)) {
    return refuse(ErrorCode::kInvalidArgument, "the boundary is not within shard {}", command.shard);
  }
  if (turn.config().shard_count() >= kShardsMax) return refuse(ErrorCode::kTooLarge, "too many shards");
  FLUX_RETURN_IF_ERROR(check_untouched(turn, *shard));
  const Shard right{.id = ++turn.state().last_shard, .start = command.at, .group = shard->group};
  const auto pin = turn.state().pins.find(command.shard);
  if (pin != turn.state().pins.end()) turn.state().pins[right.id] = pin->second;
  std::vector<Shard>& shards = turn.draft().keyspaces[keyspace->id].shards;
  shards.insert(shards.begin() + static_cast<ptrdiff_t>(at) + 1, right);
  turn.changes(right.group);
  return {};
}

Status on(Turn& turn, const Merge& command) {
  const auto [keyspace, left] = turn.config().place(command.left);
  if (!left) return refuse(ErrorCode::kNotFound, "there is no shard {}", command.left);
  const auto at = static_cast<size_t>(left - keyspace->shards.data());
  if (at + 1 == keyspace->shards.size() || keyspace->shards[at + 1].id != command.right) {
    return refuse(ErrorCode::kInvalidArgument, "shard {} does not follow shard {}", command.right, command.left);
  }
  const Shard& right = keyspace->shards[at + 1];
  if (left->group != right.group) {
    return refuse(ErrorCode::kPrecondition, "shard {} belongs to group {}, shard {} to group {}", command.left,
                  left->group, command.right, right.group);
  }
  FLUX_RETURN_IF_ERROR(check_untouched(turn, *left));
  FLUX_RETURN_IF_ERROR(check_untouched(turn, right));
  turn.changes(left->group);
  turn.state().pins.erase(command.right);
  std::vector<Shard>& shards = turn.draft().keyspaces[keyspace->id].shards;
  shards.erase(shards.begin() + static_cast<ptrdiff_t>(at) + 1);
  return {};
}

Status on(Turn& turn, const CreateKeyspace& command) {
  State& state = turn.state();
  const KeyspaceId id = state.last_keyspace + 1;
  FLUX_TRY(Keyspace keyspace, make_keyspace(turn, command, id, state.last_shard + 1));
  FLUX_TRY(const std::vector<GroupId> owners, first_owners(state, keyspace));
  const std::set<GroupId> touched(owners.begin(), owners.end());
  for (const GroupId group : touched) FLUX_RETURN_IF_ERROR(turn.check_settled(group));
  for (size_t at = 0; at < owners.size(); ++at) keyspace.shards[at].group = owners[at];
  for (const GroupId group : touched) turn.changes(group);
  state.last_keyspace = id;
  state.last_shard = keyspace.shards.back().id;
  turn.draft().keyspaces[id] = std::move(keyspace);
  return {};
}

Status on(Turn& turn, const DropKeyspace& command) {
  const Keyspace* keyspace = turn.config().keyspace(command.name);
  if (!keyspace) return refuse(ErrorCode::kNotFound, "there is no keyspace {}", command.name);
  std::set<ShardId> shards;
  std::set<GroupId> owners;
  for (const Shard& shard : keyspace->shards) shards.insert(shard.id), owners.insert(shard.group);
  FLUX_RETURN_IF_ERROR(turn.check_unplanned("keyspace " + command.name, [&](const Step& step) {
    const auto* move = std::get_if<MoveShard>(&step.task);
    return move && shards.contains(move->shard);
  }));
  for (const GroupId group : owners) FLUX_RETURN_IF_ERROR(turn.check_settled(group));
  for (const GroupId group : owners) turn.changes(group);
  std::erase_if(turn.state().pins, [&](const auto& pin) { return shards.contains(pin.first); });
  turn.draft().keyspaces.erase(KeyspaceId(keyspace->id));
  return {};
}

Status on(Turn& turn, const SetReplication& command) {
  const Keyspace* keyspace = turn.config().keyspace(command.keyspace);
  if (!keyspace) return refuse(ErrorCode::kNotFound, "there is no keyspace {}", command.keyspace);
  if (command.replication == 0 || command.replication > kReplicasMax) {
    return refuse(ErrorCode::kInvalidArgument, "a replication from 1 to {}", kReplicasMax);
  }
  turn.draft().keyspaces[keyspace->id].replication = command.replication;
  const std::map<GroupId, uint32_t> wanted = wanted_voters(turn.state(), turn.config());
  Config planned = turn.config();
  std::vector<Task> tasks;
  for (const GroupId id : holders(turn.state(), *keyspace)) {
    FLUX_RETURN_IF_ERROR(turn.check_unplanned(fmt::format("group {}", id), [&](const Step& step) {
      return std::holds_alternative<ChangeReplica>(step.task) && step.touches(id);
    }));
    FLUX_TRY(const std::vector<Task> changes,
             replica_changes(planned, turn.state().silent, planned.groups[id], wanted.at(id)));
    tasks.insert(tasks.end(), changes.begin(), changes.end());
  }
  // Said again it makes up for a plan that was cancelled.
  if (command.replication == keyspace->replication && tasks.empty()) {
    return refuse(ErrorCode::kAlreadyExists, "the replication of {} is {}", command.keyspace, command.replication);
  }
  FLUX_RETURN_IF_ERROR(turn.check_room_for_plan());
  if (!tasks.empty()) turn.begin(PlanKind::kReplicate, tasks);
  return {};
}

}  // namespace flux::ctrl
