#include "ctrl/config.h"

#include <fmt/core.h>

#include <algorithm>

namespace flux::ctrl {
namespace {

Status broken(std::string what) { return {ErrorCode::kInvalidArgument, std::move(what)}; }

template <typename Map, typename Id>
const typename Map::mapped_type* find(const Map& map, Id id) {
  const auto found = map.find(id);
  return found == map.end() ? nullptr : &found->second;
}

bool is_long(std::string_view text) { return text.size() > kNameBytesMax; }

Status check_nodes(const Config& config) {
  std::set<std::string_view> names;
  for (const auto& [id, node] : config.nodes) {
    const api::NodeRecord& record = node.record;
    if (id == kNobody || record.id != id) return broken("a node without its id");
    if (node.cores == 0 || node.cores > kWeightMax) return broken(fmt::format("node {} has no share", id));
    if (record.name.empty() || is_long(record.name) || is_long(record.peer_address) || is_long(record.resp_address) ||
        is_long(record.http_address) || is_long(record.wire_address)) {
      return broken(fmt::format("the record of node {} is not within limits", id));
    }
    if (node.state != NodeState::kRemoved && !names.insert(record.name).second) {
      return broken(fmt::format("two nodes are named {}", record.name));
    }
  }
  return {};
}

Status check_group(const Config& config, const Group& group) {
  if (group.weight == 0 || group.weight > kWeightMax) return broken(fmt::format("group {} has no share", group.id));
  if (group.born > config.num) return broken(fmt::format("group {} is not born yet", group.id));
  if (group.voters.empty() == group.alive()) return broken(fmt::format("group {} has no members", group.id));
  if (group.founders.empty() == group.alive()) return broken(fmt::format("group {} has no founders", group.id));
  if (group.founders.size() > kReplicasMax) return broken(fmt::format("group {} has too many founders", group.id));
  if (!group.alive()) {
    return group.learners.empty() && group.leader == kNobody ? Status() : broken("a group that is gone has members");
  }
  if (!group.voters.contains(group.leader)) return broken(fmt::format("the leader of group {} has no vote", group.id));
  const auto stays = [&](NodeId id) { return config.node(id) && config.node(id)->state != NodeState::kRemoved; };
  if (!std::all_of(group.voters.begin(), group.voters.end(), stays) ||
      !std::all_of(group.learners.begin(), group.learners.end(), stays)) {
    return broken(fmt::format("group {} has a member that is no node", group.id));
  }
  for (const NodeId learner : group.learners) {
    if (group.voters.contains(learner)) return broken(fmt::format("a learner of group {} votes", group.id));
  }
  return {};
}

Status check_keyspaces(const Config& config) {
  std::set<std::string_view> names;
  std::set<ShardId> shards;
  for (const auto& [id, keyspace] : config.keyspaces) {
    if (id == KeyspaceId() || keyspace.id != id) return broken("a keyspace without its id");
    if (keyspace.name.empty() || is_long(keyspace.name)) return broken("a keyspace without a name");
    if (!names.insert(keyspace.name).second) return broken(fmt::format("two keyspaces named {}", keyspace.name));
    if (keyspace.replication == 0 || keyspace.replication > kReplicasMax) return broken("an impossible replication");
    FLUX_RETURN_IF_ERROR(keyspace.validate());
    for (const Shard& shard : keyspace.shards) {
      if (shard.id == ShardId() || !shards.insert(shard.id).second) return broken("two shards have one id");
      const Group* owner = config.group(shard.group);
      if (!owner || !owner->alive()) return broken(fmt::format("shard {} has no owner", shard.id));
    }
  }
  return shards.size() <= kShardsMax ? Status() : broken("too many shards");
}

}  // namespace

const Node* Config::node(NodeId id) const { return find(nodes, id); }
const Group* Config::group(GroupId id) const { return find(groups, id); }
const Keyspace* Config::keyspace(KeyspaceId id) const { return find(keyspaces, id); }

const Keyspace* Config::keyspace(std::string_view name) const {
  for (const auto& [id, keyspace] : keyspaces) {
    if (keyspace.name == name) return &keyspace;
  }
  return nullptr;
}

Config::Place Config::place(ShardId shard) const {
  for (const auto& [id, keyspace] : keyspaces) {
    if (const Shard* found = keyspace.find(shard)) return {.keyspace = &keyspace, .shard = found};
  }
  return {};
}

size_t Config::shard_count() const {
  size_t count = 0;
  for (const auto& [id, keyspace] : keyspaces) count += keyspace.shards.size();
  return count;
}

size_t Config::owned_by(GroupId group) const {
  size_t count = 0;
  for (const auto& [id, keyspace] : keyspaces) {
    for (const Shard& shard : keyspace.shards) count += shard.group == group ? 1U : 0U;
  }
  return count;
}

Status Config::validate() const {
  if (nodes.size() > kNodesMax || groups.size() > kGroupsMax || keyspaces.size() > kKeyspacesMax) {
    return broken("too many of a kind");
  }
  FLUX_RETURN_IF_ERROR(check_nodes(*this));
  for (const auto& [id, group] : groups) {
    if (id == kNoGroup || group.id != id) return broken("a group without its id");
    FLUX_RETURN_IF_ERROR(check_group(*this, group));
  }
  return check_keyspaces(*this);
}

}  // namespace flux::ctrl
