// Point operations, walks and memory of the engines. Keys are 16 bytes after the slot, values 64.
#include <benchmark/benchmark.h>

#include <ctime>
#include <filesystem>

#include "base/rng.h"
#include "engine/memory/memory_engine.h"
#include "engine/rocksdb/rocks_store.h"

namespace flux::engine {
namespace {

std::string key_of(uint64_t i) {
  const uint64_t slot = i * 0x9E3779B97F4A7C15ULL >> 50;
  return std::string{static_cast<char>(slot >> 8), static_cast<char>(slot & 0xFF)} + fmt::format("key:{:012}", i);
}

std::unique_ptr<Engine> filled(uint64_t keys) {
  std::unique_ptr<Engine> engine = make_memory_engine({.hash_seed = 7});
  const std::string value(64, 'v');
  for (uint64_t i = 0; i < keys; ++i) {
    Batch batch;
    batch.put(Family::kData, key_of(i), value);
    FLUX_CHECK(engine->write(std::move(batch)).ok());
  }
  return engine;
}

void memory_get(benchmark::State& state) {
  const auto keys = static_cast<uint64_t>(state.range(0));
  const std::unique_ptr<Engine> engine = filled(keys);
  std::vector<std::string> names;
  Rng rng(1);
  for (int i = 0; i < 100'000; ++i) names.push_back(key_of(rng.below(keys)));
  PinnedValue value;
  size_t next = 0;
  for (auto _ : state) {
    FLUX_CHECK(engine->get(Family::kData, names[next], value).value());
    next = next + 1 == names.size() ? 0 : next + 1;
  }
  state.counters["bytes/key"] = static_cast<double>(engine->memory_used()) / static_cast<double>(keys);
}
BENCHMARK(memory_get)->Arg(100'000)->Arg(1'000'000);

void memory_multi_get_16(benchmark::State& state) {
  const std::unique_ptr<Engine> engine = filled(1'000'000);
  std::vector<std::string> names;
  Rng rng(1);
  for (int i = 0; i < 160'000; ++i) names.push_back(key_of(rng.below(1'000'000)));
  std::vector<Lookup> lookups(16);
  size_t next = 0;
  for (auto _ : state) {
    for (Lookup& lookup : lookups) lookup.key = names[next++];
    if (next == names.size()) next = 0;
    FLUX_CHECK(engine->multi_get(lookups).ok());
  }
  state.SetItemsProcessed(state.iterations() * 16);
}
BENCHMARK(memory_multi_get_16);

void memory_put(benchmark::State& state) {
  const auto keys = static_cast<uint64_t>(state.range(0));
  const std::unique_ptr<Engine> engine = filled(keys);
  std::vector<std::string> names;
  Rng rng(1);
  for (int i = 0; i < 100'000; ++i) names.push_back(key_of(rng.below(keys)));
  const std::string value(64, 'w');
  size_t next = 0;
  Batch batch;
  for (auto _ : state) {
    batch.put(Family::kData, names[next], value);
    FLUX_CHECK(engine->write(std::move(batch)).ok());
    batch.clear();
    next = next + 1 == names.size() ? 0 : next + 1;
  }
}
BENCHMARK(memory_put)->Arg(100'000)->Arg(1'000'000);

// Processor time, so that a neighbour on the machine does not show.
double thread_cpu_us() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

// The slowest single insert while the store grows.
void memory_grow(benchmark::State& state) {
  for (auto _ : state) {
    const std::unique_ptr<Engine> engine = make_memory_engine({.hash_seed = 7});
    const std::string value(64, 'v');
    double slowest = 0;
    for (uint64_t i = 0; i < 2'000'000; ++i) {
      Batch batch;
      batch.put(Family::kData, state.range(0) == 0 ? key_of(i) : fmt::format("user:{:012}", i * 7919 % 2'000'003),
                value);
      const double start = thread_cpu_us();
      FLUX_CHECK(engine->write(std::move(batch)).ok());
      slowest = std::max(slowest, thread_cpu_us() - start);
    }
    state.counters["slowest_us"] = slowest;
    state.counters["bytes/key"] = static_cast<double>(engine->memory_used()) / 2e6;
  }
}
BENCHMARK(memory_grow)->Arg(0)->Arg(1)->Iterations(1)->Unit(benchmark::kMillisecond);

void memory_snapshot(benchmark::State& state) {
  const std::unique_ptr<Engine> engine = filled(1'000'000);
  for (auto _ : state) benchmark::DoNotOptimize(engine->snapshot());
}
BENCHMARK(memory_snapshot);

void memory_put_under_snapshot(benchmark::State& state) {
  const std::unique_ptr<Engine> engine = filled(1'000'000);
  const std::unique_ptr<Snapshot> snapshot = engine->snapshot();
  Rng rng(1);
  const std::string value(64, 'w');
  for (auto _ : state) {
    Batch batch;
    batch.put(Family::kData, key_of(rng.below(1'000'000)), value);
    FLUX_CHECK(engine->write(std::move(batch)).ok());
  }
}
BENCHMARK(memory_put_under_snapshot);

void memory_walk(benchmark::State& state) {
  const std::unique_ptr<Engine> engine = filled(100'000);
  for (auto _ : state) {
    for (const auto it = engine->iterate(Family::kData, "", ""); it->valid(); it->next())
      benchmark::DoNotOptimize(it->key());
  }
  state.SetItemsProcessed(state.iterations() * 100'000);
}
BENCHMARK(memory_walk)->Unit(benchmark::kMillisecond);

void memory_state_hash(benchmark::State& state) {
  const std::unique_ptr<Engine> engine = filled(100'000);
  for (auto _ : state) benchmark::DoNotOptimize(engine->state_hash().value());
  state.SetItemsProcessed(state.iterations() * 100'000);
}
BENCHMARK(memory_state_hash)->Unit(benchmark::kMillisecond);

// A put with an applied index, as a state machine writes it; range(0): whether the batch says that the key exists.
void rocks_put(benchmark::State& state) {
  const std::filesystem::path dir = std::filesystem::temp_directory_path() / "flux_engine_bench";
  std::filesystem::remove_all(dir);
  {
    const std::unique_ptr<RocksStore> store = std::move(RocksStore::open(dir.string(), {})).value();
    const std::unique_ptr<Engine> engine = std::move(store->engine(GroupId(1))).value();
    const std::string value(64, 'w');
    const auto put = [&](uint64_t i, Existed existed) {
      Batch batch;
      batch.put(Family::kData, key_of(i), value, existed);
      batch.put(Family::kMeta, "applied", "12345678");
      FLUX_CHECK(engine->write(std::move(batch)).ok());
    };
    for (uint64_t i = 0; i < 100'000; ++i) put(i, Existed::kNo);
    Rng rng(1);
    for (auto _ : state) put(rng.below(100'000), state.range(0) == 0 ? Existed::kUnknown : Existed::kYes);
  }
  std::filesystem::remove_all(dir);
}
BENCHMARK(rocks_put)->Arg(0)->Arg(1);

}  // namespace
}  // namespace flux::engine
