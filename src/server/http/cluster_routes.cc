#include "server/http/cluster_routes.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "env/net.h"
#include "server/http/body.h"
#include "server/http/json.h"

namespace flux::server::http {
namespace {

constexpr std::string_view kPrefix = "/cluster/";

// --- What each path reads --------------------------------------------------------------------------------------------

api::ClusterRequest add_node(Body& body) {
  api::AddNode request;
  body.text("name", request.name);
  body.text("peer_address", request.peer_address);
  body.number("cores", request.cores, Need::kOptional, 1);
  if (request.peer_address.empty()) return request;
  const Result<env::Address> address = env::Address::parse(request.peer_address);
  if (!address.ok()) body.refuse("\"peer_address\": " + address.status().message());
  return request;
}

api::ClusterRequest drain_node(Body& body) {
  api::DrainNode request;
  body.id("node", request.node);
  return request;
}

api::ClusterRequest remove_node(Body& body) {
  api::RemoveNode request;
  body.id("node", request.node);
  return request;
}

api::ClusterRequest replace_node(Body& body) {
  api::ReplaceNode request;
  body.id("node", request.node);
  body.id("by", request.by);
  return request;
}

api::ClusterRequest add_group(Body& body) {
  api::AddGroup request;
  body.number("id", request.id, Need::kOptional);
  body.ids("voters", request.voters, Need::kOptional);
  body.number("replicas", request.replicas, Need::kOptional);
  body.number("weight", request.weight, Need::kOptional, 1);
  return request;
}

api::ClusterRequest remove_group(Body& body) {
  api::RemoveGroup request;
  body.id("group", request.group);
  return request;
}

api::ClusterRequest move_shard(Body& body) {
  api::MoveShard request;
  body.id("shard", request.shard);
  body.id("to", request.to);
  body.flag("pin", request.pin, Need::kOptional);
  return request;
}

api::ClusterRequest split_shard(Body& body) {
  api::SplitShard request;
  body.id("shard", request.shard);
  body.key("at", request.at);
  return request;
}

api::ClusterRequest merge_shards(Body& body) {
  api::MergeShards request;
  body.id("left", request.left);
  body.id("right", request.right);
  return request;
}

api::ClusterRequest create_keyspace(Body& body) {
  api::CreateKeyspace request;
  body.text("name", request.name);
  body.word("kind", request.kind, {"hash", "range"}, Need::kOptional);
  body.number("replication", request.replication, Need::kOptional);
  body.number("shards", request.shards, Need::kOptional, 1);
  body.keys("split_at", request.split_at, Need::kOptional);
  if (request.kind == "range" && body.has("shards")) body.refuse("\"shards\" goes with \"kind\": \"hash\"");
  if (request.kind == "hash" && body.has("split_at")) body.refuse("\"split_at\" goes with \"kind\": \"range\"");
  return request;
}

api::ClusterRequest drop_keyspace(Body& body) {
  api::DropKeyspace request;
  body.text("name", request.name);
  return request;
}

api::ClusterRequest set_replication(Body& body) {
  api::SetReplication request;
  body.text("keyspace", request.keyspace);
  body.number("replication", request.replication, Need::kRequired, 1);
  return request;
}

api::ClusterRequest rebalance(Body&) { return api::Rebalance{}; }

api::ClusterRequest set_balance(Body& body) {
  api::SetBalance request;
  body.word("mode", request.mode, {"off", "shards", "load"});
  return request;
}

api::ClusterRequest set_groups(Body& body) {
  api::SetGroups request;
  body.flag("by_cores", request.by_cores);
  return request;
}

api::ClusterRequest set_limits(Body& body) {
  api::SetLimits request;
  body.number("moves", request.limits.moves, Need::kOptional, 1);
  body.number("moves_per_group", request.limits.moves_per_group, Need::kOptional, 1);
  body.number("member_changes", request.limits.member_changes, Need::kOptional, 1);
  if (!body.has("moves") && !body.has("moves_per_group") && !body.has("member_changes")) {
    body.refuse("one of \"moves\", \"moves_per_group\", \"member_changes\" is needed");
  }
  return request;
}

api::ClusterRequest control_plan(Body& body) {
  api::ControlPlan request;
  body.id("plan", request.plan);
  body.word("verb", request.verb, {"pause", "resume", "cancel"});
  return request;
}

struct Change {
  std::string_view path;
  api::ClusterRequest (*read)(Body&);
};
constexpr std::array kChanges = std::to_array<Change>({
    {"node/add", add_node},
    {"node/drain", drain_node},
    {"node/remove", remove_node},
    {"node/replace", replace_node},
    {"group/add", add_group},
    {"group/remove", remove_group},
    {"group/auto", set_groups},
    {"shard/move", move_shard},
    {"shard/split", split_shard},
    {"shard/merge", merge_shards},
    {"keyspace/create", create_keyspace},
    {"keyspace/drop", drop_keyspace},
    {"keyspace/replication", set_replication},
    {"rebalance", rebalance},
    {"balance", set_balance},
    {"plan/limits", set_limits},
    {"plan", control_plan},
});
static_assert(kChanges.size() == std::variant_size_v<api::ClusterRequest>);

const Change* find(std::string_view path) {
  if (!path.starts_with(kPrefix)) return nullptr;
  path.remove_prefix(kPrefix.size());
  const auto* it =
      std::find_if(kChanges.begin(), kChanges.end(), [&](const Change& change) { return change.path == path; });
  return it == kChanges.end() ? nullptr : it;
}

}  // namespace

std::vector<std::string_view> cluster_changes() {
  std::vector<std::string_view> paths;
  for (const Change& change : kChanges) paths.push_back(change.path);
  return paths;
}

bool is_cluster_change(std::string_view path) { return find(path) != nullptr; }

Result<api::ClusterChange> cluster_change(std::string_view path, std::string_view text) {
  FLUX_TRY(Body body, Body::parse(text));
  api::ClusterChange change;
  change.request = find(path)->read(body);
  body.number("expected_config", change.expected, Need::kOptional);
  FLUX_RETURN_IF_ERROR(body.finish());
  return change;
}

void get_cluster(const Request& request, api::AdminService& admin, Respond respond) {
  uint64_t num = 0;
  if (const auto asked = request.query.find("config"); asked != request.query.end()) {
    const std::string& text = asked->second;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), num);
    if (error != std::errc() || end != text.data() + text.size()) {
      return respond(error_response(
          Status(ErrorCode::kInvalidArgument, "config is the number of a configuration, as in /cluster?config=7")));
    }
  }
  admin.cluster(ConfigNum(num), [respond = std::move(respond)](const Result<api::ClusterView>& view) mutable {
    if (!view.ok()) return respond(error_response(view.status()));
    respond({.body = pretty(to_json(*view))});
  });
}

void post_cluster(const Request& request, api::AdminService& admin, Respond respond) {
  Result<api::ClusterChange> change = cluster_change(request.path, request.body);
  if (!change.ok()) return respond(error_response(change.status()));
  admin.change_cluster(std::move(change).value(),
                       [respond = std::move(respond)](const api::ClusterReply& reply) mutable {
                         if (!reply.status.ok()) return respond(error_response(reply.status));
                         respond({.body = pretty(to_json(reply))});
                       });
}

}  // namespace flux::server::http
