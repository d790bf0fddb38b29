#include "server/http/json.h"

#include <boost/json.hpp>

namespace flux::server::http {
namespace {

namespace json = boost::json;

json::array ids(const std::vector<NodeId>& nodes) {
  json::array out;
  for (const NodeId node : nodes) out.push_back(node.value());
  return out;
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
  json::array groups;
  for (const api::GroupStatus& group : status.groups) groups.push_back(to_json(group));
  out["groups"] = std::move(groups);
  json::array nodes;
  for (const api::NodeRecord& node : status.nodes) {
    nodes.push_back(json::object{{"id", node.id.value()},
                                 {"name", node.name},
                                 {"peer_address", node.peer_address},
                                 {"resp_address", node.resp_address},
                                 {"http_address", node.http_address}});
  }
  out["nodes"] = std::move(nodes);
  return out;
}

std::string pretty(const json::value& value) {
  std::string out;
  append_pretty(out, value, 0);
  out += '\n';
  return out;
}

}  // namespace flux::server::http
