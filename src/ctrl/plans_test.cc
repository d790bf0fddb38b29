// Goal: work that takes many commands goes on under any leader, can be stopped, and says what cannot be taken back.
#include <gtest/gtest.h>

#include <algorithm>

#include "ctrl/advice.h"
#include "ctrl/testing/controller.h"

namespace flux::ctrl {
namespace {

using namespace testing;

Controller three_groups(uint64_t nodes = 5) {
  Controller controller(nodes);
  controller.ok(join({1, 2, 3}));
  controller.run();
  controller.ok(hash_keyspace("default", 48));
  controller.run();
  return controller;
}

template <typename T>
std::vector<T> wanted(Controller& controller, PlanLimits limits = {}) {
  controller.ok(SetLimits{limits});
  std::vector<T> found;
  for (const Action& action : next_actions(controller.state())) {
    if (const T* each = std::get_if<T>(&action)) found.push_back(*each);
  }
  return found;
}

void copy_until_ready(Controller& controller, PlanId plan, uint32_t step) {
  controller.ok(ReportProgress{.plan = plan, .step = step, .phase = StepPhase::kReady, .bytes_done = 7});
}

TEST(Plans, limits_are_a_part_of_the_state) {
  Controller controller;
  controller.ok(SetLimits{{.moves_max = 3, .moves_per_group_max = 0, .changes_max = 0}});
  EXPECT_EQ(controller.state().limits, (PlanLimits{.moves_max = 3}));
  controller.ok(SetLimits{{.moves_max = 0, .moves_per_group_max = 1, .changes_max = kPlanLimitMax}});
  EXPECT_EQ(controller.state().limits,
            (PlanLimits{.moves_max = 3, .moves_per_group_max = 1, .changes_max = kPlanLimitMax}));
  EXPECT_EQ(controller.refused(SetLimits{{.moves_max = 5, .moves_per_group_max = kPlanLimitMax + 1}}),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(decode_state(controller.bytes()).value().limits, controller.state().limits);
  controller.state().limits.moves_max = 0;
  EXPECT_EQ(decode_state(controller.bytes()).status().code(), ErrorCode::kCorruption) << "nothing would ever move";
}

TEST(Plans, a_new_leader_goes_on_where_the_old_one_stopped) {
  Controller controller = three_groups();
  controller.ok(join({4}));
  // Before every step the state goes through a snapshot, as to a leader that knows nothing else.
  for (size_t steps = 0;; ++steps) {
    ASSERT_LT(steps, 10'000U);
    controller.state() = decode_state(controller.bytes()).value();
    for (const Settled& report : controller.reports()) controller.ok(report);
    const std::vector<Action> actions = next_actions(controller.state());
    if (actions.empty()) break;
    EXPECT_EQ(actions, next_actions(decode_state(controller.bytes()).value()));
    controller.ok(controller.answer(actions.back()));
  }
  EXPECT_EQ(controller.unevenness("default"), 0U);
  EXPECT_EQ(controller.state().plans.rbegin()->second.state, PlanState::kDone);
}

TEST(Plans, what_runs_at_once_is_limited) {
  Controller controller = three_groups();
  controller.ok(leave({1}));
  EXPECT_EQ(wanted<CopyShard>(controller, {.moves_max = 8, .moves_per_group_max = 2}).size(), 2U);
  EXPECT_EQ(wanted<CopyShard>(controller, {.moves_max = 3, .moves_per_group_max = 8}).size(), 3U);
  // One hand-over at a time for a group.
  for (uint32_t step = 0; step < 4; ++step) copy_until_ready(controller, PlanId(1), step);
  EXPECT_EQ(wanted<ProposeHandOver>(controller, {.moves_max = 8, .moves_per_group_max = 8}).size(), 1U);
  controller.ok(HandOver{.plan = PlanId(1), .step = 0});
  EXPECT_EQ(wanted<ProposeHandOver>(controller).size(), 0U);
}

TEST(Plans, paused_plans_begin_nothing_and_lose_nothing) {
  Controller controller = three_groups();
  const PlanId plan = controller.ok(leave({1})).plan;
  copy_until_ready(controller, plan, 0);
  copy_until_ready(controller, plan, 1);
  controller.ok(HandOver{.plan = plan, .step = 0});
  controller.ok(ControlPlan{plan, PlanVerb::kPause});
  EXPECT_EQ(controller.refused(ControlPlan{plan, PlanVerb::kPause}), ErrorCode::kPrecondition);
  EXPECT_EQ(next_actions(controller.state()).size(), 0U);
  EXPECT_EQ(controller.refused(HandOver{.plan = plan, .step = 1}), ErrorCode::kPrecondition);
  controller.run();
  EXPECT_EQ(controller.state().plan(plan)->steps[0].phase, StepPhase::kDone);  // it was past the point of return
  EXPECT_EQ(controller.state().plan(plan)->steps[1].phase, StepPhase::kReady);
  EXPECT_EQ(controller.state().plan(plan)->current(), 1U);
  EXPECT_EQ(controller.state().plan(plan)->bytes_done(), 14U);
  controller.ok(ControlPlan{plan, PlanVerb::kResume});
  controller.run();
  EXPECT_EQ(controller.config().group(GroupId(1))->state, GroupState::kGone);
}

TEST(Plans, cancel_undoes_what_it_can_and_says_what_it_cannot) {
  Controller controller = three_groups();
  const PlanId plan = controller.ok(leave({1})).plan;
  const size_t steps = controller.state().plan(plan)->steps.size();
  for (const uint32_t step : {0U, 1U}) copy_until_ready(controller, plan, step);
  controller.ok(HandOver{.plan = plan, .step = 0});
  const Outcome outcome = controller.ok(ControlPlan{plan, PlanVerb::kCancel});
  EXPECT_EQ(outcome.note,
            fmt::format("{} steps undone, 0 being undone; 0 done stay so, 1 are handed over and go on", steps - 1));
  EXPECT_EQ(controller.state().plan(plan)->state, PlanState::kCancelling);
  EXPECT_EQ(controller.config().group(GroupId(1))->state, GroupState::kServing);
  EXPECT_EQ(controller.refused(ControlPlan{plan, PlanVerb::kCancel}), ErrorCode::kPrecondition);
  EXPECT_EQ(controller.refused(ReportProgress{.plan = plan, .step = 1}), ErrorCode::kPrecondition);
  controller.ok(SetBalance{BalanceMode::kOff});
  controller.run();
  EXPECT_EQ(controller.state().plan(plan)->state, PlanState::kCancelled);
  EXPECT_EQ(controller.config().owned_by(GroupId(1)), steps - 1);
}

TEST(Plans, M34_unreachable_destination) {
  Controller controller = three_groups();
  const ShardId shard = controller.config().keyspace("default")->shards[0].id;
  const GroupId owner = controller.config().place(shard).shard->group;
  const GroupId other = owner == GroupId(1) ? GroupId(2) : GroupId(1);
  const PlanId plan = controller.ok(Move{.shard = shard, .to = other, .pin = true}).plan;
  copy_until_ready(controller, plan, 0);
  const std::set<NodeId> voters = controller.config().group(other)->voters;
  controller.ok(ReportSilent{{voters.begin(), std::next(voters.begin(), 2)}});
  EXPECT_EQ(controller.refused(HandOver{.plan = plan}), ErrorCode::kPrecondition);
  controller.ok(ReportProgress{.plan = plan, .phase = StepPhase::kFailed, .reason = "connection refused"});
  EXPECT_EQ(controller.state().plan(plan)->state, PlanState::kFailed);
  EXPECT_EQ(controller.state().plan(plan)->reason(), "connection refused");
  EXPECT_EQ(controller.config().place(shard).shard->group, owner);
  controller.ok(ReportSilent{{*voters.begin()}});
  controller.ok(ControlPlan{plan, PlanVerb::kResume});
  controller.run();
  EXPECT_EQ(controller.config().place(shard).shard->group, other);
}

TEST(Plans, one_that_failed_holds_up_no_other) {
  Controller controller = three_groups();
  const Shard shard = controller.config().keyspace("default")->shards[0];
  const GroupId other = shard.group == GroupId(1) ? GroupId(2) : GroupId(1);
  const PlanId plan = controller.ok(Move{.shard = shard.id, .to = other}).plan;
  controller.ok(ReportProgress{.plan = plan, .phase = StepPhase::kFailed, .reason = "no space"});
  controller.ok(join({4}));
  controller.run();
  EXPECT_EQ(controller.config().owned_by(GroupId(4)), 12U);
  EXPECT_EQ(controller.config().place(shard.id).shard->group, shard.group);
  // The others were placed as if it had come to where it belongs.
  controller.ok(ControlPlan{plan, PlanVerb::kResume});
  controller.run();
  EXPECT_EQ(controller.unevenness("default"), 0U);
}

TEST(Plans, finished_ones_are_forgotten_in_the_end) {
  Controller controller = three_groups();
  controller.ok(SetBalance{BalanceMode::kOff});
  const ShardId shard = controller.config().keyspace("default")->shards[0].id;
  for (uint64_t round = 0; round < 2 * kFinishedPlansMax; ++round) {
    const GroupId next(controller.config().place(shard).shard->group.value() % 3 + 1);
    const PlanId plan = controller.ok(Move{.shard = shard, .to = next}).plan;
    controller.run();
    EXPECT_EQ(controller.state().plan(plan)->state, PlanState::kDone);
    EXPECT_LE(controller.state().plans.size(), kFinishedPlansMax);
  }
  controller.ok(CreateKeyspace{.name = "large", .slot_ranges = 16'384});
  controller.run();
  for (int round = 0; round < 3; ++round) {
    const PlanId plan = controller.ok(leave({1})).plan;
    EXPECT_GT(controller.state().plan(plan)->steps.size(), kFinishedStepsMax / 2);
    controller.ok(ControlPlan{plan, PlanVerb::kCancel});
    EXPECT_EQ(controller.state().plans.rbegin()->first, plan);
  }
  EXPECT_EQ(controller.state().plans.size(), 1U);
}

TEST(Plans, a_drained_node_has_no_replicas_and_a_removed_one_never_comes_back) {
  Controller controller = three_groups(4);
  EXPECT_EQ(controller.refused(RemoveNode{NodeId(1)}), ErrorCode::kPrecondition);  // groups count on it
  controller.ok(DrainNode{NodeId(1)});
  EXPECT_EQ(controller.refused(DrainNode{NodeId(1)}), ErrorCode::kPrecondition);
  controller.run();
  for (const auto& [id, group] : controller.config().groups) {
    EXPECT_FALSE(group.has(NodeId(1)));
    EXPECT_EQ(group.voters.size(), 3U);
  }
  // Three nodes are left for three replicas.
  EXPECT_EQ(controller.refused(DrainNode{NodeId(2)}), ErrorCode::kPrecondition);
  controller.ok(RemoveNode{NodeId(1)});
  EXPECT_EQ(controller.refused(node(1)), ErrorCode::kAlreadyExists);
  EXPECT_EQ(controller.refused(RemoveNode{NodeId(1)}), ErrorCode::kNotFound);
  AddNode twin = node(9);
  twin.record.name = "n2";
  EXPECT_EQ(controller.refused(twin), ErrorCode::kAlreadyExists);
  twin.record.name = "n1";  // the name is free again, the id is not
  controller.ok(twin);
  twin.record.name = "n10";  // but the address is taken
  EXPECT_EQ(controller.refused(twin), ErrorCode::kAlreadyExists);
}

TEST(Plans, ids_are_given_by_the_log_and_never_twice) {
  Controller controller(2);
  const auto unnamed = [](std::string name) {
    AddNode command = node(0);
    command.record.name = name;
    command.record.peer_address = name + ":1";
    return command;
  };
  EXPECT_EQ(controller.ok(unnamed("a")).node, NodeId(3));
  controller.ok(RemoveNode{NodeId(3)});
  EXPECT_EQ(controller.ok(unnamed("b")).node, NodeId(4));
  EXPECT_EQ(controller.ok(Join{{{.id = kAnyGroup, .replicas = 1}}}).group, GroupId(1));
  controller.run();
  EXPECT_EQ(controller.ok(Join{{{.id = kAnyGroup, .replicas = 1}}}).group, GroupId(2));
}

TEST(Plans, a_node_says_where_it_is_reached) {
  Controller controller(2);
  AnnounceNode words{.record = node(2).record, .cores = 8};
  words.record.resp_address = "n2:6379";
  controller.ok(words);
  EXPECT_EQ(controller.config().node(NodeId(2))->record, words.record);
  EXPECT_EQ(controller.config().node(NodeId(2))->cores, 8u);
  const std::string before = controller.bytes();
  controller.ok(words);  // says nothing new, and makes no configuration
  EXPECT_EQ(controller.bytes(), before);
  words.record.name = "n1";
  EXPECT_EQ(controller.refused(words), ErrorCode::kInvalidArgument);
  words = {.record = node(7).record};
  EXPECT_EQ(controller.refused(words), ErrorCode::kNotFound);
}

TEST(Plans, a_replaced_node_is_removed_at_the_end) {
  Controller controller = three_groups(3);
  EXPECT_EQ(controller.refused(ReplaceNode{.node = NodeId(1), .by = NodeId(1)}), ErrorCode::kPrecondition);
  controller.ok(node(7));
  const PlanId plan = controller.ok(ReplaceNode{.node = NodeId(1), .by = NodeId(7)}).plan;
  EXPECT_EQ(controller.refused(ReplaceNode{.node = NodeId(2), .by = NodeId(7)}), ErrorCode::kPrecondition);
  controller.run();
  EXPECT_EQ(controller.state().plan(plan)->state, PlanState::kDone);
  EXPECT_EQ(controller.config().node(NodeId(1))->state, NodeState::kRemoved);
  for (const auto& [id, group] : controller.config().groups) EXPECT_TRUE(group.voters.contains(NodeId(7)));
}

TEST(Plans, who_is_silent_is_chosen_for_nothing_new) {
  Controller controller = three_groups();  // on five nodes
  EXPECT_EQ(controller.refused(ReportSilent{{NodeId(9)}}), ErrorCode::kNotFound);
  controller.ok(ReportSilent{{NodeId(1), NodeId(2), NodeId(3)}});
  EXPECT_EQ(controller.refused(Join{{{.id = kAnyGroup, .replicas = 3}}}), ErrorCode::kPrecondition);
  const GroupId fresh = controller.ok(Join{{{.id = kAnyGroup, .replicas = 2}}}).group;
  EXPECT_EQ(controller.config().group(fresh)->voters, (std::set<NodeId>{NodeId(4), NodeId(5)}));
  EXPECT_EQ(controller.refused(SetReplication{"default", 5}), ErrorCode::kPrecondition);
  controller.ok(ReportSilent{});
  controller.ok(SetReplication{"default", 5});
}

// The nodes that open steps of a plan are to bring replicas to.
std::multiset<NodeId> receivers(Controller& controller, PlanId id) {
  std::multiset<NodeId> out;
  const Plan& plan = *controller.state().plan(id);
  for (const Step& step : plan.steps) {
    if (State::is_open(plan, step)) out.insert(std::get<ChangeReplica>(step.task).add);
  }
  return out;
}

TEST(Plans, a_drain_does_not_wait_for_a_receiver_that_is_lost) {
  Controller controller(4);  // a replica that leaves the first can only go to the fourth
  controller.ok(SetBalance{BalanceMode::kOff});
  for (const uint64_t id : {1U, 2U, 3U}) {
    controller.ok(Join{{{.id = GroupId(id), .voters = {NodeId(1), NodeId(2), NodeId(3)}}}});
  }
  controller.run();
  const PlanId plan = controller.ok(DrainNode{NodeId(1)}).plan;
  const auto changes = wanted<ChangeMembers>(controller);
  ASSERT_GE(changes.size(), 2U);
  const ChangeReplica first = changes[0].change;
  const NodeId lost = first.add;
  ASSERT_EQ(changes[1].change.add, lost);
  // The first has begun, the second has not. Nobody else could take them: they wait, and say so.
  const std::set<NodeId> voters = controller.config().group(first.group)->voters;
  controller.ok(ReportGroup{.group = first.group, .entry = Index(5), .voters = voters, .learners = {lost}});
  controller.ok(ReportProgress{.plan = plan, .step = changes[0].step, .phase = StepPhase::kCopying});
  controller.ok(ReportSilent{.nodes = {lost}, .lost = {lost}});
  const auto& steps = controller.state().plan(plan)->steps;
  EXPECT_EQ(steps[changes[0].step].phase, StepPhase::kCopying);
  EXPECT_EQ(receivers(controller, plan).count(lost), changes.size());
  EXPECT_NE(awaits(controller.state(), steps[changes[1].step]).message().find("is not heard"), std::string::npos);
  // A new node comes.
  controller.ok(node(7));
  EXPECT_EQ(receivers(controller, plan).count(NodeId(7)), 0U) << "it does not run yet";
  controller.ok(announce(7));
  EXPECT_EQ(steps[changes[0].step].phase, StepPhase::kUndoing);
  EXPECT_EQ(steps[changes[1].step].phase, StepPhase::kUndone);
  EXPECT_NE(steps[changes[1].step].reason.find("was lost; see step"), std::string::npos);
  EXPECT_EQ(receivers(controller, plan).count(NodeId(7)), changes.size() - 1);
  controller.run();
  EXPECT_EQ(controller.state().plan(plan)->state, PlanState::kDone);
  EXPECT_EQ(steps[changes[0].step].phase, StepPhase::kUndone);
  for (const auto& [id, group] : controller.config().groups) {
    EXPECT_FALSE(group.has(NodeId(1)));
    EXPECT_EQ(group.voters.size(), 3U);
    EXPECT_TRUE(group.learners.empty());
  }
}

// The lost node had taken its place before anybody heard that it is lost: nothing is chosen anew.
TEST(Plans, a_change_that_has_happened_is_not_made_again) {
  Controller controller(5);
  controller.ok(Join{{{.id = GroupId(1), .voters = {NodeId(1), NodeId(2), NodeId(3)}}}});
  controller.run();
  const PlanId plan = controller.ok(DrainNode{NodeId(1)}).plan;
  const auto& steps = controller.state().plan(plan)->steps;
  ASSERT_EQ(steps.size(), 1U);
  const ChangeReplica change = std::get<ChangeReplica>(steps[0].task);
  controller.ok(ReportProgress{.plan = plan, .step = 0, .phase = StepPhase::kCopying});
  controller.ok(ReportSilent{.nodes = {change.add}, .lost = {change.add}});
  EXPECT_EQ(steps[0].phase, StepPhase::kUndoing);
  std::set<NodeId> voters = controller.config().group(change.group)->voters;
  voters.erase(change.remove);
  voters.insert(change.add);
  controller.ok(ReportGroup{.group = change.group, .entry = Index(9), .voters = voters, .learners = {}});
  EXPECT_EQ(steps[0].phase, StepPhase::kDone);
  EXPECT_EQ(steps.size(), 1U);
}

TEST(Plans, what_is_given_up_or_named_chooses_no_other_receiver) {
  Controller controller = three_groups(5);
  const PlanId cancelled = controller.ok(DrainNode{NodeId(1)}).plan;
  const NodeId lost = wanted<ChangeMembers>(controller).at(0).change.add;
  controller.ok(ReportProgress{
      .plan = cancelled, .step = wanted<ChangeMembers>(controller).at(0).step, .phase = StepPhase::kCopying});
  const size_t steps = controller.state().plan(cancelled)->steps.size();
  controller.ok(ControlPlan{cancelled, PlanVerb::kCancel});
  controller.ok(ReportSilent{.nodes = {lost}, .lost = {lost}});
  controller.ok(SetBalance{BalanceMode::kOff});
  controller.run();
  EXPECT_EQ(controller.state().plan(cancelled)->state, PlanState::kCancelled);
  EXPECT_EQ(controller.state().plan(cancelled)->steps.size(), steps);

  controller.ok(ReportSilent{});
  controller.ok(node(7));
  controller.ok(announce(7));
  const PlanId named = controller.ok(ReplaceNode{.node = NodeId(1), .by = NodeId(7)}).plan;
  const std::multiset<NodeId> before = receivers(controller, named);
  controller.ok(ReportSilent{.nodes = {NodeId(7)}, .lost = {NodeId(7)}});
  EXPECT_EQ(receivers(controller, named), before);
  EXPECT_EQ(controller.state().plan(named)->count(StepPhase::kUndone), 0U);
}

TEST(Plans, more_replicas_do_not_wait_for_a_receiver_that_is_lost) {
  Controller controller = three_groups(5);
  const PlanId plan = controller.ok(SetReplication{"default", 4}).plan;
  const NodeId lost = *receivers(controller, plan).begin();
  controller.ok(ReportSilent{.nodes = {lost}, .lost = {lost}});
  EXPECT_EQ(receivers(controller, plan).count(lost), 0U);
  controller.ok(SetBalance{BalanceMode::kOff});
  controller.run();
  EXPECT_EQ(controller.state().plan(plan)->state, PlanState::kDone);
  for (const auto& [id, group] : controller.config().groups) EXPECT_EQ(group.voters.size(), 4U);
}

TEST(Plans, a_node_that_goes_is_no_longer_silent) {
  Controller controller = three_groups();
  controller.ok(node(7));
  controller.ok(ReportSilent{{NodeId(1), NodeId(7)}});
  controller.ok(RemoveNode{NodeId(7)});
  EXPECT_EQ(controller.state().silent, std::set<NodeId>{NodeId(1)});
  controller.ok(node(8));
  controller.ok(ReplaceNode{.node = NodeId(1), .by = NodeId(8)});
  controller.run();
  EXPECT_TRUE(controller.state().silent.empty());
}

// A founder may be dead: the group waits for it, and can be given up.
TEST(Plans, a_group_that_has_not_begun_can_only_be_removed) {
  Controller controller = three_groups();
  const GroupId fresh = controller.ok(Join{{{.id = kAnyGroup, .voters = {NodeId(1), NodeId(2)}}}}).group;
  EXPECT_EQ(controller.refused(DrainNode{NodeId(1)}), ErrorCode::kPrecondition);
  controller.ok(Leave{{fresh}});
  EXPECT_EQ(controller.config().group(fresh)->state, GroupState::kGone);
  controller.ok(DrainNode{NodeId(1)});
}

TEST(Plans, a_step_says_what_it_waits_for) {
  Controller controller = three_groups();
  const ShardId shard = controller.config().keyspace("default")->shards[0].id;
  const Group& from = *controller.config().group(controller.config().place(shard).shard->group);
  const GroupId to = from.id == GroupId(1) ? GroupId(2) : GroupId(1);
  const PlanId plan = controller.ok(Move{.shard = shard, .to = to}).plan;
  const auto waits = [&] { return awaits(controller.state(), controller.state().plan(plan)->steps[0]); };
  EXPECT_TRUE(waits().ok());
  const std::set<NodeId> voters = controller.config().group(to)->voters;
  controller.ok(ReportSilent{voters});
  EXPECT_NE(waits().message().find("no quorum"), std::string::npos);
  controller.ok(ReportGroup{.group = to, .entry = Index(4), .voters = {*voters.begin()}});
  controller.ok(ReportSilent{});
  EXPECT_NE(waits().message().find("has 1 voters, the keyspace wants 3"), std::string::npos);
}

TEST(Plans, a_cancelled_change_of_members_is_taken_back) {
  Controller controller = three_groups(4);
  const PlanId plan = controller.ok(DrainNode{NodeId(1)}).plan;
  const auto changes = wanted<ChangeMembers>(controller);
  ASSERT_FALSE(changes.empty());
  const ChangeReplica change = changes[0].change;
  const std::set<NodeId> voters = controller.config().group(change.group)->voters;
  controller.ok(ReportGroup{.group = change.group, .entry = Index(5), .voters = voters, .learners = {change.add}});
  controller.ok(ReportProgress{.plan = plan, .step = changes[0].step, .phase = StepPhase::kCopying});
  controller.ok(ControlPlan{plan, PlanVerb::kCancel});
  EXPECT_EQ(wanted<UndoMembers>(controller).size(), 1U);
  EXPECT_EQ(controller.refused(ReportGroup{.group = change.group, .entry = Index(4), .voters = voters}),
            ErrorCode::kStaleRequest);
  controller.run();
  EXPECT_EQ(controller.state().plan(plan)->state, PlanState::kCancelled);
  EXPECT_EQ(controller.config().group(change.group)->voters, voters);
  EXPECT_TRUE(controller.config().group(change.group)->learners.empty());
  EXPECT_EQ(controller.config().node(NodeId(1))->state, NodeState::kActive);
}

TEST(Plans, replication_follows_the_neediest_keyspace) {
  Controller controller = three_groups();
  EXPECT_EQ(controller.refused(SetReplication{"default", 3}), ErrorCode::kAlreadyExists);
  EXPECT_EQ(controller.refused(SetReplication{"default", 6}), ErrorCode::kPrecondition);  // there are five nodes
  EXPECT_EQ(controller.refused(SetReplication{"default", 0}), ErrorCode::kInvalidArgument);
  controller.ok(SetReplication{"default", 5});
  controller.run();
  for (const auto& [id, group] : controller.config().groups) EXPECT_EQ(group.voters.size(), 5U);
  controller.ok(hash_keyspace("small", 16, 4));
  controller.run();
  controller.ok(SetReplication{"default", 1});
  controller.run();
  for (const auto& [id, group] : controller.config().groups) EXPECT_EQ(group.voters.size(), 4U);
}

TEST(Plans, replicas_and_leaders_of_new_groups_are_spread_by_cores) {
  Controller controller(0);
  for (uint64_t id = 1; id <= 6; ++id) controller.ok(node(id, id == 6 ? 8 : 4));
  for (uint64_t id = 1; id <= 14; ++id) controller.ok(join({id}));
  std::map<NodeId, size_t> replicas, leads;
  for (const auto& [id, group] : controller.config().groups) {
    EXPECT_EQ(group.voters.size(), 3U);
    for (const NodeId each : group.voters) ++replicas[each];
    ++leads[group.leader];
  }
  for (uint64_t id = 1; id <= 5; ++id) {
    EXPECT_NEAR(static_cast<double>(replicas[NodeId(id)]), 6, 1.0);
    EXPECT_NEAR(static_cast<double>(leads[NodeId(id)]), 2, 1.0);
  }
  EXPECT_NEAR(static_cast<double>(replicas[NodeId(6)]), 12, 1.0);
  EXPECT_NEAR(static_cast<double>(leads[NodeId(6)]), 4, 1.0);
}

TEST(Advice, is_given_only_when_the_balance_is_by_load) {
  Controller controller = three_groups();
  std::map<ShardId, ShardReport> reports;
  const auto& shards = controller.config().keyspace("default")->shards;
  for (const Shard& shard : shards) reports[shard.id] = {.bytes = 2_GiB, .operations_per_second = 100};
  const ShardId hot = shards[5].id;
  reports[hot].operations_per_second = 60'000;
  EXPECT_TRUE(advise(controller.state(), reports, {}).empty());
  controller.ok(SetBalance{BalanceMode::kLoad});
  // It cannot be cut without knowing where, and is too large to help anywhere else; the small ones can go elsewhere.
  for (const Command& command : advise(controller.state(), reports, {})) {
    EXPECT_NE(std::get<Move>(command.body).shard, hot);
  }
  const auto at = static_cast<size_t>(controller.config().place(hot).shard - shards.data());
  reports[hot].middle = shards[at].start;
  ++reports[hot].middle[1];
  const std::vector<Command> advice = advise(controller.state(), reports, {});
  ASSERT_FALSE(advice.empty());
  EXPECT_EQ(std::get<Split>(advice.back().body).shard, hot);
  for (const Command& command : advice) controller.ok(command.body);
}

TEST(Advice, does_nothing_between_its_two_limits) {
  Controller controller = three_groups();
  controller.ok(SetBalance{BalanceMode::kLoad});
  std::map<ShardId, ShardReport> reports;
  for (const Shard& shard : controller.config().keyspace("default")->shards) {
    const bool heavy = shard.group == GroupId(1);
    reports[shard.id] = {.bytes = 2_GiB, .operations_per_second = heavy ? 40'000U : 0U};
  }
  const auto with = [&](uint32_t percent) {
    return advise(controller.state(), reports, {.unbalanced_percent = percent});
  };
  EXPECT_FALSE(with(25).empty());
  EXPECT_TRUE(with(500).empty());
  for (const Command& command : with(25)) {
    EXPECT_NE(std::get<Move>(command.body).to, GroupId(1));
    controller.ok(command.body);
  }
  controller.run();
  EXPECT_TRUE(with(25).empty());
}

TEST(Advice, merges_small_neighbours_of_one_group) {
  Controller controller;
  controller.ok(join({1}));
  controller.run();
  controller.ok(hash_keyspace("default", 8));
  controller.run();
  controller.ok(SetBalance{BalanceMode::kLoad});
  for (size_t round = 0; round < 8; ++round) {
    std::map<ShardId, ShardReport> reports;
    for (const Shard& shard : controller.config().keyspace("default")->shards) reports[shard.id] = {.bytes = 300_MiB};
    for (const Command& command : advise(controller.state(), reports, {})) controller.ok(command.body);
    controller.run();
  }
  EXPECT_EQ(controller.config().keyspace("default")->shards.size(), AdviceOptions().group_shards_min);
}

TEST(Advice, counts_what_is_planned_as_done_and_moves_nothing_unmeasured) {
  Controller controller = three_groups();
  controller.ok(SetBalance{BalanceMode::kLoad});
  std::map<ShardId, ShardReport> reports;
  const auto& shards = controller.config().keyspace("default")->shards;
  for (const Shard& shard : shards) {
    reports[shard.id] = {.bytes = 2_GiB, .operations_per_second = shard.group == GroupId(1) ? 40'000U : 0U};
  }
  auto partly = reports;
  partly.erase(shards[0].id);
  EXPECT_TRUE(advise(controller.state(), partly, {}).empty());
  EXPECT_TRUE(advise(controller.state(), reports, {.cost_min = 1'000'000'000}).empty());
  const std::vector<Command> moves = advise(controller.state(), reports, {});
  ASSERT_FALSE(moves.empty());
  for (const Command& command : moves) controller.ok(command.body);
  EXPECT_TRUE(advise(controller.state(), reports, {}).empty());
}

}  // namespace
}  // namespace flux::ctrl
