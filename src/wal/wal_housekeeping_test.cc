// Goal: the log's disk use is bounded, rotation finds a segment ready, and nothing that somebody needs is freed.
#include <thread>

#include "wal/testing/wal_fixture.h"

namespace flux::wal::testing {
namespace {

class WalHousekeepingTest : public WalFixture {
 protected:
  void append_big(uint64_t group, uint64_t index) {
    append(group, index, 1, {std::string(9 * kPageBytes, static_cast<char>('a' + index % 26))});
    commit();
  }
};

TEST_F(WalHousekeepingTest, rotation_finds_a_segment_ready) {
  options.prefill = true;
  open();
  maintain();
  EXPECT_FALSE(wal->wants_maintenance());
  EXPECT_EQ(wal->stats().segments_spare, 2u);
  append_big(1, 1);
  const auto before = fs.counts();
  append_big(1, 2);
  EXPECT_EQ(wal->stats().segments_live, 2u);
  EXPECT_EQ(fs.counts().writes - before.writes, 1u) << "checkpoint and batch in one write";
  EXPECT_EQ(fs.counts().syncs - before.syncs, 1u);
  EXPECT_EQ(fs.counts().dir_syncs - before.dir_syncs, 0u);
  EXPECT_TRUE(wal->wants_maintenance());
}

TEST_F(WalHousekeepingTest, a_prefilled_segment_never_grows) {
  options.prefill = true;
  open();
  EXPECT_EQ(fs.durable_contents(segment(1)).size(), options.segment_bytes);
}

TEST_F(WalHousekeepingTest, freed_segments_are_recycled_and_then_removed) {
  options.spare_segments_max = 4;
  open();
  maintain();
  for (uint64_t i = 1; i <= 6; ++i) append_big(1, i);
  EXPECT_EQ(wal->stats().segments_live, 6u);
  compact(1, 6, 1);
  maintain();
  EXPECT_EQ(wal->stats().segments_live, 6u) << "the compaction is not durable yet";
  commit();
  maintain();
  EXPECT_EQ(wal->stats().segments_live, 1u);
  EXPECT_EQ(wal->stats().segments_spare, 4u);
  EXPECT_EQ(wal->stats().segments_recycled, 2u);
  EXPECT_EQ(wal->stats().segments_removed, 3u);
  EXPECT_EQ(fs.list("wal").value().size(), 5u);
  append_big(1, 7);
  reopen();
  EXPECT_EQ(log(1), fmt::format("7^1=h*{}", 9 * kPageBytes));
}

// F33: the records that a recycled segment held are not found in its next life.
TEST_F(WalHousekeepingTest, records_of_a_recycled_segment_never_come_back) {
  options.spare_segments = 1;
  open();
  append_big(2, 1);
  append(1, 1, 1, {"old1"}), commit();
  append(1, 2, 1, {"old2"}), commit();
  append(1, 3, 1, {"old3"}), commit();
  append_big(2, 2);
  compact(1, 3, 1), compact(2, 2, 1), commit();
  maintain();
  ASSERT_EQ(wal->stats().segments_recycled, 1u);
  append_big(2, 3);
  append(3, 1, 1, {"new"}), commit();
  const std::string bytes = fs.contents(segment(3));
  ASSERT_NE(bytes.find("old3"), std::string::npos) << "the old bytes are still there";
  reopen();
  EXPECT_EQ(log(1), "");
  EXPECT_EQ(log(3), "1^1=new");
  EXPECT_TRUE(wal->recovery().findings.empty());
}

TEST_F(WalHousekeepingTest, a_compaction_frees_only_when_it_is_durable) {
  options.spare_segments = 0;
  open();
  for (uint64_t i = 1; i <= 4; ++i) append_big(1, i);
  compact(1, 4, 1);
  maintain(), maintain();
  reopen();
  EXPECT_EQ(state(1).base.index, Index(0));
  EXPECT_EQ(wal->read(GroupId(1), Index(1), Index(4), 1_GiB).value().size(), 4u);
}

// The terms and votes in a freed segment live on in the checkpoint of the next, once that is durable and not before.
TEST_F(WalHousekeepingTest, a_segment_is_freed_only_after_the_next_checkpoint_is_durable) {
  options.spare_segments = 0;
  open();
  vote(5, 9, 2);
  append_big(1, 1);
  compact(1, 1, 1), commit();
  maintain();  // nothing in the one segment is needed any more, but for what its checkpoint and the vote say
  append(1, 2, 1, {std::string(9 * kPageBytes, 'x')});
  wal->seal();
  ASSERT_TRUE(wal->write().ok());
  ASSERT_EQ(wal->stats().segments_live, 2u);
  maintain();
  reopen();
  EXPECT_EQ(hard_state(5), (HardState{Term(9), NodeId(2)}));
  EXPECT_EQ(state(1).base.index, Index(1));
}

TEST_F(WalHousekeepingTest, groups_that_hold_old_segments_are_named) {
  options.segments_max = 2;
  open();
  append(7, 1, 1, {"old"});
  append_big(1, 1);
  append_big(1, 2);
  EXPECT_TRUE(wal->pinning_groups().empty());
  append(8, 1, 1, {"young"});
  append_big(1, 3);
  append_big(1, 4);
  EXPECT_EQ(wal->pinning_groups(), (std::vector<GroupId>{GroupId(7), GroupId(1)}));
  compact(1, 3, 1);
  EXPECT_EQ(wal->pinning_groups(), (std::vector<GroupId>{GroupId(7)}));
  compact(7, 1, 1), commit(), maintain();
  EXPECT_TRUE(wal->pinning_groups().empty());
  EXPECT_EQ(wal->stats().segments_live, 2u);
}

TEST_F(WalHousekeepingTest, reset_and_removal_free_too) {
  options.spare_segments = 0;
  open();
  append_big(1, 1), append_big(2, 1), append_big(3, 1);
  ASSERT_TRUE(wal->reset(GroupId(1), {.index = Index(10), .term = Term(2)}).ok());
  ASSERT_TRUE(wal->remove(GroupId(2)).ok());
  commit(), maintain();
  EXPECT_EQ(wal->stats().segments_live, 1u);
  reopen();
  EXPECT_EQ(wal->groups(), (std::vector<GroupId>{GroupId(1), GroupId(3)}));
}

TEST_F(WalHousekeepingTest, stats_add_up) {
  open();
  append(1, 1, 1, {"abc"});
  commit();
  const Stats stats = wal->stats();
  EXPECT_EQ(stats.records, 1u);
  EXPECT_EQ(stats.bytes_appended, kRecordHeaderBytes + 3);
  EXPECT_EQ(stats.batches, 2u) << "with the first checkpoint";
  EXPECT_EQ(stats.bytes_written, 2 * kPageBytes);
  EXPECT_EQ(stats.bytes_written, stats.bytes_appended + stats.bytes_padded + 2 * kBatchHeaderBytes);
  EXPECT_EQ(stats.syncs, 1u);
}

// Appends on workers, the cycle on a log thread, housekeeping on a third, reads everywhere.
TEST_F(WalHousekeepingTest, threads_get_along) {
  options.segment_bytes = 32 * kPageBytes;
  open();
  std::atomic<bool> over{false};
  std::atomic<uint64_t> lost{0};
  std::thread cycle([&] {
    while (!over) {
      wal->seal();
      if (!wal->write().ok() || !wal->sync().ok()) ++lost;
    }
  });
  std::thread housekeeping([&] {
    while (!over) {
      if (wal->wants_maintenance() && !wal->maintain().ok()) ++lost;
      static_cast<void>(wal->pinning_groups());
    }
  });
  std::vector<std::thread> workers;
  for (uint64_t group = 1; group <= 3; ++group) {
    workers.emplace_back([&, group] {
      for (uint64_t i = 1; i <= 500; ++i) {
        if (!wal->append(GroupId(group), entries(i, 1, {fmt::format("{}-{}", group, i) + std::string(i, 'x')})).ok())
          ++lost;
        const GroupLogState now = wal->state(GroupId(group));
        const auto read = wal->read(GroupId(group), now.base.index + 1, now.last.index, 1_MiB);
        if (!read.ok() || !read->back().data.view().starts_with(fmt::format("{}-", group))) ++lost;
        if (i % 50 == 0 && !wal->compact(GroupId(group), {.index = Index(i - 10), .term = Term(1)}).ok()) ++lost;
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  over = true;
  cycle.join();
  housekeeping.join();
  EXPECT_EQ(lost, 0u);
  commit();
  const std::string expected = log(2);
  reopen();
  EXPECT_EQ(log(2), expected);
  EXPECT_EQ(state(1).last.index, Index(500));
}

}  // namespace
}  // namespace flux::wal::testing
