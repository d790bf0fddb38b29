// Goal: what was synced is there, what is read is what was appended, and errors are told in time.
#include "wal/wal.h"

#include "wal/dump.h"
#include "wal/testing/wal_fixture.h"

namespace flux::wal::testing {
namespace {

using WalTest = WalFixture;

TEST_F(WalTest, starts_empty) {
  open();
  EXPECT_TRUE(wal->groups().empty());
  EXPECT_FALSE(wal->has_group(GroupId(1)));
  reopen();
  EXPECT_TRUE(wal->groups().empty());
  EXPECT_TRUE(wal->recovery().findings.empty());
}

TEST_F(WalTest, entries_and_hard_state_come_back) {
  open();
  append(1, 1, 1, {"a", "b"});
  vote(1, 2, 3);
  append(2, 1, 5, {"x"});
  commit();
  reopen();
  EXPECT_EQ(log(1), "1^1=a 2^1=b");
  EXPECT_EQ(hard_state(1), (HardState{.term = Term(2), .vote = NodeId(3)}));
  EXPECT_EQ(log(2), "1^5=x");
  EXPECT_EQ(wal->groups(), (std::vector<GroupId>{GroupId(1), GroupId(2)}));
}

TEST_F(WalTest, appending_over_entries_cuts_them_off) {
  open();
  append(1, 1, 1, {"a", "b", "c", "d"});
  commit();
  append(1, 3, 2, {"C"});
  EXPECT_EQ(log(1), "1^1=a 2^1=b 3^2=C");
  commit();
  EXPECT_EQ(log(1), "1^1=a 2^1=b 3^2=C");
  reopen();
  EXPECT_EQ(log(1), "1^1=a 2^1=b 3^2=C");
  EXPECT_EQ(state(1).term_runs, (std::vector<TermRun>{{Index(1), Term(1)}, {Index(3), Term(2)}}));
}

TEST_F(WalTest, compaction_reset_and_removal_come_back) {
  open();
  append(1, 1, 1, {"a", "b", "c"});
  compact(1, 2, 1);
  append(2, 1, 1, {"x", "y"});
  ASSERT_TRUE(wal->reset(GroupId(2), {.index = Index(50), .term = Term(6)}).ok());
  append(2, 51, 6, {"z"});
  append(3, 1, 1, {"gone"});
  ASSERT_TRUE(wal->remove(GroupId(3)).ok());
  commit();
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(log(1), "3^1=c");
    EXPECT_EQ(state(1).base, (EntryId{Index(2), Term(1)}));
    EXPECT_EQ(state(1).term_runs, (std::vector<TermRun>{{Index(3), Term(1)}}));
    EXPECT_EQ(log(2), "51^6=z");
    EXPECT_EQ(state(2).base, (EntryId{Index(50), Term(6)}));
    EXPECT_FALSE(wal->has_group(GroupId(3)));
    reopen();
  }
}

TEST_F(WalTest, an_emptied_log_remembers_the_last_term) {
  open();
  append(1, 1, 4, {"a", "b"});
  compact(1, 2, 4);
  commit();
  reopen();
  EXPECT_EQ(state(1).last, (EntryId{Index(2), Term(4)}));
  EXPECT_EQ(log(1), "");
}

TEST_F(WalTest, config_entries_are_pointed_out) {
  open();
  std::vector<Entry> list = entries(1, 1, {"a", "b", "c", "d"});
  list[1].type = list[3].type = EntryType::kConfig;
  ASSERT_TRUE(wal->append(GroupId(1), list).ok());
  commit();
  reopen();
  EXPECT_EQ(state(1).config_entries, (std::vector<Index>{Index(2), Index(4)}));
  EXPECT_EQ(wal->read(GroupId(1), Index(2), Index(2), 0).value()[0].type, EntryType::kConfig);
  append(1, 4, 2, {"D"});
  compact(1, 2, 1);
  EXPECT_TRUE(state(1).config_entries.empty());
}

TEST_F(WalTest, reads_see_every_stage_of_the_way_to_disk) {
  open();
  append(1, 1, 1, {"disk"});
  commit();
  append(1, 2, 1, {"sealed"});
  wal->seal();
  append(1, 3, 1, {"pending"});
  EXPECT_EQ(log(1), "1^1=disk 2^1=sealed 3^1=pending");
  ASSERT_TRUE(wal->write().ok());
  EXPECT_EQ(log(1), "1^1=disk 2^1=sealed 3^1=pending");
}

TEST_F(WalTest, reads_stop_at_their_limits) {
  open();
  append(1, 1, 1, {"aaaa", "bbbb", "cccc"});
  commit();
  EXPECT_EQ(wal->read(GroupId(1), Index(1), Index(3), 8).value().size(), 2u);
  EXPECT_EQ(wal->read(GroupId(1), Index(1), Index(3), 0).value().size(), 1u);
  EXPECT_EQ(wal->read(GroupId(1), Index(2), Index(4), 99).status().code(), ErrorCode::kNotFound);
  EXPECT_EQ(wal->read(GroupId(1), Index(0), Index(1), 99).status().code(), ErrorCode::kNotFound);
  EXPECT_EQ(wal->read(GroupId(9), Index(1), Index(1), 99).status().code(), ErrorCode::kNotFound);
}

TEST_F(WalTest, tickets_tell_what_is_durable) {
  open();
  append(1, 1, 1, {"a"});
  const Ticket first = wal->seal();
  append(1, 2, 1, {"b"});
  EXPECT_LT(wal->durable_through(), first);
  ASSERT_TRUE(wal->write().ok());
  EXPECT_EQ(wal->written_through(), first);
  EXPECT_LT(wal->durable_through(), first);
  ASSERT_TRUE(wal->sync().ok());
  EXPECT_EQ(wal->durable_through(), first);
  EXPECT_GT(wal->appended_through(), first);
  reopen();
  EXPECT_EQ(log(1), "1^1=a");
}

TEST_F(WalTest, one_write_and_one_sync_for_all_groups) {
  open();
  append(1, 1, 1, {"warm"});
  commit();
  const auto before = fs.counts();
  for (uint64_t group = 1; group <= 20; ++group) vote(group, 9, 1);
  for (uint64_t group = 2; group <= 20; ++group) append(group, 1, 9, {"x", "y"});
  wal->seal();
  vote(3, 10, 2);  // both sealed pieces go out together
  commit();
  EXPECT_EQ(fs.counts().writes - before.writes, 1u);
  EXPECT_EQ(fs.counts().syncs - before.syncs, 1u);
  EXPECT_EQ(fs.counts().bytes_written % kPageBytes, 0u);
}

TEST_F(WalTest, nothing_to_do_costs_nothing) {
  open();
  const auto before = fs.counts();
  commit();
  EXPECT_EQ(fs.counts().writes, before.writes);
  EXPECT_EQ(fs.counts().syncs, before.syncs);
}

// S01: power cut after the reply.
TEST_F(WalTest, S01_reply_after_fsync) {
  open();
  std::string expected;
  for (uint64_t i = 1; i <= 200; ++i) {
    append(1, i, 1, {fmt::format("v{}", i)});
    commit();
    expected += fmt::format("{}{}^1=v{}", i == 1 ? "" : " ", i, i);
    if (i % 20 == 0) {
      reopen();
      ASSERT_EQ(log(1), expected);
    }
  }
}

// S02: a segment that holds promised records has a name that survives.
TEST_F(WalTest, S02_dir_fsync_after_rename) {
  open();
  append(1, 1, 1, {"first"});
  commit();
  reopen();
  EXPECT_EQ(log(1), "1^1=first");
  const std::string big(9 * kPageBytes, 'x');
  append(1, 2, 1, {big});
  append(1, 3, 1, {big});
  commit();
  EXPECT_EQ(wal->stats().segments_live, 3u);
  reopen();
  EXPECT_EQ(state(1).last.index, Index(3));
}

// S05, F34: the first failed sync is the last; so is the first failed write.
TEST_F(WalTest, S05_fsync_fail_aborts) {
  for (const FsOp op : {FsOp::kSync, FsOp::kWrite}) {
    fs.kill();
    open();
    const Index next = wal->has_group(GroupId(1)) ? state(1).last.index + 1 : Index(1);
    append(1, next.value(), 1, {"a"});
    commit();
    const Ticket promised = wal->durable_through();
    fs.fail_once(op, 1, ErrorCode::kIo);
    append(1, next.value() + 1, 1, {"b"});
    EXPECT_EQ(wal->flush().code(), ErrorCode::kIo);
    for (int i = 0; i < 2; ++i) {
      EXPECT_EQ(wal->durable_through(), promised);
      EXPECT_EQ(wal->sync().code(), ErrorCode::kIo);
      EXPECT_EQ(wal->write().code(), ErrorCode::kIo);
      EXPECT_EQ(wal->append(GroupId(1), entries(next.value() + 2, 1, {"c"})).code(), ErrorCode::kIo);
      EXPECT_EQ(wal->set_hard_state(GroupId(1), {.term = Term(5)}).code(), ErrorCode::kIo);
      EXPECT_EQ(wal->maintain().code(), ErrorCode::kIo);
      EXPECT_EQ(wal->status().code(), ErrorCode::kIo);
    }
  }
}

// S06, F35: the page cache still shows what the failed sync lost; recovery must not believe it.
TEST_F(WalTest, S06_restart_after_fsync_fail) {
  for (uint64_t round = 1; round <= 30; ++round) {
    open();
    append(1, 1, round, {"promised"});
    commit();
    append(1, 2, round, {std::string(3000, 'x'), std::string(3000, 'y')});
    fs.fail_once(FsOp::kSync, 1, ErrorCode::kIo);
    ASSERT_FALSE(wal->flush().ok());
    wal.reset();
    fs.kill();
    open();
    const std::string seen = log(1);
    EXPECT_TRUE(wal->recovery().damaged.empty());
    reopen();
    EXPECT_EQ(log(1), seen) << "what recovery reported is what the disk holds";
    EXPECT_EQ(seen.substr(0, 12 + (round > 9)), fmt::format("1^{}=promised", round).substr(0, 12 + (round > 9)));
  }
}

// What a killed process had written but not synced may be shown after its restart only once it is durable.
TEST_F(WalTest, what_recovery_shows_is_durable) {
  open();
  append(1, 1, 1, {"a"});
  wal->seal();
  ASSERT_TRUE(wal->write().ok());
  wal.reset();
  fs.kill();
  open();
  ASSERT_EQ(log(1), "1^1=a");
  reopen();
  EXPECT_EQ(log(1), "1^1=a");
}

TEST_F(WalTest, large_entries_and_large_batches) {
  options.segment_bytes = 1_MiB;
  open();
  const std::string largest(wal->entry_bytes_max(), 'x');
  EXPECT_EQ(wal->append(GroupId(1), entries(1, 1, {largest + "y"})).code(), ErrorCode::kTooLarge);
  append(1, 1, 1, {"small", largest, "small", largest, largest});
  std::vector<std::string> many(1000, std::string(5000, 'm'));
  append(1, 6, 1, many);
  commit();
  reopen();
  EXPECT_EQ(state(1).last.index, Index(1005));
  const std::vector<Entry> read = wal->read(GroupId(1), Index(1), Index(1005), 1_GiB).value();
  ASSERT_EQ(read.size(), 1005u);
  EXPECT_EQ(read[1].data.view(), largest);
  EXPECT_EQ(read[1004].data.view(), many[0]);
}

TEST_F(WalTest, entries_of_32_MiB_fit_default_segments) {
  options = {.store_id = StoreId(1), .prefill = false};
  open();
  EXPECT_GE(wal->entry_bytes_max(), 32_MiB);
}

TEST_F(WalTest, the_smallest_segments_work) {
  options.segment_bytes = kSegmentBytesMin;
  open();
  for (uint64_t i = 1; i <= 50; ++i) {
    append(1, i, 1, {std::string(wal->entry_bytes_max(), 'x')});
    append(2, i, 1, {"y"});
    commit();
    compact(1, i, 1);
    maintain();
  }
  reopen();
  EXPECT_EQ(state(1).last, (EntryId{Index(50), Term(1)}));
  EXPECT_EQ(state(2).last, (EntryId{Index(50), Term(1)}));
}

TEST_F(WalTest, too_many_groups_for_a_checkpoint_are_refused) {
  options.segment_bytes = kSegmentBytesMin;
  open();
  Status status;
  uint64_t groups = 0;
  while ((status = wal->set_hard_state(GroupId(groups + 1), {.term = Term(1)})).ok()) ++groups;
  EXPECT_EQ(status.code(), ErrorCode::kOverloaded);
  EXPECT_EQ(groups, 42u);
  commit();
  append(1, 1, 1, {std::string(wal->entry_bytes_max(), 'x')});
  commit();
  append(1, 2, 1, {std::string(wal->entry_bytes_max(), 'x')});
  commit();
  reopen();
  EXPECT_EQ(wal->groups().size(), 42u);
}

TEST_F(WalTest, options_that_cannot_be_are_refused) {
  for (const uint64_t bytes :
       {uint64_t{0}, kSegmentBytesMin - kPageBytes, kSegmentBytesMin + 1, 2 * kSegmentBytesMax}) {
    options.segment_bytes = bytes;
    EXPECT_EQ(try_open().code(), ErrorCode::kInvalidArgument) << bytes;
  }
}

TEST_F(WalTest, the_segment_size_may_change_between_starts) {
  open();
  append(1, 1, 1, {"a"});
  commit();
  maintain();
  options.segment_bytes = 64 * kPageBytes;
  reopen();
  append(1, 2, 1, {std::string(40 * kPageBytes, 'x'), "c"});
  commit();
  options.segment_bytes = 8 * kPageBytes;
  reopen();
  append(1, 4, 1, {"d"});
  commit();
  EXPECT_EQ(log(1), fmt::format("1^1=a 2^1=x*{} 3^1=c 4^1=d", 40 * kPageBytes));
}

TEST_F(WalTest, dump_shows_what_is_there) {
  open();
  append(1, 1, 1, {"a"});
  vote(1, 2, 3);
  commit();
  append(1, 2, 2, {"b"});
  commit();
  std::string text;
  const auto print = [&](std::string_view line) { text.append(line).append("\n"); };
  ASSERT_TRUE(dump(fs, "wal", print).ok());
  EXPECT_NE(text.find("segment 0000000000000001"), std::string::npos) << text;
  EXPECT_NE(text.find("group 1 #1 entry 1^1 command 1 bytes"), std::string::npos) << text;
  EXPECT_NE(text.find("group 1 #2 hard state: term 2 vote 3"), std::string::npos) << text;
  EXPECT_NE(text.find("end of log"), std::string::npos) << text;
  rot(1, find(1, "a") + 0);
  text.clear();
  ASSERT_TRUE(dump(fs, "wal", print).ok());
  EXPECT_NE(text.find("DAMAGE"), std::string::npos) << text;
  EXPECT_NE(text.find("entry 2^2"), std::string::npos) << text;
}

}  // namespace
}  // namespace flux::wal::testing
