// Goal: shards move between groups of whole nodes, and whoever writes meanwhile loses nothing, whatever dies, is cut
// off or is not heard at the worst moment.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "api/keyspace.h"
#include "api/slot.h"
#include "scenario_shards.h"

namespace flux::sim {
namespace {

using kv::ShardState;
using node::kControlGroup;
using node::PeerMessage;

// --- One configuration after the other -------------------------------------------------------------------------------

// Every change of its shards that the controller decides on is carried out by the group, none is passed over.
TEST(ScenarioShards, M02_config_not_skipped) {
  Nodes nodes(101, 3, with(2, 3, 4));
  balance(nodes, "off");
  std::map<GroupId, std::vector<ConfigNum>> decided, followed;
  const auto look = [&] {
    const size_t asked = nodes.leader(kControlGroup);
    for (const GroupId id : {kOne, kTwo}) {
      const auto note = [&](std::map<GroupId, std::vector<ConfigNum>>& all, ConfigNum num) {
        if (all[id].empty() || all[id].back() < num) all[id].push_back(num);
      };
      if (asked != SIZE_MAX) note(decided, nodes.chart(asked)->progress.at(id).changed);
      if (const size_t leader = nodes.leader(id); leader != SIZE_MAX) {
        note(followed, nodes.group(leader, id).state_machine().config_num());
      }
    }
  };
  nodes.watch(look);
  Clients clients(nodes);
  for (int round = 0; round < 5; ++round) {
    for (const GroupId to : {kTwo, kOne}) {
      for (const ShardId shard : shards_of(nodes, 0, to == kOne ? kTwo : kOne)) begin_move(nodes, shard, to);
      clients.until([&] { return is_quiet(nodes); });
    }
  }
  nodes.watch(nullptr);
  for (const GroupId id : {kOne, kTwo}) {
    EXPECT_EQ(decided[id], followed[id]) << "group " << id.value();
    EXPECT_GE(decided[id].size(), 30u) << "each shard and each way";
  }
  EXPECT_EQ(clients.errors(), 0u) << clients.first_error();
  clients.check();
}

// Clients wait from when the giver freezes a shard until its receiver serves it. That takes a few rounds of messages
// and syncs, and none of the pauses that a copy makes before it is handed over.
TEST(ScenarioShards, a_hand_over_does_not_wait_for_the_next_look) {
  Nodes nodes(146, 6, with(2, 3, 4));
  balance(nodes, "off");
  Clients clients(nodes);
  clients.run(Millis(500));
  std::vector<Micros> pauses;
  for (int round = 0; round < 4; ++round) {
    for (const GroupId to : {kTwo, kOne}) {
      const GroupId from = to == kOne ? kTwo : kOne;
      const ShardId shard = shards_of(nodes, 0, from).front();
      std::optional<MonoTime> frozen, served;
      nodes.watch([&] {
        const MonoTime now = nodes.world().now();
        if (!frozen && state_at_leader(nodes, from, shard) == ShardState::kBePulling) frozen = now;
        if (frozen && !served && state_at_leader(nodes, to, shard) == ShardState::kGcing) served = now;
      });
      begin_move(nodes, shard, to);
      clients.until([&] { return is_quiet(nodes); });
      nodes.watch(nullptr);
      ASSERT_TRUE(frozen && served);
      pauses.push_back(*served - *frozen);
    }
  }
  std::sort(pauses.begin(), pauses.end());
  // The slowest meet messages that are slow.
  EXPECT_LT(pauses[pauses.size() / 2], Millis(10));
  EXPECT_EQ(clients.errors(), 0u) << clients.first_error();
  clients.check();
}

// While a hand-over is not settled on both sides, neither side gets another change, whoever asks for one.
TEST(ScenarioShards, M03_config_blocked_until_settled) {
  Nodes nodes(102, 6, with(2, 3, 4));
  balance(nodes, "off");
  bool deaf = true;
  // A call that gets no answer ends with its connection.
  nodes.network().set_tap(
      [&](Passing& passing) { return deaf && is(passing, PeerMessage::kShardRelease) ? Fate::kReset : Fate::kPass; });
  const std::vector<ShardId> of_one = shards_of(nodes, 0, kOne);
  const uint64_t first = begin_move(nodes, of_one.at(0), kTwo);
  nodes.until([&] { return state_at_leader(nodes, kTwo, of_one.at(0)) == ShardState::kGcing; });
  ASSERT_EQ(state_at_leader(nodes, kOne, of_one.at(0)), ShardState::kBePulling);
  const uint64_t second = begin_move(nodes, of_one.at(1), kTwo);
  const ctrl::GroupProgress before = nodes.chart(0)->progress.at(kOne);
  Clients clients(nodes);
  clients.run(Millis(8'000));
  for (const GroupId id : {kOne, kTwo}) {
    EXPECT_EQ(nodes.chart(0)->progress.at(id).changed, before.changed) << id.value();
    EXPECT_TRUE(nodes.chart(0)->progress.at(id).busy()) << id.value();
  }
  EXPECT_EQ(owner_of(nodes, 0, of_one.at(1)), kOne);
  deaf = false;
  clients.until([&] {
    return nodes.plan_state(0, first) == ctrl::PlanState::kDone &&
           nodes.plan_state(0, second) == ctrl::PlanState::kDone;
  });
  EXPECT_EQ(clients.errors(), 0u) << clients.first_error();
  clients.check();
}

// The giver's answer that it has let go is lost, again and again; and the question comes twice. Both sides end well by
// themselves.
TEST(ScenarioShards, M12_gc_ack_lost) {
  Nodes nodes(103, 6, with(2, 3, 4));
  balance(nodes, "off");
  uint64_t lost = 0;
  nodes.network().set_tap([&](Passing& passing) {
    if (!is(passing, PeerMessage::kShardRelease)) return Fate::kPass;
    if (lost >= 3) return Fate::kTwice;
    ++lost;
    // The question arrives, and nothing comes back until the connection has been given up.
    for (size_t i = 0; i < nodes.size(); ++i) {
      if (nodes.address(i).to_string() != passing.to) continue;
      const uint64_t from = passing.from, to = nodes.host_id(i);
      nodes.world().cut(to, from);
      nodes.world().after(Millis(2'000), [&nodes, from, to] {
        nodes.world().reset_connections(from, to);
        nodes.world().mend(to, from);
      });
    }
    return Fate::kPass;
  });
  Clients clients(nodes);
  clients.run(Millis(300));
  const ShardId shard = shards_of(nodes, 0, kOne).front();
  const uint64_t plan = begin_move(nodes, shard, kTwo);
  clients.until([&] { return nodes.plan_state(0, plan) == ctrl::PlanState::kDone; });
  EXPECT_EQ(lost, 3u);
  clients.check();
  EXPECT_EQ(state_at_leader(nodes, kTwo, shard), ShardState::kServing);
  EXPECT_EQ(state_at_leader(nodes, kOne, shard), std::nullopt);
}

// --- Who dies --------------------------------------------------------------------------------------------------------

// At each stage of a move the leader of one side dies, and comes back later: the next one goes on where it was.
TEST(ScenarioShards, M15_leader_dies_after_config_apply) {
  struct Stage {
    const char* name;
    std::optional<ShardState> giver;
    std::optional<ShardState> receiver;
  };
  // What is looked for first on one side, then on the other.
  const Stage stages[] = {{"staged", {}, ShardState::kStaged},
                          {"given", ShardState::kBePulling, {}},
                          {"pulling", {}, ShardState::kPulling},
                          {"all here", {}, ShardState::kGcing},
                          {"erasing", ShardState::kErasing, {}}};
  Nodes nodes(104, 6, with(2, 3, 2));
  balance(nodes, "off");
  Clients clients(nodes, 6, 3'000);
  clients.run(Millis(3'000));
  const ShardId shard = shards_of(nodes, 0, kOne).front();
  size_t met = 0;
  for (const Stage& stage : stages) {
    for (const bool kill_giver : {false, true}) {
      SCOPED_TRACE(std::string(stage.name) + (kill_giver ? ", the giver's" : ", the receiver's"));
      wait_quiet(nodes);
      const GroupId from = owner_of(nodes, 0, shard);
      const GroupId to = from == kOne ? kTwo : kOne;
      bool reached = false;
      nodes.watch([&] {
        reached = reached || (stage.giver ? state_at_leader(nodes, from, shard) == stage.giver
                                          : state_at_leader(nodes, to, shard) == stage.receiver);
      });
      const uint64_t plan = begin_move(nodes, shard, to);
      const auto over = [&] { return nodes.plan_state(somebody(nodes), plan) == ctrl::PlanState::kDone; };
      nodes.until([&] { return reached || over(); });
      nodes.watch(nullptr);
      if (!reached) continue;
      ++met;
      const size_t victim = nodes.leader(kill_giver ? from : to);
      ASSERT_NE(victim, SIZE_MAX);
      nodes.crash(victim);
      clients.run(Millis(300));
      clients.until(over);
      ASSERT_TRUE(nodes.start(victim).ok());
      clients.check();
      if (HasFailure()) return;
    }
  }
  EXPECT_GE(met, 8u);
}

// Whichever process dies, at whichever step of a move: it goes on by itself, and comes to its end when all are back.
TEST(ScenarioShards, M15_any_process_dies_at_any_step) {
  struct Step {
    const char* name;
    std::function<bool(Nodes&, GroupId from, GroupId to, ShardId)> reached;
  };
  const auto giver = [](ShardState state) {
    return [state](Nodes& nodes, GroupId from, GroupId, ShardId shard) {
      return state_at_leader(nodes, from, shard) == state;
    };
  };
  const auto receiver = [](ShardState state) {
    return [state](Nodes& nodes, GroupId, GroupId to, ShardId shard) {
      return state_at_leader(nodes, to, shard) == state;
    };
  };
  const Step steps[] = {{"staged", receiver(ShardState::kStaged)},
                        {"decided",
                         [](Nodes& nodes, GroupId, GroupId to, ShardId shard) {
                           const size_t asked = nodes.leader(kControlGroup);
                           return asked != SIZE_MAX && owner_of(nodes, asked, shard) == to;
                         }},
                        {"given", giver(ShardState::kBePulling)},
                        {"pulling", receiver(ShardState::kPulling)},
                        {"all here", receiver(ShardState::kGcing)},
                        {"erasing", giver(ShardState::kErasing)}};
  Nodes nodes(122, 6, with(2, 3, 2));
  balance(nodes, "off");
  Clients clients(nodes, 6, 2'000);
  clients.run(Millis(2'000));
  const ShardId shard = shards_of(nodes, 0, kOne).front();
  size_t met = 0;
  for (const Step& step : steps) {
    for (size_t victim = 0; victim < nodes.size(); ++victim) {
      SCOPED_TRACE(std::string(step.name) + ", n" + std::to_string(victim + 1));
      wait_quiet(nodes);
      const GroupId from = owner_of(nodes, 0, shard);
      const GroupId to = from == kOne ? kTwo : kOne;
      bool reached = false;
      nodes.watch([&] { reached = reached || step.reached(nodes, from, to, shard); });
      const uint64_t plan = begin_move(nodes, shard, to);
      const auto over = [&] { return nodes.plan_state(somebody(nodes), plan) == ctrl::PlanState::kDone; };
      nodes.until([&] { return reached || over(); });
      nodes.watch(nullptr);
      met += reached ? 1 : 0;
      nodes.crash(victim);
      clients.run(Millis(victim % 2 == 0 ? 100 : 1'500));
      ASSERT_TRUE(nodes.start(victim).ok());
      clients.until(over);
      if (HasFailure()) return;
    }
    clients.check();
  }
  EXPECT_GE(met, 30u) << "of " << std::size(steps) * nodes.size();
}

// The disks of the group that gets a shard are full in the middle of the move: the giver serves on, and the move ends
// when there is space again. Nothing is lost on either side.
TEST(ScenarioShards, a_receiver_without_space_holds_up_the_move_and_nobody) {
  Nodes nodes(123, 6, [](size_t, node::NodeOptions& options) {
    options.groups = 2;
    options.replication = 3;
    options.shards = 2;
    options.wal_prefill = true;  // otherwise a write into a segment may fail, which ends the process
    options.wal_segment_bytes = 128 * 1024;
    options.shard_chunk_bytes = 8'000;
  });
  balance(nodes, "off");
  const ShardId shard = shards_of(nodes, 0, kOne).front();
  std::map<std::string, std::string> written;
  for (int i = 0; written.size() < 300; ++i) {
    const std::string key = "k" + std::to_string(i);
    if (nodes.chart(0)->routes->group_of(key) != kOne) continue;
    written[key] = std::string(2'000, 'a');
    ASSERT_TRUE(nodes.put(0, key, written[key]).ok());
  }
  std::vector<size_t> members;
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (nodes.has_group(i, kTwo) && !nodes.has_group(i, kOne)) members.push_back(i);
  }
  ASSERT_EQ(members.size(), 3u);
  const size_t asked = nodes.leader(kOne);
  bool staged = false;
  nodes.watch([&] { staged = staged || state_at_leader(nodes, kTwo, shard) == ShardState::kStaged; });
  const uint64_t plan = begin_move(nodes, shard, kTwo);
  nodes.until([&] { return staged; });
  nodes.watch(nullptr);
  for (const size_t member : members) nodes.fs(member).set_free_bytes(0);
  for (int round = 0; round < 20; ++round) {
    for (const char* key : {"k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"}) {
      if (!written.contains(key)) continue;
      written[key] = std::to_string(round);
      ASSERT_TRUE(nodes.put(asked, key, written[key]).ok()) << "the giver serves on";
    }
    nodes.pass(Millis(500));
  }
  EXPECT_EQ(nodes.plan_state(asked, plan), ctrl::PlanState::kRunning);
  EXPECT_EQ(owner_of(nodes, asked, shard), kOne);
  for (const size_t member : members) nodes.fs(member).set_free_bytes(std::nullopt);
  nodes.until([&] { return nodes.plan_state(asked, plan) == ctrl::PlanState::kDone; });
  wait_quiet(nodes);
  EXPECT_EQ(owner_of(nodes, asked, shard), kTwo);
  for (const auto& [key, value] : written) ASSERT_EQ(nodes.get(asked, key).value, value) << key;
}

// Nobody can reach the controller for an hour: clients notice nothing, and what was asked for before goes on after.
TEST(ScenarioShards, the_controller_is_away_for_an_hour) {
  Nodes nodes(124, 3, with(2, 3, 4));
  balance(nodes, "off");
  Clients clients(nodes);
  clients.run(Millis(1'000));
  const std::vector<ShardId> shards = shards_of(nodes, 0, kOne);
  bool away = true;
  nodes.network().set_tap([&](Passing& passing) {
    if (!away || !is(passing, PeerMessage::kRaft)) return Fate::kPass;
    return Decoder(passing.body).id<GroupId>() == kControlGroup ? Fate::kDrop : Fate::kPass;
  });
  const auto asked = nodes.begin_change(0, api::MoveShard{.shard = shards.at(0), .to = kTwo});
  clients.run(Millis(5'000));
  nodes.pass(Millis(3'600'000));
  clients.run(Millis(5'000));
  EXPECT_EQ(clients.errors(), 0u) << clients.first_error();
  EXPECT_EQ(owner_of(nodes, 0, shards.at(0)), kOne);
  ASSERT_TRUE(asked->has_value());
  EXPECT_FALSE((*asked)->status.ok());
  away = false;
  nodes.wait_leader(kControlGroup);
  const uint64_t plan = begin_move(nodes, shards.at(1), kTwo);
  clients.until([&] { return nodes.plan_state(somebody(nodes), plan) == ctrl::PlanState::kDone; });
  EXPECT_EQ(clients.errors(), 0u) << clients.first_error();
  clients.check();
}

// Nobody writes, and both leaders go when the hand-over has been decided: what a new leader has to do it does unasked.
TEST(ScenarioShards, M16_idle_group_new_leader) {
  Nodes nodes(105, 6, with(2, 3, 2));
  balance(nodes, "off");
  const ShardId shard = shards_of(nodes, 0, kOne).front();
  const auto decided = [&] {
    const size_t asked = nodes.leader(kControlGroup);
    return asked != SIZE_MAX && owner_of(nodes, asked, shard) == kTwo;
  };
  const uint64_t plan = begin_move(nodes, shard, kTwo);
  nodes.until(decided);
  const size_t giver = nodes.leader(kOne), receiver = nodes.leader(kTwo);
  ASSERT_NE(giver, receiver);
  nodes.crash(giver);
  nodes.crash(receiver);
  nodes.until([&] { return nodes.plan_state(somebody(nodes), plan) == ctrl::PlanState::kDone; });
  ASSERT_TRUE(nodes.start(giver).ok());
  ASSERT_TRUE(nodes.start(receiver).ok());
  wait_quiet(nodes);
}

// Three groups of one node each; one is down after it has given a shard away and before anybody has it. What comes from
// the other is there first where that was decided first, and all that does not move is served throughout.
TEST(ScenarioShards, M17_one_source_down) {
  Nodes nodes(106, 3, with(3, 1, 6));
  balance(nodes, "off");
  const GroupId target = kOne, near = kTwo, down(3);
  const size_t down_at = nodes.leader(down);
  const size_t asked = nodes.leader(target);
  ASSERT_NE(down_at, asked);
  for (int i = 0; i < 60; ++i) ASSERT_TRUE(nodes.put(asked, "k" + std::to_string(i), std::to_string(i)).ok());
  const ShardId from_near = shards_of(nodes, asked, near).front();
  const ShardId from_down = shards_of(nodes, asked, down).front();
  const auto readable = [&](GroupId group) {
    for (int i = 0; i < 60; ++i) {
      const std::string key = "k" + std::to_string(i);
      if (nodes.chart(asked)->routes->group_of(key) != group) continue;
      const Seen seen = nodes.get(asked, key);
      EXPECT_TRUE(seen.status.ok()) << key << " " << seen.status.to_string();
      EXPECT_EQ(seen.value, std::to_string(i));
    }
  };
  nodes.crash(down_at);
  const uint64_t hangs = begin_move(nodes, from_down, target);
  const uint64_t goes = begin_move(nodes, from_near, target);
  nodes.until([&] { return nodes.plan_state(asked, goes) == ctrl::PlanState::kDone; });
  EXPECT_NE(nodes.plan_state(asked, hangs), ctrl::PlanState::kDone);
  EXPECT_EQ(owner_of(nodes, asked, from_down), down);
  readable(target);
  readable(near);
  ASSERT_TRUE(nodes.start(down_at).ok());
  // And once more, now that the hand-over has been decided.
  nodes.until([&] { return owner_of(nodes, asked, from_down) == target; });
  nodes.crash(down_at);
  const uint64_t waits = begin_move(nodes, shards_of(nodes, asked, near).front(), target);
  nodes.pass(Millis(3'000));
  readable(near);
  for (const kv::ShardInfo& shard : nodes.group(asked, target).state_machine().shards()) {
    if (shard.shard == from_down || shard.state == ShardState::kStaged) continue;
    EXPECT_TRUE(shard.served()) << shard.shard.value();
  }
  ASSERT_TRUE(nodes.start(down_at).ok());
  nodes.until([&] {
    return nodes.plan_state(asked, hangs) == ctrl::PlanState::kDone &&
           nodes.plan_state(asked, waits) == ctrl::PlanState::kDone;
  });
  wait_quiet(nodes);
  for (const GroupId group : {target, near, down}) readable(group);
}

// A group that gets a shard has lost its quorum: the plan shows where it stands, the source serves on, and all goes on
// when the quorum is back, or is given up.
TEST(ScenarioShards, M34_unreachable_destination) {
  Nodes nodes(107, 6, with(2, 3, 4));
  balance(nodes, "off");
  std::vector<size_t> members;
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (nodes.has_group(i, kTwo) && !nodes.has_group(i, kOne)) members.push_back(i);
  }
  ASSERT_EQ(members.size(), 3u) << "the groups have no node in common";
  const std::vector<ShardId> shards = shards_of(nodes, 0, kOne);
  nodes.crash(members[0]);
  nodes.crash(members[1]);
  const uint64_t given_up = begin_move(nodes, shards.at(0), kTwo);
  const uint64_t patient = begin_move(nodes, shards.at(1), kTwo);
  const size_t asked = nodes.leader(kOne);
  const std::string key = [&] {
    for (int i = 0;; ++i) {
      std::string each = "k" + std::to_string(i);
      if (keyspace(nodes, asked).lookup(api::encoded_key({}, each)).id == shards.at(0)) return each;
    }
  }();
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(nodes.put(asked, key, std::to_string(i)).ok());
    nodes.pass(Millis(1'000));
  }
  for (const uint64_t plan : {given_up, patient}) {
    ASSERT_EQ(nodes.plan_state(asked, plan), ctrl::PlanState::kRunning);
    const ctrl::Step& step = nodes.chart(asked)->plans.at(ctrl::PlanId(plan)).steps.at(0);
    EXPECT_TRUE(step.phase == ctrl::StepPhase::kPending || step.phase == ctrl::StepPhase::kCopying);
  }
  EXPECT_EQ(owner_of(nodes, asked, shards.at(0)), kOne);
  ASSERT_TRUE(nodes.change(asked, api::ControlPlan{.plan = given_up, .verb = "cancel"}).status.ok());
  nodes.until([&] { return nodes.plan_state(asked, given_up) == ctrl::PlanState::kCancelled; });
  ASSERT_TRUE(nodes.start(members[0]).ok());
  ASSERT_TRUE(nodes.start(members[1]).ok());
  nodes.until([&] { return nodes.plan_state(asked, patient) == ctrl::PlanState::kDone; });
  wait_quiet(nodes);
  EXPECT_EQ(owner_of(nodes, asked, shards.at(0)), kOne);
  EXPECT_EQ(owner_of(nodes, asked, shards.at(1)), kTwo);
  EXPECT_EQ(nodes.get(asked, key).value, "9");
}

// --- Load ------------------------------------------------------------------------------------------------------------

// A shard of many keys moves: no leader misses its heartbeats, no entry and no wait grows with the shard.
TEST(ScenarioShards, M27_huge_shard) {
  Nodes nodes(111, 3, with(2, 3, 2));
  balance(nodes, "off");
  const ShardId shard = shards_of(nodes, 0, kOne).front();
  uint64_t keys = 0;
  for (uint64_t i = 0; keys < 6'000; ++i) {
    std::vector<api::Command> commands;
    std::vector<std::string> names;
    for (uint64_t n = 0; n < 50; ++n) names.push_back("big" + std::to_string(i * 50 + n));
    const std::string value(2'000, 'v');
    for (const std::string& name : names) {
      if (keyspace(nodes, 0).lookup(api::encoded_key({}, name)).id != shard) continue;
      commands.push_back(api::Put{.key = name, .value = value});
      ++keys;
    }
    ASSERT_TRUE(nodes.write(i % 3, commands).status.ok());
  }
  nodes.pass(Millis(6'000));  // leaders are where they should be
  std::map<GroupId, Term> terms;
  for (const GroupId id : {kControlGroup, kOne, kTwo}) terms[id] = nodes.group(nodes.leader(id), id).core().term();
  size_t largest = 0;
  nodes.network().set_tap([&](Passing& passing) {
    if (is(passing, PeerMessage::kWrite)) largest = std::max(largest, passing.body.size());
    return Fate::kPass;
  });
  Clients clients(nodes);
  clients.run(Millis(500));
  const MonoTime began = nodes.world().now();
  const uint64_t plan = begin_move(nodes, shard, kTwo);
  clients.until([&] { return nodes.plan_state(0, plan) == ctrl::PlanState::kDone; });
  EXPECT_LT(nodes.world().now() - began, Millis(30'000));
  for (const auto& [id, term] : terms) {
    EXPECT_EQ(nodes.group(nodes.leader(id), id).core().term(), term)
        << "group " << id.value() << " has changed its leader";
  }
  EXPECT_EQ(clients.errors(), 0u) << clients.first_error();
  EXPECT_LT(clients.slowest(), Millis(500));
  EXPECT_LT(largest, 512_KiB);
  clients.rest();
  wait_quiet(nodes);
  EXPECT_GE(nodes.group(nodes.leader(kTwo), kTwo).engine().count(), keys);
}

// Both groups get another member in the middle of a move between them: all of it ends.
TEST(ScenarioShards, M29_membership_change_during_move) {
  Nodes nodes(112, 4, with(2, 3, 2));
  balance(nodes, "off");
  Clients clients(nodes, 6, 3'000);
  clients.run(Millis(2'000));
  const ShardId shard = shards_of(nodes, 0, kOne).front();
  const uint64_t move = begin_move(nodes, shard, kTwo);
  nodes.until([&] { return state_at_leader(nodes, kTwo, shard) == ShardState::kStaged; });
  const size_t fresh = nodes.join(0);
  std::vector<uint64_t> plans = {move};
  // A node that both groups have a replica on; its place is taken by the new one.
  size_t gone = SIZE_MAX;
  for (size_t i = 0; i < 4; ++i) {
    if (nodes.has_group(i, kOne) && nodes.has_group(i, kTwo)) gone = i;
  }
  ASSERT_NE(gone, SIZE_MAX);
  const api::ClusterReply replaced = nodes.change(0, api::ReplaceNode{.node = nodes.id(gone), .by = nodes.id(fresh)});
  ASSERT_TRUE(replaced.status.ok()) << replaced.status.to_string();
  plans.push_back(replaced.plan);
  const size_t asked = gone == 0 ? 1 : 0;
  clients.until([&] {
    return std::all_of(plans.begin(), plans.end(),
                       [&](uint64_t plan) { return nodes.plan_state(asked, plan) == ctrl::PlanState::kDone; });
  });
  nodes.crash(gone);
  clients.check();
  for (const GroupId id : {kOne, kTwo}) {
    EXPECT_EQ(nodes.status(fresh, id).voters.size(), 3u);
    const auto voters = nodes.status(fresh, id).voters;
    EXPECT_TRUE(std::find(voters.begin(), voters.end(), nodes.id(fresh)) != voters.end());
  }
}

// A node hears nothing of the controller and goes by an old chart. What has not moved it serves as ever; what has moved
// it asks for in vain, with pauses, until it hears again or the time of the request is over.
TEST(ScenarioShards, M33_stale_client_config) {
  Nodes nodes(113, 6, with(2, 3, 4));
  balance(nodes, "off");
  size_t stale = SIZE_MAX;
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (nodes.has_group(i, kOne) && !nodes.has_group(i, kTwo) && i != nodes.leader(kOne) &&
        i != nodes.leader(kControlGroup)) {
      stale = i;
    }
  }
  ASSERT_NE(stale, SIZE_MAX);
  const size_t other = stale == 0 ? 1 : 0;
  std::map<ShardId, std::string> key_in;
  for (int i = 0; key_in.size() < 4; ++i) {
    const std::string key = "k" + std::to_string(i);
    key_in.emplace(keyspace(nodes, 0).lookup(api::encoded_key({}, key)).id, key);
  }
  const std::vector<ShardId> shards = shards_of(nodes, 0, kOne);
  bool cut_off = true;
  uint64_t asked = 0;
  nodes.network().set_tap([&](Passing& passing) {
    if (passing.from == nodes.host_id(stale) &&
        (is(passing, PeerMessage::kRoutedWrite) || is(passing, PeerMessage::kWrite))) {
      ++asked;
    }
    if (!cut_off || !is(passing, PeerMessage::kRaft) || passing.to != nodes.address(stale).to_string()) {
      return Fate::kPass;
    }
    return Decoder(passing.body).id<GroupId>() == kControlGroup ? Fate::kDrop : Fate::kPass;
  });
  const uint64_t plan = begin_move(nodes, shards.at(0), kTwo);
  nodes.until([&] { return nodes.plan_state(other, plan) == ctrl::PlanState::kDone; });
  ASSERT_EQ(owner_of(nodes, stale, shards.at(0)), kOne) << "it has not heard";
  for (const auto& [shard, key] : key_in) {
    if (shard == shards.at(0)) continue;
    EXPECT_TRUE(nodes.put(stale, key, "1").ok()) << key;
    EXPECT_EQ(nodes.get(stale, key).value, "1");
  }
  const std::string moved = key_in.at(shards.at(0));
  ASSERT_TRUE(nodes.put(other, moved, "new").ok());
  asked = 0;
  const auto in_vain = nodes.begin_write(stale, {api::Put{.key = moved, .value = "never"}});
  const auto nothing = nodes.begin_get(stale, moved);
  nodes.until([&] { return in_vain->has_value() && nothing->has_value(); });
  EXPECT_FALSE((*in_vain)->status.ok());
  EXPECT_FALSE(is_indeterminate((*in_vain)->status.code())) << (*in_vain)->status.to_string();
  EXPECT_FALSE((*nothing)->status.ok()) << "rather than an old value, or none";
  EXPECT_LT(asked, 200u) << "no loop";
  // Another waits when the news comes.
  const auto waits = nodes.begin_write(stale, {api::Put{.key = moved, .value = "newer"}});
  nodes.pass(Millis(1'000));
  ASSERT_FALSE(waits->has_value());
  cut_off = false;
  nodes.until([&] { return waits->has_value(); });
  EXPECT_TRUE((*waits)->status.ok()) << (*waits)->status.to_string();
  EXPECT_EQ(nodes.get(other, moved).value, "newer");
}

// After every configuration all keys are there, each in the group that owns it and in no other.
TEST(ScenarioShards, M35_shard_conservation) {
  Nodes nodes(114, 3, with(3, 3, 6));
  balance(nodes, "off");
  Clients clients(nodes);
  for (int round = 0; round < 12; ++round) {
    clients.run(Millis(300));
    const std::vector<ctrl::Shard>& all = keyspace(nodes, 0).shards;
    const ctrl::Shard& shard = all.at(nodes.world().rng().below(all.size()));
    const GroupId to(1 + (shard.group.value() + nodes.world().rng().below(2)) % 3);
    const uint64_t plan = begin_move(nodes, shard.id, to);
    clients.until([&] { return nodes.plan_state(0, plan) == ctrl::PlanState::kDone; });
    clients.check();
    if (HasFailure()) return;
  }
  EXPECT_EQ(clients.errors(), 0u) << clients.first_error();
}

// A shard takes the time that the rate gives it, and no more; clients do not wait for it.
TEST(ScenarioShards, a_copy_keeps_to_its_rate) {
  constexpr uint64_t kRate = 100'000;
  Nodes nodes(119, 3, [](size_t, node::NodeOptions& options) {
    options.groups = 2;
    options.replication = 3;
    options.shards = 2;
    options.shard_chunk_bytes = 4'000;
    options.move_bytes_per_second = kRate;
  });
  balance(nodes, "off");
  const ShardId shard = shards_of(nodes, 0, kOne).front();
  uint64_t bytes = 0;
  for (int i = 0; bytes < 3 * kRate; ++i) {
    const std::string key = "k" + std::to_string(i);
    ASSERT_TRUE(nodes.put(0, key, std::string(3'000, 'v')).ok());
    if (nodes.chart(0)->routes->group_of(key) == kOne) bytes += 3'000;
  }
  Clients clients(nodes);
  clients.run(Millis(200));
  const MonoTime began = nodes.world().now();
  const uint64_t plan = begin_move(nodes, shard, kTwo);
  clients.until([&] { return nodes.plan_state(0, plan) == ctrl::PlanState::kDone; });
  const double seconds = static_cast<double>((nodes.world().now() - began).count()) / 1e6;
  EXPECT_GE(seconds, 2.8);
  EXPECT_LE(seconds, 5.0);
  EXPECT_EQ(clients.errors(), 0u) << clients.first_error();
  EXPECT_LT(clients.slowest(), Millis(500));
}

// More is written to a shard than the rate lets its receiver copy. The rate is for what was there: what changes
// meanwhile follows as fast as it can, and so the copy comes to an end.
TEST(ScenarioShards, a_copy_catches_up_with_more_than_its_rate) {
  Nodes nodes(147, 3, [](size_t, node::NodeOptions& options) {
    options.groups = 2;
    options.replication = 3;
    options.shards = 2;
    options.shard_chunk_bytes = 4'000;
    options.move_bytes_per_second = 20'000;
  });
  balance(nodes, "off");
  const ShardId shard = shards_of(nodes, 0, kOne).front();
  std::vector<std::string> keys;
  for (int i = 0; keys.size() < 20; ++i) {
    const std::string key = "k" + std::to_string(i);
    if (nodes.chart(0)->routes->group_of(key) == kOne) keys.push_back(key);
  }
  for (const std::string& key : keys) ASSERT_TRUE(nodes.put(0, key, std::string(1'000, 'v')).ok());
  const uint64_t plan = begin_move(nodes, shard, kTwo);
  const MonoTime began = nodes.world().now();
  uint64_t written = 0;
  for (; nodes.plan_state(0, plan) != ctrl::PlanState::kDone && written < 20'000'000; written += 1'000) {
    ASSERT_TRUE(nodes.put(0, keys[written / 1'000 % keys.size()], std::string(1'000, 'w')).ok());
  }
  EXPECT_EQ(nodes.plan_state(0, plan), ctrl::PlanState::kDone);
  const uint64_t rate = written * 1'000'000 / static_cast<uint64_t>((nodes.world().now() - began).count());
  EXPECT_GT(rate, 2U * 20'000) << "or this shows nothing";
}

// A copy takes a fifth of the time, so that it becomes slower where everything is slow; with no limit it takes all.
TEST(ScenarioShards, a_copy_rests_longer_where_it_is_slow) {
  const auto pace = [](uint64_t rate, Micros slower) {
    Nodes nodes(148, 6, [rate](size_t node, node::NodeOptions& options) {
      with(2, 3, 4)(node, options);
      options.shard_chunk_bytes = 1'000;
      options.move_bytes_per_second = rate;
    });
    balance(nodes, "off");
    const ShardId shard = shards_of(nodes, 0, kOne).front();
    for (int i = 0; i < 200; ++i) EXPECT_TRUE(nodes.put(0, "k" + std::to_string(i), std::string(500, 'v')).ok());
    for (size_t i = 0; i < nodes.size(); ++i) {
      for (size_t j = 0; j < nodes.size(); ++j) nodes.world().slow_link(nodes.host_id(i), nodes.host_id(j), slower);
    }
    std::vector<MonoTime> asked;
    nodes.network().set_tap([&](Passing& passing) {
      if (is(passing, PeerMessage::kShardPull)) asked.push_back(nodes.world().now());
      return Fate::kPass;
    });
    const uint64_t plan = begin_move(nodes, shard, kTwo);
    nodes.until([&] { return nodes.plan_state(0, plan) == ctrl::PlanState::kDone; });
    std::vector<Micros> gaps;
    for (size_t i = 1; i < asked.size(); ++i) gaps.push_back(asked[i] - asked[i - 1]);
    EXPECT_GT(gaps.size(), 8U);
    std::sort(gaps.begin(), gaps.end());
    return gaps[gaps.size() / 2];
  };
  // The way there and back, twice: a piece to the receiver, and to its followers.
  const Micros slow = Millis(10);
  EXPECT_GT(pace(1_GiB, slow), 5 * 4 * slow);
  EXPECT_LT(pace(1_GiB, Micros(0)), 4 * slow);
  EXPECT_LT(pace(0, slow), 2 * 4 * slow);
}

// One piece took four seconds, for some trouble that is over: the copy does not rest for sixteen.
TEST(ScenarioShards, a_copy_does_not_rest_for_long) {
  Nodes nodes(149, 6, [](size_t node, node::NodeOptions& options) {
    with(2, 3, 4)(node, options);
    options.shard_chunk_bytes = 1'000;
    options.move_bytes_per_second = 1_GiB;
  });
  balance(nodes, "off");
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(nodes.put(0, "k" + std::to_string(i), std::string(500, 'v')).ok());
  bool trouble = false;
  int asked = 0;
  nodes.network().set_tap([&](Passing& passing) {
    if (is(passing, PeerMessage::kShardPull) && ++asked == 3) trouble = true;
    GroupId group;
    return trouble && raft_message(passing, group) && group == kTwo ? drop_append_results(passing) : Fate::kPass;
  });
  const uint64_t plan = begin_move(nodes, shards_of(nodes, 0, kOne).front(), kTwo);
  nodes.until([&] { return trouble; });
  nodes.pass(Millis(4'000));
  EXPECT_EQ(asked, 3);
  trouble = false;
  const MonoTime over = nodes.world().now();
  nodes.until([&] { return nodes.plan_state(0, plan) == ctrl::PlanState::kDone; });
  EXPECT_LT(nodes.world().now() - over, Millis(6'000));
}

// All of the load is on one shard: it is cut in two where its load is halved, and the halves go to different groups.
TEST(ScenarioShards, a_busy_shard_is_split_and_its_load_spread) {
  Nodes nodes(120, 3, with_limits({.split_operations = 50, .cost_min = 20}));
  balance(nodes, "load");
  const ShardId busy = shards_of(nodes, 0, kOne).front();
  std::map<std::string, std::string> written;
  for (int i = 0; written.size() < 40; ++i) {
    const std::string key = "k" + std::to_string(i);
    if (nodes.chart(0)->routes->group_of(key) == kOne) written[key] = "";
  }
  const auto spread = [&] {
    std::map<GroupId, int> keys;
    for (const auto& [key, value] : written) ++keys[nodes.chart(0)->routes->group_of(key)];
    return keys[kOne] >= 5 && keys[kTwo] >= 5;
  };
  for (int i = 0; !spread() && i < 300; ++i) {
    for (auto& [key, value] : written) {
      value = std::to_string(i);
      ASSERT_TRUE(nodes.put(0, key, value).ok());
    }
  }
  EXPECT_TRUE(spread());
  wait_quiet(nodes);
  EXPECT_GT(keyspace(nodes, 0).shards.size(), 2u);
  EXPECT_EQ(keyspace(nodes, 0).shards.front().id, busy) << "the left half keeps its name";
  for (const auto& [key, value] : written) EXPECT_EQ(nodes.get(1, key).value, value);
}

// A node that has heard of one group only is asked to erase everything, when half of it has moved to another group.
TEST(ScenarioShards, everything_is_erased_by_a_map_from_yesterday) {
  Nodes nodes(121, 3, with(1, 3, 2));
  balance(nodes, "off");
  std::map<ShardId, std::string> key_in;
  for (int i = 0; key_in.size() < 2; ++i) {
    const std::string key = "k" + std::to_string(i);
    key_in.emplace(keyspace(nodes, 0).lookup(api::encoded_key({}, key)).id, key);
  }
  for (const auto& [shard, key] : key_in) ASSERT_TRUE(nodes.put(0, key, "1").ok());
  const size_t stale = nodes.leader(kControlGroup) == 2 ? 1 : 2;
  bool cut_off = true;
  nodes.network().set_tap([&](Passing& passing) {
    if (!cut_off || !is(passing, PeerMessage::kRaft) || passing.to != nodes.address(stale).to_string()) {
      return Fate::kPass;
    }
    return Decoder(passing.body).id<GroupId>() == kControlGroup ? Fate::kDrop : Fate::kPass;
  });
  // The new group is on the two others: the one that is cut off would not know that it should have a replica.
  const size_t one = (stale + 1) % 3, other = (stale + 2) % 3;
  ASSERT_TRUE(nodes.change(one, api::AddGroup{.voters = {nodes.id(one), nodes.id(other)}, .replicas = 0}).status.ok());
  nodes.until([&] {
    const ctrl::Group* group = nodes.chart(one)->config->group(kTwo);
    return group != nullptr && group->state == ctrl::GroupState::kServing;
  });
  ASSERT_TRUE(nodes.change(one, api::SetReplication{.keyspace = "default", .replication = 2}).status.ok());
  const uint64_t plan = begin_move(nodes, key_in.begin()->first, kTwo);
  nodes.until([&] { return nodes.plan_state(one, plan) == ctrl::PlanState::kDone; });
  ASSERT_EQ(nodes.chart(stale)->routes->groups(), std::vector{kOne}) << "it has not heard";
  const auto erased = nodes.begin_write(stale, {api::DeleteAll{}});
  nodes.pass(Millis(500));
  cut_off = false;
  nodes.until([&] { return erased->has_value(); });
  if ((*erased)->status.ok()) {
    for (const auto& [shard, key] : key_in) EXPECT_EQ(nodes.get(one, key).value, std::nullopt) << key;
  } else {
    EXPECT_FALSE(is_indeterminate((*erased)->status.code())) << (*erased)->status.to_string();
  }
  ASSERT_TRUE(nodes.write(stale, {api::DeleteAll{}}).status.ok());
  for (const auto& [shard, key] : key_in) EXPECT_EQ(nodes.get(one, key).value, std::nullopt) << key;
}

}  // namespace
}  // namespace flux::sim
