// Goal: reads go as the list of edge cases says (R39 to R49).
#include <gtest/gtest.h>

#include "raft/testing/cluster.h"
#include "raft/testing/lone.h"

namespace flux::raft::testing {
namespace {

Options lease_options() {
  Options options;
  options.leader_lease = true;
  options.clock_drift_ppm_max = 1000;
  return options;
}

TEST(Raft, R39_readindex_new_leader_waits) {
  Lone leader({.log = log_of({1})});
  leader.lead();
  leader.step(ReadRequested{.ticket = 5});
  leader.settle();
  // Rounds are answered by everybody, but nothing of its own term is committed.
  for (uint64_t round = 1; round <= 3; ++round) {
    leader.pass(Millis(50));
    leader.step(Tick{});
    leader.settle();
    leader.receive(2, 2, HeartbeatResult{.round = round});
  }
  leader.settle();
  EXPECT_TRUE(leader.reads.empty());
  leader.receive(2, 2, AppendResult{.accepted = true, .index = Index(2)});
  uint64_t round = 0;
  for (const auto& [message, heartbeat] : all_of<Heartbeat>(leader.settle())) round = std::max(round, heartbeat.round);
  EXPECT_TRUE(leader.reads.empty()) << "the round must start after that";
  leader.receive(2, 2, HeartbeatResult{.round = round});
  leader.settle();
  ASSERT_EQ(leader.reads.size(), 1u);
  EXPECT_TRUE(leader.reads[0].status.ok());
  EXPECT_EQ(leader.reads[0].index, Index(2));
}

TEST(Raft, R40_readindex_after_transfer) {
  Cluster cluster;
  cluster.bootstrap(3);
  cluster.elect(1);
  cluster.propose(1, "a");
  cluster.transfer(1, 2);
  // Reads at the old leader, at the new one and at a follower, at every point of the hand-over.
  std::vector<uint64_t> tickets;
  do {
    for (const uint64_t node : {1U, 2U, 3U}) tickets.push_back(cluster.read(node));
  } while (cluster.deliver_one() && tickets.size() < 1000);
  cluster.run(Micros(3'000'000));
  EXPECT_EQ(cluster.leader(), 2u);
  EXPECT_TRUE(cluster.violations.empty()) << cluster.violations[0];
  for (const uint64_t ticket : tickets) EXPECT_TRUE(cluster.reads.contains(ticket)) << "never answered: " << ticket;
}

TEST(Raft, R41_readindex_duplicate_context) {
  Cluster cluster;
  cluster.bootstrap(3);
  cluster.elect(1);
  // Requests and answers are repeated on the way.
  cluster.read(3);
  cluster.network().push_back(cluster.network().front());
  cluster.read(3);
  for (int i = 0; i < 100 && !cluster.network().empty(); ++i) {
    if (std::holds_alternative<ReadIndexResult>(cluster.network().front().body)) {
      cluster.network().push_back(cluster.network().front());
      cluster.deliver_one();
    }
    cluster.deliver_one();
  }
  EXPECT_EQ(cluster.reads.size(), 2u);
  EXPECT_TRUE(cluster.violations.empty());
  // An answer to an earlier life of the follower names a context that this life never used.
  cluster.crash(3);
  cluster.restart(3);
  cluster.run(Micros(100'000));
  cluster.read(3);
  for (uint64_t context = 0; context < 100; ++context) {
    cluster.receive(1, 3, 1, ReadIndexResult{.context = context, .ok = true, .index = Index(0)});
  }
  EXPECT_EQ(cluster.reads.size(), 2u);
}

TEST(Raft, R42_readindex_lost_quorum) {
  Cluster cluster;
  cluster.options.check_quorum = false;
  cluster.bootstrap(3);
  cluster.elect(1);
  cluster.isolate(1);
  const uint64_t local = cluster.read(1);
  cluster.run(cluster.options.read_timeout - Micros(10'000));
  EXPECT_FALSE(cluster.reads.contains(local));
  cluster.run(Micros(20'000));
  EXPECT_EQ(cluster.core(1).role(), Role::kLeader) << "without check-quorum it goes on leading";
  EXPECT_EQ(cluster.reads.at(local).status.code(), ErrorCode::kUnavailable);

  // A forwarded read has a deadline of its own.
  Cluster other;
  other.bootstrap(3);
  other.elect(1);
  other.cut(3, 1);
  const uint64_t forwarded = other.read(3);
  other.run(Micros(1'100'000));
  EXPECT_EQ(other.reads.at(forwarded).status.code(), ErrorCode::kUnavailable);
}

TEST(Raft, R43_follower_read) {
  Cluster cluster;
  cluster.bootstrap(3);
  cluster.elect(1);
  cluster.cut(1, 3);
  cluster.propose(1, "a");
  cluster.stabilize();
  cluster.heal();
  ASSERT_LT(cluster.core(3).applied_index(), Index(2));
  const uint64_t ticket = cluster.read(3);
  cluster.stabilize();
  EXPECT_TRUE(cluster.reads.at(ticket).status.ok());
  EXPECT_EQ(cluster.reads.at(ticket).index, Index(2)) << "the driver waits until this is applied";
  EXPECT_LT(cluster.core(3).applied_index(), Index(2));
}

TEST(Raft, R44_read_during_restart_replay) {
  Cluster cluster;
  cluster.bootstrap(3);
  cluster.elect(1);
  for (int i = 0; i < 5; ++i) cluster.propose(1, "x");
  cluster.stabilize();
  cluster.crash(1);
  cluster.restart(1);
  EXPECT_EQ(cluster.core(1).applied_index(), Index(0));
  const uint64_t early = cluster.read(1);
  EXPECT_EQ(cluster.reads.at(early).status.code(), ErrorCode::kUnavailable) << "no leader is known";
  cluster.run(Micros(3'000'000));
  const uint64_t ticket = cluster.read(cluster.leader());
  cluster.stabilize();
  EXPECT_TRUE(cluster.reads.at(ticket).status.ok());
  EXPECT_GE(cluster.reads.at(ticket).index, Index(6));
  EXPECT_TRUE(cluster.violations.empty());
}

TEST(Raft, R45_lease_read_pause_inside) {
  // The process stops between reading and answering. The check before the answer, with a fresh time, tells.
  Lone leader({.options = lease_options()});
  leader.pass(Millis(300));
  leader.lead();
  leader.receive(2, 1, AppendResult{.accepted = true, .index = Index(1), .round = 1});
  leader.settle();
  ASSERT_TRUE(leader.core().lease_valid(leader.now));
  leader.step(ReadRequested{.ticket = 1, .mode = ReadMode::kLease});
  leader.settle();
  ASSERT_EQ(leader.reads.size(), 1u);
  leader.pass(Millis(10'000));
  EXPECT_FALSE(leader.core().lease_valid(leader.now));
}

TEST(Raft, R46_lease_measured_from_send) {
  Lone leader({.options = lease_options()});
  leader.pass(Millis(300));
  leader.lead();  // the round starts with the first append
  const MonoTime sent = leader.now;
  leader.pass(Millis(200));
  leader.receive(2, 1, AppendResult{.accepted = true, .index = Index(1), .round = 1});
  leader.settle();
  EXPECT_TRUE(leader.core().lease_valid(sent + Millis(299)));
  EXPECT_FALSE(leader.core().lease_valid(sent + Millis(300))) << "not 300 ms from when the answer came";
}

TEST(Raft, R47_lease_drift_beyond_bound) {
  EXPECT_FALSE(Options{}.leader_lease);
  Options options = lease_options();
  options.id = NodeId(1);
  EXPECT_TRUE(options.validate().ok());
  options.clock_drift_ppm_max = 0;
  EXPECT_EQ(options.validate().code(), ErrorCode::kInvalidArgument);
  options.clock_drift_ppm_max = 900'000;
  EXPECT_EQ(options.validate().code(), ErrorCode::kInvalidArgument);

  // The declared drift comes off the lease: ten percent each way leaves 300 * 0.9 / 1.1 = 245 ms.
  options.clock_drift_ppm_max = 100'000;
  Lone leader({.options = options});
  leader.pass(Millis(300));
  leader.lead();
  leader.receive(2, 1, AppendResult{.accepted = true, .index = Index(1), .round = 1});
  leader.settle();
  EXPECT_TRUE(leader.core().lease_valid(leader.now + Millis(245)));
  EXPECT_FALSE(leader.core().lease_valid(leader.now + Millis(246)));
}

TEST(Raft, R48_lease_requires_checkquorum) {
  Options options = lease_options();
  options.id = NodeId(1);
  options.check_quorum = false;
  EXPECT_EQ(options.validate().code(), ErrorCode::kInvalidArgument);
}

TEST(Raft, R49_read_on_removed_member) {
  Cluster cluster;
  cluster.bootstrap(3);
  cluster.elect(1);
  cluster.cut(1, 3);
  cluster.propose_config(1, steps({{ConfigStepKind::kRemove, 3}}));
  cluster.stabilize();
  cluster.heal();
  // Node 3 still believes in its leader, which knows better than to answer.
  const uint64_t ticket = cluster.read(3);
  cluster.run(Micros(2'000'000));
  EXPECT_EQ(cluster.reads.at(ticket).status.code(), ErrorCode::kUnavailable);
  // A leader that removed itself answers nothing either once it is out.
  cluster.propose_config(1, steps({{ConfigStepKind::kRemove, 1}}));
  cluster.stabilize();
  const uint64_t late = cluster.read(1);
  cluster.run(Micros(2'000'000));
  EXPECT_FALSE(cluster.reads.at(late).status.ok());
}

TEST(RaftRead, all_that_wait_share_one_round) {
  Lone leader({});
  leader.lead();
  leader.receive(2, 1, AppendResult{.accepted = true, .index = Index(1)});
  leader.settle();
  for (uint64_t ticket = 1; ticket <= 100; ++ticket) leader.step(ReadRequested{.ticket = ticket});
  const auto heartbeats = all_of<Heartbeat>(leader.settle());
  ASSERT_EQ(heartbeats.size(), 2u) << "one for each voter, not one for each read";
  // One that arrives now must wait for a round of its own: this one started before it.
  leader.step(ReadRequested{.ticket = 101});
  leader.receive(2, 1, HeartbeatResult{.round = heartbeats[0].second.round});
  const auto next = all_of<Heartbeat>(leader.settle());
  EXPECT_EQ(leader.reads.size(), 100u);
  ASSERT_FALSE(next.empty());
  leader.receive(3, 1, HeartbeatResult{.round = next[0].second.round});
  leader.settle();
  EXPECT_EQ(leader.reads.size(), 101u);
}

TEST(RaftRead, an_answer_to_an_older_round_confirms_nothing) {
  Lone leader({});
  leader.lead();
  leader.receive(2, 1, AppendResult{.accepted = true, .index = Index(1), .round = 1});
  leader.settle();
  leader.step(ReadRequested{.ticket = 1});
  leader.settle();
  leader.receive(2, 1, HeartbeatResult{.round = 1});
  leader.receive(3, 1, HeartbeatResult{.round = 1});
  leader.settle();
  EXPECT_TRUE(leader.reads.empty());
  // Nor does one from the future, or from a node that is not one of us.
  leader.receive(2, 1, HeartbeatResult{.round = 99});
  leader.receive(8, 1, HeartbeatResult{.round = 2});
  leader.settle();
  EXPECT_TRUE(leader.reads.empty());
}

TEST(RaftRead, an_append_carries_the_round_too) {
  Lone leader({});
  leader.lead();
  leader.receive(2, 1, AppendResult{.accepted = true, .index = Index(1), .round = 1});
  leader.settle();
  leader.step(Proposal{.ticket = 1, .data = SharedBytes("x")});
  leader.step(ReadRequested{.ticket = 2});
  uint64_t round = 0;
  for (const auto& [message, append] : all_of<Append>(leader.settle())) round = append.round;
  EXPECT_EQ(round, 2u);
  leader.receive(2, 1, AppendResult{.accepted = true, .index = Index(2), .round = round});
  leader.settle();
  EXPECT_EQ(leader.reads.size(), 1u);
}

TEST(RaftRead, too_many_are_refused) {
  Options options;
  options.reads_pending_max = 10;
  Lone leader({.options = options});
  leader.lead();
  for (uint64_t ticket = 1; ticket <= 15; ++ticket) leader.step(ReadRequested{.ticket = ticket});
  leader.settle();
  ASSERT_EQ(leader.reads.size(), 5u);
  EXPECT_EQ(leader.reads[0].status.code(), ErrorCode::kOverloaded);
}

TEST(RaftRead, a_lease_needs_a_quorum_and_our_own_term_committed) {
  Lone leader({.log = log_of({1}), .options = lease_options()});
  leader.pass(Millis(300));
  leader.lead();
  EXPECT_FALSE(leader.core().lease_valid(leader.now));
  leader.receive(2, 2, HeartbeatResult{.round = 1});
  EXPECT_FALSE(leader.core().lease_valid(leader.now)) << "nothing of its term is committed";
  leader.receive(2, 2, AppendResult{.accepted = true, .index = Index(2), .round = 1});
  EXPECT_TRUE(leader.core().lease_valid(leader.now));
}

}  // namespace
}  // namespace flux::raft::testing
