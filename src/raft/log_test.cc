// Goal: the log of runs and tail answers as a plain vector of entries would, whatever is evicted, written late or
// compacted.
#include "raft/log.h"

#include <gtest/gtest.h>

#include "base/rng.h"
#include "raft/testing/lone.h"

namespace flux::raft::testing {
namespace {

// The whole log, and a disk that carries out writes when told.
class Model final : public LogReader {
 public:
  Result<std::vector<Entry>> read(Index first, Index last, size_t bytes_max) override {
    std::vector<Entry> out;
    size_t bytes = 0;
    for (Index index = first; index <= last; ++index) {
      if (index.value() > disk.size()) return Status(ErrorCode::kDataLoss, "not on disk");
      const Entry& entry = disk[index.value() - 1];
      bytes += entry.data.size();
      if (!out.empty() && bytes > bytes_max) break;
      out.push_back(entry);
    }
    return out;
  }
  void write(const std::vector<Entry>& entries) {
    if (entries.empty()) return;
    disk.resize(entries.front().index.value() - 1);
    disk.insert(disk.end(), entries.begin(), entries.end());
  }

  std::vector<Entry> memory;
  std::vector<Entry> disk;
};

TEST(Log, agrees_with_a_vector) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    Rng rng(seed);
    Model model;
    Restore restore;
    Log log(restore, model);
    const size_t tail_bytes_max = rng.below(500);
    std::deque<std::pair<uint64_t, std::vector<Entry>>> writes;
    uint64_t number = 0;
    uint64_t term = 1;
    uint64_t base = 0;
    for (int step = 0; step < 400; ++step) {
      const double roll = rng.unit();
      if (roll < 0.4) {
        if (rng.chance(0.2)) ++term;
        const Entry entry{Index(model.memory.size() + 1), Term(term), EntryType::kCommand,
                          SharedBytes(std::string(rng.below(40), static_cast<char>('a' + rng.below(26))))};
        model.memory.push_back(entry);
        log.append(entry);
      } else if (roll < 0.5 && model.memory.size() > base) {
        const uint64_t from = rng.between(base + 1, model.memory.size());
        model.memory.resize(from - 1);
        log.truncate(Index(from));
        ++term;
      } else if (roll < 0.7) {
        std::vector<Entry> entries = log.take_unwritten(++number);
        writes.emplace_back(number, std::move(entries));
      } else if (roll < 0.9 && !writes.empty()) {
        model.write(writes.front().second);
        log.persist(writes.front().first);
        writes.pop_front();
      } else if (roll < 0.95 && log.persisted().value() > base) {
        base = rng.between(base + 1, log.persisted().value());
        log.compact({Index(base), model.memory[base - 1].term});
      } else {
        log.trim(log.persisted(), tail_bytes_max);
      }

      const uint64_t last = model.memory.size();
      ASSERT_EQ(log.last().index, Index(last));
      for (uint64_t index = base + 1; index <= last; ++index) {
        ASSERT_EQ(log.term_at(Index(index)), model.memory[index - 1].term);
      }
      EXPECT_FALSE(log.term_at(Index(last + 1)).has_value());
      // Durable is what the disk will still hold, and equal, after every write that is under way.
      for (uint64_t index = 1; index <= log.persisted().value(); ++index) {
        ASSERT_EQ(model.disk.at(index - 1), model.memory.at(index - 1));
        for (const auto& [n, entries] : writes) ASSERT_TRUE(entries.empty() || entries.front().index > Index(index));
      }
      if (last == base) continue;
      const uint64_t first = rng.between(base + 1, last);
      const uint64_t end = rng.between(first, last);
      const Result<std::vector<Entry>> read = log.read(Index(first), Index(end), rng.below(200));
      ASSERT_TRUE(read.ok()) << read.status().to_string();
      ASSERT_FALSE(read->empty());
      ASSERT_LE(read->back().index, Index(end));
      for (const Entry& entry : *read) ASSERT_EQ(entry, model.memory[entry.index.value() - 1]);
      // newest(): by hand.
      const uint64_t at = rng.between(base, last + 2);
      const Term bound(rng.below(term + 2));
      EntryId expected = log.base();
      for (uint64_t index = base + 1; index <= std::min(at, last); ++index) {
        if (model.memory[index - 1].term <= bound) expected = model.memory[index - 1].id();
      }
      ASSERT_EQ(log.newest(Index(at), bound), expected);
    }
  }
}

TEST(Log, what_the_disk_returns_is_checked) {
  class Liar final : public LogReader {
   public:
    Result<std::vector<Entry>> read(Index first, Index, size_t) override {
      if (mode == 0) return std::vector<Entry>{};
      return std::vector<Entry>{{mode == 1 ? first + 1 : first, Term(mode == 2 ? 9 : 1), EntryType::kCommand, {}}};
    }
    int mode = 0;
  } liar;
  Restore restore;
  restore.last = Index(5);
  restore.runs = {{Term(1), Index(1)}};
  const Log log(restore, liar);
  for (liar.mode = 0; liar.mode < 3; ++liar.mode) {
    EXPECT_EQ(log.read(Index(2), Index(4), 100).status().code(), ErrorCode::kCorruption) << liar.mode;
  }
  EXPECT_TRUE(log.read(Index(2), Index(4), 100).ok());
}

}  // namespace
}  // namespace flux::raft::testing
