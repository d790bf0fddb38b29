// Goal: both engines do what a std::map does, on any history, and agree with each other.
#include <map>
#include <set>

#include "base/rng.h"
#include "engine/testing/engine_fixture.h"

namespace flux::engine::testing {
namespace {

using Model = std::map<std::pair<Family, std::string>, std::string>;

uint64_t seeds() { return std::getenv("FLUX_SEEDS") ? std::strtoull(std::getenv("FLUX_SEEDS"), nullptr, 10) : 20; }

class History {
 public:
  explicit History(uint64_t seed) : rng_(seed), shape_(seed % 3) {}

  std::string key() {
    switch (shape_) {
      case 0: {  // slots of a hash keyspace
        const auto slot = static_cast<uint16_t>(rng_.below(40) * 400);
        return std::string{static_cast<char>(slot >> 8), static_cast<char>(slot & 0xFF)} +
               fmt::format("k{}", rng_.below(30));
      }
      case 1:
        return fmt::format("user:{:05}", rng_.below(3000));  // all in one bucket
      default: {                                             // anything, short keys above all
        std::string out;
        for (uint64_t n = rng_.below(4); n > 0; --n) out.push_back(static_cast<char>(rng_.below(4) * 85));
        return out;
      }
    }
  }
  std::string value() {
    const uint64_t size = rng_.chance(0.02) ? rng_.below(20'000) : rng_.below(120);
    return std::string(size, static_cast<char>('a' + rng_.below(26)));
  }
  Family family() { return rng_.chance(0.7) ? Family::kData : kFamilies[rng_.below(kFamilyCount)]; }

  // A random batch; the model is changed along.
  Batch batch(Model& model) {
    Batch out;
    for (uint64_t n = rng_.between(1, 20); n > 0; --n) {
      const Family f = family();
      const std::string k = key();
      const uint64_t what = rng_.below(100);
      if (what < 70) {
        const std::string v = value();
        const bool existed = model.contains({f, k});
        out.put(f, k, v, rng_.chance(0.5) ? Existed::kUnknown : existed ? Existed::kYes : Existed::kNo);
        model[{f, k}] = v;
      } else if (what < 97) {
        const bool existed = model.contains({f, k});
        out.erase(f, k, rng_.chance(0.5) ? Existed::kUnknown : existed ? Existed::kYes : Existed::kNo);
        model.erase({f, k});
      } else {
        const std::string high = rng_.chance(0.1) ? "" : key();
        out.erase_range(f, k, high);
        std::erase_if(model, [&](const auto& one) {
          return one.first.first == f && one.first.second >= k && (high.empty() || one.first.second < high);
        });
      }
    }
    return out;
  }

  Rng& rng() { return rng_; }

 private:
  Rng rng_;
  uint64_t shape_;
};

// The records of [low, high), as the model has them and as an iterator gives them.
void expect_same(Iterator& it, const Model& model, Family family, const std::string& low, const std::string& high) {
  for (const auto& [id, value] : model) {
    if (id.first != family || id.second < low || (!high.empty() && id.second >= high)) continue;
    ASSERT_TRUE(it.valid()) << "missing " << id.second;
    ASSERT_EQ(it.key(), id.second);
    ASSERT_EQ(it.value(), value);
    it.next();
  }
  ASSERT_FALSE(it.valid()) << "too many: " << it.key();
  ASSERT_TRUE(it.status().ok());
}

uint64_t data_count(const Model& model) {
  return static_cast<uint64_t>(
      std::count_if(model.begin(), model.end(), [](const auto& one) { return one.first.first == Family::kData; }));
}

class EngineModelTest : public EngineFixture {};
INSTANTIATE_TEST_SUITE_P(Engines, EngineModelTest, ::testing::Values(Kind::kMemory, Kind::kRocks), kind_name);

TEST_P(EngineModelTest, does_what_a_map_does) {
  for (uint64_t seed = 1; seed <= seeds(); ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    History history(seed);
    Rng& rng = history.rng();
    Model model;
    ASSERT_TRUE(engine->clear().ok());
    std::vector<std::pair<std::unique_ptr<Snapshot>, Model>> snapshots;
    for (int step = 0; step < 150; ++step) {
      write(history.batch(model));
      ASSERT_EQ(engine->count(), data_count(model));
      for (int i = 0; i < 5; ++i) {
        const Family family = history.family();
        const std::string key = history.key();
        const auto found = model.find({family, key});
        ASSERT_EQ(get(key, family), found == model.end() ? "(none)" : found->second);
      }
      if (rng.chance(0.2)) {
        const Family family = history.family();
        const std::string low = history.key();
        const std::string high = rng.chance(0.5) ? "" : history.key();
        expect_same(*engine->iterate(family, low, high), model, family, low, high);
        if (GetParam() == Kind::kMemory) {
          const auto expected = std::count_if(model.begin(), model.end(), [&](const auto& one) {
            return one.first.first == family && one.first.second >= low && (high.empty() || one.first.second < high);
          });
          ASSERT_EQ(engine->approximate_count(family, low, high), static_cast<uint64_t>(expected));
        }
      }
      if (rng.chance(0.1)) snapshots.emplace_back(engine->snapshot(), model);
      if (!snapshots.empty() && rng.chance(0.1)) {
        const size_t i = rng.below(snapshots.size());
        for (const Family family : kFamilies) {
          expect_same(*snapshots[i].first->iterate(family, "", ""), snapshots[i].second, family, "", "");
        }
        snapshots.erase(snapshots.begin() + static_cast<ptrdiff_t>(i));
      }
      if (GetParam() == Kind::kRocks && rng.chance(0.02)) {
        snapshots.clear();
        engine.reset();
        engines.open_store();
        engine = engines.make();
      }
      if (rng.chance(0.02)) {
        static_cast<void>(save_snapshot(*engine->snapshot(), fs, "snap", "s", "").value());
        const std::unique_ptr<SnapshotReader> reader = std::move(SnapshotReader::open(fs, "snap/s")).value();
        ASSERT_TRUE(engine->load(*reader).ok());
      }
      if (HasFatalFailure()) return;
    }
  }
  if (GetParam() == Kind::kMemory) {
    ASSERT_TRUE(engine->clear().ok());
    EXPECT_LT(engine->memory_used(), 10'000u) << "something leaks";
  }
}

// S10: the same history gives the same state, whatever the engine and its seed.
TEST(EnginesAgree, S10_engines_agree) {
  Engines memory(Kind::kMemory);
  Engines rocks(Kind::kRocks);
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    History history(seed);
    Model model;
    const std::unique_ptr<Engine> a = make_memory_engine({.hash_seed = seed});
    const std::unique_ptr<Engine> b = make_memory_engine({.hash_seed = seed + 1000});
    const std::unique_ptr<Engine> c = rocks.make(seed);
    std::set<uint64_t> hashes;
    for (int step = 0; step < 60; ++step) {
      const Batch batch = history.batch(model);
      for (Engine* engine : {a.get(), b.get(), c.get()}) {
        Batch copy = batch;
        ASSERT_TRUE(engine->write(std::move(copy)).ok());
      }
      const uint64_t hash = a->state_hash().value();
      EXPECT_EQ(b->state_hash().value(), hash);
      EXPECT_EQ(c->state_hash().value(), hash);
      EXPECT_EQ(a->count(), c->count());
      hashes.insert(hash);
    }
    EXPECT_GT(hashes.size(), 50u) << "the sum tells states apart";
  }
}

// The sum sees every part of a record.
TEST(EnginesAgree, the_sum_tells_family_key_and_value_apart) {
  std::set<uint64_t> hashes;
  const auto sum = [&](Family family, const char* key, const char* value) {
    const std::unique_ptr<Engine> engine = make_memory_engine({});
    Batch batch;
    batch.put(family, key, value);
    EXPECT_TRUE(engine->write(std::move(batch)).ok());
    hashes.insert(engine->state_hash().value());
  };
  sum(Family::kData, "a", "b"), sum(Family::kMeta, "a", "b"), sum(Family::kData, "ab", ""),
      sum(Family::kData, "", "ab");
  sum(Family::kData, "b", "a"), sum(Family::kData, "a", "c");
  EXPECT_EQ(hashes.size(), 6u);
}

}  // namespace
}  // namespace flux::engine::testing
