// Goal: both engines keep the one contract.
#include <map>
#include <thread>

#include "engine/testing/engine_fixture.h"

namespace flux::engine::testing {
namespace {

using EngineTest = EngineFixture;
INSTANTIATE_TEST_SUITE_P(Engines, EngineTest, ::testing::Values(Kind::kMemory, Kind::kRocks), kind_name);

TEST_P(EngineTest, what_is_put_is_found) {
  EXPECT_EQ(get("a"), "(none)");
  put("a", "1");
  put("b", "");
  EXPECT_EQ(get("a"), "1");
  EXPECT_EQ(get("b"), "");
  put("a", "22");
  EXPECT_EQ(get("a"), "22");
  erase("a");
  EXPECT_EQ(get("a"), "(none)");
  erase("a");
  EXPECT_EQ(engine->count(), 1u);
}

TEST_P(EngineTest, keys_and_values_are_any_bytes) {
  const std::string zeros("\0\0\0", 3);
  const std::string ones("\xFF\xFF\xFF\xFF");
  put(zeros, ones);
  put(ones, zeros);
  put("", "empty key");
  EXPECT_EQ(get(zeros), ones);
  EXPECT_EQ(get(ones), zeros);
  EXPECT_EQ(get(""), "empty key");
  EXPECT_EQ(get(std::string("\0\0", 2)), "(none)");
  EXPECT_EQ(list(), "=empty key " + zeros + "=" + ones + " " + ones + "=" + zeros);
}

TEST_P(EngineTest, families_are_apart) {
  for (const Family family : kFamilies) put("k", std::string(to_string(family)), family);
  for (const Family family : kFamilies) {
    EXPECT_EQ(get("k", family), to_string(family));
    EXPECT_EQ(list("", "", family), fmt::format("k={}", to_string(family)));
  }
  EXPECT_EQ(engine->count(), 1u) << "of kData only";
  erase_range("", "", Family::kSession);
  EXPECT_EQ(get("k", Family::kSession), "(none)");
  EXPECT_EQ(get("k", Family::kExpiry), "expiry");
  EXPECT_EQ(get("k", Family::kMeta), "meta");
}

TEST_P(EngineTest, groups_are_apart) {
  const std::unique_ptr<Engine> other = engines.make(2);
  put("a", "1");
  EXPECT_EQ(text(*other->iterate(Family::kData, "", "")), "");
  ASSERT_TRUE(other->clear().ok());
  EXPECT_EQ(get("a"), "1");
}

TEST_P(EngineTest, a_batch_takes_effect_in_order) {
  put("old", "1");
  Batch batch;
  batch.put(Family::kData, "a", "1");
  batch.put(Family::kData, "b", "2");
  batch.erase_range(Family::kData, "a", "b");
  batch.put(Family::kData, "a", "3");
  batch.erase(Family::kData, "old");
  batch.put(Family::kMeta, "applied", "7");
  write(std::move(batch));
  EXPECT_EQ(list(), "a=3 b=2");
  EXPECT_EQ(get("applied", Family::kMeta), "7");
  EXPECT_EQ(engine->count(), 2u);
}

TEST_P(EngineTest, iteration_is_ordered_and_half_open) {
  for (const char* key : {"b", "a", "d", "c", "ca", "aaaa"}) put(key, "x");
  EXPECT_EQ(list(), "a=x aaaa=x b=x c=x ca=x d=x");
  EXPECT_EQ(list("b", "d"), "b=x c=x ca=x");
  EXPECT_EQ(list("aa", ""), "aaaa=x b=x c=x ca=x d=x");
  EXPECT_EQ(list("", "aaaa"), "a=x");
  EXPECT_EQ(list("d", "b"), "");
  EXPECT_EQ(list("e", ""), "");
}

TEST_P(EngineTest, erase_range_erases_what_it_says) {
  for (const char* key : {"a", "b", "c", "d"}) put(key, "x");
  erase_range("b", "d");
  EXPECT_EQ(list(), "a=x d=x");
  EXPECT_EQ(engine->count(), 2u);
  erase_range("d", "b");
  EXPECT_EQ(engine->count(), 2u);
  erase_range("b", "");
  EXPECT_EQ(list(), "a=x");
  erase_range("", "");
  EXPECT_EQ(list(), "");
  EXPECT_EQ(engine->count(), 0u);
  put("a", "again");
  EXPECT_EQ(list(), "a=again");
}

TEST_P(EngineTest, large_values_and_many_keys) {
  std::map<std::string, std::string> model;
  for (uint64_t i = 0; i < 5000; ++i) {
    const std::string key = fmt::format("key{}", i * 7919 % 5000);
    const std::string value(i % 50 == 0 ? 100'000 : i % 300, static_cast<char>('a' + i % 26));
    put(key, value);
    model[key] = value;
  }
  EXPECT_EQ(engine->count(), model.size());
  const std::unique_ptr<Iterator> it = engine->iterate(Family::kData, "", "");
  for (const auto& [key, value] : model) {
    ASSERT_TRUE(it->valid());
    EXPECT_EQ(it->key(), key);
    EXPECT_EQ(it->value(), value);
    it->next();
  }
  EXPECT_FALSE(it->valid());
}

TEST_P(EngineTest, multi_get_answers_each) {
  put("a", "1");
  put("m", "2", Family::kMeta);
  std::vector<Lookup> lookups(4);
  lookups[0].key = "a";
  lookups[1].key = "none";
  lookups[2].key = "m";
  lookups[3].family = Family::kMeta, lookups[3].key = "m";
  ASSERT_TRUE(engine->multi_get(lookups).ok());
  EXPECT_TRUE(lookups[0].found);
  EXPECT_EQ(lookups[0].value.view(), "1");
  EXPECT_FALSE(lookups[1].found);
  EXPECT_FALSE(lookups[2].found);
  EXPECT_TRUE(lookups[3].found);
  EXPECT_EQ(lookups[3].value.view(), "2");
}

TEST_P(EngineTest, a_walk_tolerates_writes) {
  for (int i = 100; i < 200; ++i) put(fmt::format("k{}", i), "old");
  std::vector<std::string> seen;
  int step = 0;
  for (const std::unique_ptr<Iterator> it = engine->iterate(Family::kData, "", ""); it->valid(); it->next()) {
    const std::string key(it->key());
    EXPECT_TRUE(seen.empty() || key > seen.back());
    seen.push_back(key);
    erase(key);                                  // what was seen goes
    put(fmt::format("k{}", 100 + step++), "x");  // behind and ahead comes
    if (step == 10) erase_range("k150", "k160");
  }
  const auto lasted = [&](int i) { return std::count(seen.begin(), seen.end(), fmt::format("k{}", i)); };
  for (int i = 110; i < 200; ++i) {
    if (i < 150 || i >= 160) {
      EXPECT_EQ(lasted(i), 1) << i;
    }
  }
}

TEST_P(EngineTest, a_walk_survives_clear) {
  for (int i = 0; i < 10; ++i) put(fmt::format("k{}", i), "x");
  const std::unique_ptr<Iterator> it = engine->iterate(Family::kData, "", "");
  ASSERT_TRUE(engine->clear().ok());
  while (it->valid()) it->next();
  EXPECT_TRUE(it->status().ok());
}

TEST_P(EngineTest, a_snapshot_is_the_cut_and_nothing_but_the_cut) {
  for (int i = 0; i < 1000; ++i) put(fmt::format("k{:04}", i), "old");
  put("applied", "1", Family::kMeta);
  const std::string before = list();
  const uint64_t hash = engine->state_hash().value();
  const std::unique_ptr<Snapshot> snapshot = engine->snapshot();
  const std::unique_ptr<Iterator> it = snapshot->iterate(Family::kData, "", "");
  std::string seen;
  for (int i = 0; it->valid(); it->next(), ++i) {
    seen += fmt::format("{}{}={}", i == 0 ? "" : " ", it->key(), it->value());
    put(fmt::format("k{:04}", 999 - i), "new");
    put(fmt::format("new{}", i), "new");
    erase(fmt::format("k{:04}", i));
    if (i == 500) erase_range("k0600", "k0700"), put("applied", "2", Family::kMeta);
  }
  EXPECT_EQ(seen, before);
  EXPECT_EQ(list(*snapshot), before);
  EXPECT_EQ(list(*snapshot, "", "", Family::kMeta), "applied=1");
  std::string value;
  EXPECT_TRUE(snapshot->get(Family::kData, "k0000", value).value());
  EXPECT_EQ(value, "old");
  EXPECT_FALSE(snapshot->get(Family::kData, "new1", value).value());
  EXPECT_EQ(state_hash(*snapshot).value(), hash);
  EXPECT_NE(engine->state_hash().value(), hash);
  ASSERT_TRUE(engine->clear().ok());
  EXPECT_EQ(list(*snapshot), before);
}

TEST_P(EngineTest, a_snapshot_is_read_on_another_thread_while_writes_go_on) {
  for (int i = 0; i < 3000; ++i) put(fmt::format("k{}", i), std::string(static_cast<size_t>(i % 600), 'o'));
  const uint64_t hash = engine->state_hash().value();
  for (int round = 0; round < 3; ++round) {
    std::unique_ptr<Snapshot> snapshot = engine->snapshot();
    const uint64_t expected = round == 0 ? hash : engine->state_hash().value();
    std::thread reader([&expected, snapshot = std::move(snapshot)]() mutable {
      EXPECT_EQ(state_hash(*snapshot).value(), expected);
      snapshot.reset();
    });
    for (int i = 0; i < 3000; ++i) {
      Batch batch;
      batch.put(Family::kData, fmt::format("k{}", i * 7 % 3000), std::string(static_cast<size_t>(i % 700), 'n'));
      if (i % 3 == 0) batch.erase(Family::kData, fmt::format("k{}", i));
      write(std::move(batch));
    }
    reader.join();
  }
}

TEST_P(EngineTest, snapshots_of_different_times_coexist) {
  std::vector<std::unique_ptr<Snapshot>> snapshots;
  for (int i = 0; i < 20; ++i) {
    snapshots.push_back(engine->snapshot());
    put("a", fmt::format("{}", i));
    put(fmt::format("k{}", i), "x");
  }
  for (int i = 19; i >= 0; --i) {
    std::string value;
    EXPECT_EQ(snapshots[static_cast<size_t>(i)]->get(Family::kData, "a", value).value(), i > 0);
    if (i > 0) {
      EXPECT_EQ(value, fmt::format("{}", i - 1));
    }
    snapshots.pop_back();
  }
}

TEST_P(EngineTest, saved_and_loaded_is_the_same) {
  for (int i = 0; i < 3000; ++i) put(fmt::format("k{}", i), std::string(static_cast<size_t>(i % 700), 'v'));
  for (const Family family : kFamilies) put("x", "y", family);
  const uint64_t hash = engine->state_hash().value();
  const std::unique_ptr<Snapshot> snapshot = engine->snapshot();
  put("later", "not in it");
  const SnapshotInfo info = save_snapshot(*snapshot, fs, "snap", "s1", "meta bytes").value();
  EXPECT_EQ(info.records[0], 3001u);
  const std::unique_ptr<SnapshotReader> reader = std::move(SnapshotReader::open(fs, "snap/s1")).value();
  EXPECT_EQ(reader->meta(), "meta bytes");
  EXPECT_EQ(reader->info(), info);
  const std::unique_ptr<Engine> other = engines.make(2);
  Batch batch;
  batch.put(Family::kData, "stale", "gone after the load");
  ASSERT_TRUE(other->write(std::move(batch)).ok());
  ASSERT_TRUE(other->load(*reader).ok());
  EXPECT_EQ(other->state_hash().value(), hash);
  EXPECT_EQ(other->count(), 3001u);
  ASSERT_TRUE(other->load(*reader).ok()) << "a reader may be used again";
  EXPECT_EQ(other->state_hash().value(), hash);
}

TEST_P(EngineTest, sizes_are_about_right) {
  for (uint64_t i = 0; i < 4000; ++i) put(fmt::format("k{:04}", i), std::string(100, static_cast<char>(i * 31)));
  ASSERT_TRUE(engine->flush().ok());  // RocksDB judges by its files
  EXPECT_EQ(engine->approximate_count(Family::kData, "", ""), 4000u);
  const uint64_t half = engine->approximate_count(Family::kData, "k0000", "k2000");
  const uint64_t bytes = engine->approximate_bytes(Family::kData, "k0000", "k2000");
  if (GetParam() == Kind::kMemory) {
    EXPECT_EQ(half, 2000u);
    EXPECT_EQ(bytes, 2000u * 105);
    EXPECT_GT(engine->memory_used(), 4000u * 105);
    EXPECT_LT(engine->memory_used(), 4000u * 105 * 3 / 2);
  } else {
    EXPECT_GT(half, 1000u);
    EXPECT_LT(half, 3500u);
    EXPECT_LT(bytes, engine->approximate_bytes(Family::kData, "", ""));
  }
}

TEST_P(EngineTest, keys_over_the_limit_are_refused_before_anything_is_done) {
  if (GetParam() == Kind::kRocks) GTEST_SKIP() << "RocksDB takes them";
  Batch batch;
  batch.put(Family::kData, "a", "1");
  batch.put(Family::kData, std::string(100'000, 'k'), "1");
  EXPECT_EQ(engine->write(std::move(batch)).code(), ErrorCode::kTooLarge);
  EXPECT_EQ(get("a"), "(none)");
}

}  // namespace
}  // namespace flux::engine::testing
