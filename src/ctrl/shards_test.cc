// Goal: shards are where they should be, move only as far as needed, and never while their groups have something to
// settle.
#include <gtest/gtest.h>

#include "api/slot.h"
#include "ctrl/testing/controller.h"

namespace flux::ctrl {
namespace {

using namespace testing;

const Shard& first_shard_of(const Controller& controller, GroupId group) {
  for (const auto& [id, keyspace] : controller.config().keyspaces) {
    for (const Shard& shard : keyspace.shards) {
      if (shard.group == group) return shard;
    }
  }
  FLUX_CHECK(false, "group {} has no shard", group);
}

// Two groups that serve, and a keyspace of 8 shards over them.
Controller two_groups() {
  Controller controller;
  controller.ok(join({1, 2}));
  controller.run();
  controller.ok(hash_keyspace("default", 8));
  controller.run();
  return controller;
}

TEST(Controller, M21_leave_last_group) {
  Controller controller;
  EXPECT_EQ(controller.refused(hash_keyspace("default", 8)), ErrorCode::kPrecondition);  // no group
  controller.ok(join({1}));
  controller.run();
  EXPECT_EQ(controller.refused(leave({1})), ErrorCode::kPrecondition);
  controller.ok(hash_keyspace("default", 8));
  controller.run();
  EXPECT_EQ(controller.refused(leave({1})), ErrorCode::kPrecondition);
  // A group that does not serve yet is nobody to leave the shards to.
  controller.ok(join({2}));
  EXPECT_EQ(controller.refused(leave({1})), ErrorCode::kPrecondition);
  controller.run();
  EXPECT_EQ(controller.refused(leave({1, 2})), ErrorCode::kPrecondition);
  controller.ok(leave({1}));
  controller.run();
  EXPECT_EQ(controller.config().group(GroupId(1))->state, GroupState::kGone);
  EXPECT_EQ(controller.config().owned_by(GroupId(2)), 8U);
  EXPECT_EQ(controller.refused(leave({2})), ErrorCode::kPrecondition);
  EXPECT_EQ(controller.refused(leave({1})), ErrorCode::kNotFound);
}

TEST(Controller, M22_rejoin_same_gid) {
  Controller controller = two_groups();
  const ConfigNum first_life = controller.config().group(GroupId(1))->born;
  EXPECT_EQ(controller.refused(join({1})), ErrorCode::kAlreadyExists);
  controller.ok(leave({1}));
  EXPECT_EQ(controller.refused(join({1})), ErrorCode::kAlreadyExists);  // it is still there
  controller.run();
  controller.ok(join({1}));
  const Group again = *controller.config().group(GroupId(1));
  EXPECT_EQ(again.state, GroupState::kCreating);
  EXPECT_GT(again.born, first_life);
  EXPECT_EQ(controller.config().owned_by(GroupId(1)), 0U);
  // A replica of the first life speaks of what it has on its disk.
  EXPECT_EQ(controller.refused(Settled{.group = GroupId(1), .num = again.born - 1}), ErrorCode::kStaleRequest);
  controller.run();
  EXPECT_EQ(controller.unevenness("default"), 0U);
}

TEST(Controller, M23_controller_rebalance) {
  Controller a, b;
  for (Controller* each : {&a, &b}) {
    each->ok(join({1, 2, 3}));
    each->run();
    each->ok(hash_keyspace("default", 256));
    each->run();
  }
  EXPECT_LE(a.unevenness("default"), 1U);
  for (uint64_t group = 4; group <= 12; ++group) {
    const Config before = a.config();
    for (Controller* each : {&a, &b}) {
      each->ok(join({group}));
      each->run();
    }
    EXPECT_EQ(a.bytes(), b.bytes());
    EXPECT_LE(a.unevenness("default"), 1U);
    EXPECT_LE(Controller::moved(before, a.config()), 256 / group);  // no more than the new group's share
  }
  for (uint64_t group = 1; group <= 9; ++group) {
    const Config before = a.config();
    const size_t had = before.owned_by(GroupId(group));
    for (Controller* each : {&a, &b}) {
      each->ok(leave({group}));
      each->run();
    }
    EXPECT_EQ(a.bytes(), b.bytes());
    EXPECT_LE(a.unevenness("default"), 1U);
    EXPECT_EQ(Controller::moved(before, a.config()), had);
  }
}

TEST(Controller, shares_by_weight) {
  Controller controller;
  controller.ok(Join{{{.id = GroupId(1), .replicas = 3, .weight = 1}, {.id = GroupId(2), .replicas = 3, .weight = 3}}});
  controller.run();
  controller.ok(hash_keyspace("default", 256));
  controller.run();
  const auto spread = controller.spread("default");
  EXPECT_NEAR(static_cast<double>(spread.at(GroupId(2))) / static_cast<double>(spread.at(GroupId(1))), 3.0, 0.3);
}

TEST(Controller, M03_a_group_that_has_something_to_settle_gets_no_next_change) {
  Controller controller = two_groups();
  controller.ok(join({3}));
  controller.run();
  const Shard shard = first_shard_of(controller, GroupId(1));
  const PlanId plan = controller.ok(Move{.shard = shard.id, .to = GroupId(2), .pin = true}).plan;
  EXPECT_EQ(controller.refused(HandOver{.plan = plan}), ErrorCode::kPrecondition);
  controller.ok(ReportProgress{.plan = plan, .phase = StepPhase::kReady});
  const ConfigNum before = controller.config().num;
  const Outcome handed = controller.ok(HandOver{.plan = plan});
  EXPECT_EQ(handed.config, before + 1);
  EXPECT_EQ(controller.config().place(shard.id).shard->group, GroupId(2));
  // Of a shard of the group that no plan is at work on.
  const auto split_elsewhere = [&](GroupId group) {
    const Keyspace& keyspace = *controller.config().keyspace("default");
    size_t at = keyspace.shards.size() - 2;
    while (keyspace.shards[at].group != group || keyspace.shards[at].id == shard.id) --at;
    const std::string_view end = keyspace.end_of(at);
    const auto slot = static_cast<uint16_t>((static_cast<uint8_t>(end[0]) << 8 | static_cast<uint8_t>(end[1])) - 1);
    return Split{.shard = keyspace.shards[at].id, .at = api::slot_start(slot)};
  };
  for (const uint64_t group : {1U, 2U}) {
    EXPECT_EQ(controller.refused(split_elsewhere(GroupId(group))), ErrorCode::kUnavailable);
  }
  EXPECT_EQ(controller.refused(hash_keyspace("other", 4)), ErrorCode::kUnavailable);
  EXPECT_EQ(controller.refused(DropKeyspace{"default"}), ErrorCode::kPrecondition);  // a plan is at work on it
  const PlanId other = controller.ok(Move{.shard = first_shard_of(controller, GroupId(1)).id, .to = GroupId(3)}).plan;
  controller.ok(ReportProgress{.plan = other, .phase = StepPhase::kReady});
  EXPECT_EQ(controller.refused(HandOver{.plan = other}), ErrorCode::kUnavailable);  // the giving group is not settled
  controller.ok(Settled{.group = GroupId(1), .num = handed.config});
  const PlanId third = controller.ok(Move{.shard = first_shard_of(controller, GroupId(3)).id, .to = GroupId(2)}).plan;
  controller.ok(ReportProgress{.plan = third, .phase = StepPhase::kReady});
  EXPECT_EQ(controller.refused(HandOver{.plan = third}), ErrorCode::kUnavailable);  // the receiving one is not
  // An older configuration is no answer, one that does not exist is none either.
  controller.ok(Settled{.group = GroupId(2), .num = before});
  EXPECT_EQ(controller.refused(split_elsewhere(GroupId(2))), ErrorCode::kUnavailable);
  EXPECT_EQ(controller.refused(Settled{.group = GroupId(2), .num = before + 2}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(controller.state().plan(plan)->state, PlanState::kRunning);
  controller.ok(Settled{.group = GroupId(2), .num = handed.config});
  EXPECT_EQ(controller.state().plan(plan)->state, PlanState::kDone);
  controller.ok(HandOver{.plan = third});
  controller.ok(ControlPlan{other, PlanVerb::kCancel});
  controller.ok(split_elsewhere(GroupId(1)));
}

TEST(Controller, pins_hold_against_rebalancing) {
  Controller controller = two_groups();
  std::vector<ShardId> pinned;
  for (const Shard& shard : controller.config().keyspace("default")->shards) {
    if (pinned.size() < 6 && shard.group == GroupId(1)) pinned.push_back(shard.id);
  }
  EXPECT_EQ(controller.refused(Move{.shard = pinned[0], .to = GroupId(1)}), ErrorCode::kAlreadyExists);
  for (const ShardId shard : pinned) controller.ok(Move{.shard = shard, .to = GroupId(1), .pin = true});
  controller.ok(join({3, 4}));
  controller.run();
  for (const ShardId shard : pinned) EXPECT_EQ(controller.config().place(shard).shard->group, GroupId(1));
  // The owner leaves: the pins are forgotten, the shards are not.
  controller.ok(leave({1}));
  controller.run();
  EXPECT_TRUE(controller.state().pins.empty());
  EXPECT_LE(controller.unevenness("default"), 1U);
}

TEST(Controller, split_and_merge_are_each_others_opposite) {
  Controller controller = two_groups();
  const auto shards = controller.config().keyspace("default")->shards;
  const std::string middle = api::slot_start(1000);
  EXPECT_EQ(controller.refused(Split{.shard = shards[1].id, .at = middle}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(controller.refused(Split{.shard = shards[0].id, .at = middle + "x"}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(controller.refused(Split{.shard = ShardId(99), .at = middle}), ErrorCode::kNotFound);
  controller.ok(Split{.shard = shards[0].id, .at = middle});
  controller.run();
  const Keyspace& split = *controller.config().keyspace("default");
  ASSERT_EQ(split.shards.size(), 9U);
  EXPECT_EQ(split.lookup(api::slot_start(999) + "key").id, shards[0].id);
  EXPECT_EQ(split.lookup(middle).id, split.shards[1].id);
  EXPECT_EQ(split.measure(0), 1000U);
  EXPECT_EQ(split.measure(1), 1048U);
  const ShardId right = split.shards[1].id;
  EXPECT_EQ(controller.refused(Merge{.left = right, .right = shards[0].id}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(controller.refused(Merge{.left = shards[0].id, .right = shards[1].id}), ErrorCode::kInvalidArgument);
  controller.ok(Merge{.left = shards[0].id, .right = right});
  controller.run();
  EXPECT_EQ(controller.config().keyspace("default")->shards.size(), 8U);
  EXPECT_EQ(controller.config().place(right).shard, nullptr);
}

TEST(Controller, range_keyspaces_are_cut_anywhere) {
  Controller controller = two_groups();
  EXPECT_EQ(controller.refused(CreateKeyspace{.name = "r", .kind = KeyspaceKind::kRange, .split_at = {"m", "c"}}),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(controller.refused(CreateKeyspace{.name = "default", .slot_ranges = 1}), ErrorCode::kAlreadyExists);
  EXPECT_EQ(controller.refused(CreateKeyspace{.name = "h", .slot_ranges = 16'385}), ErrorCode::kInvalidArgument);
  controller.ok(CreateKeyspace{.name = "r", .kind = KeyspaceKind::kRange, .split_at = {"c", "m"}});
  controller.run();
  const Keyspace& keyspace = *controller.config().keyspace("r");
  EXPECT_EQ(&keyspace.lookup(""), &keyspace.shards[0]);
  EXPECT_EQ(&keyspace.lookup("bzz"), &keyspace.shards[0]);
  EXPECT_EQ(&keyspace.lookup("c"), &keyspace.shards[1]);
  EXPECT_EQ(&keyspace.lookup("\xff\xff"), &keyspace.shards[2]);
  controller.ok(DropKeyspace{"r"});
  EXPECT_EQ(controller.config().keyspace("r"), nullptr);
  EXPECT_EQ(controller.refused(DropKeyspace{"r"}), ErrorCode::kNotFound);
}

TEST(Controller, of_two_admins_the_second_is_told_the_newer_number) {
  Controller controller = two_groups();
  const ConfigNum seen = controller.config().num;
  const Command first{.expected = seen, .body = join({3})};
  ASSERT_TRUE(apply(controller.state(), first).status.ok());
  EXPECT_EQ(controller.refused(join({4}), seen), ErrorCode::kPrecondition);
  const Outcome loser = apply(controller.state(), {.expected = seen, .body = join({4})});
  EXPECT_EQ(loser.config, seen + 1);
  EXPECT_NE(loser.status.message().find(std::to_string((seen + 1).value())), std::string::npos);
}

TEST(Controller, moves_to_who_cannot_have_the_shard_are_refused) {
  Controller controller = two_groups();
  const ShardId shard = first_shard_of(controller, GroupId(1)).id;
  EXPECT_EQ(controller.refused(Move{.shard = shard, .to = GroupId(9)}), ErrorCode::kNotFound);
  EXPECT_EQ(controller.refused(Move{.shard = shard, .to = GroupId(0)}), ErrorCode::kNotFound);
  EXPECT_EQ(controller.refused(Move{.shard = ShardId(99), .to = GroupId(2)}), ErrorCode::kNotFound);
  EXPECT_EQ(controller.refused(Move{.shard = shard, .to = GroupId(1)}), ErrorCode::kAlreadyExists);
  const Group& group = *controller.config().group(GroupId(2));
  controller.ok(ReportSilent{group.voters});
  EXPECT_EQ(controller.refused(Move{.shard = shard, .to = GroupId(2)}), ErrorCode::kPrecondition);
  controller.ok(ReportSilent{});
  controller.ok(join({3}, 1));
  controller.run();
  EXPECT_EQ(controller.config().owned_by(GroupId(3)), 0U);  // one voter, and the keyspace wants three
  EXPECT_EQ(controller.refused(Move{.shard = shard, .to = GroupId(3)}), ErrorCode::kPrecondition);
  controller.ok(Move{.shard = shard, .to = GroupId(2)});
  EXPECT_EQ(controller.refused(Move{.shard = shard, .to = GroupId(2)}), ErrorCode::kPrecondition);  // under way
}

}  // namespace
}  // namespace flux::ctrl
