// What the log store itself costs, on a disk that costs nothing: encoding, placing, checksums, the index.
#include <benchmark/benchmark.h>

#include "env/testing/fake_fs.h"
#include "wal/wal.h"

namespace flux::wal {
namespace {

std::unique_ptr<Wal> open(env::testing::FakeFs& fs) {
  return std::move(Wal::open(fs, "wal", {.store_id = StoreId(1), .segment_bytes = 16_MiB, .prefill = true})).value();
}

// range(0): bytes of an entry; range(1): entries in one cycle.
void append_and_flush(benchmark::State& state) {
  env::testing::FakeFs fs;
  const std::unique_ptr<Wal> wal = open(fs);
  const auto count = static_cast<uint64_t>(state.range(1));
  const SharedBytes data(std::string(static_cast<size_t>(state.range(0)), 'x'));
  Index next(1);
  std::vector<Entry> entries(count);
  for (auto _ : state) {
    for (Entry& entry : entries) {
      entry = {.index = next, .term = Term(1), .type = EntryType::kCommand, .data = data};
      ++next;
    }
    FLUX_CHECK(wal->append(GroupId(1), entries).ok());
    FLUX_CHECK(wal->flush().ok());
    if (next.value() % 4096 < count) {
      FLUX_CHECK(wal->compact(GroupId(1), {.index = next - 1, .term = Term(1)}).ok());
      FLUX_CHECK(wal->flush().ok() && wal->maintain().ok());
    }
  }
  state.SetItemsProcessed(state.iterations() * state.range(1));
}
BENCHMARK(append_and_flush)->Args({128, 1})->Args({128, 32})->Args({4096, 16});

void append_only(benchmark::State& state) {
  env::testing::FakeFs fs;
  const std::unique_ptr<Wal> wal = open(fs);
  Entry entry{
      .index = Index(1), .term = Term(1), .type = EntryType::kCommand, .data = SharedBytes(std::string(128, 'x'))};
  for (auto _ : state) {
    FLUX_CHECK(wal->append(GroupId(1), std::span(&entry, 1)).ok());
    ++entry.index;
    if (entry.index.value() % 1024 == 0) {
      state.PauseTiming();
      FLUX_CHECK(wal->flush().ok());
      FLUX_CHECK(wal->compact(GroupId(1), {.index = entry.index - 1, .term = Term(1)}).ok());
      FLUX_CHECK(wal->flush().ok() && wal->maintain().ok());
      state.ResumeTiming();
    }
  }
}
BENCHMARK(append_only);

void read_1000(benchmark::State& state) {
  env::testing::FakeFs fs;
  const std::unique_ptr<Wal> wal = open(fs);
  std::vector<Entry> entries(1000);
  for (uint64_t i = 0; i < 1000; ++i) {
    entries[i] = {.index = Index(i + 1), .term = Term(1), .data = SharedBytes(std::string(128, 'x'))};
  }
  FLUX_CHECK(wal->append(GroupId(1), entries).ok() && wal->flush().ok());
  for (auto _ : state) benchmark::DoNotOptimize(wal->read(GroupId(1), Index(1), Index(1000), 1_GiB).value().size());
  state.SetItemsProcessed(state.iterations() * 1000);
}
BENCHMARK(read_1000);

}  // namespace
}  // namespace flux::wal
