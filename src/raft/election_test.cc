// Goal: elections go as the list of edge cases says (R01 to R20), and nothing is said before it is durable.
#include <gtest/gtest.h>

#include "raft/testing/cluster.h"
#include "raft/testing/lone.h"

namespace flux::raft::testing {
namespace {

constexpr Millis kLong{700};  // longer than any election timeout

TEST(Raft, R01_vote_persisted_before_reply) {
  Lone node({.options = {.pre_vote = false}});
  node.receive(2, 1, Vote{.last = {}});
  Update update = node.take();
  EXPECT_TRUE(all_of<VoteResult>(update.send_now).empty());
  ASSERT_EQ(all_of<VoteResult>(update.send_after_persist).size(), 1u);
  EXPECT_EQ(update.hard_state, (HardState{.term = Term(1), .vote = NodeId(2)}));

  // After a crash the vote is remembered, and a second candidate of the term is refused.
  Lone again({.term = 1, .vote = 2});
  again.receive(3, 1, Vote{.last = {}});
  const auto answers = all_of<VoteResult>(again.settle());
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_FALSE(answers[0].second.granted);
  // The first one asks again, because the answer was lost: it is told the same.
  again.receive(2, 1, Vote{.last = {}});
  EXPECT_TRUE(all_of<VoteResult>(again.settle()).at(0).second.granted);
}

TEST(Raft, R02_term_persisted_on_stepdown) {
  Lone node({});
  node.lead();
  ASSERT_EQ(node.core().term(), Term(1));
  node.receive(3, 9, HeartbeatResult{});
  // Whatever it says from here on says term 9, and waits for that to be durable.
  node.receive(2, 4, Vote{.last = id_of(9, 3)});
  Update update = node.take();
  EXPECT_EQ(update.hard_state->term, Term(9));
  EXPECT_TRUE(update.send_now.empty());
  ASSERT_EQ(update.send_after_persist.size(), 1u);
  EXPECT_EQ(update.send_after_persist[0].term, Term(9));
  EXPECT_EQ(node.core().role(), Role::kFollower);
}

TEST(Raft, R03_two_candidates_same_term) {
  Cluster cluster;
  cluster.options.pre_vote = false;
  cluster.bootstrap(3);
  cluster.campaign(1);
  cluster.campaign(2);
  cluster.stabilize();
  EXPECT_LE(cluster.leaders.size(), 1u);
  EXPECT_EQ(cluster.core(1).term(), Term(1));
  cluster.run(Micros(3'000'000));
  EXPECT_NE(cluster.leader(), 0u);
  EXPECT_TRUE(cluster.violations.empty());
}

TEST(Raft, R04_stale_log_candidate_loses) {
  // Ours ends at 3^2. A longer log of an older term is older; a shorter one of a newer term is newer.
  const auto answer_to = [](EntryId last) {
    Lone node({.log = log_of({1, 1, 2})});
    node.receive(2, 5, Vote{.last = last});
    return all_of<VoteResult>(node.settle()).at(0).second.granted;
  };
  EXPECT_FALSE(answer_to(id_of(9, 1)));
  EXPECT_FALSE(answer_to(id_of(2, 2)));
  EXPECT_TRUE(answer_to(id_of(3, 2)));
  EXPECT_TRUE(answer_to(id_of(4, 2)));
  EXPECT_TRUE(answer_to(id_of(1, 3)));
}

TEST(Raft, R05_prevote_behind_node) {
  Lone node({.log = log_of({1, 1, 2})});
  node.receive(2, 3, Vote{.pre = true, .last = id_of(2, 1)});
  const auto answers = all_of<VoteResult>(node.settle());
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_FALSE(answers[0].second.granted);
  EXPECT_EQ(node.core().term(), Term(2));
}

TEST(Raft, R06_prevote_grant_has_no_side_effect) {
  Lone node({.log = log_of({1}), .vote = 0});
  const MonoTime deadline = node.core().next_deadline();
  node.pass(Millis(10));
  node.receive(2, 2, Vote{.pre = true, .last = id_of(1, 1)});
  Update update = node.take();
  ASSERT_EQ(all_of<VoteResult>(update.send_now).size(), 1u);
  EXPECT_TRUE(all_of<VoteResult>(update.send_now)[0].second.granted);
  EXPECT_FALSE(update.needs_persist());
  EXPECT_EQ(node.core().term(), Term(1));
  EXPECT_EQ(node.core().next_deadline(), deadline);
  // Two candidates may be told yes.
  node.receive(3, 2, Vote{.pre = true, .last = id_of(1, 1)});
  EXPECT_TRUE(all_of<VoteResult>(node.settle()).at(0).second.granted);
}

TEST(Raft, R07_prevote_checkquorum_recent_leader) {
  Lone node({.log = log_of({1})});
  node.receive(3, 1, Heartbeat{});
  node.settle();
  for (const bool pre : {true, false}) {
    node.receive(2, 2, Vote{.pre = pre, .last = id_of(5, 1)});
    EXPECT_TRUE(node.settle().empty());
    EXPECT_EQ(node.core().term(), Term(1));
  }
  node.pass(Millis(300));
  node.receive(2, 2, Vote{.pre = true, .last = id_of(5, 1)});
  EXPECT_TRUE(all_of<VoteResult>(node.settle()).at(0).second.granted);
}

TEST(Raft, R08_quorum_of_precandidates) {
  Cluster cluster;
  cluster.bootstrap(3);
  cluster.elect(1);
  cluster.isolate(1);
  cluster.now = cluster.now + kLong;
  cluster.campaign(2);
  cluster.campaign(3);
  cluster.stabilize();
  cluster.run(Micros(2'000'000));
  EXPECT_TRUE(cluster.leader() == 2 || cluster.leader() == 3);
  EXPECT_TRUE(cluster.violations.empty());
}

TEST(Raft, R09_checkquorum_stepdown) {
  Cluster cluster;
  cluster.bootstrap(3);
  cluster.elect(1);
  cluster.isolate(1);
  const uint64_t ticket = cluster.propose(1, "lost?");
  cluster.run(cluster.options.election_timeout_max + Micros(1));
  EXPECT_EQ(cluster.core(1).role(), Role::kFollower);
  // It was accepted and is neither committed nor undone: its outcome is unknown.
  EXPECT_TRUE(cluster.proposals.at(ticket).status.ok());
  EXPECT_EQ(cluster.applied_commands(), std::vector<std::string>{});
}

TEST(Raft, R10_stuck_higher_term_node) {
  Cluster cluster;
  cluster.options.pre_vote = false;
  cluster.bootstrap(3);
  cluster.elect(1);
  cluster.isolate(3);
  for (int i = 0; i < 10; ++i) cluster.campaign(3);
  cluster.heal();
  cluster.run(Micros(3'000'000));
  const uint64_t leader = cluster.leader();
  ASSERT_NE(leader, 0u);
  cluster.propose(leader, "goes on");
  cluster.run(Micros(100'000));
  EXPECT_EQ(cluster.applied_commands(), std::vector<std::string>{"goes on"});
  EXPECT_EQ(cluster.at(3).state(), cluster.at(1).state());
}

TEST(Raft, R11_removed_node_campaigns) {
  Cluster cluster;
  cluster.bootstrap(3);
  cluster.elect(1);
  cluster.cut(1, 3);
  cluster.propose_config(1, steps({{ConfigStepKind::kRemove, 3}}));
  cluster.stabilize();
  cluster.heal();
  const Term term = cluster.core(1).term();
  for (int i = 0; i < 20; ++i) {
    cluster.run(Micros(100'000));
    cluster.campaign(3);
  }
  EXPECT_EQ(cluster.leader(), 1u);
  EXPECT_EQ(cluster.core(1).term(), term);
}

TEST(Raft, R12_learner_unknowingly_voter_votes) {
  Cluster cluster;
  cluster.bootstrap(2, 1);
  cluster.elect(1);
  cluster.propose(1, "a");
  cluster.stabilize();
  cluster.cut(1, 3);
  cluster.propose_config(1, steps({{ConfigStepKind::kPromote, 3}}));
  cluster.stabilize();
  ASSERT_TRUE(cluster.core(3).membership().is_learner(NodeId(3)));
  cluster.crash(1);
  cluster.heal();
  cluster.run(Micros(3'000'000));
  EXPECT_EQ(cluster.leader(), 2u);
}

TEST(Raft, R13_learner_never_counts) {
  Cluster cluster;
  cluster.bootstrap(2, 2);
  cluster.elect(1);
  cluster.isolate(2);
  cluster.propose(1, "a");
  cluster.stabilize();
  // Node 1 and both learners have it: one voter of two.
  EXPECT_EQ(cluster.core(3).last_index(), Index(2));
  EXPECT_EQ(cluster.core(1).commit_index(), Index(1));
  // Nor do their votes or their answers to reads.
  const uint64_t read = cluster.read(1);
  cluster.stabilize();
  EXPECT_FALSE(cluster.reads.contains(read));
  cluster.run(Micros(5'000'000));
  EXPECT_EQ(cluster.leader(), 0u);
  EXPECT_FALSE(cluster.reads.at(read).status.ok());
}

TEST(Raft, R14_split_vote_1000x) {
  uint64_t elections = 0;
  for (uint64_t seed = 1; seed <= 1000; ++seed) {
    Cluster cluster(seed);
    cluster.options.pre_vote = seed % 2 == 0;
    cluster.bootstrap(4);
    for (const uint64_t node : {1U, 2U, 3U, 4U}) cluster.campaign(node);
    cluster.run(Micros(5'000'000));
    ASSERT_NE(cluster.leader(), 0u) << "seed " << seed;
    elections += cluster.core(cluster.leader()).term().value();
  }
  EXPECT_LT(elections, 4000u);
}

TEST(Raft, R15_asymmetric_send_only_leader) {
  Cluster cluster;
  cluster.bootstrap(3);
  cluster.elect(1);
  cluster.cut(2, 1);
  cluster.cut(3, 1);
  cluster.run(Micros(3'000'000));
  EXPECT_NE(cluster.leader(), 0u);
  EXPECT_NE(cluster.leader(), 1u);
}

TEST(Raft, R16_bridge_partition_stable) {
  // Nodes 1, 2 and 4, 5 see each other only through 3.
  Cluster cluster;
  cluster.bootstrap(5);
  cluster.elect(1);
  for (const uint64_t left : {1U, 2U}) {
    for (const uint64_t right : {4U, 5U}) cluster.cut_both(left, right);
  }
  const size_t before = cluster.leaders.size();
  size_t written = 0;
  for (int second = 0; second < 60; ++second) {
    cluster.run(Micros(1'000'000));
    if (cluster.leader() != 0) cluster.propose(cluster.leader(), fmt::format("{}", written++));
  }
  EXPECT_LE(cluster.leaders.size() - before, 2u);
  EXPECT_GE(cluster.applied_commands().size(), 50u);
}

TEST(Raft, R17_two_leaf_five_nodes) {
  // Two nodes reach nobody but each other.
  Cluster cluster;
  cluster.bootstrap(5);
  cluster.elect(1);
  for (const uint64_t leaf : {4U, 5U}) {
    for (const uint64_t other : {1U, 2U, 3U}) cluster.cut_both(leaf, other);
  }
  cluster.run(Micros(10'000'000));
  cluster.propose(1, "a");
  cluster.heal();
  cluster.run(Micros(10'000'000));
  EXPECT_EQ(cluster.leader(), 1u);
  EXPECT_EQ(cluster.core(1).term(), Term(1));
  EXPECT_EQ(cluster.applied_commands(), std::vector<std::string>{"a"});
}

TEST(Raft, R18_transfer_target_behind_dies_self_learner_timeout) {
  Cluster cluster;
  cluster.bootstrap(3, 1);
  cluster.elect(1);
  cluster.isolate(3);
  cluster.propose(1, "a");
  cluster.stabilize();

  // Behind, and never catches up: given up, and proposals resume.
  const uint64_t behind = cluster.transfer(1, 3);
  EXPECT_EQ(cluster.proposals.at(cluster.propose(1, "held")).status.code(), ErrorCode::kUnavailable);
  cluster.run(Micros(700'000));
  EXPECT_EQ(cluster.transfers.at(behind).status.code(), ErrorCode::kTimeout);
  EXPECT_TRUE(cluster.proposals.at(cluster.propose(1, "b")).status.ok());
  cluster.stabilize();

  // Up to date, and dies when told.
  const uint64_t dying = cluster.transfer(1, 2);
  cluster.crash(2);
  cluster.heal();
  cluster.run(Micros(700'000));
  EXPECT_EQ(cluster.transfers.at(dying).status.code(), ErrorCode::kTimeout);
  EXPECT_TRUE(cluster.proposals.at(cluster.propose(1, "c")).status.ok());

  // To itself, to a learner, to a stranger.
  EXPECT_TRUE(cluster.transfers.at(cluster.transfer(1, 1)).status.ok());
  EXPECT_EQ(cluster.transfers.at(cluster.transfer(1, 4)).status.code(), ErrorCode::kPrecondition);
  EXPECT_EQ(cluster.transfers.at(cluster.transfer(1, 9)).status.code(), ErrorCode::kPrecondition);
  cluster.run(Micros(1'000'000));
  EXPECT_EQ(cluster.applied_commands(), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_TRUE(cluster.violations.empty());
}

TEST(Raft, R19_transfer_invalidates_lease) {
  Cluster cluster;
  cluster.options.leader_lease = true;
  cluster.options.clock_drift_ppm_max = 1000;
  cluster.bootstrap(3);
  cluster.run(Micros(2'000'000));
  const uint64_t leader = cluster.leader();
  ASSERT_NE(leader, 0u);
  ASSERT_TRUE(cluster.core(leader).lease_valid(cluster.now));
  const uint64_t target = leader == 1 ? 2 : 1;
  cluster.cut(leader, target);
  cluster.transfer(leader, target);
  EXPECT_FALSE(cluster.core(leader).lease_valid(cluster.now));
  // Even when the transfer is over: its message may still arrive and elect the target.
  cluster.run(Micros(700'000));
  EXPECT_EQ(cluster.core(leader).role(), Role::kLeader);
  EXPECT_EQ(cluster.core(leader).transfer_target(), kNobody);
  EXPECT_FALSE(cluster.core(leader).lease_valid(cluster.now));
  const uint64_t read = cluster.read(leader, ReadMode::kLease);
  EXPECT_FALSE(cluster.reads.contains(read)) << "it needs a round";
  cluster.stabilize();
  EXPECT_TRUE(cluster.reads.at(read).status.ok());
}

TEST(Raft, R20_single_node_group) {
  Cluster cluster;
  cluster.bootstrap(1);
  cluster.run(Micros(1'000));
  ASSERT_EQ(cluster.leader(), 1u);
  cluster.at(1).auto_persist = false;
  cluster.propose(1, "a");
  EXPECT_EQ(cluster.core(1).commit_index(), Index(1));
  EXPECT_TRUE(cluster.applied_commands().empty());
  cluster.at(1).persist_one(cluster.now);
  EXPECT_EQ(cluster.applied_commands(), std::vector<std::string>{"a"});
  // An idle group of one costs nothing.
  EXPECT_EQ(cluster.core(1).next_deadline(), MonoTime::infinite());
}

TEST(RaftElection, a_report_that_the_leader_is_gone_elects_at_once) {
  Cluster cluster;
  cluster.bootstrap(3);
  cluster.elect(1);
  cluster.crash(1);
  cluster.step(2, LeaderGone{NodeId(1)});
  cluster.step(3, LeaderGone{NodeId(1)});
  cluster.run(cluster.options.leader_gone_delay_max + Micros(1'000));
  EXPECT_NE(cluster.leader(), 0u);
}

TEST(RaftElection, a_wrong_report_disturbs_nobody) {
  Cluster cluster;
  cluster.bootstrap(5);
  cluster.elect(1);
  for (int i = 0; i < 100; ++i) {
    cluster.step(2 + static_cast<uint64_t>(i) % 2, LeaderGone{NodeId(1)});
    cluster.run(Micros(30'000));
  }
  EXPECT_EQ(cluster.leader(), 1u);
  EXPECT_EQ(cluster.core(1).term(), Term(1));
}

TEST(RaftElection, with_leases_a_restart_keeps_the_promise_it_cannot_remember) {
  Options options;
  options.leader_lease = true;
  options.clock_drift_ppm_max = 1000;
  Lone node({.log = log_of({1}), .options = options});
  node.receive(2, 2, Vote{.last = id_of(1, 1)});
  EXPECT_TRUE(node.settle().empty());
  node.step(Campaign{});
  EXPECT_EQ(node.core().role(), Role::kFollower);
  node.pass(Millis(300));
  node.receive(2, 2, Vote{.last = id_of(1, 1)});
  EXPECT_TRUE(all_of<VoteResult>(node.settle()).at(0).second.granted);
}

TEST(RaftElection, with_leases_a_higher_term_does_not_dissolve_the_promise) {
  Options options;
  options.leader_lease = true;
  options.clock_drift_ppm_max = 1000;
  Lone node({.log = log_of({1}), .options = options});
  node.receive(3, 1, Heartbeat{.commit = Index(1), .round = 1});
  node.settle();
  // Somebody else's higher term arrives in an answer; the leader's name is forgotten, the promise is not.
  node.receive(2, 7, AppendResult{});
  EXPECT_EQ(node.core().leader(), kNobody);
  node.receive(2, 7, Vote{.last = id_of(9, 5)});
  node.receive(2, 8, Vote{.last = id_of(9, 5)});
  for (const auto& [message, result] : all_of<VoteResult>(node.settle())) EXPECT_FALSE(result.granted);
  node.pass(Millis(300));
  node.receive(2, 8, Vote{.last = id_of(9, 5)});
  EXPECT_TRUE(all_of<VoteResult>(node.settle()).at(0).second.granted);
}

TEST(RaftElection, a_forged_vote_does_not_elect_before_our_own_is_durable) {
  Lone node({.options = {.pre_vote = false}});
  node.step(Campaign{});
  const Update update = node.take();
  node.receive(2, 1, VoteResult{.granted = true});
  node.receive(3, 1, VoteResult{.granted = true});
  EXPECT_EQ(node.core().role(), Role::kCandidate);
  node.step(Persisted{update.number});
  EXPECT_EQ(node.core().role(), Role::kLeader);
}

}  // namespace
}  // namespace flux::raft::testing
