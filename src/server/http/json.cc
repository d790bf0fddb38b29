#include "server/http/json.h"

#include <boost/json.hpp>
#include <set>

#include "api/key_text.h"
#include "api/slot.h"

namespace flux::server::http {
namespace {

namespace json = boost::json;

json::array ids(const std::vector<NodeId>& nodes) {
  json::array out;
  for (const NodeId node : nodes) out.push_back(node.value());
  return out;
}

json::object to_json(const api::NodeRecord& node) {
  return {{"id", node.id.value()},
          {"name", node.name},
          {"peer_address", node.peer_address},
          {"resp_address", node.resp_address},
          {"http_address", node.http_address},
          {"wire_address", node.wire_address}};
}

json::object to_json(const api::NodeView& node) {
  json::object out = to_json(node.record);
  out["state"] = node.state;
  out["silent"] = node.silent;
  out["lost"] = node.lost;
  out["cores"] = node.cores;
  out["replicas"] = node.replicas;
  out["leaders"] = node.leaders;
  return out;
}

json::object to_json(const api::GroupView& group) {
  return {{"id", group.id.value()},          {"state", group.state},
          {"weight", group.weight},          {"voters", ids(group.voters)},
          {"learners", ids(group.learners)}, {"leader", group.leader.value()},
          {"shards", group.shards},          {"settled", group.settled.value()},
          {"changed", group.changed.value()}};
}

json::object to_json(const api::KeyspaceView& keyspace) {
  return {{"id", keyspace.id.value()},
          {"name", keyspace.name},
          {"kind", keyspace.kind},
          {"replication", keyspace.replication},
          {"shards", keyspace.shards}};
}

json::object to_json(const api::ShardView& shard, bool hash) {
  json::object out{{"id", shard.id.value()},
                   {"keyspace", shard.keyspace},
                   {"start", api::key_text(shard.start)},
                   {"end", api::key_text(shard.end)}};
  if (hash) {
    const uint16_t end = shard.end.empty() ? api::kSlotCount : api::slot_of_encoded(shard.end).value();
    out["slots"] = json::array{api::slot_of_encoded(shard.start).value(), end - 1};
  }
  out["group"] = shard.group.value();
  out["pinned"] = shard.pinned;
  out["state"] = shard.state;
  out["keys"] = shard.keys;
  out["bytes"] = shard.bytes;
  out["operations_per_second"] = shard.operations_per_second;
  return out;
}

json::object to_json(const api::PlanView& plan) {
  json::array steps;
  for (const api::StepView& step : plan.steps) {
    json::object each{{"what", step.what},          {"shard", step.shard.value()},   {"group", step.group.value()},
                      {"phase", step.phase},        {"bytes_done", step.bytes_done}, {"bytes_total", step.bytes_total},
                      {"keys_done", step.keys_done}};
    if (!step.reason.empty()) each["reason"] = step.reason;
    steps.push_back(std::move(each));
  }
  return {{"id", plan.id}, {"kind", plan.kind}, {"state", plan.state}, {"steps", std::move(steps)}};
}

json::object to_json(const api::GroupStatus& group) {
  json::object out;
  out["id"] = group.id.value();
  out["role"] = group.role;
  out["term"] = group.term.value();
  out["leader"] = group.leader.value();
  out["commit_index"] = group.commit_index.value();
  out["applied_index"] = group.applied_index.value();
  out["first_index"] = group.first_index.value();
  out["last_index"] = group.last_index.value();
  out["snapshot_index"] = group.snapshot_index.value();
  out["voters"] = ids(group.voters);
  out["learners"] = ids(group.learners);
  out["joint"] = group.joint;
  out["idle"] = group.idle;
  out["shards"] = group.shards;
  out["keys"] = group.keys;
  if (!group.halted.empty()) out["halted"] = group.halted;
  json::array peers;
  for (const api::PeerProgress& peer : group.peers) {
    peers.push_back(json::object{{"id", peer.id.value()},
                                 {"state", peer.state},
                                 {"match_index", peer.match.value()},
                                 {"recently_active", peer.recently_active}});
  }
  out["peers"] = std::move(peers);
  return out;
}

template <typename T>
json::array array_of(const std::vector<T>& elements) {
  json::array out;
  for (const T& element : elements) out.push_back(to_json(element));
  return out;
}

void append_pretty(std::string& out, const json::value& value, size_t indent) {
  const std::string pad(indent + 2, ' ');
  if (value.is_object() && !value.get_object().empty()) {
    out += "{\n";
    bool first = true;
    for (const auto& [key, member] : value.get_object()) {
      if (!std::exchange(first, false)) out += ",\n";
      out += pad + json::serialize(key) + ": ";
      append_pretty(out, member, indent + 2);
    }
    out += "\n" + std::string(indent, ' ') + "}";
  } else if (value.is_array() && !value.get_array().empty() && value.get_array().front().is_structured()) {
    out += "[\n";
    bool first = true;
    for (const json::value& element : value.get_array()) {
      if (!std::exchange(first, false)) out += ",\n";
      out += pad;
      append_pretty(out, element, indent + 2);
    }
    out += "\n" + std::string(indent, ' ') + "]";
  } else {
    out += json::serialize(value);
  }
}

}  // namespace

json::value to_json(const api::NodeStatus& status) {
  json::object out;
  out["name"] = status.name;
  out["cluster_id"] = status.cluster_id;
  out["node_id"] = status.node_id.value();
  out["version"] = status.version;
  out["config_num"] = status.config_num.value();
  out["engine"] = status.engine;
  out["fsync"] = status.fsync;
  out["draining"] = status.draining;
  out["uptime_seconds"] = status.uptime_seconds;
  out["process_id"] = status.process_id;
  out["memory_used_bytes"] = status.memory_used_bytes;
  out["memory_max_bytes"] = status.memory_max_bytes;
  json::array warnings;
  for (const std::string& warning : status.warnings) warnings.push_back(json::value(warning));
  out["warnings"] = std::move(warnings);
  out["groups"] = array_of(status.groups);
  out["nodes"] = array_of(status.nodes);
  return out;
}

json::value to_json(const api::ClusterView& view) {
  json::object out;
  out["config_num"] = view.config.value();
  out["balance"] = view.balance;
  out["groups_by_cores"] = view.groups_by_cores;
  out["limits"] = json::object{{"moves", view.limits.moves},
                               {"moves_per_group", view.limits.moves_per_group},
                               {"member_changes", view.limits.member_changes}};
  out["nodes"] = array_of(view.nodes);
  out["groups"] = array_of(view.groups);
  out["keyspaces"] = array_of(view.keyspaces);
  std::set<std::string_view> hashed;
  for (const api::KeyspaceView& keyspace : view.keyspaces) {
    if (keyspace.kind == "hash") hashed.insert(keyspace.name);
  }
  json::array shards;
  for (const api::ShardView& shard : view.shards) shards.push_back(to_json(shard, hashed.contains(shard.keyspace)));
  out["shards"] = std::move(shards);
  out["plans"] = array_of(view.plans);
  return out;
}

json::value to_json(const api::ClusterReply& reply) {
  return json::object{{"ok", true},
                      {"config_num", reply.config.value()},
                      {"plan", reply.plan},
                      {"node", reply.node.value()},
                      {"group", reply.group.value()},
                      {"note", reply.note}};
}

std::string pretty(const json::value& value) {
  std::string out;
  append_pretty(out, value, 0);
  out += '\n';
  return out;
}

}  // namespace flux::server::http
