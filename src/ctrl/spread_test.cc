// Goal: replicas come to new nodes and leave lost ones by themselves, no more of them than need be, and nobody who asks
// for something else has to wait for all of it.
#include "ctrl/spread.h"

#include <gtest/gtest.h>

#include "base/rng.h"
#include "ctrl/testing/controller.h"

namespace flux::ctrl {
namespace {

using namespace testing;

// So many groups of three on so many nodes, which share a keyspace.
Controller cluster(uint64_t nodes, uint64_t groups) {
  Controller controller(nodes);
  for (uint64_t id = 1; id <= groups; ++id) controller.ok(join({id}));
  controller.run();
  controller.ok(hash_keyspace("default", static_cast<uint32_t>(16 * groups)));
  controller.run();
  return controller;
}

void arrive(Controller& controller, uint64_t id, uint32_t cores = 4) {
  controller.ok(node(id, cores));
  controller.ok(announce(id, cores));
}

std::map<NodeId, size_t> replicas(const Controller& controller) {
  std::map<NodeId, size_t> counts;
  for (const auto& [id, group] : controller.config().groups) {
    EXPECT_EQ(group.voters.size(), 3U) << "group " << id.value();
    EXPECT_TRUE(group.learners.empty());
    for (const NodeId each : group.voters) ++counts[each];
  }
  return counts;
}

std::map<NodeId, size_t> leaders(const Controller& controller) {
  std::map<NodeId, size_t> counts;
  for (const auto& [id, group] : controller.config().groups) ++counts[group.leader];
  return counts;
}

size_t steps_done(Controller& controller) {
  size_t done = 0;
  for (const auto& [id, plan] : controller.state().plans) done += plan.count(StepPhase::kDone);
  return done;
}

TEST(Spread, a_new_node_gets_its_share_and_nothing_else_moves) {
  Controller controller = cluster(3, 40);
  const size_t before = steps_done(controller);
  EXPECT_TRUE(balancing_changes(controller.state()).empty());
  arrive(controller, 4);
  EXPECT_EQ(balancing_changes(controller.state()).size(), 30U);
  controller.run();
  for (const auto& [id, count] : replicas(controller)) EXPECT_EQ(count, 30U) << "node " << id.value();
  for (const auto& [id, count] : leaders(controller)) EXPECT_EQ(count, 10U) << "node " << id.value();
  EXPECT_EQ(steps_done(controller) - before, 30U);
}

// Three nodes of four cores keep four groups of three busy, six nodes eight.
TEST(Spread, groups_are_added_as_cores_are) {
  Controller controller = cluster(3, 4);
  controller.ok(SetGroups{.by_cores = true});
  EXPECT_TRUE(next_actions(controller.state()).empty());
  for (const uint64_t id : {4U, 5U, 6U}) arrive(controller, id);
  controller.run();
  EXPECT_EQ(controller.config().groups.size(), 8U);
  for (const auto& [id, count] : replicas(controller)) EXPECT_EQ(count, 4U) << "node " << id.value();
  EXPECT_LE(controller.unevenness("default"), 1U);
  // Nobody takes back what people do.
  controller.ok(leave({8}));
  EXPECT_FALSE(controller.state().groups_by_cores);
  controller.run();
  EXPECT_FALSE(controller.config().group(GroupId(8))->alive());
  arrive(controller, 7);
  controller.run();
  EXPECT_EQ(controller.config().groups.size(), 8U);
}

TEST(Spread, no_group_is_added_that_could_not_have_its_replicas) {
  Controller controller = cluster(3, 1);
  controller.ok(SetGroups{.by_cores = true});
  EXPECT_EQ(missing_groups(controller.state()), (ProposeGroups{.count = 3, .replicas = 3}));
  controller.ok(ReportSilent{.nodes = {NodeId(1)}, .lost = {}});
  EXPECT_EQ(missing_groups(controller.state()).count, 0U);
  controller.ok(ReportSilent{});
  controller.ok(SetBalance{BalanceMode::kOff});
  EXPECT_TRUE(next_actions(controller.state()).empty());
  controller.ok(SetBalance{BalanceMode::kShards});
  controller.ok(join({2}));
  EXPECT_EQ(missing_groups(controller.state()).count, 0U) << "one is being made";
  controller.run();
  EXPECT_EQ(controller.config().groups.size(), 4U);
}

// A group that is founded on a node which nobody has started waits for it.
TEST(Spread, no_group_is_founded_on_a_node_that_has_not_run_yet) {
  Controller controller = cluster(3, 4);
  controller.ok(SetGroups{.by_cores = true});
  controller.ok(node(4));
  for (const uint64_t id : {5U, 6U}) arrive(controller, id);
  EXPECT_EQ(missing_groups(controller.state()).count, 2U);
  controller.run();
  EXPECT_EQ(controller.config().groups.size(), 6U);
  EXPECT_FALSE(replicas(controller).contains(NodeId(4)));
  controller.ok(announce(4));
  controller.run();
  for (const auto& [id, count] : replicas(controller)) EXPECT_EQ(count, 4U) << "node " << id.value();
}

TEST(Spread, while_a_cluster_is_founded_it_does_not_matter_who_spoke_first) {
  Controller controller(0);
  for (uint64_t id = 1; id <= 6; ++id) controller.ok(node(id));
  controller.ok(announce(1));
  controller.ok(announce(4));
  controller.ok(join({1, 2}));
  for (const auto& [id, count] : replicas(controller)) EXPECT_EQ(count, 1U) << "node " << id.value();
}

TEST(Spread, who_keeps_nothing_twice_is_asked_before_it_is_spread) {
  Controller controller(1);
  controller.ok(join({1}, 1));
  controller.run();
  controller.ok(hash_keyspace("default", 16, 1));
  controller.ok(SetGroups{.by_cores = true});
  for (const uint64_t id : {2U, 3U}) arrive(controller, id);
  controller.run();
  EXPECT_EQ(controller.config().groups.size(), 1U);
  controller.ok(SetReplication{"default", 3});
  controller.run();
  EXPECT_EQ(controller.config().groups.size(), 4U);
}

TEST(Spread, is_by_cores) {
  Controller controller = cluster(3, 40);
  arrive(controller, 4, 8);
  controller.run();
  EXPECT_EQ(replicas(controller)[NodeId(4)], 40U);  // two fifths would be 48, and a group has one there at most
  arrive(controller, 5, 8);
  controller.run();
  const auto counts = replicas(controller);
  for (const uint64_t id : {1U, 2U, 3U}) EXPECT_NEAR(static_cast<double>(counts.at(NodeId(id))), 120 / 7.0, 1);
  for (const uint64_t id : {4U, 5U}) EXPECT_NEAR(static_cast<double>(counts.at(NodeId(id))), 240 / 7.0, 1);
}

TEST(Spread, who_has_not_run_yet_gets_nothing_and_who_is_silent_loses_nothing) {
  Controller controller = cluster(3, 6);
  controller.ok(node(4));
  EXPECT_TRUE(balancing_changes(controller.state()).empty());
  controller.ok(announce(4));
  EXPECT_FALSE(balancing_changes(controller.state()).empty());
  controller.ok(ReportSilent{.nodes = {NodeId(4)}, .lost = {}});
  EXPECT_TRUE(balancing_changes(controller.state()).empty());
  controller.ok(ReportSilent{.nodes = {NodeId(1)}, .lost = {}});
  for (const ChangeReplica& change : balancing_changes(controller.state())) {
    EXPECT_NE(change.remove, NodeId(1));
    EXPECT_EQ(change.add, NodeId(4));
  }
}

TEST(Spread, is_a_part_of_both_kinds_of_balance_and_can_be_off) {
  Controller controller = cluster(3, 6);
  arrive(controller, 4);
  const auto proposes = [&](BalanceMode mode) {
    controller.ok(SetBalance{mode});
    const std::vector<Action> actions = next_actions(controller.state());
    return std::find(actions.begin(), actions.end(), Action(ProposeRebalance{.shards = false, .replicas = true})) !=
           actions.end();
  };
  EXPECT_FALSE(proposes(BalanceMode::kOff));
  EXPECT_TRUE(proposes(BalanceMode::kShards));
  EXPECT_TRUE(proposes(BalanceMode::kLoad));
  controller.ok(SetBalance{BalanceMode::kOff});
  EXPECT_EQ(controller.ok(Rebalance{.replicas = false}).plan, PlanId());
  EXPECT_NE(controller.ok(Rebalance{}).plan, PlanId());
  controller.run();
  EXPECT_NEAR(static_cast<double>(replicas(controller)[NodeId(4)]), 18 / 4.0, 1);
}

TEST(Spread, replicas_of_a_lost_node_go_to_others_and_some_come_back_with_it) {
  Controller controller = cluster(4, 8);
  EXPECT_EQ(controller.refused(ReportSilent{.nodes = {NodeId(1)}, .lost = {NodeId(2)}}), ErrorCode::kInvalidArgument);
  controller.ok(ReportSilent{.nodes = {NodeId(2)}, .lost = {NodeId(2)}});
  controller.state() = decode_state(controller.bytes()).value();
  controller.run();
  auto counts = replicas(controller);
  EXPECT_EQ(counts[NodeId(2)], 0U);
  for (const uint64_t id : {1U, 3U, 4U}) EXPECT_EQ(counts[NodeId(id)], 8U);
  EXPECT_EQ(controller.config().node(NodeId(2))->state, NodeState::kActive);
  // Nobody is left who could take a second one's.
  controller.ok(ReportSilent{.nodes = {NodeId(2), NodeId(3)}, .lost = {NodeId(2), NodeId(3)}});
  EXPECT_TRUE(next_actions(controller.state()).empty());
  controller.ok(ReportSilent{});
  controller.run();
  for (const auto& [id, count] : replicas(controller)) EXPECT_EQ(count, 6U) << "node " << id.value();
}

TEST(Spread, a_group_without_quorum_is_left_alone) {
  Controller controller = cluster(5, 5);
  controller.ok(ReportSilent{.nodes = {NodeId(1), NodeId(2)}, .lost = {NodeId(1), NodeId(2)}});
  for (const ChangeReplica& change : balancing_changes(controller.state())) {
    EXPECT_TRUE(controller.state().has_quorum(*controller.config().group(change.group)));
  }
}

TEST(Spread, does_not_wait_for_a_receiver_that_is_lost) {
  Controller controller = cluster(3, 8);
  controller.ok(SetBalance{BalanceMode::kOff});
  arrive(controller, 4);
  arrive(controller, 5);
  const PlanId plan = controller.ok(Rebalance{}).plan;
  const auto& steps = controller.state().plan(plan)->steps;
  const ChangeReplica first = std::get<ChangeReplica>(steps[0].task);
  const std::set<NodeId> voters = controller.config().group(first.group)->voters;
  controller.ok(ReportProgress{.plan = plan, .step = 0, .phase = StepPhase::kCopying});
  controller.ok(ReportGroup{.group = first.group, .entry = Index(9), .voters = voters, .learners = {first.add}});
  controller.ok(ReportSilent{.nodes = {first.add}, .lost = {first.add}});
  EXPECT_EQ(steps[0].phase, StepPhase::kUndoing);
  for (const Step& step : steps) {
    if (std::get<ChangeReplica>(step.task).add == first.add) {
      EXPECT_NE(step.phase, StepPhase::kPending);
    }
  }
  controller.ok(SetBalance{BalanceMode::kShards});
  controller.run();
  auto counts = replicas(controller);
  EXPECT_EQ(counts[first.add], 0U);
  EXPECT_EQ(counts[NodeId(9 - first.add.value())], 6U);
}

// What a rebalance has not begun is undone for the sake of a command, and what it has begun is soon over.
TEST(Spread, gives_way_to_what_people_ask_for) {
  Controller controller = cluster(3, 8);
  controller.ok(join({9}));
  controller.ok(SetBalance{BalanceMode::kOff});
  arrive(controller, 4);
  controller.ok(Settled{.group = GroupId(9), .num = controller.config().num});
  const PlanId plan = controller.ok(Rebalance{}).plan;
  const auto& steps = controller.state().plan(plan)->steps;
  const auto* move = std::get_if<MoveShard>(&steps[0].task);
  ASSERT_NE(move, nullptr);
  const ShardId shard = move->shard;
  const GroupId elsewhere(move->from == GroupId(1) ? 2 : 1);
  controller.ok(ReportProgress{.plan = plan, .step = 0, .phase = StepPhase::kCopying});
  EXPECT_EQ(controller.refused(Move{.shard = shard, .to = elsewhere}), ErrorCode::kUnavailable);
  const auto* second = std::get_if<MoveShard>(&steps[1].task);
  ASSERT_NE(second, nullptr);
  controller.ok(Move{.shard = second->shard, .to = second->from == GroupId(1) ? GroupId(2) : GroupId(1)});
  EXPECT_EQ(steps[1].phase, StepPhase::kUndone);
  controller.ok(DrainNode{NodeId(1)});
  for (const Step& step : steps) {
    if (step.touches(NodeId(1))) {
      EXPECT_EQ(step.phase, StepPhase::kUndone);
    }
  }
  EXPECT_EQ(controller.refused(DrainNode{NodeId(1)}), ErrorCode::kPrecondition) << "a drain gives way to nobody";
  controller.run();
  EXPECT_EQ(replicas(controller)[NodeId(1)], 0U);
}

// Wherever it begins: it ends, with any two nodes that could exchange a replica differing by one at most.
TEST(Spread, comes_to_rest_from_anywhere) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    const uint64_t nodes = rng.between(3, 8);
    Controller controller(nodes);
    controller.ok(SetBalance{BalanceMode::kOff});
    for (uint64_t id = 1; id <= 20; ++id) {
      std::set<NodeId> voters;
      while (voters.size() < 3) voters.insert(NodeId(rng.between(1, nodes)));
      controller.ok(Join{{{.id = GroupId(id), .voters = voters}}});
    }
    controller.run();
    controller.ok(SetBalance{BalanceMode::kShards});
    controller.run();
    const auto counts = replicas(controller);
    size_t least = SIZE_MAX, most = 0;
    for (const auto& [id, count] : counts) least = std::min(least, count), most = std::max(most, count);
    EXPECT_EQ(counts.size(), nodes);
    EXPECT_LE(most - least, 1U);
  }
}

}  // namespace
}  // namespace flux::ctrl
