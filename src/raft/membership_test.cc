// Goal: membership and snapshots go as the list of edge cases says (R50 to R67), and a change leads where it should.
#include <gtest/gtest.h>

#include "raft/testing/cluster.h"
#include "raft/testing/lone.h"

namespace flux::raft::testing {
namespace {

using enum ConfigStepKind;

ConfigChange change_of(std::initializer_list<std::pair<ConfigStepKind, uint64_t>> list) {
  return {.steps = steps(list), .context = {}};
}

Result<Membership> change_at(const Membership& current, const ConfigChange& change) {
  return apply_change(current, change, Index(1));
}

Entry config_entry(uint64_t index, uint64_t term, const Membership& membership) {
  return {Index(index), Term(term), EntryType::kConfig, encode_config(membership, {})};
}

Membership voters_of(std::initializer_list<uint64_t> nodes) {
  Membership membership;
  for (const uint64_t node : nodes) membership.voters.insert(NodeId(node));
  return membership;
}

TEST(Membership, one_voter_changes_simply_and_more_go_through_both_halves) {
  Membership four = voters_of({1, 2, 3});
  four.learners = {NodeId(4)};
  const auto after = [&](std::initializer_list<std::pair<ConfigStepKind, uint64_t>> list) {
    return to_string(*change_at(four, change_of(list)));
  };
  EXPECT_EQ(after({{kPromote, 4}}), "voters=1,2,3,4");
  EXPECT_EQ(after({{kRemove, 3}}), "voters=1,2 learners=4");
  EXPECT_EQ(after({{kAddVoter, 4}}), "voters=1,2,3 learners=4 promoting=4");
  EXPECT_EQ(after({{kAddVoter, 5}, {kAddLearner, 6}}), "voters=1,2,3 learners=4,5,6 promoting=5");
  EXPECT_EQ(after({{kPromote, 4}, {kRemove, 3}}), "voters=1,2,4&&1,2,3");
  const Membership joint = *change_at(four, change_of({{kPromote, 4}, {kAddLearner, 3}}));
  EXPECT_EQ(to_string(joint), "voters=1,2,4&&1,2,3 learners_next=3");
  EXPECT_TRUE(joint.is_voter(NodeId(3)));
  EXPECT_EQ(to_string(joint.left_joint()), "voters=1,2,4 learners=3");
}

TEST(Membership, a_stay_is_named_by_where_its_log_may_start) {
  const Membership three = voters_of({1, 2, 3});
  const Membership joined = *apply_change(three, change_of({{kAddLearner, 4}}), Index(7));
  EXPECT_EQ(joined.since_of(NodeId(4)), Index(7));
  EXPECT_EQ(joined.since_of(NodeId(1)), Index(0));
  const Membership promoted = *apply_change(joined, change_of({{kPromote, 4}, {kRemove, 1}}), Index(9));
  EXPECT_EQ(promoted.since_of(NodeId(4)), Index(7)) << "the same stay";
  EXPECT_EQ(promoted.since_of(NodeId(1)), Index(0)) << "still there, in the old half";
  const Membership left = promoted.left_joint();
  const Membership again = *apply_change(left, change_of({{kAddVoter, 1}}), Index(11));
  EXPECT_EQ(again.since_of(NodeId(1)), Index(11)) << "another stay";
  const Membership gone = *apply_change(again, change_of({{kRemove, 4}}), Index(12));
  EXPECT_FALSE(gone.since.contains(NodeId(4)));
}

TEST(Membership, what_cannot_be_is_refused) {
  Membership three = voters_of({1, 2, 3});
  three.learners = {NodeId(4)};
  const auto code = [&](std::initializer_list<std::pair<ConfigStepKind, uint64_t>> list) {
    return change_at(three, change_of(list)).status().code();
  };
  EXPECT_EQ(code({}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code({{kAddVoter, 0}}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code({{kAddVoter, 5}, {kRemove, 5}}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code({{static_cast<ConfigStepKind>(77), 5}}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code({{kAddVoter, 1}}), ErrorCode::kAlreadyExists);
  EXPECT_EQ(code({{kRemove, 9}}), ErrorCode::kAlreadyExists);
  EXPECT_EQ(code({{kPromote, 9}}), ErrorCode::kPrecondition);
  EXPECT_EQ(code({{kRemove, 1}, {kRemove, 2}, {kRemove, 3}}), ErrorCode::kPrecondition);
  const Membership joint = *change_at(three, change_of({{kPromote, 4}, {kRemove, 3}}));
  EXPECT_EQ(change_at(joint, change_of({{kAddVoter, 6}})).status().code(), ErrorCode::kPrecondition);
}

TEST(Membership, no_more_members_than_the_limit) {
  Membership many;
  for (uint64_t node = 1; node <= kMembersMax; ++node) many.voters.insert(NodeId(node));
  EXPECT_EQ(change_at(many, change_of({{kAddVoter, 100}})).status().code(), ErrorCode::kInvalidArgument);
}

TEST(Membership, a_record_survives_the_codec_and_nothing_else_does) {
  Membership membership = voters_of({1, 2, 4});
  membership.outgoing = {NodeId(1), NodeId(2), NodeId(3)};
  membership.learners_next = {NodeId(3)};
  membership.learners = {NodeId(7), NodeId(300)};
  membership.promote_when_ready = {NodeId(300)};
  membership.since = {{NodeId(4), Index(500)}, {NodeId(300), Index(2)}};
  const SharedBytes bytes = encode_config(membership, "why");
  const Result<ConfigRecord> record = decode_config(bytes.view());
  ASSERT_TRUE(record.ok());
  EXPECT_EQ(record->membership, membership);
  EXPECT_EQ(record->context, "why");
  for (size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(decode_config(bytes.view().substr(0, size)).ok());
  EXPECT_FALSE(decode_config(std::string(bytes.view()) + "x").ok());
  // Well spelled but impossible: a learner that votes; nobody who votes.
  Membership wrong = voters_of({1, 2});
  wrong.learners = {NodeId(2)};
  EXPECT_EQ(decode_config(encode_config(wrong, {}).view()).status().code(), ErrorCode::kCorruption);
  EXPECT_EQ(decode_config(encode_config({}, {}).view()).status().code(), ErrorCode::kCorruption);
}

TEST(Membership, golden_bytes) {
  // Stored in logs and snapshots: these bytes never change.
  Membership membership = voters_of({1, 2});
  membership.learners = {NodeId(200)};
  membership.since = {{NodeId(200), Index(9)}};
  EXPECT_EQ(encode_config(membership, "c").view(),
            std::string_view("\x01\x02\x01\x02\x00\x01\xC8\x01\x00\x00\x01\xC8\x01\x09\x01"
                             "c",
                             16));
}

TEST(Raft, R50_single_server_change_two_leaders) {
  // Ongaro's 2015 schedule. Node 1 appends "add 5" and reaches nobody. Node 2 takes over and wants to remove node 4:
  // half of each change could elect two leaders. It must first commit in its own term, and that rules node 1 out.
  Cluster cluster;
  cluster.bootstrap(4);
  cluster.elect(1);
  cluster.join(1, 5);
  cluster.isolate(1);
  cluster.propose_config(1, steps({{kPromote, 5}}));
  ASSERT_TRUE(cluster.core(1).membership().is_voter(NodeId(5)));
  cluster.now = cluster.now + Micros(400'000);
  cluster.campaign(2);
  while (cluster.core(2).role() != Role::kLeader && cluster.deliver_one()) {
  }
  ASSERT_EQ(cluster.core(2).role(), Role::kLeader);
  const uint64_t early = cluster.propose_config(2, steps({{kRemove, 4}}));
  EXPECT_EQ(cluster.proposals.at(early).status.code(), ErrorCode::kPrecondition);
  cluster.stabilize();
  const uint64_t change = cluster.propose_config(2, steps({{kRemove, 4}}));
  EXPECT_TRUE(cluster.proposals.at(change).status.ok());
  cluster.stabilize();
  // Node 1 is back and stands with what it has; node 5 and node 4 would be with it.
  cluster.heal();
  cluster.isolate(2);
  cluster.run(Micros(800'000));
  for (int i = 0; i < 10; ++i) cluster.campaign(1), cluster.run(Micros(400'000));
  cluster.heal();
  cluster.run(Micros(3'000'000));
  EXPECT_TRUE(cluster.violations.empty());
  EXPECT_EQ(to_string(cluster.core(cluster.leader()).membership()), "voters=1,2,3 learners=5");
}

TEST(Raft, R51_concurrent_changes_refused) {
  Cluster cluster;
  cluster.bootstrap(3);
  cluster.elect(1);
  const uint64_t first = cluster.propose_config(1, steps({{kRemove, 3}}));
  const uint64_t second = cluster.propose_config(1, steps({{kRemove, 2}}));
  EXPECT_TRUE(cluster.proposals.at(first).status.ok());
  EXPECT_EQ(cluster.proposals.at(second).status.code(), ErrorCode::kPrecondition);
  cluster.stabilize();
  EXPECT_TRUE(cluster.proposals.at(cluster.propose_config(1, steps({{kRemove, 2}}))).status.ok());
  // Asked at a follower it is refused as well.
  EXPECT_EQ(cluster.proposals.at(cluster.propose_config(2, steps({{kRemove, 1}}))).status.code(),
            ErrorCode::kNotLeader);
}

TEST(Raft, R52_config_rollback_on_truncate) {
  // A follower holds two configurations that it does not know to be committed. A new leader's log has neither.
  Lone node({.log = log_of({1})});
  node.receive(
      2, 1,
      Append{.prev = id_of(1, 1),
             .entries = {config_entry(2, 1, voters_of({1, 2, 3, 4})), config_entry(3, 1, voters_of({1, 2, 3, 4, 5}))}});
  node.settle();
  EXPECT_EQ(to_string(node.core().membership()), "voters=1,2,3,4,5");
  node.receive(3, 2, Append{.prev = id_of(2, 1), .entries = log_of({2}, 3)});
  node.settle();
  EXPECT_EQ(to_string(node.core().membership()), "voters=1,2,3,4");
  EXPECT_EQ(node.core().membership_index(), Index(2));
  node.receive(3, 3, Append{.prev = id_of(1, 1), .entries = log_of({3}, 2)});
  node.settle();
  EXPECT_EQ(to_string(node.core().membership()), "voters=1,2,3");
  EXPECT_EQ(node.core().membership_index(), Index(0));
}

TEST(Raft, R53_config_apply_time_liveness) {
  // Node 1 removes node 2, which is then turned off for good. Node 1 restarts without remembering what was committed;
  // if the removal only counted once applied, it would wait for node 2's vote for ever.
  Cluster cluster;
  cluster.bootstrap(2);
  cluster.elect(1);
  cluster.propose_config(1, steps({{kRemove, 2}}));
  cluster.stabilize();
  cluster.crash(2);
  cluster.crash(1);
  cluster.restart(1);
  cluster.run(Micros(2'000'000));
  EXPECT_EQ(cluster.leader(), 1u);
  EXPECT_EQ(to_string(cluster.core(1).membership()), "voters=1");
}

TEST(RaftMembership, a_removed_node_stands_while_it_alone_has_the_entry) {
  // Node 1 of two removes itself and crashes before node 2 hears of it. Node 2 cannot win against node 1's longer log,
  // so node 1 must stand, although by its own newest configuration it is out.
  Cluster cluster;
  cluster.bootstrap(2);
  cluster.elect(1);
  cluster.cut_both(1, 2);
  cluster.propose_config(1, steps({{kRemove, 1}}));
  cluster.crash(1);
  cluster.heal();
  cluster.restart(1);
  ASSERT_EQ(to_string(cluster.core(1).membership()), "voters=2");
  cluster.run(Micros(5'000'000));
  EXPECT_EQ(cluster.leader(), 2u);
  EXPECT_EQ(to_string(cluster.core(2).membership()), "voters=2");
  EXPECT_TRUE(cluster.violations.empty());
}

TEST(Raft, R54_removed_leader_not_counted) {
  Cluster cluster;
  cluster.bootstrap(3);
  cluster.elect(1);
  cluster.isolate(3);
  cluster.propose_config(1, steps({{kRemove, 1}}));
  cluster.stabilize();
  // Nodes 1 and 2 have it, but of the new voters 2 and 3 only one.
  EXPECT_EQ(cluster.core(2).last_index(), Index(2));
  EXPECT_EQ(cluster.core(1).commit_index(), Index(1));
  EXPECT_EQ(cluster.core(1).role(), Role::kLeader);
  // What comes after could only be lost: it is refused.
  EXPECT_EQ(cluster.proposals.at(cluster.propose(1, "late")).status.code(), ErrorCode::kUnavailable);
  cluster.heal();
  cluster.run(Micros(200'000));
  EXPECT_NE(cluster.core(1).role(), Role::kLeader);
  EXPECT_TRUE(cluster.leader() == 2 || cluster.leader() == 3);
}

TEST(Raft, R55_replace_leader_joint) {
  Cluster cluster;
  cluster.bootstrap(3);
  cluster.elect(1);
  cluster.join(1, 4);
  const MonoTime before = cluster.now;
  cluster.propose_config(1, steps({{kPromote, 4}, {kRemove, 1}}));
  cluster.stabilize();
  const uint64_t leader = cluster.leader();
  EXPECT_TRUE(leader == 2 || leader == 3 || leader == 4);
  EXPECT_EQ(cluster.now, before) << "the successor stood at once, without a timeout";
  EXPECT_EQ(to_string(cluster.core(leader).membership()), "voters=2,3,4");
  for (int i = 0; i < 10; ++i) {
    cluster.campaign(1);
    cluster.run(Micros(400'000));
  }
  EXPECT_EQ(cluster.leader(), leader);
  EXPECT_EQ(cluster.core(1).role(), Role::kFollower);
}

TEST(Raft, R56_joint_leader_dies) {
  Cluster cluster;
  cluster.bootstrap(3);
  cluster.elect(1);
  cluster.join(1, 4);
  cluster.propose_config(1, steps({{kPromote, 4}, {kRemove, 3}}));
  cluster.deliver_one([](const Message& m) { return m.to == NodeId(2); });
  ASSERT_TRUE(cluster.core(2).membership().joint());
  cluster.crash(1);
  cluster.run(Micros(5'000'000));
  ASSERT_EQ(cluster.leader(), 2u);
  EXPECT_EQ(to_string(cluster.core(2).membership()), "voters=1,2,4");
  EXPECT_EQ(to_string(cluster.core(4).membership()), "voters=1,2,4");
}

TEST(Raft, R57_readd_same_id_refused) {
  // Giving out node ids is the controller's; what the core refuses is the word of a node's earlier life. (See also
  // RaftReplication.answers_to_an_earlier_stay_do_not_count.) While the removal is not committed, no new life begins.
  Cluster cluster;
  cluster.bootstrap(3);
  cluster.elect(1);
  cluster.cut_both(1, 2);
  cluster.propose_config(1, steps({{kRemove, 3}}));
  cluster.stabilize();
  EXPECT_EQ(cluster.proposals.at(cluster.propose_config(1, steps({{kAddVoter, 3}}))).status.code(),
            ErrorCode::kPrecondition);
  cluster.heal();
  cluster.run(Micros(200'000));
  cluster.crash(3);
  cluster.add_empty(NodeId(3));
  EXPECT_TRUE(cluster.proposals.at(cluster.propose_config(1, steps({{kAddVoter, 3}}))).status.ok());
  cluster.run(Micros(500'000));
  EXPECT_EQ(to_string(cluster.core(3).membership()), "voters=1,2,3");
  EXPECT_TRUE(cluster.violations.empty());
}

TEST(Raft, R59_learner_promotion_lag) {
  Cluster cluster;
  cluster.options.learner_promote_lag = 5;
  cluster.bootstrap(1, 1);
  cluster.run(Micros(100'000));
  cluster.cut(1, 2);
  for (int i = 0; i < 10; ++i) cluster.propose(1, "x");
  const auto promote = [&](ConfigStepKind kind) {
    return cluster.proposals.at(cluster.propose_config(1, steps({{kind, 2}}))).status.code();
  };
  EXPECT_EQ(promote(kPromote), ErrorCode::kPrecondition) << "lacks entries";
  cluster.heal();
  cluster.run(Micros(200'000));
  cluster.isolate(2);
  cluster.run(Micros(700'000));
  EXPECT_EQ(promote(kPromote), ErrorCode::kPrecondition) << "is not heard";
  cluster.heal();
  cluster.run(Micros(200'000));
  EXPECT_EQ(promote(kPromote), ErrorCode::kOk);
}

TEST(Raft, R60_promote_demote_via_snapshot) {
  Cluster cluster;
  cluster.bootstrap(3);
  cluster.elect(1);
  cluster.isolate(3);
  cluster.propose_config(1, steps({{kAddLearner, 3}}));
  cluster.stabilize();
  for (const uint64_t node : {1U, 2U}) cluster.at(node).compact(cluster.now);
  cluster.heal();
  cluster.run(Micros(300'000));
  EXPECT_EQ(cluster.core(3).base_id(), id_of(2, 1));
  EXPECT_TRUE(cluster.core(3).membership().is_learner(NodeId(3)));
  // A learner waits for others to elect.
  cluster.crash(1);
  cluster.crash(2);
  cluster.run(Micros(5'000'000));
  EXPECT_EQ(cluster.core(3).role(), Role::kFollower);
  EXPECT_EQ(cluster.core(3).leader(), kNobody);
}

TEST(Raft, R62_snapshot_older_than_commit) {
  Lone node({.log = log_of({1, 1, 1})});
  node.receive(2, 1, Append{.prev = id_of(3, 1), .commit = Index(3), .entries = {}});
  node.settle();
  node.receive(2, 1, SnapshotOffer{.meta = {.last = id_of(2, 1), .membership = voters_of({1, 2, 3})}});
  const Update update = node.take();
  EXPECT_FALSE(update.install_snapshot.has_value());
  const auto answers = all_of<AppendResult>(update.send_now);
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_TRUE(answers[0].second.accepted);
  EXPECT_EQ(answers[0].second.index, Index(3));
  EXPECT_EQ(node.core().last_id(), id_of(3, 1));
}

TEST(RaftSnapshot, what_the_log_has_already_is_committed_instead_of_installed) {
  Lone node({.log = log_of({1, 1, 1, 1})});
  node.receive(2, 1, SnapshotOffer{.meta = {.last = id_of(3, 1), .membership = voters_of({1, 2, 3})}});
  node.settle();
  EXPECT_EQ(node.core().commit_index(), Index(3));
  EXPECT_EQ(node.core().last_id(), id_of(4, 1));
  EXPECT_EQ(node.committed.size(), 3u);
}

TEST(Raft, R64_snapshot_newer_than_log) {
  const SnapshotMeta base{.last = id_of(10, 5), .membership = voters_of({1, 2, 3})};
  const HardState hard_state{.term = Term(6), .vote = kNobody};
  // The log ends before the snapshot.
  RestoreBuilder behind(hard_state, base);
  for (const Entry& entry : log_of({1, 1, 1})) {
    ASSERT_TRUE(behind.add(entry.index, entry.term, entry.type, entry.data.view()).ok());
  }
  Restore restore = std::move(behind).build(Index(0)).value();
  EXPECT_EQ(restore.last, Index(10));
  EXPECT_EQ(restore.applied, Index(10));
  EXPECT_TRUE(restore.runs.empty());
  // It reaches beyond, but is of another history at the snapshot: what follows is stale.
  RestoreBuilder stale(hard_state, base);
  for (uint64_t index = 8; index <= 12; ++index)
    ASSERT_TRUE(stale.add(Index(index), Term(3), EntryType::kCommand, {}).ok());
  EXPECT_EQ(std::move(stale).build(Index(0))->last, Index(10));
  // It reaches beyond and agrees: what follows is kept.
  RestoreBuilder good(hard_state, base);
  for (uint64_t index = 8; index <= 12; ++index)
    ASSERT_TRUE(good.add(Index(index), Term(5), EntryType::kCommand, {}).ok());
  restore = std::move(good).build(Index(11)).value();
  EXPECT_EQ(restore.last, Index(12));
  EXPECT_EQ(restore.runs, (std::vector<TermRun>{{Term(5), Index(11)}}));
  // Gaps, terms that go back, rotten configurations and lost tails are told, not hidden.
  RestoreBuilder bad(hard_state, base);
  EXPECT_EQ(bad.add(Index(12), Term(5), EntryType::kCommand, {}).code(), ErrorCode::kCorruption);
  EXPECT_EQ(bad.add(Index(11), Term(4), EntryType::kCommand, {}).code(), ErrorCode::kCorruption);
  EXPECT_EQ(bad.add(Index(11), Term(5), EntryType::kConfig, "rot").code(), ErrorCode::kCorruption);
  EXPECT_EQ(std::move(bad).build(Index(11)).status().code(), ErrorCode::kDataLoss);
  RestoreBuilder lost_vote({.term = Term(4), .vote = kNobody}, base);
  ASSERT_TRUE(lost_vote.add(Index(11), Term(5), EntryType::kCommand, {}).ok());
  EXPECT_EQ(std::move(lost_vote).build(Index(10)).status().code(), ErrorCode::kDataLoss);
}

TEST(Raft, R66_two_snapshots_quick) {
  Lone node({.log = log_of({1})});
  const SnapshotMeta first{.last = id_of(5, 1), .membership = voters_of({1, 2, 3})};
  const SnapshotMeta second{.last = id_of(9, 1), .membership = voters_of({1, 2, 3})};
  node.receive(2, 1, SnapshotOffer{first});
  ASSERT_EQ(node.take().install_snapshot, first);
  // The second comes before the first is installed: declined. Appends wait, elections too.
  node.receive(2, 1, SnapshotOffer{second});
  EXPECT_FALSE(node.take().install_snapshot.has_value());
  node.receive(2, 1, Append{.prev = id_of(1, 1), .entries = log_of({1, 1}, 2)});
  node.step(Campaign{});
  EXPECT_EQ(node.core().last_id(), id_of(1, 1));
  EXPECT_EQ(node.core().role(), Role::kFollower);
  node.step(SnapshotPersisted{first});
  EXPECT_EQ(node.core().last_id(), id_of(5, 1));
  EXPECT_EQ(node.core().commit_index(), Index(5));
  const auto accepted = all_of<AppendResult>(node.settle());
  ASSERT_EQ(accepted.size(), 1u);
  EXPECT_EQ(accepted[0].second.index, Index(5));
  node.receive(2, 1, SnapshotOffer{second});
  ASSERT_EQ(node.take().install_snapshot, second);
  node.step(SnapshotRefused{second});
  EXPECT_EQ(node.core().last_id(), id_of(5, 1)) << "as it was";
  node.receive(2, 1, Append{.prev = id_of(5, 1), .entries = log_of({1}, 6)});
  EXPECT_TRUE(all_of<AppendResult>(node.settle()).at(0).second.accepted);
}

TEST(Raft, R67_compaction_vs_slow_follower) {
  // The log is compacted all the time, and writes never stop. The follower gets one snapshot and then keeps up.
  Cluster cluster;
  cluster.bootstrap(3);
  cluster.elect(1);
  cluster.isolate(3);
  for (int i = 0; i < 10; ++i) cluster.propose(1, "x");
  cluster.stabilize();
  cluster.at(1).compact(cluster.now);
  cluster.heal();
  for (int i = 0; i < 100; ++i) {
    cluster.propose(1, "y");
    cluster.run(Micros(10'000));
    cluster.at(1).compact(cluster.now);
  }
  cluster.run(Micros(200'000));
  EXPECT_EQ(cluster.core(1).counters().snapshots_requested, 1u);
  EXPECT_EQ(cluster.at(3).state(), cluster.at(1).state());
}

TEST(RaftMembership, who_joins_starts_with_a_snapshot_and_votes_only_then) {
  Lone node({.voters = 0});
  // Entries from the start, perhaps meant for an earlier life of this id: under them it would be the only voter.
  node.receive(2, 1, Append{.entries = {config_entry(1, 1, voters_of({1}))}});
  EXPECT_FALSE(all_of<AppendResult>(node.settle()).at(0).second.accepted);
  EXPECT_EQ(node.core().last_id(), id_of(0, 0));
  node.pass(Millis(400));
  node.receive(3, 5, Vote{.pre = true, .last = id_of(9, 4)});
  node.receive(3, 5, Vote{.last = id_of(9, 4)});
  EXPECT_TRUE(all_of<VoteResult>(node.settle()).empty());
  node.step(Campaign{});
  EXPECT_EQ(node.core().role(), Role::kFollower);
  // With the snapshot it is one of them.
  const SnapshotMeta meta{.last = id_of(7, 4), .membership = voters_of({2, 3})};
  node.receive(2, 6, SnapshotOffer{meta});
  ASSERT_EQ(node.take().install_snapshot, meta);
  node.step(SnapshotPersisted{meta});
  node.settle();
  node.pass(Millis(400));
  node.receive(3, 7, Vote{.last = id_of(9, 4)});
  EXPECT_TRUE(all_of<VoteResult>(node.settle()).at(0).second.granted);
}

TEST(RaftMembership, a_node_that_is_added_again_does_not_meet_its_earlier_life) {
  // Node 1 founds the group alone, hands it over to node 2, is removed, and loses its disk. Added again under its old
  // id it must not pass through the entries in which it was the only voter: a crash there, and it would lead a second
  // history.
  Cluster cluster;
  cluster.bootstrap(1);
  cluster.run(Micros(1'000));
  for (int i = 0; i < 5; ++i) cluster.propose(1, "x");
  cluster.add_empty(NodeId(2));
  cluster.propose_config(1, steps({{kAddVoter, 2}}));
  cluster.run(Micros(500'000));
  cluster.propose_config(1, steps({{kRemove, 1}}));
  cluster.run(Micros(500'000));
  ASSERT_EQ(cluster.leader(), 2u);
  const Index removed = cluster.core(2).membership_index();
  cluster.crash(1);
  cluster.add_empty(NodeId(1));
  cluster.propose_config(2, steps({{kAddLearner, 1}}));
  for (int i = 0; i < 200; ++i) {
    cluster.run(Micros(1'000));
    EXPECT_TRUE(cluster.core(1).last_index() == Index(0) || cluster.core(1).base_id().index >= removed);
    cluster.campaign(1);
    EXPECT_EQ(cluster.core(1).role(), Role::kFollower);
  }
  EXPECT_TRUE(cluster.core(1).membership().is_learner(NodeId(1)));
  EXPECT_TRUE(cluster.violations.empty());
}

TEST(RaftSnapshot, says_who_the_members_were_at_its_index) {
  Cluster cluster;
  cluster.bootstrap(1);
  cluster.run(Micros(1'000));
  cluster.propose(1, "a");
  cluster.join(1, 2);
  cluster.propose_config(1, steps({{kPromote, 2}}));
  cluster.run(Micros(200'000));
  EXPECT_EQ(to_string(cluster.core(1).snapshot_meta(Index(2)).membership), "voters=1");
  EXPECT_EQ(to_string(cluster.core(1).snapshot_meta(Index(3)).membership), "voters=1 learners=2");
  EXPECT_EQ(to_string(cluster.core(1).snapshot_meta(Index(4)).membership), "voters=1,2");
}

TEST(RaftMembership, joins_promote_several_at_once_and_survive_a_new_leader) {
  Cluster cluster;
  cluster.bootstrap(1);
  cluster.run(Micros(1'000));
  for (const uint64_t node : {2U, 3U}) cluster.add_empty(NodeId(node));
  cluster.propose_config(1, steps({{kAddVoter, 2}, {kAddVoter, 3}}));
  cluster.run(Micros(500'000));
  EXPECT_EQ(to_string(cluster.core(1).membership()), "voters=1,2,3");
  // The wish is part of the membership: whoever leads next grants it.
  cluster.add_empty(NodeId(4));
  cluster.isolate(4);
  cluster.propose_config(1, steps({{kAddVoter, 4}}));
  cluster.stabilize();
  cluster.transfer(1, 2);
  cluster.stabilize();
  ASSERT_EQ(cluster.leader(), 2u);
  cluster.heal();
  cluster.run(Micros(500'000));
  EXPECT_EQ(to_string(cluster.core(2).membership()), "voters=1,2,3,4");
}

}  // namespace
}  // namespace flux::raft::testing
