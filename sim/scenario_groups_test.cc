// Goal: groups and nodes come and go under load, nobody sees an error, and nothing of what has gone comes back.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "api/slot.h"
#include "scenario_shards.h"

namespace flux::sim {
namespace {

using kv::ShardState;
using node::kControlGroup;
using node::PeerMessage;

// --- Groups that come and go -----------------------------------------------------------------------------------------

// Twenty changes of the groups in a minute, under load, without an error.
TEST(ScenarioShards, M20_join_leave_storm) {
  Nodes nodes(108, 3, with(1, 3, 8));
  Clients clients(nodes);
  std::vector<GroupId> guests;
  uint64_t changes = 0;
  const MonoTime end = nodes.world().now() + Millis(60'000);
  while (nodes.world().now() < end) {
    const size_t through = nodes.world().rng().below(3);
    if (guests.size() < 3 && nodes.world().rng().below(2) == 0) {
      const api::ClusterReply added = nodes.change(through, api::AddGroup{});
      ASSERT_TRUE(added.status.ok()) << added.status.to_string();
      guests.push_back(added.group);
      ++changes;
    } else if (!guests.empty()) {
      // Refused while shards are on their way to it.
      const api::ClusterReply removed = nodes.change(through, api::RemoveGroup{.group = guests.front()});
      if (removed.status.ok()) {
        guests.erase(guests.begin());
        ++changes;
      }
    }
    clients.run(Millis(2'000));
  }
  EXPECT_GE(changes, 20u);
  EXPECT_EQ(clients.errors(), 0u) << clients.first_error();
  EXPECT_GT(clients.answered(), 5'000u);
  clients.check();
}

// Two administrators who know nothing of each other ask for everything at once, through different nodes: shards of
// eight groups are moved, cut and put together, groups come and go, plans are cancelled. What is refused is refused for
// good, clients see no error, and in the end all is where the configuration says.
TEST(ScenarioShards, two_admins_change_many_groups_at_once) {
  Nodes nodes(131, 5, with(8, 3, 32));
  balance(nodes, "off");
  Clients clients(nodes);
  Rng& rng = nodes.world().rng();
  const auto some_request = [&](size_t through) -> api::ClusterRequest {
    const node::ChartPtr chart = nodes.chart(through);
    const std::vector<ctrl::Shard>& all = chart->config->keyspace(api::kDefaultKeyspaceName)->shards;
    const size_t at = rng.below(all.size());
    const GroupId group(rng.between(1, chart->config->groups.size()));
    switch (rng.below(12)) {
      case 0:
        return api::AddGroup{.replicas = 3};
      case 1:
        return api::RemoveGroup{.group = group};
      case 2: {
        const std::string cut = api::slot_start(static_cast<uint16_t>(rng.between(1, api::kSlotCount - 1)));
        return api::SplitShard{.shard = chart->config->keyspace(api::kDefaultKeyspaceName)->lookup(cut).id, .at = cut};
      }
      case 3:
        return api::MergeShards{.left = all[at].id, .right = all[(at + 1) % all.size()].id};
      case 4:
        return api::Rebalance{};
      case 5:
        return api::ControlPlan{.plan = rng.between(1, 1 + chart->plans.size()), .verb = "cancel"};
      default:
        return api::MoveShard{.shard = all[at].id, .to = group};
    }
  };
  struct Admin {
    size_t through;
    Pending<api::ClusterReply> asked;
    std::map<ErrorCode, int> answers;
  };
  Admin admins[] = {{.through = 0, .asked = {}, .answers = {}}, {.through = 3, .asked = {}, .answers = {}}};
  const MonoTime end = nodes.world().now() + Millis(30'000);
  while (nodes.world().now() < end) {
    for (Admin& admin : admins) {
      if (admin.asked != nullptr && !admin.asked->has_value()) continue;
      if (admin.asked != nullptr) ++admin.answers[(*admin.asked)->status.code()];
      admin.asked = nodes.begin_change(admin.through, some_request(admin.through));
    }
    clients.run(Millis(static_cast<int64_t>(rng.between(1, 200))));
  }
  clients.until([&] { return admins[0].asked->has_value() && admins[1].asked->has_value(); });
  for (const Admin& admin : admins) {
    EXPECT_GE(admin.answers.at(ErrorCode::kOk), 25);
    EXPECT_GE(admin.answers.at(ErrorCode::kPrecondition), 10) << "they are in each other's way";
    EXPECT_FALSE(admin.answers.contains(ErrorCode::kOutcomeUnknown));
  }
  const node::ChartPtr chart = nodes.chart(0);
  for (const auto& [id, plan] : chart->plans) {
    if (plan.active()) nodes.change(0, api::ControlPlan{.plan = id.value(), .verb = "cancel"});
  }
  clients.until([&] { return is_quiet(nodes); });
  EXPECT_EQ(clients.errors(), 0u) << clients.first_error();
  EXPECT_GT(clients.answered(), 3'000u);
  clients.check();
}

// The last group cannot leave, and says so; after another has come it can, and all is in the other.
TEST(ScenarioShards, M21_leave_last_group) {
  Nodes nodes(109, 3, with(1, 3, 4));
  Clients clients(nodes);
  clients.run(Millis(500));
  EXPECT_EQ(nodes.change(0, api::RemoveGroup{.group = kOne}).status.code(), ErrorCode::kPrecondition);
  const api::ClusterReply added = nodes.change(0, api::AddGroup{});
  ASSERT_EQ(added.group, kTwo);
  clients.until([&] { return is_quiet(nodes); });
  const api::ClusterReply removed = nodes.change(1, api::RemoveGroup{.group = kOne});
  ASSERT_TRUE(removed.status.ok()) << removed.status.to_string();
  clients.until([&] { return nodes.plan_state(0, removed.plan) == ctrl::PlanState::kDone; });
  EXPECT_EQ(nodes.change(0, api::RemoveGroup{.group = kTwo}).status.code(), ErrorCode::kPrecondition);
  clients.check();
  EXPECT_EQ(clients.errors(), 0u) << clients.first_error();
  for (size_t i = 0; i < 3; ++i) EXPECT_FALSE(nodes.has_group(i, kOne)) << i;
}

// Has the controller's log grow until nobody who is up holds what comes after an index.
void outrun_controller(Nodes& nodes, size_t through, Index last) {
  const auto holds = [&] {
    for (size_t i = 0; i < nodes.size(); ++i) {
      if (nodes.up(i) && nodes.group(i, kControlGroup).core().base_id().index <= last) return true;
    }
    return false;
  };
  // What the controller refuses is in its log all the same.
  const api::AddNode too_long{.name = std::string(900, 'n'), .peer_address = "10.0.0.99:7380"};
  for (int i = 0; holds(); ++i) {
    ASSERT_EQ(nodes.change(through, too_long).status.code(), ErrorCode::kTooLarge);
    ASSERT_LT(i, 2000) << "the log does not get shorter";
  }
}

// What the disk of a node holds of a group.
bool has_left_something(Nodes& nodes, size_t i, GroupId group) {
  auto& impl = static_cast<node::NodeImpl&>(nodes.node(i));
  const auto names = nodes.fs(i).list(Nodes::snapshot_dir(group));
  return impl.owner(group).find(group) != nullptr || (names.ok() && !names->empty());
}

// A group is removed, its replicas go with all that they had, and its number comes back: it is another group, for those
// who saw it go and for one who slept.
TEST(ScenarioShards, M22_rejoin_same_gid) {
  for (const bool one_sleeps : {false, true}) {
    SCOPED_TRACE(one_sleeps);
    Nodes nodes(110, 4, [](size_t, node::NodeOptions& options) {
      options.groups = 2;
      options.replication = 3;
      options.shards = 4;
      options.snapshot_log_bytes = 20'000;
    });
    balance(nodes, "off");
    Clients clients(nodes, 6, 300);
    clients.run(Millis(2'000));
    std::vector<NodeId> members;
    size_t sleeper = SIZE_MAX;
    for (size_t i = 0; i < nodes.size(); ++i) {
      if (!nodes.has_group(i, kTwo)) continue;
      members.push_back(nodes.id(i));
      if (i != nodes.leader(kTwo) && i != nodes.leader(kOne)) sleeper = i;
    }
    ASSERT_NE(sleeper, SIZE_MAX);
    const ShardId shard = shards_of(nodes, 0, kTwo).front();
    const Index slept_at = nodes.group(sleeper, kControlGroup).core().last_index();
    if (one_sleeps) nodes.crash(sleeper);
    nodes.wait_leader(kControlGroup);
    const size_t asked = somebody(nodes);
    const api::ClusterReply removed = nodes.change(asked, api::RemoveGroup{.group = kTwo});
    ASSERT_TRUE(removed.status.ok()) << removed.status.to_string();
    clients.until([&] { return nodes.plan_state(somebody(nodes), removed.plan) == ctrl::PlanState::kDone; });
    clients.run(Millis(500));
    for (size_t i = 0; i < nodes.size(); ++i) {
      if (!nodes.up(i)) continue;
      EXPECT_FALSE(has_left_something(nodes, i, kTwo)) << i;
    }
    clients.check();
    const api::ClusterReply again = nodes.change(asked, api::AddGroup{.id = kTwo, .voters = members});
    ASSERT_TRUE(again.status.ok()) << again.status.to_string();
    clients.until([&] { return nodes.chart(asked)->config->group(kTwo)->state == ctrl::GroupState::kServing; });
    if (one_sleeps) {
      // It hears of both at once: of the end and of the new beginning.
      outrun_controller(nodes, asked, slept_at);
      ASSERT_TRUE(nodes.start(sleeper).ok());
      nodes.until([&] { return nodes.chart(sleeper)->config->num == nodes.chart(asked)->config->num; });
    }
    const size_t fresh = nodes.leader(kTwo);
    ASSERT_NE(fresh, SIZE_MAX);
    nodes.until([&] {
      const NodeId leads = nodes.id(fresh);
      return nodes.has_group(sleeper, kTwo) && nodes.group(sleeper, kTwo).core().leader() == leads &&
             nodes.converged(kTwo);
    });
    for (size_t i = 0; i < nodes.size(); ++i) {
      if (!nodes.has_group(i, kTwo)) continue;
      EXPECT_EQ(nodes.group(i, kTwo).engine().count(), 0u) << "something came back at n" << i + 1;
      EXPECT_TRUE(nodes.group(i, kTwo).state_machine().shards().empty());
    }
    const uint64_t plan = begin_move(nodes, shard, kTwo);
    clients.until([&] { return nodes.plan_state(asked, plan) == ctrl::PlanState::kDone; });
    clients.check();
  }
}

// The power of a member goes at every operation of its disk while a group ends there and another of its number begins:
// what the next start finds is a replica of the one or of the other, never one that begins with what the other had.
void cut_between_two_lives(uint64_t operations, bool& over) {
  Nodes nodes(118, 3, [](size_t, node::NodeOptions& options) {
    options.groups = 2;
    options.replication = 3;
    options.shards = 2;
    options.snapshot_log_bytes = 6'000;
  });
  balance(nodes, "off");
  const size_t control = nodes.wait_leader(kControlGroup);
  const size_t victim = (control + 1) % 3, asked = (control + 2) % 3;
  for (int i = 0; i < 30; ++i) ASSERT_TRUE(nodes.put(asked, "k" + std::to_string(i), std::string(300, 'x')).ok());
  nodes.pass(Millis(200));  // snapshots are written
  const api::ClusterReply removed = nodes.change(control, api::RemoveGroup{.group = kTwo});
  ASSERT_TRUE(removed.status.ok()) << removed.status.to_string();
  nodes.until([&] { return !nodes.chart(victim)->config->group(kTwo)->alive(); });
  nodes.fs(victim).stop_after(operations);
  const auto again = nodes.begin_change(control, api::AddGroup{.id = kTwo, .replicas = 3});
  nodes.until([&] { return again->has_value(); });
  ASSERT_TRUE((*again)->status.ok()) << (*again)->status.to_string();
  for (int i = 0; i < 300 && !nodes.fs(victim).stopped(); ++i) nodes.pass(Millis(10));
  over = !nodes.fs(victim).stopped();
  nodes.crash(victim, env::testing::CrashPolicy::random(operations));
  nodes.until([&] { return nodes.leader(kTwo) != SIZE_MAX && nodes.leader(kTwo) != victim; });
  const Status started = nodes.start(victim);
  ASSERT_TRUE(started.ok()) << "after " << operations << " operations: " << started.to_string();
  nodes.until([&] {
    return nodes.has_group(victim, kTwo) && nodes.group(victim, kTwo).core().leader() != kNobody &&
           nodes.converged(kTwo);
  });
  ASSERT_TRUE(nodes.group(victim, kTwo).halt_reason().ok()) << operations;
  ASSERT_EQ(nodes.group(victim, kTwo).engine().count(), 0u) << "after " << operations << " operations";
  for (size_t i = 0; i < 3; ++i) ASSERT_EQ(nodes.hash(i, kTwo), nodes.hash(victim, kTwo)) << operations;
}

TEST(ScenarioShards, M22_a_power_cut_between_two_lives) {
  bool over = false;
  uint64_t operations = 1;
  for (; !over && !HasFailure(); ++operations) {
    ASSERT_LT(operations, 600u);
    cut_between_two_lives(operations, over);
  }
  EXPECT_GT(operations, 15u);
}

// All that the log had of a group is damaged, as if the group had never been there. The replica is known to have made
// promises, so it does not begin the group anew.
TEST(ScenarioShards, S04_a_group_that_the_log_has_lost_does_not_vote) {
  Nodes nodes(126, 3, with(1, 3, 2));
  balance(nodes, "off");
  const size_t asked = nodes.wait_leader(kControlGroup);
  const size_t rotten = (asked + 1) % 3, good = (asked + 2) % 3;
  const auto log_files = [&] {
    std::map<std::string, std::string> files;
    const std::vector<std::string> names = nodes.fs(rotten).list("/data/wal").value();
    for (const std::string& name : names) {
      files["/data/wal/" + name] = nodes.fs(rotten).contents("/data/wal/" + name);
    }
    return files;
  };
  const auto before = log_files();
  ASSERT_TRUE(nodes.change(asked, api::AddGroup{.replicas = 3}).status.ok());
  nodes.until([&] {
    const ctrl::Group* group = nodes.chart(asked)->config->group(kTwo);
    return group != nullptr && group->state == ctrl::GroupState::kServing && nodes.converged(kTwo);
  });
  // What follows proves that it was all there: without it the end of the log might just not have been written.
  const auto written = log_files();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(nodes.put(asked, "k" + std::to_string(i), "v").ok());
  nodes.crash(rotten, env::testing::CrashPolicy::keep_all());
  for (const auto& [path, bytes] : written) {
    const auto old = before.find(path);
    for (size_t at = 0; at < bytes.size(); at += 4096) {
      const std::string page = bytes.substr(at, 4096);
      const bool is_new = old == before.end() || at >= old->second.size() || page != old->second.substr(at, 4096);
      const bool is_written = page.find_first_not_of('\0') != std::string::npos;
      if (is_new && is_written) nodes.fs(rotten).flip_bit(path, 8 * (at + 100));
    }
  }
  ASSERT_TRUE(nodes.start(rotten).ok());
  nodes.pass(Millis(3'000));
  EXPECT_EQ(nodes.group(rotten, kTwo).halt_reason().code(), ErrorCode::kDataLoss);
  EXPECT_NE(nodes.group(rotten, kTwo).halt_reason().message().find("must not vote"), std::string::npos);
  // Of three nodes this one would be a vote that is missing now.
  nodes.crash(good);
  nodes.pass(Millis(3'000));
  EXPECT_EQ(nodes.leader(kTwo), SIZE_MAX);
}

// --- Nodes that come and go ------------------------------------------------------------------------------------------

// A node is gone for good; another takes all its places, and then it may be forgotten.
TEST(ScenarioShards, a_dead_node_is_replaced) {
  Nodes nodes(115, 3, with(2, 3, 4));
  Clients clients(nodes);
  clients.run(Millis(1'000));
  const NodeId dead = nodes.id(2);
  nodes.crash(2);
  const size_t fresh = nodes.join(0);
  const api::ClusterReply replaced = nodes.change(0, api::ReplaceNode{.node = dead, .by = nodes.id(fresh)});
  ASSERT_TRUE(replaced.status.ok()) << replaced.status.to_string();
  // Who comes and who goes change places at once: nobody needs three of four voters, of which one is dead.
  size_t voters_most = 0;
  clients.until([&] {
    for (const GroupId id : {kOne, kTwo}) {
      if (!nodes.has_group(0, id)) continue;
      voters_most = std::max(voters_most, nodes.group(0, id).core().membership().voters.size());
    }
    return nodes.plan_state(0, replaced.plan) == ctrl::PlanState::kDone;
  });
  EXPECT_EQ(voters_most, 3u);
  clients.until([&] {
    const ctrl::Node* node = nodes.chart(0)->config->node(dead);
    return node->state == ctrl::NodeState::kRemoved &&
           !nodes.group(0, kControlGroup).core().membership().contains(dead);
  });
  clients.check();
  // With one more of the old ones gone the rest is a quorum everywhere.
  const uint64_t errors = clients.errors();
  nodes.crash(1);
  clients.until([&] { return nodes.leader(kOne) != SIZE_MAX && nodes.leader(kTwo) != SIZE_MAX; });
  clients.run(Millis(2'000));
  EXPECT_LE(clients.errors(), errors + 6) << "only what was under way: " << clients.first_error();
  EXPECT_FALSE(nodes.start(2).ok() && nodes.group(2, kControlGroup).leads());
  nodes.crash(2);
  clients.check();
}

// A node that is not heard is known to be silent, whoever leads the controller, and nothing new is placed on it; it
// keeps what it has, and is like any other once it is back.
TEST(ScenarioShards, who_is_silent_gets_nothing_new) {
  Nodes nodes(125, 5, with(1, 3, 2));
  const size_t away = nodes.leader(kControlGroup) == 4 ? 3 : 4;
  const NodeId id = nodes.id(away);
  const auto is_silent = [&](size_t asked) { return nodes.chart(asked)->silent.contains(id); };
  nodes.crash(away);
  nodes.until([&] { return is_silent(0); });
  const api::ClusterReply added = nodes.change(0, api::AddGroup{.replicas = 3});
  ASSERT_TRUE(added.status.ok()) << added.status.to_string();
  EXPECT_FALSE(nodes.chart(0)->config->group(added.group)->voters.contains(id));
  EXPECT_EQ(nodes.change(0, api::AddGroup{.replicas = 5}).status.code(), ErrorCode::kPrecondition);
  // The next leader of the controller does not have to find it out anew.
  const size_t before = nodes.leader(kControlGroup);
  nodes.crash(before);
  const size_t asked = before == 0 ? 1 : 0;
  bool forgotten = false;
  nodes.watch([&] { forgotten = forgotten || !is_silent(asked); });
  nodes.until([&] { return nodes.leader(kControlGroup) != SIZE_MAX && nodes.leader(kControlGroup) != before; });
  nodes.pass(Millis(2'000));
  nodes.watch(nullptr);
  EXPECT_FALSE(forgotten);
  ASSERT_TRUE(nodes.start(before).ok());
  ASSERT_TRUE(nodes.start(away).ok());
  nodes.until([&] { return nodes.chart(asked)->silent.empty(); });
  EXPECT_TRUE(nodes.change(asked, api::AddGroup{.replicas = 5}).status.ok());
}

// All replicas of a node go elsewhere while it serves, and then it is removed: nobody sees an error.
TEST(ScenarioShards, a_node_is_drained_and_removed) {
  Nodes nodes(116, 4, with(2, 3, 4));
  Clients clients(nodes);
  clients.run(Millis(1'000));
  const NodeId leaves = nodes.id(3);
  const api::ClusterReply drained = nodes.change(0, api::DrainNode{.node = leaves});
  ASSERT_TRUE(drained.status.ok()) << drained.status.to_string();
  clients.until([&] { return nodes.plan_state(0, drained.plan) == ctrl::PlanState::kDone; });
  clients.run(Millis(1'000));
  for (const GroupId id : {kOne, kTwo}) EXPECT_FALSE(nodes.has_group(3, id)) << id.value();
  EXPECT_EQ(clients.errors(), 0u) << clients.first_error();
  clients.rest();
  nodes.crash(3);
  const api::ClusterReply removed = nodes.change(0, api::RemoveNode{.node = leaves});
  ASSERT_TRUE(removed.status.ok()) << removed.status.to_string();
  clients.until([&] { return !nodes.group(0, kControlGroup).core().membership().contains(leaves); });
  clients.check();
}

// The newest plan of those that operators are shown.
const ctrl::Plan& newest_plan(const node::ChartPtr& chart) { return chart->plans.rbegin()->second; }

// How much of a group a newcomer has is told while it is copied, by whoever leads.
TEST(ScenarioShards, a_drain_shows_how_much_it_has_copied) {
  const auto adjust = [](size_t node, node::NodeOptions& options) {
    with(1, 3, 2)(node, options);
    options.snapshot_chunk_bytes = 500;
  };
  Nodes nodes(144, 4, adjust);
  balance(nodes, "off");
  Clients clients(nodes);
  clients.run(Millis(3'000));
  clients.rest();
  // No chunk from the fifth on arrives.
  bool held = true;
  nodes.network().set_tap([&](Passing& passing) {
    if (!held || !is(passing, PeerMessage::kSnapshotChunk)) return Fate::kPass;
    return node::decode_snapshot_chunk(passing.body)->offset >= 4U * 500 ? Fate::kReset : Fate::kPass;
  });
  const NodeId leaves = *nodes.chart(0)->config->group(kOne)->voters.begin();
  const api::ClusterReply drained = nodes.change(0, api::DrainNode{.node = leaves});
  ASSERT_TRUE(drained.status.ok()) << drained.status.to_string();
  nodes.until([&] { return newest_plan(nodes.chart(0)).steps[0].bytes_done == 4U * 500; });
  const node::ChartPtr chart = nodes.chart(0);
  const ctrl::Step& step = newest_plan(chart).steps[0];
  EXPECT_EQ(step.phase, ctrl::StepPhase::kCopying);
  const uint64_t total = step.bytes_total;
  EXPECT_GT(total, 4U * 500);
  held = false;
  nodes.until([&] { return nodes.plan_state(0, drained.plan) == ctrl::PlanState::kDone; });
  const node::ChartPtr after = nodes.chart(0);
  EXPECT_GE(newest_plan(after).steps[0].bytes_total, total);
  EXPECT_EQ(newest_plan(after).steps[0].bytes_done, newest_plan(after).steps[0].bytes_total);
}

// Who was to take the replica of a drained node dies in the middle of it, for good: somebody else takes it.
TEST(ScenarioShards, a_drain_goes_on_when_its_receiver_is_lost) {
  const auto adjust = [](size_t node, node::NodeOptions& options) {
    with(1, 3, 2)(node, options);
    options.lost_after = Millis(3'000);
  };
  Nodes nodes(145, 5, adjust);
  balance(nodes, "off");
  Clients clients(nodes);
  clients.run(Millis(1'000));
  bool dies = true;
  nodes.network().set_tap(
      [&](Passing& passing) { return dies && is(passing, PeerMessage::kSnapshotChunk) ? Fate::kDrop : Fate::kPass; });
  const size_t leader = nodes.leader(kOne);
  const api::ClusterReply drained = nodes.change(leader, api::DrainNode{.node = nodes.id(leader)});
  ASSERT_TRUE(drained.status.ok()) << drained.status.to_string();
  clients.until([&] { return newest_plan(nodes.chart(leader)).steps[0].phase == ctrl::StepPhase::kCopying; });
  const NodeId lost = std::get<ctrl::ChangeReplica>(newest_plan(nodes.chart(leader)).steps[0].task).add;
  size_t victim = 0;
  while (nodes.id(victim) != lost) ++victim;
  nodes.crash(victim);
  dies = false;
  clients.until([&] { return nodes.plan_state(leader, drained.plan) == ctrl::PlanState::kDone; });
  const node::ChartPtr chart = nodes.chart(leader);
  const ctrl::Group& group = *chart->config->group(kOne);
  EXPECT_FALSE(group.has(nodes.id(leader)));
  EXPECT_FALSE(group.has(lost));
  EXPECT_EQ(group.voters.size(), 3U);
  EXPECT_EQ(newest_plan(chart).steps.size(), 2U);
  EXPECT_EQ(newest_plan(chart).steps[0].phase, ctrl::StepPhase::kUndone);
  ASSERT_TRUE(nodes.start(victim).ok());
  EXPECT_EQ(clients.errors(), 0u) << clients.first_error();
  clients.check();
}

// --- Replicas that even out by themselves ----------------------------------------------------------------------------

std::map<NodeId, size_t> replicas_of_nodes(Nodes& nodes) {
  std::map<NodeId, size_t> counts;
  const node::ChartPtr chart = nodes.chart(somebody(nodes));
  for (const auto& [id, group] : chart->config->groups) {
    for (const NodeId each : group.voters) ++counts[each];
  }
  return counts;
}

// A node that joins gets its share of replicas and of leaders without a word from anybody; nobody sees an error.
TEST(ScenarioShards, a_new_node_gets_its_share_by_itself) {
  Nodes nodes(141, 3, with(4, 3, 8));
  Clients clients(nodes);
  clients.run(Millis(1'000));
  const size_t fresh = nodes.join(0);
  const auto leads = [&](size_t i) {
    size_t count = 0;
    const node::ChartPtr chart = nodes.chart(0);
    for (const auto& [id, group] : chart->config->groups) count += nodes.leader(id) == i ? 1U : 0U;
    return count;
  };
  clients.until([&] {
    const auto counts = replicas_of_nodes(nodes);
    const auto has_share = [&](size_t i) { return counts.at(nodes.id(i)) == 3 && leads(i) == 1; };
    return counts.contains(nodes.id(fresh)) && has_share(0) && has_share(1) && has_share(2) && has_share(fresh);
  });
  EXPECT_EQ(nodes.chart(0)->plans.rbegin()->second.steps.size(), 3U) << "no more moves than there must";
  EXPECT_EQ(clients.errors(), 0u) << clients.first_error();
  clients.check();
}

// Twice the cores keep twice the groups busy: a cluster that was founded without saying how many makes them by itself.
TEST(ScenarioShards, twice_the_nodes_get_twice_the_groups) {
  Nodes nodes(143, 3, [](size_t, node::NodeOptions& options) {
    options.replication = 3;
    options.cores = 2;
  });
  Clients clients(nodes);
  clients.run(Millis(1'000));
  const auto alive = [&] {
    const node::ChartPtr chart = nodes.chart(0);
    return std::count_if(chart->config->groups.begin(), chart->config->groups.end(),
                         [](const auto& each) { return each.second.state == ctrl::GroupState::kServing; });
  };
  EXPECT_EQ(alive(), 2);
  for (int i = 0; i < 3; ++i) nodes.join(0);
  clients.until([&] {
    const auto counts = replicas_of_nodes(nodes);
    return alive() == 4 && counts.size() == 6 && is_quiet(nodes) &&
           std::all_of(counts.begin(), counts.end(), [](const auto& each) { return each.second == 2; });
  });
  for (uint64_t id = 1; id <= 4; ++id) EXPECT_EQ(shards_of(nodes, 0, GroupId(id)).size(), 8U) << "group " << id;
  EXPECT_EQ(clients.errors(), 0u) << clients.first_error();
  clients.check();
}

// A node that stays away is lost after a while: its replicas go to others, so that the next one may fail. When it is
// back it is as good as a new one.
TEST(ScenarioShards, replicas_of_a_node_that_stays_away_go_to_others) {
  const auto adjust = [](size_t node, node::NodeOptions& options) {
    with(4, 3, 8)(node, options);
    options.lost_after = Millis(4'000);
  };
  Nodes nodes(142, 5, adjust);
  Clients clients(nodes);
  clients.run(Millis(1'000));
  std::vector<NodeId> ids;
  for (size_t i = 0; i < nodes.size(); ++i) ids.push_back(nodes.id(i));
  const auto holds_nothing = [&](size_t i) { return !replicas_of_nodes(nodes).contains(ids[i]); };
  nodes.crash(4);
  clients.until([&] { return nodes.chart(0)->silent.contains(ids[4]); });
  clients.run(Millis(3'000));
  EXPECT_TRUE(nodes.chart(0)->lost.empty()) << "it may be back in a moment";
  EXPECT_FALSE(holds_nothing(4));
  clients.until([&] { return holds_nothing(4); });
  nodes.crash(3);
  clients.until([&] { return holds_nothing(3); });
  wait_quiet(nodes);
  const uint64_t errors = clients.errors();
  nodes.crash(2);
  clients.until([&] {
    const node::ChartPtr chart = nodes.chart(0);
    return std::all_of(chart->config->groups.begin(), chart->config->groups.end(),
                       [&](const auto& each) { return nodes.leader(each.first) != SIZE_MAX; });
  });
  clients.run(Millis(2'000));
  EXPECT_LE(clients.errors(), errors + 6) << "only what was under way: " << clients.first_error();
  for (const size_t i : {2U, 3U, 4U}) ASSERT_TRUE(nodes.start(i).ok());
  clients.until([&] {
    const auto counts = replicas_of_nodes(nodes);
    return counts.size() == 5 && std::all_of(counts.begin(), counts.end(),
                                             [](const auto& each) { return each.second == 2 || each.second == 3; });
  });
  EXPECT_TRUE(nodes.chart(0)->lost.empty());
  clients.check();
}

// The configuration is what leaders have reported. Here a member was taken out, which is reported, and came back, which
// is not: by the configuration it may go, by the log the group counts on it.
TEST(ScenarioShards, a_member_stays_although_the_configuration_does_not_know) {
  Nodes nodes(118, 3, with(1, 3, 2));
  balance(nodes, "off");
  const size_t leader = nodes.wait_leader(kOne);
  const size_t returns = (leader + 1) % 3;
  const size_t third = (leader + 2) % 3;
  nodes.make_leader(third, kControlGroup);
  bool unheard = true;  // what the controller's log says does not reach the one that returns
  bool untold = false;  // what the leader reports does not reach the controller
  nodes.network().set_tap([&](Passing& passing) {
    if (is(passing, PeerMessage::kRaft)) {
      const bool controls = Decoder(passing.body).id<GroupId>() == kControlGroup;
      return unheard && controls && passing.to == nodes.address(returns).to_string() ? Fate::kDrop : Fate::kPass;
    }
    const bool reports = passing.from == nodes.host_id(leader) && passing.to == nodes.address(third).to_string();
    return untold && reports && is(passing, PeerMessage::kWrite) ? Fate::kReset : Fate::kPass;
  });
  const auto change = [&](raft::ConfigStepKind kind) {
    std::optional<Status> done;
    nodes.in_turn(leader, [&] {
      nodes.group(leader, kOne)
          .change_config({.steps = {{.kind = kind, .node = nodes.id(returns)}}, .context = {}},
                         [&](const Status& status) { done = status; });
    });
    nodes.until([&] { return done.has_value(); });
    EXPECT_TRUE(done.value_or(Status()).ok()) << done->to_string();
  };
  const auto known = [&](size_t i) { return nodes.chart(i)->config->group(kOne)->voters.contains(nodes.id(returns)); };
  change(raft::ConfigStepKind::kRemove);
  nodes.until([&] { return !known(third); });
  untold = true;
  change(raft::ConfigStepKind::kAddVoter);
  nodes.until([&] { return nodes.group(leader, kOne).core().membership().is_voter(nodes.id(returns)); });
  ASSERT_TRUE(nodes.put(leader, "a", "1").ok());
  unheard = false;
  nodes.until([&] { return !known(returns); });
  nodes.pass(Millis(3'000));
  ASSERT_FALSE(known(returns));
  ASSERT_TRUE(nodes.has_group(returns, kOne));
  // The group has a quorum with it, and no other.
  nodes.crash(third);
  EXPECT_TRUE(nodes.put(leader, "b", "2").ok());
  nodes.crash(leader);
  ASSERT_TRUE(nodes.start(third).ok());
  nodes.wait_leader(kOne);
  EXPECT_EQ(nodes.get(returns, "a").value, "1");
  EXPECT_EQ(nodes.get(returns, "b").value, "2");
}

// From three nodes and one group to six nodes and two groups and back, with clients at every node: no error.
TEST(ScenarioShards, a_cluster_grows_and_shrinks_without_an_error) {
  Nodes nodes(117, 3, with(1, 3, 16));
  Clients clients(nodes);
  clients.run(Millis(1'000));
  for (int i = 0; i < 3; ++i) {
    nodes.join(0);
    clients.run(Millis(500));
  }
  const api::ClusterReply added = nodes.change(3, api::AddGroup{});
  ASSERT_TRUE(added.status.ok()) << added.status.to_string();
  clients.until([&] { return is_quiet(nodes) && shards_of(nodes, 0, kTwo).size() == 8; });
  for (size_t i = 3; i < 6; ++i) EXPECT_TRUE(nodes.has_group(i, kTwo)) << "the group is where there is room: " << i;
  clients.check();
  const api::ClusterReply left = nodes.change(1, api::RemoveGroup{.group = kTwo});
  ASSERT_TRUE(left.status.ok()) << left.status.to_string();
  clients.until([&] { return nodes.plan_state(0, left.plan) == ctrl::PlanState::kDone; });
  EXPECT_EQ(shards_of(nodes, 0, kOne).size(), 16u);
  clients.check();
  EXPECT_EQ(clients.errors(), 0u) << clients.first_error();
  for (size_t i = 3; i < 6; ++i) {
    const NodeId id = nodes.id(i);
    nodes.crash(i);
    const api::ClusterReply removed = nodes.change(0, api::RemoveNode{.node = id});
    ASSERT_TRUE(removed.status.ok()) << removed.status.to_string();
    clients.until([&] { return !nodes.group(0, kControlGroup).core().membership().contains(id); });
  }
  clients.check();
}

}  // namespace
}  // namespace flux::sim
