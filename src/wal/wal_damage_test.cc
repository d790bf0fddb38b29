// Goal: what was promised and cannot be read any more is told, per group and for ever; what was never promised is cut
// without a word. Rot in the middle is never taken for a torn tail.
#include "base/rng.h"
#include "wal/testing/wal_fixture.h"

namespace flux::wal::testing {
namespace {

class WalDamageTest : public WalFixture {
 protected:
  // Five batches of three groups; group 3 has only the hard state of the second batch.
  void write_story() {
    open();
    append(1, 1, 1, {"a1", "a2"}), vote(1, 1, 1), commit();
    append(2, 1, 1, {"b1"}), vote(3, 7, 2), commit();
    append(1, 3, 1, {"a3"}), vote(2, 2, 2), commit();
    append(1, 4, 2, {"a4"}), append(2, 2, 2, {"b2", "b3"}), vote(1, 2, 3), commit();
    append(1, 5, 2, {"a5"}), commit();
  }
  static constexpr uint64_t kStoryEnd = 7 * kPageBytes;  // header page, checkpoint, five batches
  static constexpr uint64_t kLastBatch = 6 * kPageBytes;

  // A recovery may lose nothing without saying so.
  void expect_honest(const std::string& where) {
    const std::vector<std::pair<uint64_t, std::string>> expected = {
        {1, "1^1=a1 2^1=a2 3^1=a3 4^2=a4 5^2=a5"}, {2, "1^1=b1 2^2=b2 3^2=b3"}, {3, ""}};
    const std::vector<HardState> hard_states = {{Term(2), NodeId(3)}, {Term(2), NodeId(2)}, {Term(7), NodeId(2)}};
    for (const auto& [group, text] : expected) {
      if (!wal->has_group(GroupId(group))) {
        EXPECT_TRUE(wal->recovery().new_groups_lost) << where << " group " << group;
        continue;
      }
      const std::string seen = log(group);
      const Damage damage = state(group).damage;
      EXPECT_EQ(text.substr(0, seen.size()), seen) << where << " group " << group;
      if (seen != text) {
        EXPECT_TRUE(damage.entries_lost) << where << " group " << group << " has " << seen;
        EXPECT_EQ(damage.lost_first, state(group).last.index + 1) << where << " group " << group;
      }
      if (hard_state(group) != hard_states[group - 1]) {
        EXPECT_TRUE(damage.hard_state_lost) << where << " group " << group;
      }
    }
  }
};

// S03, F23, F24: the file ends, or zeros begin, anywhere.
TEST_F(WalDamageTest, S03_torn_tail_every_offset) {
  write_story();
  crash();
  const std::unique_ptr<FakeFs> whole = fs.clone();
  const std::string contents = whole->contents(segment(1));
  std::vector<std::string> prefixes = {""};  // what group 1 holds after so many batches
  for (const char* text : {"1^1=a1 2^1=a2", "1^1=a1 2^1=a2", "1^1=a1 2^1=a2 3^1=a3", "1^1=a1 2^1=a2 3^1=a3 4^2=a4",
                           "1^1=a1 2^1=a2 3^1=a3 4^2=a4 5^2=a5"}) {
    prefixes.push_back(text);
  }
  for (uint64_t size = kPageBytes; size <= kStoryEnd; size += size % kPageBytes < 600 ? 1 : 97) {
    for (const bool zeros : {false, true}) {
      const std::unique_ptr<FakeFs> torn = whole->clone();
      zeros ? torn->overwrite(segment(1), size, std::string(contents.size() - size, '\0'))
            : torn->cut(segment(1), size);
      Result<std::unique_ptr<Wal>> opened = Wal::open(*torn, "wal", options);
      ASSERT_TRUE(opened.ok()) << size << ": " << opened.status().to_string();
      wal = std::move(opened).value();
      EXPECT_TRUE(wal->recovery().damaged.empty()) << size;
      const std::string seen = log(1) == "none" ? "" : log(1);
      // A batch is whole from its last byte on that is not zero: what is cut off reads as zeros.
      size_t batches = 0;
      for (size_t batch = 0; batch < 5; ++batch) {
        const uint64_t start = (batch + 2) * kPageBytes;
        if (size > contents.find_last_not_of('\0', start + kPageBytes - 1)) batches = batch + 1;
      }
      EXPECT_EQ(seen, prefixes[batches]) << size;
      // And the log goes on from there.
      const Index next = wal->has_group(GroupId(1)) ? state(1).last.index + 1 : Index(1);
      append(1, next.value(), 9, {"on"});
      commit();
      const std::string after = log(1);
      wal.reset();
      torn->crash(CrashPolicy::drop_all());
      wal = std::move(Wal::open(*torn, "wal", options)).value();
      EXPECT_EQ(log(1), after) << size;
      wal.reset();
    }
  }
}

// The last bytes of an entry are zeros, and a write that was torn leaves a file that ends before them.
TEST_F(WalDamageTest, a_file_may_end_where_zeros_begin) {
  options.prefill = false;
  open();
  append(1, 1, 1, {"one", std::string("x\0\0\0", 4)});
  commit();
  crash();
  const std::string before = fs.contents(segment(1));
  const uint64_t end = before.find_last_not_of('\0') + 1;
  for (uint64_t size = end; size <= end + 4; ++size) {
    const std::unique_ptr<FakeFs> torn = fs.clone();
    torn->cut(segment(1), size);
    Result<std::unique_ptr<Wal>> opened = Wal::open(*torn, "wal", options);
    ASSERT_TRUE(opened.ok()) << opened.status().to_string();
    wal = std::move(opened).value();
    ASSERT_EQ(state(1).last.index, Index(2));
    const Result<std::vector<Entry>> entries = wal->read(GroupId(1), Index(1), Index(2), 1000);
    ASSERT_TRUE(entries.ok()) << entries.status().to_string();
    EXPECT_EQ((*entries)[1].data.view(), std::string_view("x\0\0\0", 4));
    wal.reset();
  }
}

// S04, F22, F27: every byte of every batch but the last, one at a time.
TEST_F(WalDamageTest, S04_midlog_corruption) {
  write_story();
  crash();
  const std::unique_ptr<FakeFs> whole = fs.clone();
  const std::string contents = whole->contents(segment(1));
  Rng rng(4);
  for (uint64_t page = kPageBytes; page < kLastBatch; page += kPageBytes) {
    const BatchHeader header = *decode_batch_header(contents.substr(page, kBatchHeaderBytes), options.store_id);
    for (uint64_t at = page; at < page + kBatchHeaderBytes + header.records_bytes; ++at) {
      const std::unique_ptr<FakeFs> rotten = whole->clone();
      rotten->flip_bit(segment(1), at * 8 + rng.below(8));
      Result<std::unique_ptr<Wal>> opened = Wal::open(*rotten, "wal", options);
      ASSERT_TRUE(opened.ok()) << at << ": " << opened.status().to_string();
      wal = std::move(opened).value();
      EXPECT_FALSE(wal->recovery().findings.empty()) << at;
      EXPECT_EQ(wal->recovery().torn_bytes, 0u) << at;
      expect_honest(fmt::format("byte {}", at));
      // The next recovery, of a log that was written on, is as honest.
      append(9, 1, 1, {"z"});
      commit();
      wal.reset();
      rotten->crash(CrashPolicy::drop_all());
      wal = std::move(Wal::open(*rotten, "wal", options)).value();
      expect_honest(fmt::format("byte {} again", at));
      wal.reset();
    }
  }
}

TEST_F(WalDamageTest, only_the_group_that_lost_something_is_damaged) {
  write_story();
  crash();
  rot(1, find(1, "a3"));
  open();
  EXPECT_EQ(damage(1), "entries 3..5");
  EXPECT_EQ(log(1), "1^1=a1 2^1=a2");
  EXPECT_EQ(damage(2), "");
  EXPECT_EQ(damage(3), "");
  ASSERT_EQ(wal->recovery().damaged.size(), 1u);
}

// F27: never default to an older term when a vote was lost.
TEST_F(WalDamageTest, F27_lost_hard_state_is_told) {
  write_story();
  crash();
  rot(1, 3 * kPageBytes + kBatchHeaderBytes + kRecordHeaderBytes + 2 + 16);  // the vote of group 3
  open();
  EXPECT_FALSE(wal->has_group(GroupId(3)));
  EXPECT_TRUE(wal->recovery().new_groups_lost);
  crash();
  rot(1, 3 * kPageBytes + kBatchHeaderBytes + kRecordHeaderBytes + 2 + 16);  // mended
  open();
  vote(3, 8, 1), commit();
  append(1, 6, 2, {"a6"}), commit();
  crash();
  rot(1, kStoryEnd + kBatchHeaderBytes + 16);
  open();
  EXPECT_EQ(damage(3), "hard-state entries 1..0");
  EXPECT_EQ(hard_state(3).term, Term(7));
}

TEST_F(WalDamageTest, a_later_hard_state_makes_up_for_a_lost_one) {
  open();
  vote(1, 3, 1), commit();
  vote(1, 4, 2), commit();
  append(1, 1, 4, {"x"}), commit();
  crash();
  rot(1, 2 * kPageBytes + kBatchHeaderBytes + 16);
  open();
  EXPECT_EQ(hard_state(1), (HardState{Term(4), NodeId(2)}));
  EXPECT_FALSE(state(1).damage.hard_state_lost);
}

TEST_F(WalDamageTest, a_compaction_makes_up_for_lost_entries) {
  open();
  append(1, 1, 1, {"a1", "a2"}), commit();
  append(1, 3, 1, {"a3", "a4"}), commit();
  compact(1, 2, 1), vote(1, 1, 1), commit();
  append(1, 5, 1, {"a5"}), commit();
  crash();
  rot(1, find(1, "a2"));
  open();
  EXPECT_EQ(log(1), "3^1=a3 4^1=a4 5^1=a5");
  EXPECT_EQ(damage(1), "");
}

TEST_F(WalDamageTest, a_cut_before_lost_entries_makes_up_for_them) {
  open();
  append(1, 1, 1, {"a1", "a2", "a3"}), vote(1, 1, 1), commit();
  append(1, 4, 1, {"a4"}), commit();
  append(1, 2, 2, {"A2"}), vote(1, 2, 1), commit();
  append(1, 3, 2, {"A3"}), commit();
  crash();
  rot(1, find(1, "a3"));
  open();
  EXPECT_EQ(log(1), "1^1=a1 2^2=A2 3^2=A3");
  EXPECT_EQ(damage(1), "");
}

TEST_F(WalDamageTest, damage_is_remembered_until_it_is_repaired) {
  write_story();
  crash();
  rot(1, find(1, "a3"));
  open();
  for (int restart = 0; restart < 3; ++restart) {
    append(2, 4 + static_cast<uint64_t>(restart), 3, {"on"}), commit();
    reopen();
    EXPECT_EQ(damage(1), "entries 3..5") << restart;
    EXPECT_EQ(log(1), "1^1=a1 2^1=a2");
  }
  append(1, 3, 1, {"a3"}), append(1, 4, 2, {"a4"}), commit();
  reopen();
  EXPECT_EQ(damage(1), "entries 3..5") << "the log is still shorter than what was promised";
  EXPECT_EQ(log(1), "1^1=a1 2^1=a2 3^1=a3 4^2=a4");
  append(1, 5, 2, {"a5"});
  ASSERT_TRUE(wal->repaired(GroupId(1)).ok());
  commit();
  for (int restart = 0; restart < 2; ++restart) {
    reopen();
    EXPECT_EQ(damage(1), "");
    EXPECT_EQ(log(1), "1^1=a1 2^1=a2 3^1=a3 4^2=a4 5^2=a5");
  }
}

TEST_F(WalDamageTest, damage_outlives_the_segments_that_show_it) {
  write_story();
  crash();
  rot(1, find(1, "a3"));
  open();
  const std::string big(9 * kPageBytes, 'x');
  for (uint64_t i = 4; i < 10; ++i) {
    append(2, i, 3, {big}), commit();
    compact(2, i, 3), commit();
    if (state(1).base.index < Index(2)) compact(1, 2, 1), commit();
    maintain(), maintain();
  }
  reopen();
  EXPECT_EQ(wal->recovery().findings.size(), 1u) << "the rotten segment is gone";
  EXPECT_EQ(damage(1), "entries 3..5");
}

TEST_F(WalDamageTest, a_checkpoint_tells_what_a_damaged_segment_held) {
  open();
  append(1, 1, 1, {"a1"}), append(2, 1, 1, {"b1"}), vote(2, 5, 1), commit();
  append(1, 2, 1, {"a2"}), commit();
  append(2, 2, 5, {std::string(8 * kPageBytes, 'x')}), commit();
  append(2, 3, 5, {std::string(8 * kPageBytes, 'x')}), commit();  // rotates
  ASSERT_EQ(wal->stats().segments_live, 2u);
  append(2, 4, 5, {"b4"}), commit();
  crash();
  rot(1, 3 * kPageBytes + 8);  // header of the batch with a2
  open();
  EXPECT_EQ(log(1), "1^1=a1");
  EXPECT_EQ(damage(1), "entries 2..2");
  EXPECT_EQ(damage(2), "");
  EXPECT_EQ(state(2).last.index, Index(4));
}

TEST_F(WalDamageTest, a_lost_removal_is_found_by_the_checkpoint) {
  open();
  append(1, 1, 1, {"a1"}), append(2, 1, 1, {"b1"}), commit();
  ASSERT_TRUE(wal->remove(GroupId(1)).ok());
  commit();
  append(2, 2, 5, {std::string(8 * kPageBytes, 'x')}), commit();
  append(2, 3, 5, {std::string(8 * kPageBytes, 'x')}), commit();  // rotates
  append(2, 4, 5, {"b4"}), commit();
  crash();
  rot(1, 3 * kPageBytes + kBatchHeaderBytes + 20);
  open();
  EXPECT_FALSE(wal->has_group(GroupId(1)));
  EXPECT_EQ(damage(2), "");
}

// F22 while running: the read tells; the rest goes on.
TEST_F(WalDamageTest, F22_rot_under_a_running_process_is_found_by_the_read) {
  write_story();
  rot(1, find(1, "a3"));
  EXPECT_EQ(wal->read(GroupId(1), Index(3), Index(3), 1).status().code(), ErrorCode::kCorruption);
  EXPECT_EQ(wal->read(GroupId(1), Index(4), Index(4), 1).value()[0].data.view(), "a4");
}

// F23: the last batch cannot be told from a torn write, unless the log was closed.
TEST_F(WalDamageTest, F23_damage_at_the_end) {
  write_story();
  crash();
  rot(1, find(1, "a5"));
  open();
  EXPECT_EQ(log(1), "1^1=a1 2^1=a2 3^1=a3 4^2=a4");
  EXPECT_GT(wal->recovery().torn_bytes, 0u);
  EXPECT_TRUE(wal->recovery().damaged.empty());
  append(1, 5, 2, {"a5"});
  ASSERT_TRUE(wal->close().ok());
  ASSERT_TRUE(wal->close().ok());
  crash();
  rot(1, find(1, "a5"));
  open();
  EXPECT_EQ(damage(1), "entries 5..5");
  EXPECT_EQ(damage(2), "");
}

// F33: a valid batch in the wrong place, or from the segment's former life, is nothing.
TEST_F(WalDamageTest, F33_misdirected_and_stale_batches_are_no_batches) {
  write_story();
  crash();
  const std::string contents = fs.contents(segment(1));
  const std::string second = contents.substr(3 * kPageBytes, kPageBytes);
  fs.overwrite(segment(1), kStoryEnd, second);  // after the end: ignored
  open();
  EXPECT_EQ(log(1), "1^1=a1 2^1=a2 3^1=a3 4^2=a4 5^2=a5");
  EXPECT_TRUE(wal->recovery().damaged.empty());
  crash();
  fs.overwrite(segment(1), 4 * kPageBytes, second);  // over the batch with a3 and the vote of group 2
  open();
  EXPECT_EQ(log(1), "1^1=a1 2^1=a2");
  EXPECT_EQ(damage(1), "entries 3..5");
  EXPECT_EQ(damage(2).substr(0, 10), "hard-state");
}

// An unpromised batch that outlived the cut of the one before it must never come back.
TEST_F(WalDamageTest, a_batch_of_a_former_life_never_continues_the_log) {
  open();
  append(1, 1, 1, {"a1"}), commit();
  const std::string one_page_sizes = std::string(100, 'x');
  append(1, 2, 1, {one_page_sizes});
  wal->seal();
  ASSERT_TRUE(wal->write().ok());
  append(1, 3, 1, {"ghost"});
  wal->seal();
  ASSERT_TRUE(wal->write().ok());
  const uint64_t torn_at = find(1, one_page_sizes);
  crash(CrashPolicy::keep_all());
  rot(1, torn_at);
  open();
  EXPECT_EQ(log(1), "1^1=a1");
  EXPECT_TRUE(wal->recovery().damaged.empty());
  append(1, 2, 2, {"new"}), commit();  // one page, just before the ghost
  reopen();
  EXPECT_EQ(log(1), "1^1=a1 2^2=new");
  append(1, 3, 2, {"more"}), commit();
  reopen();
  EXPECT_EQ(log(1), "1^1=a1 2^2=new 3^2=more");
}

TEST_F(WalDamageTest, records_of_a_former_life_never_mend_a_torn_batch) {
  open();
  append(1, 1, 1, {"a1"}), commit();
  // Two pages; the second one stays when the first is cut off by a crash.
  const std::string filler(kPageBytes, 'f');
  append(1, 2, 1, {filler, "old"});
  wal->seal();
  ASSERT_TRUE(wal->write().ok());
  crash(CrashPolicy::keep_all());
  fs.overwrite(segment(1), 3 * kPageBytes, std::string(kPageBytes, '\0'));
  open();
  append(1, 2, 2, {filler, "new"});
  wal->seal();
  const std::string before = fs.contents(segment(1));
  ASSERT_TRUE(wal->write().ok());
  crash(CrashPolicy::keep_all());
  fs.overwrite(segment(1), 4 * kPageBytes, before.substr(4 * kPageBytes, kPageBytes));  // the old second page stayed
  open();
  EXPECT_EQ(log(1), "1^1=a1");
}

TEST_F(WalDamageTest, a_damaged_header_page_is_survived) {
  write_story();
  crash();
  rot(1, 20);
  open();
  EXPECT_EQ(log(1), "1^1=a1 2^1=a2 3^1=a3 4^2=a4 5^2=a5");
  ASSERT_EQ(wal->recovery().findings.size(), 1u);
}

TEST_F(WalDamageTest, a_spare_without_header_is_refused) {
  options.spare_segments = 1;
  write_story();
  maintain();
  crash();
  rot(2, 20);
  EXPECT_EQ(try_open().code(), ErrorCode::kCorruption);
}

class WalWholeLogTest : public WalDamageTest {
 protected:
  void write_three_segments() {
    open();
    append(1, 1, 1, {"a1"}), commit();
    for (uint64_t i = 2; i <= 4; ++i) append(1, i, 1, {std::string(11 * kPageBytes, 'x')}), commit();
    ASSERT_GE(wal->stats().segments_live, 3u);
    crash();
  }
};

TEST_F(WalWholeLogTest, a_missing_segment_is_refused) {
  write_three_segments();
  ASSERT_TRUE(fs.remove(segment(2)).ok());
  const Status status = try_open();
  EXPECT_EQ(status.code(), ErrorCode::kDataLoss);
  EXPECT_NE(status.message().find("restore it"), std::string::npos) << status.to_string();
}

TEST_F(WalWholeLogTest, a_missing_first_segment_is_damage) {
  write_three_segments();
  ASSERT_TRUE(fs.remove(segment(1)).ok());
  open();
  EXPECT_TRUE(state(1).damage.entries_lost);
  EXPECT_EQ(state(1).damage.lost_first, Index(1));
  EXPECT_EQ(state(1).damage.lost_last_known, Index(4));
}

TEST_F(WalWholeLogTest, swapped_segments_are_refused) {
  write_three_segments();
  ASSERT_TRUE(fs.rename(segment(1), "wal/x").ok());
  ASSERT_TRUE(fs.rename(segment(2), segment(1)).ok());
  ASSERT_TRUE(fs.rename("wal/x", segment(2)).ok());
  const Status status = try_open();
  EXPECT_EQ(status.code(), ErrorCode::kCorruption);
  EXPECT_NE(status.message().find("swapped"), std::string::npos) << status.to_string();
}

// F45.
TEST_F(WalWholeLogTest, segments_of_another_store_are_refused) {
  write_three_segments();
  options.store_id = StoreId(8);
  const Status status = try_open();
  EXPECT_EQ(status.code(), ErrorCode::kCorruption);
  EXPECT_NE(status.message().find("belongs to store 7"), std::string::npos) << status.to_string();
}

TEST_F(WalWholeLogTest, a_newer_format_is_refused) {
  write_three_segments();
  fs.overwrite(segment(2), 0,
               encode_segment_header({.version = kFormatVersion + 1,
                                      .store_id = StoreId(7),
                                      .segment_id = SegmentId(2),
                                      .segment_bytes = options.segment_bytes}));
  EXPECT_EQ(try_open().code(), ErrorCode::kUnsupported);
}

TEST_F(WalWholeLogTest, a_log_without_any_batch_after_freed_segments_is_refused) {
  write_three_segments();
  ASSERT_TRUE(fs.remove(segment(1)).ok());
  for (uint64_t id = 2; fs.exists(segment(id)).value(); ++id) fs.cut(segment(id), kPageBytes);
  EXPECT_EQ(try_open().code(), ErrorCode::kDataLoss);
}

}  // namespace
}  // namespace flux::wal::testing
