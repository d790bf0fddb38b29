// Goal: many groups share one RocksDB; what is flushed is there after a power cut, whole batches in order and no more.
#include "engine/rocksdb/rocks_store.h"

#include <fstream>
#include <sstream>
#include <thread>

#include "engine/testing/engine_fixture.h"

namespace flux::engine::testing {
namespace {

class RocksStoreTest : public ::testing::Test {
 protected:
  static void put(Engine& engine, const std::string& key, const std::string& value, uint64_t applied) {
    Batch batch;
    batch.put(Family::kData, key, value);
    batch.put(Family::kMeta, "applied", fmt::format("{}", applied));
    ASSERT_TRUE(engine.write(std::move(batch)).ok());
  }
  static std::string durable(const Engine& engine) {
    std::string value;
    return engine.get_durable(Family::kMeta, "applied", value).value() ? value : "(none)";
  }
  static std::string applied(Engine& engine) {
    PinnedValue value;
    return engine.get(Family::kMeta, "applied", value).value() ? std::string(value.view()) : "(none)";
  }
  // What a power cut would leave: the files as they are, without a clean shutdown.
  std::unique_ptr<RocksStore> after_power_cut() {
    const std::string copy = engines.dir() + fmt::format("/copy{}", copies_++);
    // Where a file goes while it is to be copied, the copy is of no one moment: it is made anew.
    std::error_code gone;
    for (int tries = 0; tries < 100; ++tries) {
      std::filesystem::copy(engines.dir() + "/db", copy, std::filesystem::copy_options::recursive, gone);
      if (gone != std::errc::no_such_file_or_directory) break;
      std::filesystem::remove_all(copy);
    }
    EXPECT_FALSE(gone) << gone.message();
    return std::move(RocksStore::open(copy, {})).value();
  }

  Engines engines{Kind::kRocks};
  int copies_ = 0;
};

TEST_F(RocksStoreTest, what_is_flushed_is_durable_and_says_so) {
  const std::unique_ptr<Engine> engine = engines.make(1);
  put(*engine, "a", "1", 1);
  EXPECT_EQ(durable(*engine), "(none)");
  ASSERT_TRUE(engine->flush().ok());
  EXPECT_EQ(durable(*engine), "1");
  put(*engine, "a", "2", 2);
  EXPECT_EQ(applied(*engine), "2");
  EXPECT_EQ(durable(*engine), "1");
  const std::unique_ptr<RocksStore> crashed = after_power_cut();
  const std::unique_ptr<Engine> recovered = std::move(crashed->engine(GroupId(1))).value();
  EXPECT_EQ(applied(*recovered), "1");
  EXPECT_EQ(recovered->count(), 1u);
}

// S07: data and applied index are never apart.
TEST_F(RocksStoreTest, S07_apply_index_atomic) {
  const std::unique_ptr<Engine> one = engines.make(1);
  const std::unique_ptr<Engine> two = engines.make(2);
  for (uint64_t i = 1; i <= 4000; ++i) {
    Engine& engine = i % 2 == 0 ? *one : *two;
    Batch batch;
    batch.put(Family::kData, fmt::format("k{}", i), std::string(1000, static_cast<char>(i * 37)));
    batch.put(Family::kMeta, "applied", fmt::format("{}", i));
    ASSERT_TRUE(engine.write(std::move(batch)).ok());
    if (i % 1000 != 0) continue;
    const std::unique_ptr<RocksStore> crashed = after_power_cut();
    for (uint64_t group = 1; group <= 2; ++group) {
      const std::unique_ptr<Engine> recovered = std::move(crashed->engine(GroupId(group))).value();
      const std::string text = applied(*recovered);
      const uint64_t index = text == "(none)" ? 0 : std::stoull(text);
      EXPECT_EQ(recovered->count(), (index + 1) / 2) << "group " << group << " at " << index;
      PinnedValue value;
      if (index > 0) {
        EXPECT_TRUE(recovered->get(Family::kData, fmt::format("k{}", index), value).value());
      }
      EXPECT_FALSE(recovered->get(Family::kData, fmt::format("k{}", index + 2), value).value());
    }
  }
}

// S09: the log is ours. RocksDB keeps none of its own, so there is none to be read in part or skipped over; what was
// not flushed is gone after a power cut, as a prefix, and is applied again from our log.
TEST_F(RocksStoreTest, S09_rocksdb_wal_mode) {
  const std::unique_ptr<Engine> engine = engines.make(1);
  for (uint64_t i = 1; i <= 100; ++i) {
    put(*engine, fmt::format("k{}", i), std::string(1000, 'v'), i);
    if (i == 60) {
      ASSERT_TRUE(engine->flush().ok());
    }
  }
  ASSERT_TRUE(engines.store().remove(GroupId(2)).ok());
  size_t options_files = 0;
  for (const auto& file : std::filesystem::directory_iterator(engines.dir() + "/db")) {
    if (file.path().extension() == ".log") {
      EXPECT_EQ(file.file_size(), 0u) << file.path();
    }
    if (!file.path().filename().string().starts_with("OPTIONS-")) continue;
    ++options_files;
    std::stringstream text;
    text << std::ifstream(file.path()).rdbuf();
    EXPECT_EQ(text.str().find("wal_recovery_mode=kSkipAnyCorruptedRecords"), std::string::npos);
    EXPECT_NE(text.str().find("wal_recovery_mode="), std::string::npos);
  }
  EXPECT_GT(options_files, 0u);
  const std::unique_ptr<RocksStore> crashed = after_power_cut();
  const std::unique_ptr<Engine> recovered = std::move(crashed->engine(GroupId(1))).value();
  EXPECT_EQ(applied(*recovered), "60");
  EXPECT_EQ(recovered->count(), 60u);
}

TEST_F(RocksStoreTest, a_clean_shutdown_keeps_everything) {
  std::unique_ptr<Engine> engine = engines.make(7);
  put(*engine, "a", "1", 9);
  engine.reset();
  engines.open_store();
  engine = engines.make(7);
  EXPECT_EQ(applied(*engine), "9");
  EXPECT_EQ(durable(*engine), "9");
  EXPECT_EQ(engine->count(), 1u);
}

TEST_F(RocksStoreTest, groups_come_and_go) {
  for (const uint64_t group : {uint64_t{0}, uint64_t{1}, uint64_t{256}, UINT64_MAX})
    put(*engines.make(group), "a", "1", 1);
  EXPECT_EQ(engines.store().groups().value(),
            (std::vector<GroupId>{GroupId(0), GroupId(1), GroupId(256), GroupId(UINT64_MAX)}));
  ASSERT_TRUE(engines.store().remove(GroupId(1)).ok());
  EXPECT_EQ(engines.store().groups().value(), (std::vector<GroupId>{GroupId(0), GroupId(256), GroupId(UINT64_MAX)}));
  EXPECT_EQ(engines.make(1)->count(), 0u);
  EXPECT_EQ(engines.make(256)->count(), 1u);
}

TEST_F(RocksStoreTest, a_load_that_was_cut_off_leaves_nothing) {
  env::testing::FakeFs fs;
  const std::unique_ptr<Engine> source = make_memory_engine({});
  Batch batch;
  for (int i = 0; i < 9000; ++i)
    batch.put(Family::kData, fmt::format("k{}", i), std::string(500, static_cast<char>(i)));
  ASSERT_TRUE(source->write(std::move(batch)).ok());
  static_cast<void>(save_snapshot(*source->snapshot(), fs, "snap", "s", "").value());
  const std::unique_ptr<SnapshotReader> reader = std::move(SnapshotReader::open(fs, "snap/s")).value();
  const std::unique_ptr<Engine> engine = engines.make(1);
  put(*engine, "old", "1", 1);
  ASSERT_TRUE(engine->flush().ok());
  ASSERT_TRUE(engine->load(*reader).ok());
  EXPECT_EQ(engine->count(), 9000u);
  // Some memtables of the load are on disk by now, the last one is not.
  const std::unique_ptr<RocksStore> crashed = after_power_cut();
  const std::unique_ptr<Engine> recovered = std::move(crashed->engine(GroupId(1))).value();
  const uint64_t count = recovered->count();
  EXPECT_TRUE(count == 0 || count == 9000 || (count == 1 && applied(*recovered) == "1")) << count;
  const std::unique_ptr<Iterator> it = recovered->iterate(Family::kData, "", "");
  uint64_t keys = 0;
  for (; it->valid(); it->next()) ++keys;
  EXPECT_EQ(keys, count);
  ASSERT_TRUE(engine->flush().ok());
  EXPECT_EQ(std::move(after_power_cut()->engine(GroupId(1))).value()->count(), 9000u);
}

// F30: rot in a table file is an error, never an answer.
TEST_F(RocksStoreTest, F30_rot_is_an_error) {
  std::unique_ptr<Engine> engine = engines.make(1);
  for (uint64_t i = 1; i <= 500; ++i)
    put(*engine, fmt::format("k{}", i), std::string(200, static_cast<char>(i * 31)), i);
  ASSERT_TRUE(engine->flush().ok());
  engine.reset();
  const std::string copy = engines.dir() + "/rotten";
  std::filesystem::copy(engines.dir() + "/db", copy, std::filesystem::copy_options::recursive);
  for (const auto& file : std::filesystem::directory_iterator(copy)) {
    if (file.path().extension() != ".sst") continue;
    std::fstream stream(file.path(), std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(2000);
    stream.write("\x55\x55\x55\x55", 4);
  }
  const Result<std::unique_ptr<RocksStore>> store = RocksStore::open(copy, {});
  if (!store.ok()) {
    EXPECT_EQ(store.status().code(), ErrorCode::kCorruption);
    return;
  }
  const Result<std::unique_ptr<Engine>> rotten = (*store)->engine(GroupId(1));
  ASSERT_TRUE(rotten.ok());
  EXPECT_EQ((*rotten)->state_hash().status().code(), ErrorCode::kCorruption);
}

TEST_F(RocksStoreTest, concurrent_flushes_share) {
  const std::unique_ptr<Engine> engine = engines.make(1);
  put(*engine, "a", "1", 1);
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] { EXPECT_TRUE(engine->flush().ok()); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(durable(*engine), "1");
}

TEST_F(RocksStoreTest, stats_are_there) {
  const std::unique_ptr<Engine> engine = engines.make(1);
  put(*engine, "a", std::string(100'000, 'x'), 1);
  EXPECT_GT(engines.store().stats().memtable_bytes, 100'000u);
  ASSERT_TRUE(engine->flush().ok());
  EXPECT_GT(engines.store().stats().sst_bytes, 0u);
  EXPECT_FALSE(engines.store().stats().write_stalled);
  EXPECT_GT(engines.store().memory_used(), 0u);
}

}  // namespace
}  // namespace flux::engine::testing
