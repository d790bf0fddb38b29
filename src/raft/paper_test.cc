// Goal: each rule of Raft that FluxKV relies on, one test each, named by where it is written. "Paper" is Ongaro and
// Ousterhout, "In Search of an Understandable Consensus Algorithm (Extended Version)", 2014; "dissertation" is Ongaro,
// "Consensus: Bridging Theory and Practice", 2014.
#include <gtest/gtest.h>

#include <set>

#include "raft/testing/cluster.h"
#include "raft/testing/lone.h"

namespace flux::raft::testing {
namespace {

Options plain() {
  Options options;
  options.pre_vote = false;
  options.check_quorum = false;
  return options;
}

// Candidate in the term after the current one, with its own vote durable.
void stand(Lone& node) {
  node.step(Campaign{});
  node.settle();
  ASSERT_EQ(node.core().role(), Role::kCandidate);
}

TEST(Paper, section_5_1_any_role_follows_a_higher_term) {
  for (const Role role : {Role::kFollower, Role::kCandidate, Role::kLeader}) {
    Lone node({.options = plain()});
    if (role == Role::kCandidate) stand(node);
    if (role == Role::kLeader) {
      stand(node);
      node.receive(2, 1, VoteResult{.granted = true});
    }
    ASSERT_EQ(node.core().role(), role);
    node.receive(3, 7, Append{});
    EXPECT_EQ(node.core().role(), Role::kFollower);
    EXPECT_EQ(node.core().term(), Term(7));
    EXPECT_EQ(node.core().leader(), NodeId(3));
  }
}

TEST(Paper, section_5_1_a_stale_term_is_told_the_new_one) {
  Lone node({.log = log_of({1}), .term = 5, .options = plain()});
  node.receive(2, 4, Append{.prev = id_of(1, 1), .entries = log_of({1}, 2)});
  node.receive(3, 4, Vote{.last = id_of(9, 4)});
  const std::vector<Message> answers = node.settle();
  ASSERT_EQ(answers.size(), 2u);
  for (const Message& answer : answers) EXPECT_EQ(answer.term, Term(5));
  EXPECT_FALSE(all_of<AppendResult>(answers).at(0).second.accepted);
  EXPECT_FALSE(all_of<VoteResult>(answers).at(0).second.granted);
  EXPECT_EQ(node.core().last_id(), id_of(1, 1));
}

TEST(Paper, section_5_2_starts_as_follower_and_stands_after_silence) {
  Lone node({.options = plain()});
  EXPECT_EQ(node.core().role(), Role::kFollower);
  node.now = node.core().next_deadline() - Micros(1);
  node.step(Tick{});
  EXPECT_EQ(node.core().role(), Role::kFollower);
  node.now = node.now + Micros(1);
  node.step(Tick{});
  EXPECT_EQ(node.core().role(), Role::kCandidate);
  EXPECT_EQ(node.core().term(), Term(1));
}

TEST(Paper, section_5_2_a_candidate_asks_everybody_and_votes_for_itself) {
  Lone node({.voters = 5, .options = plain()});
  node.step(Campaign{});
  const Update update = node.take();
  EXPECT_EQ(update.hard_state, (HardState{.term = Term(1), .vote = NodeId(1)}));
  EXPECT_TRUE(update.send_now.empty());
  std::set<uint64_t> asked;
  for (const auto& [message, vote] : all_of<Vote>(update.send_after_persist)) asked.insert(message.to.value());
  EXPECT_EQ(asked, (std::set<uint64_t>{2, 3, 4, 5}));
}

TEST(Paper, section_5_2_a_majority_elects) {
  for (uint64_t voters = 1; voters <= 7; ++voters) {
    for (uint64_t grants = 0; grants < voters; ++grants) {
      Lone node({.voters = voters, .options = plain()});
      node.step(Campaign{});
      node.settle();
      for (uint64_t from = 2; from < 2 + grants; ++from) node.receive(from, 1, VoteResult{.granted = true});
      const bool majority = 2 * (grants + 1) > voters;
      EXPECT_EQ(node.core().role() == Role::kLeader, majority) << voters << " voters, " << grants << " grants";
    }
  }
}

TEST(Paper, section_5_2_a_majority_of_refusals_ends_it) {
  Lone node({.options = plain()});
  stand(node);
  node.receive(2, 1, VoteResult{});
  EXPECT_EQ(node.core().role(), Role::kCandidate);
  node.receive(2, 1, VoteResult{.granted = true});
  EXPECT_EQ(node.core().role(), Role::kCandidate) << "the first answer of a voter counts";
  node.receive(3, 1, VoteResult{});
  EXPECT_EQ(node.core().role(), Role::kFollower);
}

TEST(Paper, section_5_2_one_vote_per_term_first_come_first_served) {
  Lone node({.options = plain()});
  node.receive(2, 3, Vote{});
  node.receive(3, 3, Vote{});
  const auto answers = all_of<VoteResult>(node.settle());
  ASSERT_EQ(answers.size(), 2u);
  EXPECT_TRUE(answers[0].second.granted);
  EXPECT_FALSE(answers[1].second.granted);
  // The next term is another matter.
  node.receive(3, 4, Vote{});
  EXPECT_TRUE(all_of<VoteResult>(node.settle()).at(0).second.granted);
}

TEST(Paper, section_5_2_a_candidate_recognises_the_leader_of_its_term) {
  Lone node({.options = plain()});
  stand(node);
  node.receive(3, 1, Heartbeat{});
  EXPECT_EQ(node.core().role(), Role::kFollower);
  EXPECT_EQ(node.core().leader(), NodeId(3));
  EXPECT_EQ(node.core().term(), Term(1));
}

TEST(Paper, section_5_2_timeouts_are_random_within_their_bounds) {
  std::set<int64_t> seen;
  Lone node({.options = plain()});
  for (int i = 0; i < 50; ++i) {
    const Micros timeout = node.core().next_deadline() - node.now;
    EXPECT_GE(timeout, node.core().options().election_timeout_min);
    EXPECT_LE(timeout, node.core().options().election_timeout_max);
    seen.insert(timeout.count());
    node.now = node.core().next_deadline();
    node.step(Tick{});
    node.settle();
  }
  EXPECT_EQ(node.core().term(), Term(50));
  EXPECT_GT(seen.size(), 40u);
}

TEST(Paper, section_5_2_a_leader_speaks_in_every_heartbeat_interval) {
  Lone node({.options = plain()});
  stand(node);
  node.receive(2, 1, VoteResult{.granted = true});
  node.settle();
  for (int i = 0; i < 5; ++i) {
    node.now = node.core().next_deadline();
    node.step(Tick{});
    EXPECT_EQ(all_of<Heartbeat>(node.settle()).size(), 2u);
  }
}

TEST(Paper, section_5_3_a_leader_appends_and_replicates) {
  Lone node({.options = plain()});
  stand(node);
  node.receive(2, 1, VoteResult{.granted = true});
  node.settle();
  for (const uint64_t peer : {2U, 3U}) {
    node.receive(peer, 1, AppendResult{.accepted = true, .index = Index(1)});
  }
  node.settle();
  node.step(Proposal{.ticket = 1, .data = SharedBytes("x")});
  const Update update = node.take();
  ASSERT_EQ(update.append.size(), 1u);
  EXPECT_EQ(update.append[0].id(), id_of(2, 1));
  const auto appends = all_of<Append>(update.send_now);
  ASSERT_EQ(appends.size(), 2u);
  for (const auto& [message, append] : appends) {
    EXPECT_EQ(append.prev, id_of(1, 1));
    EXPECT_EQ(append.entries.at(0).data, SharedBytes("x"));
  }
}

TEST(Paper, section_5_3_committed_once_a_majority_has_it) {
  for (uint64_t voters = 1; voters <= 7; ++voters) {
    for (uint64_t acks = 0; acks < voters; ++acks) {
      Lone node({.voters = voters, .options = plain()});
      node.step(Campaign{});
      node.settle();
      for (uint64_t peer = 2; peer <= voters; ++peer) node.receive(peer, 1, VoteResult{.granted = true});
      node.settle();
      ASSERT_EQ(node.core().role(), Role::kLeader);
      for (uint64_t peer = 2; peer < 2 + acks; ++peer) {
        node.receive(peer, 1, AppendResult{.accepted = true, .index = Index(1)});
      }
      EXPECT_EQ(node.core().commit_index() == Index(1), 2 * (acks + 1) > voters) << voters << " voters, " << acks;
    }
  }
}

TEST(Paper, section_5_3_a_follower_learns_what_is_committed_and_applies_in_order) {
  Lone node({.options = plain()});
  node.receive(2, 1, Append{.commit = Index(1), .entries = log_of({1, 1, 1})});
  node.settle();
  EXPECT_EQ(node.committed, std::vector<EntryId>{id_of(1, 1)});
  node.receive(2, 1, Append{.prev = id_of(3, 1), .commit = Index(3)});
  node.settle();
  EXPECT_EQ(node.committed, (std::vector<EntryId>{id_of(1, 1), id_of(2, 1), id_of(3, 1)}));
}

TEST(Paper, section_5_3_the_consistency_check) {
  // Ours: 1^1 2^2. Prev must be there, with its term.
  const auto accepted = [](EntryId prev) {
    Lone node({.log = log_of({1, 2}), .options = plain()});
    node.receive(2, 3, Append{.prev = prev, .entries = log_of({3}, prev.index.value() + 1)});
    return all_of<AppendResult>(node.settle()).at(0).second.accepted;
  };
  EXPECT_TRUE(accepted(id_of(0, 0)));
  EXPECT_TRUE(accepted(id_of(1, 1)));
  EXPECT_TRUE(accepted(id_of(2, 2)));
  EXPECT_FALSE(accepted(id_of(2, 1)));
  EXPECT_FALSE(accepted(id_of(1, 2)));
  EXPECT_FALSE(accepted(id_of(3, 3)));
}

TEST(Paper, section_5_3_a_rejection_passes_over_whole_terms) {
  Lone node({.log = log_of({1, 1, 2, 2, 2, 3, 3}), .options = plain()});
  node.receive(2, 5, Append{.prev = id_of(7, 2)});
  EXPECT_EQ(all_of<AppendResult>(node.settle()).at(0).second.hint, id_of(5, 2));
  node.receive(2, 5, Append{.prev = id_of(9, 5)});
  EXPECT_EQ(all_of<AppendResult>(node.settle()).at(0).second.hint, id_of(7, 3));
}

TEST(Paper, section_5_4_1_votes_only_for_logs_as_new_as_ours) {
  struct Case {
    std::vector<Entry> ours;
    EntryId theirs;
    bool granted;
  };
  const Case cases[] = {
      {log_of({1}), id_of(1, 1), true},     {log_of({1}), id_of(2, 1), true},    {log_of({1, 1}), id_of(1, 1), false},
      {log_of({1}), id_of(1, 2), true},     {log_of({1, 1}), id_of(1, 2), true}, {log_of({2}), id_of(1, 1), false},
      {log_of({1, 2}), id_of(9, 1), false}, {log_of({}), id_of(0, 0), true},
  };
  for (const Case& c : cases) {
    Lone node({.log = c.ours, .options = plain()});
    node.receive(2, 9, Vote{.last = c.theirs});
    EXPECT_EQ(all_of<VoteResult>(node.settle()).at(0).second.granted, c.granted) << fmt::format("{}", c.theirs);
  }
}

TEST(Paper, section_5_4_2_only_entries_of_the_own_term_are_committed_by_counting) {
  Lone node({.log = log_of({1, 2}), .options = plain()});
  stand(node);
  node.receive(2, 3, VoteResult{.granted = true});
  node.settle();
  node.receive(2, 3, AppendResult{.accepted = true, .index = Index(2)});
  node.receive(3, 3, AppendResult{.accepted = true, .index = Index(2)});
  EXPECT_EQ(node.core().commit_index(), Index(0));
  node.receive(2, 3, AppendResult{.accepted = true, .index = Index(3)});
  EXPECT_EQ(node.core().commit_index(), Index(3));
}

TEST(Paper, section_5_5_requests_may_be_repeated) {
  Lone node({.options = plain()});
  const Append append{.entries = log_of({1, 1})};
  for (int i = 0; i < 3; ++i) {
    node.receive(2, 1, append);
    const AppendResult result = all_of<AppendResult>(node.settle()).at(0).second;
    EXPECT_TRUE(result.accepted);
    EXPECT_EQ(result.index, Index(2));
  }
  EXPECT_EQ(node.core().last_id(), id_of(2, 1));
}

TEST(Paper, section_7_a_follower_behind_the_log_gets_a_snapshot) {
  Cluster cluster;
  cluster.bootstrap(3);
  cluster.elect(1);
  cluster.isolate(3);
  for (int i = 0; i < 5; ++i) cluster.propose(1, "x");
  cluster.stabilize();
  cluster.at(1).compact(cluster.now);
  cluster.heal();
  cluster.run(Micros(300'000));
  EXPECT_EQ(cluster.core(3).base_id(), id_of(6, 1));
  EXPECT_EQ(cluster.at(3).state(), cluster.at(1).state());
}

TEST(Paper, section_8_a_leader_opens_its_term_with_an_entry_of_its_own) {
  Lone node({.log = log_of({1}), .options = plain()});
  stand(node);
  node.receive(2, 2, VoteResult{.granted = true});
  const Update update = node.take();
  ASSERT_EQ(update.append.size(), 1u);
  EXPECT_EQ(update.append[0].id(), id_of(2, 2));
  EXPECT_EQ(update.append[0].type, EntryType::kNoop);
}

TEST(Paper, figure_2_hard_state_is_durable_before_answers_leave) {
  Lone node({.options = plain()});
  node.receive(2, 4, Append{.entries = log_of({4})});
  Update update = node.take();
  EXPECT_EQ(update.hard_state->term, Term(4));
  EXPECT_EQ(update.append.size(), 1u);
  EXPECT_TRUE(update.send_now.empty());
  EXPECT_EQ(update.send_after_persist.size(), 1u);
  // The same append again while that write is under way: still nothing may be said.
  node.receive(2, 4, Append{.entries = log_of({4})});
  const Update second = node.take();
  EXPECT_TRUE(second.send_now.empty());
  EXPECT_FALSE(second.needs_persist());
  node.step(Persisted{update.number});
  node.receive(2, 4, Append{.entries = log_of({4})});
  EXPECT_EQ(node.take().send_now.size(), 1u);
}

TEST(Dissertation, section_3_10_transfer_waits_for_the_target_to_catch_up) {
  Lone node({});
  node.lead();
  node.receive(2, 1, AppendResult{.accepted = true, .index = Index(1)});
  node.step(Proposal{.ticket = 1, .data = SharedBytes("x")});
  node.settle();
  node.step(TransferRequested{.ticket = 2, .target = NodeId(2)});
  EXPECT_TRUE(all_of<TimeoutNow>(node.settle()).empty());
  node.receive(2, 1, AppendResult{.accepted = true, .index = Index(2)});
  const auto told = all_of<TimeoutNow>(node.settle());
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].first.to, NodeId(2));
}

TEST(Dissertation, section_3_10_the_target_stands_without_asking_first) {
  Lone node({.log = log_of({1})});
  node.receive(2, 1, Heartbeat{});
  node.receive(2, 1, TimeoutNow{});
  EXPECT_EQ(node.core().role(), Role::kCandidate);
  EXPECT_EQ(node.core().term(), Term(2));
  const auto votes = all_of<Vote>(node.settle());
  ASSERT_EQ(votes.size(), 2u);
  EXPECT_TRUE(votes[0].second.transfer);
  // A follower that hears the leader grants it for that reason.
  Lone voter({.log = log_of({1})});
  voter.receive(2, 1, Heartbeat{});
  voter.settle();
  voter.receive(3, 2, Vote{.transfer = true, .last = id_of(1, 1)});
  EXPECT_TRUE(all_of<VoteResult>(voter.settle()).at(0).second.granted);
}

TEST(Dissertation, section_4_1_a_configuration_counts_when_it_is_appended) {
  Cluster cluster;
  cluster.bootstrap(1, 1);
  cluster.run(Micros(100'000));
  cluster.propose_config(1, steps({{ConfigStepKind::kPromote, 2}}));
  EXPECT_EQ(cluster.core(1).commit_index(), Index(1)) << "node 1 alone is no majority of two any more";
  cluster.propose(1, "x");
  EXPECT_EQ(cluster.core(1).commit_index(), Index(1));
  cluster.stabilize();
  EXPECT_EQ(cluster.core(1).commit_index(), Index(3));
}

TEST(Dissertation, section_4_2_2_a_leader_that_is_removed_steps_down_once_that_is_committed) {
  Cluster cluster;
  cluster.bootstrap(3);
  cluster.elect(1);
  cluster.propose_config(1, steps({{ConfigStepKind::kRemove, 1}}));
  EXPECT_EQ(cluster.core(1).role(), Role::kLeader) << "it manages a group that it is not part of";
  cluster.stabilize();
  EXPECT_EQ(cluster.core(1).role(), Role::kFollower);
}

TEST(Dissertation, section_4_2_3_who_hears_a_leader_ignores_votes) {
  Lone node({.log = log_of({1})});
  node.receive(2, 1, Heartbeat{});
  node.settle();
  node.receive(3, 9, Vote{.last = id_of(9, 8)});
  EXPECT_TRUE(node.settle().empty());
  EXPECT_EQ(node.core().term(), Term(1));
}

TEST(Dissertation, section_4_3_joint_decisions_need_both_halves) {
  // From {1,2,3} to {1,4,5}: node 1 leads. New half alone, then old half alone, then both.
  const auto commit_with = [](std::initializer_list<uint64_t> acks) {
    Cluster cluster;
    cluster.bootstrap(3);
    cluster.elect(1);
    for (const uint64_t node : {4U, 5U}) cluster.join(1, node);
    for (const uint64_t node : {2U, 3U, 4U, 5U}) {
      if (std::find(acks.begin(), acks.end(), node) == acks.end()) cluster.isolate(node);
    }
    const uint64_t change = cluster.propose_config(1, steps({{ConfigStepKind::kPromote, 4},
                                                             {ConfigStepKind::kPromote, 5},
                                                             {ConfigStepKind::kRemove, 2},
                                                             {ConfigStepKind::kRemove, 3}}));
    cluster.run(Micros(200'000));
    return cluster.core(1).commit_index() >= cluster.proposals.at(change).id.index;
  };
  EXPECT_FALSE(commit_with({4, 5}));
  EXPECT_FALSE(commit_with({2, 3}));
  EXPECT_TRUE(commit_with({2, 4}));
}

TEST(Dissertation, section_6_2_a_leader_without_a_quorum_steps_down) {
  Lone node({});
  node.lead();
  for (int i = 0; i < 11; ++i) {
    node.pass(Millis(50));
    node.step(Tick{});
    node.settle();
  }
  EXPECT_EQ(node.core().role(), Role::kLeader);
  node.pass(Millis(50));
  node.step(Tick{});
  EXPECT_EQ(node.core().role(), Role::kFollower);
}

TEST(Dissertation, section_6_4_a_read_needs_a_round_that_started_after_it) {
  Lone node({});
  node.lead();
  node.receive(2, 1, AppendResult{.accepted = true, .index = Index(1), .round = 1});
  node.settle();
  node.pass(Millis(50));
  node.step(Tick{});
  const uint64_t before = all_of<Heartbeat>(node.settle()).at(0).second.round;
  node.step(ReadRequested{.ticket = 1});
  const uint64_t after = all_of<Heartbeat>(node.settle()).at(0).second.round;
  EXPECT_GT(after, before);
  node.receive(2, 1, HeartbeatResult{.round = before});
  node.settle();
  EXPECT_TRUE(node.reads.empty());
  node.receive(2, 1, HeartbeatResult{.round = after});
  node.settle();
  EXPECT_EQ(node.reads.size(), 1u);
}

TEST(Dissertation, section_9_6_a_pre_candidate_raises_nothing_before_a_quorum_agrees) {
  Lone node({.log = log_of({1})});
  node.step(Campaign{});
  EXPECT_EQ(node.core().role(), Role::kPreCandidate);
  EXPECT_EQ(node.core().term(), Term(1));
  EXPECT_FALSE(node.take().needs_persist());
  // A grant for another try does not count; a refusal in our own term does.
  node.receive(2, 5, VoteResult{.pre = true, .granted = true});
  EXPECT_EQ(node.core().role(), Role::kPreCandidate);
  node.receive(2, 2, VoteResult{.pre = true, .granted = true});
  EXPECT_EQ(node.core().role(), Role::kCandidate);
  EXPECT_EQ(node.core().term(), Term(2));
}

}  // namespace
}  // namespace flux::raft::testing
