#include "engine/memory/memory_engine.h"

#include <fmt/core.h>

#include <optional>

#include "engine/memory/table.h"
#include "engine/memory/table_iterator.h"
#include "engine/snapshot_file.h"

namespace flux::engine {
namespace {

bool before_end(std::string_view key, std::string_view high) { return high.empty() || key < high; }

// Over a root that does not change.
class FrozenIterator final : public Iterator {
 public:
  FrozenIterator(const Root& root, std::string_view low, std::string_view high) : walk_(root), high_(high) {
    walk_.seek(low);
  }
  bool valid() const override { return walk_.valid() && before_end(walk_.record().key, high_); }
  void next() override { walk_.next(); }
  std::string_view key() const override { return walk_.record().key; }
  std::string_view value() const override { return walk_.record().value; }
  Status status() const override { return {}; }

 private:
  TableWalk walk_;
  const std::string high_;
};

// Over a table that changes between calls: finds its place again by the last key.
class LiveIterator final : public Iterator {
 public:
  LiveIterator(const std::vector<Table>& tables, Family family, const uint64_t& changes, std::string_view low,
               std::string_view high)
      : tables_(tables),
        family_(static_cast<size_t>(family)),
        changes_(changes),
        walk_(*tables[family_].root()),
        high_(high) {
    seek(std::string(low));
  }
  bool valid() const override { return valid_; }
  void next() override {
    if (seen_changes_ != changes_) {
      seek(last_key_ + '\0');
    } else {
      walk_.next();
      settle();
    }
  }
  std::string_view key() const override { return walk_.record().key; }
  std::string_view value() const override { return walk_.record().value; }
  Status status() const override { return {}; }

 private:
  void seek(const std::string& from) {
    seen_changes_ = changes_;
    walk_ = TableWalk(*tables_[family_].root());
    walk_.seek(from);
    settle();
  }
  void settle() {
    valid_ = walk_.valid() && before_end(walk_.record().key, high_);
    if (valid_) last_key_ = walk_.record().key;
  }

  const std::vector<Table>& tables_;  // the engine's; the tables in it come and go
  const size_t family_;
  const uint64_t& changes_;
  uint64_t seen_changes_ = 0;
  TableWalk walk_;
  const std::string high_;
  std::string last_key_;
  bool valid_ = false;
};

class MemorySnapshot final : public Snapshot {
 public:
  // `meter` is shared with the engine, which may go first.
  MemorySnapshot(std::shared_ptr<MemoryMeter> meter, uint64_t seed, const std::vector<Table>& tables)
      : meter_(std::move(meter)), seed_(seed) {
    for (const Table& table : tables) roots_.push_back(table.root());
  }
  std::unique_ptr<Iterator> iterate(Family family, std::string_view low, std::string_view high) const override {
    return std::make_unique<FrozenIterator>(*roots_[static_cast<size_t>(family)], low, high);
  }
  Result<bool> get(Family family, std::string_view key, std::string& value) const override {
    std::string_view found;
    if (!find(*roots_[static_cast<size_t>(family)], seed_, key, found)) return false;
    value = found;
    return true;
  }

 private:
  const std::shared_ptr<MemoryMeter> meter_;
  const uint64_t seed_;
  std::vector<Cow<Root>> roots_;
};

class MemoryEngine final : public Engine {
 public:
  explicit MemoryEngine(const MemoryOptions& options)
      : seed_(options.hash_seed), meter_(std::make_shared<MemoryMeter>()), tables_(empty_tables()) {}

  Result<bool> get(Family family, std::string_view key, PinnedValue& value) override {
    std::string_view found;
    if (!find(*table(family).root(), seed_, key, found)) return false;
    value.point_at(found);
    return true;
  }

  Status multi_get(std::span<Lookup> lookups) override {
    std::array<Probe, 16> probes;
    for (size_t begin = 0; begin < lookups.size(); begin += probes.size()) {
      const std::span<Lookup> some = lookups.subspan(begin, std::min(probes.size(), lookups.size() - begin));
      for (size_t i = 0; i < some.size(); ++i) {
        probes[i] = {.root = table(some[i].family).root().get(), .key = some[i].key};
      }
      find_all(seed_, std::span(probes).first(some.size()));
      for (size_t i = 0; i < some.size(); ++i) {
        some[i].found = probes[i].found;
        some[i].value.point_at(probes[i].value);
      }
    }
    return {};
  }

  void prefetch(Family family, std::span<const std::string> keys) override {
    std::array<Probe, 16> probes;
    for (size_t begin = 0; begin < keys.size(); begin += probes.size()) {
      const auto some = keys.subspan(begin, std::min(probes.size(), keys.size() - begin));
      for (size_t i = 0; i < some.size(); ++i) probes[i] = {.root = table(family).root().get(), .key = some[i]};
      approach_all(seed_, std::span(probes).first(some.size()));
    }
  }

  bool small_writes_are_cheap() const override { return true; }

  std::unique_ptr<Iterator> iterate(Family family, std::string_view low, std::string_view high) override {
    return std::make_unique<LiveIterator>(tables_, family, changes_, low, high);
  }

  std::unique_ptr<Snapshot> snapshot() override { return std::make_unique<MemorySnapshot>(meter_, seed_, tables_); }

  Status write(Batch&& batch) override {
    for (size_t i = 0; i < batch.size(); ++i) {
      const Batch::Change change = batch.change(i);
      if (change.kind == Batch::Kind::kPut && change.key.size() > kKeyBytesMax) {
        return Status(ErrorCode::kTooLarge,
                      fmt::format("a key of {} bytes; the limit is {}", change.key.size(), kKeyBytesMax));
      }
    }
    changes_ += 1;
    for (size_t i = 0; i < batch.size(); ++i) apply(batch.change(i));
    return {};
  }

  Status clear() override {
    changes_ += 1;
    tables_ = empty_tables();
    return {};
  }

  Status load(SnapshotReader& reader) override {
    std::vector<Table> fresh = empty_tables();
    SnapshotReader::Record record;
    for (reader.rewind();;) {
      FLUX_TRY(const bool more, reader.next(record));
      if (!more) break;
      if (record.key.size() > kKeyBytesMax) return Status(ErrorCode::kTooLarge, "a key in the snapshot is too large");
      fresh[static_cast<size_t>(record.family)].put(record.key, record.value);
    }
    changes_ += 1;
    tables_ = std::move(fresh);
    return {};
  }

  uint64_t count() const override { return table(Family::kData).count(); }
  uint64_t approximate_count(Family family, std::string_view low, std::string_view high) const override {
    return range_size(*table(family).root(), low, high).count;
  }
  uint64_t approximate_bytes(Family family, std::string_view low, std::string_view high) const override {
    return range_size(*table(family).root(), low, high).bytes;
  }
  uint64_t memory_used() const override { return meter_->bytes(); }

  Status flush() override { return {}; }
  Result<bool> get_durable(Family, std::string_view, std::string&) const override { return false; }

 private:
  std::vector<Table> empty_tables() { return std::vector<Table>(kFamilyCount, Table(seed_, *meter_)); }
  Table& table(Family family) { return tables_[static_cast<size_t>(family)]; }
  const Table& table(Family family) const { return tables_[static_cast<size_t>(family)]; }

  void apply(const Batch::Change& change) {
    Table& table = this->table(change.family);
    switch (change.kind) {
      case Batch::Kind::kPut: {
        const bool existed = table.put(change.key, change.value);
        FLUX_CHECK(change.existed == Existed::kUnknown || existed == (change.existed == Existed::kYes));
        break;
      }
      case Batch::Kind::kErase: {
        const bool existed = table.erase(change.key);
        FLUX_CHECK(change.existed == Existed::kUnknown || existed == (change.existed == Existed::kYes));
        break;
      }
      case Batch::Kind::kEraseRange:
        table.erase_range(change.key, change.value);
        break;
    }
  }

  const uint64_t seed_;
  const std::shared_ptr<MemoryMeter> meter_;  // shared with snapshots, which may go last
  std::vector<Table> tables_;                 // by family
  uint64_t changes_ = 0;                      // counts writes, for iterators
};

}  // namespace

std::unique_ptr<Engine> make_memory_engine(const MemoryOptions& options) {
  return std::make_unique<MemoryEngine>(options);
}

}  // namespace flux::engine
