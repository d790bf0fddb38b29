// Goal: every change of the cluster says in JSON what its request says, nothing wrong or mistyped is ever taken for
// something else, and the cluster is shown so that its bytes can be read back.
#include "server/http/cluster_routes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/slot.h"
#include "env/testing/fake_net.h"
#include "server/http/json.h"
#include "server/testing/fake_admin.h"

namespace flux::server::http {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

template <typename Request>
Request asked(const std::string& path, const std::string& body) {
  const Result<api::ClusterChange> change = cluster_change("/cluster/" + path, body);
  EXPECT_TRUE(change.ok()) << path << " " << body << ": " << change.status().message();
  if (!change.ok() || !std::holds_alternative<Request>(change->request)) {
    ADD_FAILURE() << path << " is something else";
    return {};
  }
  return std::get<Request>(change->request);
}

std::string refusal(const std::string& path, const std::string& body) {
  const Result<api::ClusterChange> change = cluster_change("/cluster/" + path, body);
  if (change.ok()) return "taken";
  EXPECT_EQ(change.status().code(), ErrorCode::kInvalidArgument);
  return change.status().message();
}

// --- What a body means -----------------------------------------------------------------------------------------------

TEST(ClusterChange, nodes) {
  const auto node = asked<api::AddNode>("node/add", R"({"name": "n4", "peer_address": "h:1"})");
  EXPECT_EQ(node.name, "n4");
  EXPECT_EQ(node.peer_address, "h:1");
  EXPECT_EQ(node.cores, 1u);
  EXPECT_EQ(asked<api::AddNode>("node/add", R"({"name": "n", "peer_address": "[::1]:1", "cores": 8})").cores, 8u);
  EXPECT_EQ(asked<api::DrainNode>("node/drain", R"({"node": 3})").node, NodeId(3));
  EXPECT_EQ(asked<api::RemoveNode>("node/remove", R"({"node": 18446744073709551615})").node, NodeId(UINT64_MAX));
  const auto swap = asked<api::ReplaceNode>("node/replace", R"({"node": 2, "by": 5})");
  EXPECT_EQ(swap.node, NodeId(2));
  EXPECT_EQ(swap.by, NodeId(5));
}

TEST(ClusterChange, groups) {
  const auto chosen = asked<api::AddGroup>("group/add", "");
  EXPECT_EQ(chosen.id, GroupId());
  EXPECT_EQ(chosen.weight, 1u);
  const auto given = asked<api::AddGroup>("group/add", R"({"id": 7, "voters": [1, 2, 3], "weight": 4})");
  EXPECT_EQ(given.id, GroupId(7));
  EXPECT_THAT(given.voters, ElementsAre(NodeId(1), NodeId(2), NodeId(3)));
  EXPECT_EQ(given.weight, 4u);
  EXPECT_EQ(asked<api::AddGroup>("group/add", R"({"replicas": 3})").replicas, 3u);
  EXPECT_EQ(asked<api::RemoveGroup>("group/remove", R"({"group": 2})").group, GroupId(2));
}

TEST(ClusterChange, shards) {
  const auto move = asked<api::MoveShard>("shard/move", R"({"shard": 4, "to": 2, "pin": true})");
  EXPECT_EQ(move.shard, ShardId(4));
  EXPECT_EQ(move.to, GroupId(2));
  EXPECT_TRUE(move.pin);
  EXPECT_EQ(asked<api::SplitShard>("shard/split", R"({"shard": 4, "at": "slot:8192"})").at, api::slot_start(8192));
  EXPECT_EQ(asked<api::SplitShard>("shard/split", R"({"shard": 4, "at": "user\\x00\\\\"})").at,
            std::string("user\0\\", 6));
  const auto merge = asked<api::MergeShards>("shard/merge", R"({"left": 1, "right": 2})");
  EXPECT_EQ(merge.left, ShardId(1));
  EXPECT_EQ(merge.right, ShardId(2));
}

TEST(ClusterChange, keyspaces) {
  const auto hash = asked<api::CreateKeyspace>("keyspace/create", R"({"name": "a", "shards": 16, "replication": 5})");
  EXPECT_EQ(hash.name, "a");
  EXPECT_EQ(hash.kind, "hash");
  EXPECT_EQ(hash.shards, 16u);
  EXPECT_EQ(hash.replication, 5u);
  const auto range =
      asked<api::CreateKeyspace>("keyspace/create", R"({"name": "b", "kind": "range", "split_at": ["g", "\\xff"]})");
  EXPECT_EQ(range.kind, "range");
  EXPECT_THAT(range.split_at, ElementsAre("g", "\xff"));
  EXPECT_EQ(asked<api::DropKeyspace>("keyspace/drop", R"({"name": "b"})").name, "b");
  const auto copies = asked<api::SetReplication>("keyspace/replication", R"({"keyspace": "a", "replication": 3})");
  EXPECT_EQ(copies.keyspace, "a");
  EXPECT_EQ(copies.replication, 3u);
}

TEST(ClusterChange, balance_and_plans) {
  asked<api::Rebalance>("rebalance", "");
  EXPECT_EQ(asked<api::SetBalance>("balance", R"({"mode": "load"})").mode, "load");
  EXPECT_FALSE(asked<api::SetGroups>("group/auto", R"({"by_cores": false})").by_cores);
  const auto limits = asked<api::SetLimits>("plan/limits", R"({"moves": 20, "member_changes": 2})").limits;
  EXPECT_EQ(limits.moves, 20u);
  EXPECT_EQ(limits.moves_per_group, 0u) << "as it is";
  EXPECT_EQ(limits.member_changes, 2u);
  EXPECT_THAT(refusal("plan/limits", "{}"), HasSubstr("is needed"));
  EXPECT_THAT(refusal("plan/limits", R"({"moves": 0})"), HasSubstr("moves"));
  const auto plan = asked<api::ControlPlan>("plan", R"({"plan": 9, "verb": "pause"})");
  EXPECT_EQ(plan.plan, 9u);
  EXPECT_EQ(plan.verb, "pause");
}

TEST(ClusterChange, each_may_say_what_it_has_looked_at) {
  EXPECT_EQ(cluster_change("/cluster/rebalance", "")->expected, ConfigNum());
  EXPECT_EQ(cluster_change("/cluster/rebalance", R"({"expected_config": 12})")->expected, ConfigNum(12));
  for (const std::string_view path : cluster_changes()) {
    EXPECT_NE(refusal(std::string(path), R"({"expected_confi": 1})"), "taken") << path;
  }
}

TEST(ClusterChange, a_body_that_does_not_fit_says_why) {
  EXPECT_THAT(refusal("node/drain", "{{{"), HasSubstr("not a JSON object"));
  EXPECT_THAT(refusal("node/drain", "[1]"), HasSubstr("not a JSON object"));
  EXPECT_THAT(refusal("node/drain", std::string(5000, '[')), HasSubstr("not a JSON object"));
  EXPECT_EQ(refusal("node/add", ""), R"("name" is missing)");
  EXPECT_EQ(refusal("node/add", R"({"name": 4, "peer_address": "h:1"})"), R"("name" is not a text)");
  EXPECT_EQ(refusal("node/add", R"({"name": "", "peer_address": "h:1"})"), R"("name" is empty)");
  EXPECT_EQ(refusal("node/add", R"({"name": "n4"})"), R"("peer_address" is missing)");
  EXPECT_THAT(refusal("node/add", R"({"name": "n4", "peer_address": "h"})"), HasSubstr(R"("peer_address": )"));
  EXPECT_EQ(refusal("node/add", R"({"name": "n4", "peer_address": "h:1", "cores": 0})"),
            R"("cores" is not a whole number from 1 to 4294967295)");
  for (const char* node : {"\"3\"", "-1", "0", "1.5", "null", "1e3", "18446744073709551616"}) {
    EXPECT_EQ(refusal("node/remove", std::string(R"({"node": )") + node + "}"),
              R"("node" is not a whole number from 1 to 18446744073709551615)");
  }
  EXPECT_EQ(refusal("node/remove", R"({"node": 3, "force": true})"),
            R"("force" is no field of this request; it takes node, expected_config)");
  EXPECT_EQ(refusal("group/add", R"({"voters": 1})"), R"("voters" is not an array of ids)");
  EXPECT_EQ(refusal("group/add", R"({"voters": [1, "n2"]})"), R"("voters" has what is not an id: a number from 1 on)");
  EXPECT_EQ(refusal("group/add", R"({"weight": 4294967296})"),
            R"("weight" is not a whole number from 1 to 4294967295)");
  EXPECT_EQ(refusal("shard/move", R"({"shard": 4, "to": 2, "pin": "yes"})"), R"("pin" is neither true nor false)");
  EXPECT_EQ(refusal("shard/split", R"({"shard": 4, "at": "slot:16384"})"),
            R"("at": a slot is a number from 0 to 16383)");
  EXPECT_EQ(refusal("shard/split", R"({"shard": 4, "at": "a\\q"})"),
            R"("at": after the backslash at 2 comes neither \ nor xHH)");
  EXPECT_EQ(refusal("shard/split", R"({"shard": 4, "at": ""})"), R"("at" is empty)");
  EXPECT_EQ(refusal("keyspace/create", R"({"name": "a", "kind": "tree"})"), R"("kind" is none of "hash", "range")");
  EXPECT_EQ(refusal("keyspace/create", R"({"name": "a", "kind": "range", "shards": 2})"),
            R"("shards" goes with "kind": "hash")");
  EXPECT_EQ(refusal("keyspace/create", R"({"name": "a", "split_at": []})"), R"("split_at" goes with "kind": "range")");
  EXPECT_EQ(refusal("keyspace/create", R"({"name": "a", "kind": "range", "split_at": ["b", 1]})"),
            R"("split_at" has at 1 what is not a text)");
  EXPECT_EQ(refusal("balance", R"({"mode": "fair"})"), R"("mode" is none of "off", "shards", "load")");
  EXPECT_EQ(refusal("plan", R"({"plan": 1, "verb": "stop"})"), R"("verb" is none of "pause", "resume", "cancel")");
  EXPECT_EQ(refusal("rebalance", R"({"now": 1})"), R"("now" is no field of this request; it takes expected_config)");
}

// --- What is answered ------------------------------------------------------------------------------------------------

class ClusterRoutesTest : public ::testing::Test {
 protected:
  Response answer(const std::string& method, const std::string& target, const std::string& body = "") {
    Request request;
    EXPECT_TRUE(parse_target(target, request).ok());
    request.method = method;
    request.body = body;
    Response out;
    route(request, admin, options, [&](Response response) { out = std::move(response); });
    loop.settle();
    return out;
  }

  env::testing::FakeLoop loop;
  testing::FakeAdmin admin{loop};
  DoorOptions options;
};

TEST_F(ClusterRoutesTest, a_change_is_passed_on_and_answered) {
  admin.reply = {.config = ConfigNum(8), .plan = 3, .node = NodeId(4), .group = GroupId(), .note = "start it"};
  const Response response = answer("POST", "/cluster/node/drain", R"({"node": 2, "expected_config": 7})");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, R"({
  "ok": true,
  "config_num": 8,
  "plan": 3,
  "node": 4,
  "group": 0,
  "note": "start it"
}
)");
  ASSERT_EQ(admin.changes.size(), 1u);
  EXPECT_EQ(admin.changes[0].expected, ConfigNum(7));
  EXPECT_EQ(std::get<api::DrainNode>(admin.changes[0].request).node, NodeId(2));
}

TEST_F(ClusterRoutesTest, what_is_refused_changes_nothing) {
  EXPECT_EQ(answer("POST", "/cluster/node/drain", R"({"node": "n2"})").status, 400);
  EXPECT_TRUE(admin.changes.empty());
  admin.outcome = Status(ErrorCode::kPrecondition, "group 1 counts on node 2");
  const Response refused = answer("POST", "/cluster/node/remove", R"({"node": 2})");
  EXPECT_EQ(refused.status, 412);
  EXPECT_THAT(refused.body, HasSubstr("group 1 counts on node 2"));
}

TEST_F(ClusterRoutesTest, configurations_are_asked_by_number) {
  admin.view.config = ConfigNum(5);
  EXPECT_THAT(answer("GET", "/cluster").body, HasSubstr("\"config_num\": 5"));
  EXPECT_EQ(answer("GET", "/cluster?config=5").status, 200);
  EXPECT_EQ(answer("GET", "/cluster?config=4").status, 404);
  for (const char* bad : {"x", "", "-1", "5x", "18446744073709551616"}) {
    EXPECT_EQ(answer("GET", std::string("/cluster?config=") + bad).status, 400) << bad;
  }
}

TEST(ClusterJson, shows_every_part) {
  api::ClusterView view;
  view.config = ConfigNum(5);
  view.balance = "load";
  view.groups_by_cores = true;
  view.limits = {.moves = 8, .moves_per_group = 2, .member_changes = 4};
  view.nodes = {{.record = {.id = NodeId(1), .name = "n1", .peer_address = "h:1", .resp_address = "h:2"},
                 .state = "active",
                 .cores = 4,
                 .replicas = 2,
                 .leaders = 1}};
  view.groups = {{.id = GroupId(1),
                  .state = "serving",
                  .voters = {NodeId(1)},
                  .leader = NodeId(1),
                  .shards = 2,
                  .settled = ConfigNum(4),
                  .changed = ConfigNum(5)}};
  view.keyspaces = {{.id = KeyspaceId(1), .name = "default", .kind = "hash", .replication = 1, .shards = 1},
                    {.id = KeyspaceId(2), .name = "log", .kind = "range", .replication = 1, .shards = 1}};
  view.shards = {{.id = ShardId(1), .keyspace = "default", .end = api::slot_start(0x2142), .group = GroupId(1)},
                 {.id = ShardId(2), .keyspace = "log", .start = "a\n", .group = GroupId(1), .keys = 7}};
  view.plans = {{.id = 3,
                 .kind = "move",
                 .state = "failed",
                 .steps = {{.what = "shard 1: group 1 -> 2",
                            .shard = ShardId(1),
                            .phase = "failed",
                            .bytes_done = 5,
                            .reason = "gone"}}}};
  EXPECT_EQ(pretty(to_json(view)), R"({
  "config_num": 5,
  "balance": "load",
  "groups_by_cores": true,
  "limits": {
    "moves": 8,
    "moves_per_group": 2,
    "member_changes": 4
  },
  "nodes": [
    {
      "id": 1,
      "name": "n1",
      "peer_address": "h:1",
      "resp_address": "h:2",
      "http_address": "",
      "wire_address": "",
      "state": "active",
      "silent": false,
      "lost": false,
      "cores": 4,
      "replicas": 2,
      "leaders": 1
    }
  ],
  "groups": [
    {
      "id": 1,
      "state": "serving",
      "weight": 1,
      "voters": [1],
      "learners": [],
      "leader": 1,
      "shards": 2,
      "settled": 4,
      "changed": 5
    }
  ],
  "keyspaces": [
    {
      "id": 1,
      "name": "default",
      "kind": "hash",
      "replication": 1,
      "shards": 1
    },
    {
      "id": 2,
      "name": "log",
      "kind": "range",
      "replication": 1,
      "shards": 1
    }
  ],
  "shards": [
    {
      "id": 1,
      "keyspace": "default",
      "start": "",
      "end": "!B",
      "slots": [0,8513],
      "group": 1,
      "pinned": false,
      "state": "",
      "keys": 0,
      "bytes": 0,
      "operations_per_second": 0
    },
    {
      "id": 2,
      "keyspace": "log",
      "start": "a\\x0a",
      "end": "",
      "group": 1,
      "pinned": false,
      "state": "",
      "keys": 7,
      "bytes": 0,
      "operations_per_second": 0
    }
  ],
  "plans": [
    {
      "id": 3,
      "kind": "move",
      "state": "failed",
      "steps": [
        {
          "what": "shard 1: group 1 -> 2",
          "shard": 1,
          "group": 0,
          "phase": "failed",
          "bytes_done": 5,
          "bytes_total": 0,
          "keys_done": 0,
          "reason": "gone"
        }
      ]
    }
  ]
}
)");
}

}  // namespace
}  // namespace flux::server::http
