// Goal: the log goes as the list of edge cases says (R21 to R38), with disks that answer late.
#include <gtest/gtest.h>

#include "raft/message_codec.h"
#include "raft/testing/cluster.h"
#include "raft/testing/lone.h"

namespace flux::raft::testing {
namespace {

// A follower (node 1) of node 2.
Lone follower(std::vector<Entry> log, uint64_t term = 0) { return Lone({.log = std::move(log), .term = term}); }

Append append_of(EntryId prev, std::vector<Entry> entries, uint64_t commit = 0) {
  return {.prev = prev, .commit = Index(commit), .round = 1, .entries = std::move(entries)};
}

AppendResult only_result(const std::vector<Message>& sent) {
  const auto results = all_of<AppendResult>(sent);
  EXPECT_EQ(results.size(), 1u);
  return results.empty() ? AppendResult{} : results[0].second;
}

TEST(Raft, R21_fig7_divergent_logs) {
  const std::vector<std::vector<uint64_t>> logs = {
      {1, 1, 1, 4, 4, 5, 5, 6, 6, 6},    {1, 1, 1, 4, 4, 5, 5, 6, 6},          {1, 1, 1, 4},
      {1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6}, {1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7}, {1, 1, 1, 4, 4, 4, 4},
      {1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3}};
  Cluster cluster;
  for (size_t i = 0; i < logs.size(); ++i) {
    Disk disk;
    for (uint64_t node = 1; node <= logs.size(); ++node) disk.base.membership.voters.insert(NodeId(node));
    disk.log = log_of(logs[i]);
    disk.hard_state.term = i == 0 ? Term(7) : disk.log.back().term;
    cluster.add(NodeId(i + 1), std::move(disk));
  }
  size_t rejections = 0;
  cluster.on_message_sent = [&](const Message& message) {
    const AppendResult* result = std::get_if<AppendResult>(&message.body);
    rejections += result != nullptr && !result->accepted ? 1U : 0U;
  };
  cluster.elect(1);
  cluster.check_log_matching();
  EXPECT_TRUE(cluster.violations.empty());
  for (uint64_t node = 1; node <= logs.size(); ++node) {
    EXPECT_EQ(cluster.core(node).last_id(), id_of(11, 8)) << node;
    EXPECT_EQ(cluster.at(node).state(), cluster.at(1).state()) << node;
  }
  // One rejection for each follower that lacks the leader's last entry: whole terms are passed over at once.
  EXPECT_EQ(rejections, 4u);
}

TEST(Raft, R22_fig8_old_term_commit) {
  // Figure 8 of the paper, (c): the leader of term 4 has 2^2 on a majority. It must not commit it by counting, because
  // (d) a node with 2^3 could still be elected and replace it.
  Lone leader({.voters = 5, .log = log_of({1, 2}), .term = 3});
  leader.step(Campaign{});
  leader.settle();
  for (const uint64_t node : {2U, 3U}) leader.receive(node, 4, VoteResult{.pre = true, .granted = true});
  leader.settle();
  for (const uint64_t node : {2U, 3U}) leader.receive(node, 4, VoteResult{.granted = true});
  leader.settle();
  ASSERT_EQ(leader.core().role(), Role::kLeader);
  ASSERT_EQ(leader.core().last_id(), id_of(3, 4));
  for (const uint64_t node : {2U, 3U}) {
    leader.receive(node, 4, AppendResult{.accepted = true, .index = Index(2)});
  }
  EXPECT_EQ(leader.core().commit_index(), Index(0));
  // (e) An entry of its own term on a majority commits everything before it.
  leader.receive(2, 4, AppendResult{.accepted = true, .index = Index(3)});
  EXPECT_EQ(leader.core().commit_index(), Index(0));
  leader.receive(3, 4, AppendResult{.accepted = true, .index = Index(3)});
  EXPECT_EQ(leader.core().commit_index(), Index(3));
}

TEST(Raft, R23_noop_first_in_term) {
  Cluster cluster;
  cluster.bootstrap(3);
  cluster.elect(1);
  cluster.isolate(1);
  cluster.run(Micros(3'000'000));
  const uint64_t leader = cluster.leader();
  ASSERT_NE(leader, 0u);
  const Entry* first = cluster.at(leader).disk().entry(cluster.core(leader).last_index());
  EXPECT_EQ(first->type, EntryType::kNoop);
  EXPECT_EQ(first->term, cluster.core(leader).term());

  // With that entry uncommitted neither reads nor membership changes happen.
  cluster.heal();
  const uint64_t other = leader == 2 ? 3 : 2;
  cluster.crash(leader);
  cluster.run(Micros(1));
  cluster.now = cluster.now + Micros(700'000);
  cluster.tick(1);
  cluster.campaign(other);
  for (int i = 0; i < 4; ++i) cluster.deliver_one([&](const Message& m) { return m.to != NodeId(leader); });
  while (cluster.core(other).role() != Role::kLeader && cluster.deliver_one()) {
  }
  ASSERT_EQ(cluster.core(other).role(), Role::kLeader);
  cluster.drop();
  const uint64_t read = cluster.read(other);
  const uint64_t change = cluster.propose_config(other, steps({{ConfigStepKind::kRemove, leader}}));
  EXPECT_EQ(cluster.proposals.at(change).status.code(), ErrorCode::kPrecondition);
  EXPECT_FALSE(cluster.reads.contains(read));
  cluster.run(Micros(200'000));
  EXPECT_TRUE(cluster.reads.at(read).status.ok());
  EXPECT_TRUE(
      cluster.proposals.at(cluster.propose_config(other, steps({{ConfigStepKind::kRemove, leader}}))).status.ok());
}

TEST(Raft, R24_stale_append_no_truncate) {
  Lone node = follower(log_of({1, 1, 1, 1, 1}));
  node.receive(2, 1, append_of(id_of(2, 1), log_of({1}, 3)));
  const AppendResult result = only_result(node.settle());
  EXPECT_TRUE(result.accepted);
  EXPECT_EQ(result.index, Index(3));
  EXPECT_EQ(node.core().last_id(), id_of(5, 1));
}

TEST(Raft, R25_truncate_on_conflict_only) {
  Lone node = follower(log_of({1, 1, 2, 2, 2}));
  node.receive(2, 3, append_of(id_of(1, 1), log_of({1, 2, 3}, 2)));
  const AppendResult result = only_result(node.settle());
  EXPECT_TRUE(result.accepted);
  EXPECT_EQ(result.index, Index(4));
  EXPECT_EQ(node.core().last_id(), id_of(4, 3));
  EXPECT_EQ(node.core().term_at(Index(3)), Term(2));
}

TEST(Raft, R26_commit_bounded_by_matched) {
  // Ours goes on with entries of another history; the leader's commit index says nothing about those.
  Lone node = follower(log_of({1, 1, 1, 1}));
  node.receive(2, 2, append_of(id_of(1, 1), log_of({1}, 2), 4));
  node.settle();
  EXPECT_EQ(node.core().commit_index(), Index(2));
  EXPECT_EQ(node.committed, (std::vector<EntryId>{id_of(1, 1), id_of(2, 1)}));
}

TEST(Raft, R27_prev_purged_not_conflict) {
  Cluster cluster;
  cluster.bootstrap(3);
  cluster.elect(1);
  for (const char* data : {"a", "b", "c"}) cluster.propose(1, data);
  cluster.stabilize();
  cluster.run(Micros(60'000));
  ASSERT_EQ(cluster.core(3).applied_index(), Index(4));
  cluster.at(3).compact(cluster.now, Index(3));
  const EntryId last = cluster.core(3).last_id();
  // An old append from before our log: nothing is deleted, and what we have committed is accepted.
  std::vector<Message> answers;
  cluster.on_message_sent = [&](const Message& message) { answers.push_back(message); };
  Append old = append_of(id_of(1, 1), {*cluster.at(1).disk().entry(Index(2))});
  cluster.receive(1, 3, 1, old);
  EXPECT_EQ(cluster.core(3).last_id(), last);
  const AppendResult result = only_result(answers);
  EXPECT_TRUE(result.accepted);
  EXPECT_EQ(result.index, Index(4));
  // One that reaches beyond is used from where we are.
  answers.clear();
  Append longer = append_of(id_of(1, 1), {});
  for (uint64_t index = 2; index <= 4; ++index) longer.entries.push_back(*cluster.at(1).disk().entry(Index(index)));
  longer.entries.push_back({.index = Index(5), .term = Term(1), .type = EntryType::kCommand, .data = {}});
  cluster.receive(1, 3, 1, longer);
  EXPECT_EQ(only_result(answers).index, Index(5));
  EXPECT_EQ(cluster.core(3).last_id(), id_of(5, 1));
}

TEST(Raft, R28_committed_truncation_aborts) {
  // From outside it is not even tried: the message is dropped, whoever sent it.
  Lone node = follower(log_of({1, 1, 1}));
  node.receive(2, 1, append_of(id_of(3, 1), {}, 3));
  node.settle();
  ASSERT_EQ(node.core().commit_index(), Index(3));
  node.receive(3, 2, append_of(id_of(1, 1), log_of({2, 2, 2}, 2)));
  EXPECT_TRUE(all_of<AppendResult>(node.settle()).empty());
  EXPECT_EQ(node.core().counters().messages_dropped, 1u);
  EXPECT_EQ(node.core().last_id(), id_of(3, 1));
  // From inside it ends the process: the log never goes below what a snapshot holds.
  class NoReader final : public LogReader {
    Result<std::vector<Entry>> read(Index, Index, size_t) override { return Status(ErrorCode::kIo, "none"); }
  } reader;
  Restore restore;
  restore.base.last = id_of(5, 1);
  restore.last = Index(5);
  Log log(restore, reader);
  EXPECT_DEATH(log.truncate(Index(5)), "FLUX_CHECK failed");
}

TEST(Raft, R29_append_aba_race) {
  // 2^1 is written, overwritten by 2^2, and written again. The first write's late answer must not vouch for the third:
  // the second is still on its way to the disk and will replace what the first one wrote.
  Lone node = follower(log_of({1}));
  node.receive(2, 1, append_of(id_of(1, 1), log_of({1}, 2)));
  const Update first = node.take();
  ASSERT_EQ(first.append.size(), 1u);
  node.receive(3, 2, append_of(id_of(1, 1), log_of({2}, 2)));
  const Update second = node.take();
  ASSERT_EQ(second.append.at(0).id(), id_of(2, 2));
  node.receive(2, 3, append_of(id_of(1, 1), log_of({1}, 2)));
  const Update third = node.take();
  ASSERT_EQ(third.append.at(0).id(), id_of(2, 1));

  node.step(Persisted{first.number});
  EXPECT_EQ(node.core().persisted_index(), Index(1));
  node.receive(2, 3, append_of(id_of(1, 1), log_of({1}, 2), 2));
  const Update fourth = node.take();
  EXPECT_TRUE(all_of<AppendResult>(fourth.send_now).empty()) << "accepted before it is durable";
  ASSERT_EQ(fourth.committed.size(), 1u) << "applied before it is durable";
  EXPECT_EQ(fourth.committed[0].id(), id_of(1, 1));
  node.step(Persisted{second.number});
  EXPECT_EQ(node.core().persisted_index(), Index(1));
  node.step(Persisted{third.number});
  EXPECT_EQ(node.core().persisted_index(), Index(2));
}

TEST(Raft, R29_late_answer_about_entries_that_are_gone) {
  Lone node = follower(log_of({1}));
  node.receive(2, 1, append_of(id_of(1, 1), log_of({1, 1, 1}, 2)));
  const Update first = node.take();
  node.receive(3, 2, append_of(id_of(1, 1), log_of({2}, 2)));
  const Update second = node.take();
  node.step(Persisted{first.number});
  EXPECT_EQ(node.core().persisted_index(), Index(1));
  node.step(Persisted{second.number});
  EXPECT_EQ(node.core().persisted_index(), Index(2));
}

TEST(Raft, R30_dup_and_reordered_acks) {
  Lone leader({});
  leader.lead();
  for (uint64_t ticket = 1; ticket <= 3; ++ticket) leader.step(Proposal{.ticket = ticket, .data = SharedBytes("x")});
  leader.settle();
  const auto match = [&] { return leader.core().peers(leader.now).at(0).match; };
  for (const uint64_t index : {3U, 1U, 4U, 4U, 2U}) {
    leader.receive(2, 1, AppendResult{.accepted = true, .index = Index(index)});
  }
  EXPECT_EQ(match(), Index(4));
  EXPECT_EQ(leader.core().commit_index(), Index(4));
  // An old rejection does not undo what was accepted either.
  leader.receive(2, 1, AppendResult{.accepted = false, .index = Index(2), .hint = id_of(1, 1)});
  EXPECT_EQ(match(), Index(4));
  // Nobody accepts what was never sent, and no stranger counts.
  leader.receive(2, 1, AppendResult{.accepted = true, .index = Index(99)});
  leader.receive(9, 1, AppendResult{.accepted = true, .index = Index(4)});
  EXPECT_EQ(leader.core().counters().messages_dropped, 2u);
  EXPECT_EQ(match(), Index(4));
}

TEST(Raft, R31_pipeline_window_full) {
  Options options;
  options.inflight_messages_max = 3;
  options.append_bytes_max = 1;
  Lone leader({.options = options});
  leader.lead();
  for (const uint64_t node : {2U, 3U}) {
    leader.receive(node, 1, AppendResult{.accepted = true, .index = Index(1)});
  }
  leader.settle();
  for (uint64_t ticket = 1; ticket <= 20; ++ticket) leader.step(Proposal{.ticket = ticket, .data = SharedBytes("x")});
  const auto to = [](const std::vector<Message>& sent, uint64_t node) {
    size_t count = 0;
    for (const auto& [message, append] : all_of<Append>(sent)) count += message.to == NodeId(node) ? 1U : 0U;
    return count;
  };
  std::vector<Message> sent = leader.settle();
  EXPECT_EQ(to(sent, 2), 3u);
  EXPECT_EQ(to(sent, 3), 3u);
  // Node 2 answers and gets more; node 3 does not and gets nothing.
  leader.receive(2, 1, AppendResult{.accepted = true, .index = Index(4)});
  sent = leader.settle();
  EXPECT_EQ(to(sent, 2), 3u);
  EXPECT_EQ(to(sent, 3), 0u);
}

TEST(Raft, R31_window_in_bytes) {
  Options options;
  options.append_bytes_max = 200;
  options.inflight_bytes_max = 400;
  Lone leader({.options = options});
  leader.lead();
  leader.receive(2, 1, AppendResult{.accepted = true, .index = Index(1)});
  leader.settle();
  for (uint64_t ticket = 1; ticket <= 20; ++ticket) {
    leader.step(Proposal{.ticket = ticket, .data = SharedBytes(std::string(52, 'x'))});
  }
  size_t bytes = 0;
  for (const auto& [message, append] : all_of<Append>(leader.settle())) {
    size_t own = 0;
    for (const Entry& entry : append.entries) own += Log::charge(entry);
    EXPECT_LE(own, 200u);
    if (message.to == NodeId(2)) bytes += own;
  }
  EXPECT_EQ(bytes, 400u);
}

TEST(Raft, R32_probe_recovers_by_heartbeat) {
  Cluster cluster;
  cluster.bootstrap(3);
  cluster.elect(1);
  cluster.step(1, PeerUnreachable{NodeId(3)});
  ASSERT_EQ(cluster.core(1).peers(cluster.now).at(1).state, ProgressState::kProbe);
  cluster.run(Micros(60'000));
  EXPECT_EQ(cluster.core(1).peers(cluster.now).at(1).state, ProgressState::kReplicate);
}

TEST(Raft, R33_leader_parallel_disk) {
  Cluster cluster;
  cluster.bootstrap(3);
  cluster.elect(1);
  cluster.at(1).auto_persist = false;
  cluster.isolate(3);
  size_t appends = 0;
  cluster.on_message_sent = [&](const Message& m) { appends += std::holds_alternative<Append>(m.body) ? 1U : 0U; };
  cluster.propose(1, "a");
  EXPECT_GE(appends, 2u) << "appends leave before our own disk has the entry";
  cluster.stabilize();
  EXPECT_EQ(cluster.core(1).commit_index(), Index(1)) << "one follower and a disk that has not answered: no quorum";
  cluster.at(1).persist_one(cluster.now);
  EXPECT_EQ(cluster.core(1).commit_index(), Index(2));
}

TEST(Raft, R34_oversized_entry) {
  Cluster cluster;
  cluster.options.entry_bytes_max = 100;
  cluster.bootstrap(1);
  cluster.run(Micros(1'000));
  const Index last = cluster.core(1).last_index();
  const uint64_t ticket = cluster.propose(1, std::string(101, 'x'));
  EXPECT_EQ(cluster.proposals.at(ticket).status.code(), ErrorCode::kTooLarge);
  EXPECT_EQ(cluster.core(1).last_index(), last);
  EXPECT_TRUE(cluster.proposals.at(cluster.propose(1, std::string(100, 'x'))).status.ok());
}

TEST(Raft, R36_uncommitted_log_cap) {
  Cluster cluster;
  cluster.options.uncommitted_bytes_max = cluster.options.entry_bytes_max = 1000;
  cluster.bootstrap(3);
  cluster.elect(1);
  cluster.isolate(1);
  uint64_t accepted = 0;
  for (int i = 0; i < 100; ++i) {
    const uint64_t ticket = cluster.propose(1, std::string(52, 'x'));
    const Status& status = cluster.proposals.at(ticket).status;
    if (status.ok()) ++accepted;
    EXPECT_TRUE(status.ok() || status.code() == ErrorCode::kOverloaded) << status.to_string();
  }
  EXPECT_EQ(accepted, 10u);
  cluster.heal();
  cluster.run(Micros(200'000));
  EXPECT_TRUE(cluster.proposals.at(cluster.propose(1, "again")).status.ok());
}

TEST(Raft, R38_unknown_entry_type) {
  Message message{.from = NodeId(2), .to = NodeId(1), .term = Term(1), .body = append_of({}, log_of({1}))};
  std::string bytes;
  encode(message, bytes);
  // kCommand is 1; put a type there that does not exist yet.
  const size_t at = bytes.rfind(std::string("\x01\x01\x02t1", 5));
  ASSERT_NE(at, std::string::npos);
  bytes[at] = 9;
  EXPECT_EQ(decode(bytes).status().code(), ErrorCode::kUnsupported);
}

TEST(RaftReplication, a_bad_message_is_dropped_and_counted) {
  Lone node = follower(log_of({1, 1}), 2);
  std::vector<Message> bad;
  const auto add = [&](uint64_t from, uint64_t to, uint64_t term, MessageBody body) {
    bad.push_back({.from = NodeId(from), .to = NodeId(to), .term = Term(term), .body = std::move(body)});
  };
  add(0, 1, 2, Heartbeat{});                             // nobody
  add(1, 1, 2, Heartbeat{});                             // ourselves
  add(2, 3, 2, Heartbeat{});                             // not for us
  add(2, 1, 0, Heartbeat{});                             // before the first term
  add(2, 1, ~0ULL, Heartbeat{});                         // after the last
  add(2, 1, 2, append_of(id_of(~0ULL, 1), {}));          // absurd index
  add(2, 1, 2, append_of(id_of(2, 1), log_of({1}, 4)));  // a gap
  add(2, 1, 2, append_of(id_of(2, 1), log_of({3}, 3)));  // a term above the message's
  add(2, 1, 2, append_of(id_of(2, 2), log_of({1}, 3)));  // terms go back
  add(2, 1, 2, Append{.prev = id_of(2, 1), .entries = {{Index(3), Term(1), EntryType::kConfig, SharedBytes("junk")}}});
  add(2, 1, 2, Heartbeat{.commit = Index(3)});  // commits what is not there
  add(2, 1, 2, SnapshotOffer{});                // of nothing
  add(2, 1, 2, SnapshotOffer{.meta = {.last = id_of(9, 5), .membership = {.voters = {NodeId(1)}}}});  // of the future
  for (size_t i = 0; i < bad.size(); ++i) {
    node.step(Received{bad[i]});
    node.settle();
    EXPECT_EQ(node.core().counters().messages_dropped, i + 1) << to_string(bad[i]);
    EXPECT_EQ(node.core().last_id(), id_of(2, 1)) << to_string(bad[i]);
    EXPECT_EQ(node.core().commit_index(), Index(0)) << to_string(bad[i]);
  }
  // Two leaders in one term: the second is not believed.
  node.receive(3, 2, Heartbeat{.commit = Index(1)});
  EXPECT_EQ(node.core().leader(), NodeId(2));
  EXPECT_EQ(node.core().commit_index(), Index(0));
}

TEST(RaftReplication, answers_to_an_earlier_stay_do_not_count) {
  // Node 3 accepts everything, is removed, loses its disk and is added again. An old answer arrives late.
  Cluster cluster;
  cluster.bootstrap(3);
  cluster.elect(1);
  cluster.propose(1, "a");
  std::vector<Message> old;
  cluster.on_message_sent = [&](const Message& m) {
    if (m.from == NodeId(3) && std::holds_alternative<AppendResult>(m.body)) old.push_back(m);
  };
  cluster.stabilize();
  ASSERT_FALSE(old.empty());
  cluster.propose_config(1, steps({{ConfigStepKind::kRemove, 3}}));
  cluster.stabilize();
  cluster.crash(3);
  cluster.add_empty(NodeId(3));
  cluster.isolate(3);
  cluster.propose_config(1, steps({{ConfigStepKind::kAddLearner, 3}}));
  cluster.stabilize();
  const uint64_t dropped = cluster.core(1).counters().messages_dropped;
  cluster.step(1, Received{old.back()});
  EXPECT_EQ(cluster.core(1).counters().messages_dropped, dropped + 1);
  EXPECT_EQ(cluster.core(1).peers(cluster.now).at(1).match, Index(0));
}

TEST(RaftReplication, an_unreadable_log_stops_the_replica_and_says_so) {
  Cluster cluster;
  cluster.options.tail_bytes_max = cluster.options.tail_bytes_max_frugal = 0;
  cluster.bootstrap(3);
  cluster.elect(1);
  cluster.isolate(3);
  for (const char* data : {"a", "b", "c"}) cluster.propose(1, data);
  cluster.stabilize();
  cluster.at(1).fail_reads = true;
  cluster.heal();
  cluster.run(Micros(300'000));
  ASSERT_EQ(cluster.fatals.size(), 1u);
  EXPECT_EQ(cluster.fatals[0].first, NodeId(1));
  EXPECT_EQ(cluster.fatals[0].second.code(), ErrorCode::kIo);
  cluster.run(Micros(3'000'000));
  EXPECT_NE(cluster.leader(), 0u) << "the others go on without it";
}

TEST(RaftReplication, steps_before_one_update_make_one_append) {
  Lone leader({});
  leader.lead();
  leader.receive(2, 1, AppendResult{.accepted = true, .index = Index(1)});
  leader.settle();
  for (uint64_t ticket = 1; ticket <= 5; ++ticket) leader.step(Proposal{.ticket = ticket, .data = SharedBytes("x")});
  const Update update = leader.take();
  EXPECT_EQ(update.append.size(), 5u);
  EXPECT_EQ(update.proposals.size(), 5u);
  const auto appends = all_of<Append>(update.send_now);
  ASSERT_EQ(appends.size(), 1u) << "node 3 is still probed with the first";
  EXPECT_EQ(appends[0].second.entries.size(), 5u);
}

TEST(RaftReplication, committed_comes_in_bounded_pieces) {
  Options options;
  options.committed_bytes_max = 200;
  Lone node({.log = log_of({1}), .options = options});
  std::vector<Entry> entries;
  for (uint64_t index = 2; index <= 9; ++index) {
    entries.push_back({Index(index), Term(1), EntryType::kCommand, SharedBytes(std::string(52, 'x'))});
  }
  node.receive(2, 1, append_of(id_of(1, 1), entries, 9));
  Update update = node.take();
  EXPECT_EQ(update.committed.size(), 1u) << "only what is durable here";
  node.step(Persisted{update.number});
  size_t pieces = 0;
  size_t handed = 0;
  while (node.core().has_update()) {
    update = node.take();
    EXPECT_LE(update.committed.size(), 2u);
    pieces += update.committed.empty() ? 0U : 1U;
    handed += update.committed.size();
  }
  EXPECT_EQ(handed, 8u);
  EXPECT_EQ(pieces, 4u);
}

}  // namespace
}  // namespace flux::raft::testing
