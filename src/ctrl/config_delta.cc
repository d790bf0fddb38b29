#include "ctrl/config_delta.h"

#include <algorithm>

namespace flux::ctrl {
namespace {

// REQUIRES: before has the same id or is an empty keyspace.
KeyspaceDelta diff_keyspace(const Keyspace& before, const Keyspace& after) {
  KeyspaceDelta delta{.id = after.id, .change = KeyspaceChange::kShards};
  if (before.name != after.name || before.kind != after.kind || before.replication != after.replication) {
    delta.change = KeyspaceChange::kWhole;
    delta.name = after.name, delta.kind = after.kind, delta.replication = after.replication;
  }
  std::map<ShardId, const Shard*> old;
  for (const Shard& shard : before.shards) old[shard.id] = &shard;
  for (const Shard& shard : after.shards) {
    const auto found = old.find(shard.id);
    if (found == old.end() || *found->second != shard) delta.put.push_back(shard);
    if (found != old.end()) old.erase(found);
  }
  for (const auto& [id, shard] : old) delta.removed.insert(id);
  std::sort(delta.put.begin(), delta.put.end(), [](const Shard& a, const Shard& b) { return a.id < b.id; });
  return delta;
}

void apply_keyspace(Keyspace& keyspace, const KeyspaceDelta& delta) {
  keyspace.id = delta.id;
  if (delta.change == KeyspaceChange::kWhole) {
    keyspace.name = delta.name, keyspace.kind = delta.kind, keyspace.replication = delta.replication;
  }
  std::set<ShardId> replaced = delta.removed;
  for (const Shard& shard : delta.put) replaced.insert(shard.id);
  std::erase_if(keyspace.shards, [&](const Shard& shard) { return replaced.contains(shard.id); });
  keyspace.shards.insert(keyspace.shards.end(), delta.put.begin(), delta.put.end());
  // Two of one start are refused later; until then they have an order too.
  std::sort(keyspace.shards.begin(), keyspace.shards.end(),
            [](const Shard& a, const Shard& b) { return a.start != b.start ? a.start < b.start : a.id < b.id; });
}

}  // namespace

ConfigDelta diff(const Config& before, const Config& after) {
  ConfigDelta delta{.num = after.num};
  for (const auto& [id, node] : after.nodes) {
    const Node* old = before.node(id);
    if (!old || *old != node) delta.nodes.push_back(node);
  }
  for (const auto& [id, group] : after.groups) {
    const Group* old = before.group(id);
    if (!old || *old != group) delta.groups.push_back(group);
  }
  const Keyspace none;
  for (const auto& [id, keyspace] : after.keyspaces) {
    const Keyspace* old = before.keyspace(id);
    if (!old || *old != keyspace) delta.keyspaces.push_back(diff_keyspace(old ? *old : none, keyspace));
  }
  for (const auto& [id, keyspace] : before.keyspaces) {
    if (!after.keyspace(id)) delta.keyspaces.push_back({.id = id, .change = KeyspaceChange::kDropped});
  }
  return delta;
}

void apply_delta(Config& config, const ConfigDelta& delta) {
  config.num = delta.num;
  for (const Node& node : delta.nodes) config.nodes[node.record.id] = node;
  for (const Group& group : delta.groups) config.groups[group.id] = group;
  for (const KeyspaceDelta& keyspace : delta.keyspaces) {
    if (keyspace.change == KeyspaceChange::kDropped) {
      config.keyspaces.erase(keyspace.id);
    } else {
      apply_keyspace(config.keyspaces[keyspace.id], keyspace);
    }
  }
}

std::string encode_config(const Config& config) { return to_bytes(diff(Config(), config)); }

Result<Config> decode_config(std::string_view bytes) {
  FLUX_TRY(const ConfigDelta delta, from_bytes<ConfigDelta>(bytes, "configuration"));
  Config config;
  apply_delta(config, delta);
  if (const Status status = config.validate(); !status.ok()) {
    return Status(ErrorCode::kCorruption, "configuration: " + status.message());
  }
  // Things in another order, or said twice, are another spelling.
  if (encode_config(config) != bytes) return Status(ErrorCode::kCorruption, "configuration: not spelled as it should");
  return config;
}

}  // namespace flux::ctrl
