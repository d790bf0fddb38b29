// Goal: every slot is shown where its group's leader is, each node as one thing only, and the lines are those that
// Redis Cluster's clients read.
#include "server/resp/cluster_map.h"

#include <gtest/gtest.h>

#include "api/slot.h"

namespace flux::server::resp {
namespace {

api::NodeView node(uint64_t id, const std::string& state = "active") {
  const std::string port = std::to_string(7000 + id);
  return {.record = {.id = NodeId(id), .peer_address = "10.0.0.1:1" + port, .resp_address = "10.0.0.1:" + port},
          .state = state};
}

api::GroupView group(uint64_t id, uint64_t leader, std::vector<NodeId> voters, std::vector<NodeId> learners = {}) {
  return {.id = GroupId(id), .voters = std::move(voters), .learners = std::move(learners), .leader = NodeId(leader)};
}

// Shards of `default`, which begin at `slots` and belong to `groups`.
void cut(api::ClusterView& view, const std::vector<uint16_t>& slots, const std::vector<uint64_t>& groups) {
  for (size_t i = 0; i < slots.size(); ++i) {
    view.shards.push_back({.id = ShardId(i + 1),
                           .keyspace = "default",
                           .start = slots[i] == 0 ? "" : api::slot_start(slots[i]),
                           .end = i + 1 == slots.size() ? "" : api::slot_start(slots[i + 1]),
                           .group = GroupId(groups[i])});
  }
}

api::ClusterView view_of(std::vector<api::NodeView> nodes, std::vector<api::GroupView> groups) {
  api::ClusterView view;
  view.config = ConfigNum(7);
  view.nodes = std::move(nodes);
  view.groups = std::move(groups);
  view.keyspaces = {{.name = "default", .kind = "hash"}};
  return view;
}

constexpr NodeId kOne(1), kTwo(2), kThree(3), kFour(4);

TEST(ClusterMap, leaders_are_masters_and_neighbouring_ranges_are_one) {
  api::ClusterView view = view_of({node(1), node(2)}, {group(0, 1, {kOne}), group(1, 1, {kOne, kTwo}),
                                                       group(2, 2, {kOne, kTwo}), group(3, 1, {kOne, kTwo})});
  cut(view, {0, 100, 200, 300}, {1, 3, 2, 1});
  const ClusterMap map = cluster_map(view);
  ASSERT_EQ(map.members.size(), 2u);
  EXPECT_EQ(map.members[0].slots, (std::vector<SlotRange>{{0, 199}, {300, 16383}}));
  EXPECT_EQ(map.members[1].slots, (std::vector<SlotRange>{{200, 299}}));
  EXPECT_EQ(map.slots_assigned, 16384u);
  EXPECT_EQ(map.slots_leaderless, 0u);
  EXPECT_EQ(map.epoch, 7u);
  for (const ClusterMember& member : map.members) EXPECT_TRUE(member.replicas.empty());
}

TEST(ClusterMap, who_leads_nothing_is_a_replica_and_they_are_spread) {
  api::ClusterView view =
      view_of({node(1), node(2), node(3), node(4), node(5)},
              {group(1, 1, {kOne, kTwo, kThree, kFour}), group(2, 2, {kOne, kTwo, kThree}, {kFour})});
  cut(view, {0, 8192}, {1, 2});
  const ClusterMap map = cluster_map(view);
  EXPECT_EQ(map.find(kThree)->master, kOne);
  EXPECT_EQ(map.find(kFour)->master, kTwo);
  EXPECT_EQ(map.find(kOne)->replicas, std::vector<NodeId>{kThree});
  EXPECT_EQ(map.find(kTwo)->replicas, std::vector<NodeId>{kFour});
  EXPECT_EQ(map.find(NodeId(5))->master, kNobody) << "it holds nothing";
  EXPECT_TRUE(map.find(NodeId(5))->slots.empty());
}

TEST(ClusterMap, a_group_without_a_leader_is_shown_at_its_first_voter_that_takes_clients) {
  api::NodeView silent = node(2);
  silent.record.resp_address.clear();
  api::ClusterView view = view_of({node(1), silent, node(3)}, {group(1, 0, {kTwo, kThree}), group(2, 2, {kTwo, kOne})});
  cut(view, {0, 10}, {1, 2});
  const ClusterMap map = cluster_map(view);
  EXPECT_EQ(map.members.size(), 2u);
  EXPECT_EQ(map.find(kThree)->slots, (std::vector<SlotRange>{{0, 9}}));
  EXPECT_EQ(map.find(kOne)->slots, (std::vector<SlotRange>{{10, 16383}}));
  EXPECT_EQ(map.slots_leaderless, 10u);
}

TEST(ClusterMap, what_is_not_there_owns_nothing) {
  api::ClusterView view = view_of({node(1, "removed"), node(2)}, {group(1, 1, {kOne}), group(2, 2, {kTwo})});
  cut(view, {0, 100, 200}, {1, 2, 9});
  const ClusterMap map = cluster_map(view);
  ASSERT_EQ(map.members.size(), 1u);
  EXPECT_EQ(map.members[0].slots, (std::vector<SlotRange>{{100, 199}}));
  EXPECT_EQ(map.slots_assigned, 100u);
  view.keyspaces[0].kind = "range";
  EXPECT_EQ(cluster_map(view).slots_assigned, 0u);
  view.keyspaces = {{.name = "other", .kind = "hash"}};
  for (api::ShardView& shard : view.shards) shard.keyspace = "other";
  EXPECT_EQ(cluster_map(view).slots_assigned, 0u);
  EXPECT_TRUE(cluster_map({}).members.empty());
}

TEST(ClusterMap, nodes_as_lines) {
  api::ClusterView view = view_of({node(1), node(2), node(16)}, {group(1, 1, {kOne, kTwo}), group(2, 1, {kOne})});
  view.nodes[2].record.resp_address = "[::1]:7016";
  cut(view, {0, 1, 2}, {1, 5, 2});
  EXPECT_EQ(cluster_nodes_text(cluster_map(view), kTwo),
            "0000000000000000000000000000000000000001 10.0.0.1:7001@17001 master - 0 0 7 connected 0 2-16383\n"
            "0000000000000000000000000000000000000002 10.0.0.1:7002@17002 myself,slave "
            "0000000000000000000000000000000000000001 0 0 7 connected\n"
            "0000000000000000000000000000000000000010 ::1:7016@17016 master - 0 0 7 connected\n");
}

TEST(ClusterMap, info_tells_what_is_missing) {
  api::ClusterView view = view_of({node(1)}, {group(1, 1, {kOne}), group(2, 0, {kOne})});
  cut(view, {0, 100}, {1, 2});
  EXPECT_EQ(cluster_info_text(cluster_map(view)),
            "cluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_slots_ok:100\r\ncluster_slots_pfail:16284\r\n"
            "cluster_slots_fail:0\r\ncluster_known_nodes:1\r\ncluster_size:1\r\ncluster_current_epoch:7\r\n"
            "cluster_my_epoch:7\r\ncluster_stats_messages_sent:0\r\ncluster_stats_messages_received:0\r\n"
            "total_cluster_links_buffer_limit_exceeded:0\r\n");
  view.shards.pop_back();
  view.shards[0].end = api::slot_start(100);
  EXPECT_TRUE(cluster_info_text(cluster_map(view)).starts_with("cluster_state:fail\r\ncluster_slots_assigned:100\r\n"));
}

}  // namespace
}  // namespace flux::server::resp
