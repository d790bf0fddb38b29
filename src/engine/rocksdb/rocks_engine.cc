#include "engine/rocksdb/rocks_engine.h"

#include "engine/rocksdb/key_counter.h"
#include "engine/rocksdb/rocks_slice.h"
#include "engine/rocksdb/rocks_status.h"
#include "engine/snapshot_file.h"

namespace flux::engine {
namespace {

constexpr size_t kLoadBatchBytes = 1_MiB;

class RocksPin final : public PinnedValue::Pin {
 public:
  rocksdb::PinnableSlice slice;
};

// The pin that `value` holds already, or a new one; empty.
rocksdb::PinnableSlice& pinned(PinnedValue& value) {
  if (value.pin() == nullptr) value.pin() = std::make_unique<RocksPin>();
  rocksdb::PinnableSlice& slice = static_cast<RocksPin&>(*value.pin()).slice;
  slice.Reset();
  return slice;
}

class RocksIterator final : public Iterator {
 public:
  // `snapshot`: nullptr, as of now.
  RocksIterator(rocksdb::DB& db, GroupId group, Family family, std::string_view low, std::string_view high,
                const rocksdb::Snapshot* snapshot)
      : end_(RocksKey(group).end_of(family, high)), end_slice_(end_) {
    rocksdb::ReadOptions options;
    options.snapshot = snapshot;
    options.fill_cache = snapshot == nullptr;
    options.iterate_upper_bound = &end_slice_;
    it_.reset(db.NewIterator(options));
    it_->Seek(slice(RocksKey(group).of(family, low)));
  }
  bool valid() const override { return it_->Valid(); }
  void next() override { it_->Next(); }
  std::string_view key() const override { return view(it_->key()).substr(kKeyPrefixBytes); }
  std::string_view value() const override { return view(it_->value()); }
  Status status() const override { return from_rocks(it_->status(), "iteration"); }

 private:
  const std::string end_;
  const rocksdb::Slice end_slice_;  // of end_
  std::unique_ptr<rocksdb::Iterator> it_;
};

class RocksSnapshot final : public Snapshot {
 public:
  RocksSnapshot(rocksdb::DB& db, GroupId group) : db_(db), group_(group), snapshot_(db.GetSnapshot()) {}
  ~RocksSnapshot() override { db_.ReleaseSnapshot(snapshot_); }

  std::unique_ptr<Iterator> iterate(Family family, std::string_view low, std::string_view high) const override {
    return std::make_unique<RocksIterator>(db_, group_, family, low, high, snapshot_);
  }
  Result<bool> get(Family family, std::string_view key, std::string& value) const override {
    rocksdb::ReadOptions options;
    options.snapshot = snapshot_;
    const rocksdb::Status status = db_.Get(options, slice(RocksKey(group_).of(family, key)), &value);
    if (status.IsNotFound()) return false;
    FLUX_RETURN_IF_ERROR(from_rocks(status, "get"));
    return true;
  }

 private:
  rocksdb::DB& db_;
  const GroupId group_;
  const rocksdb::Snapshot* const snapshot_;
};

}  // namespace

Result<std::unique_ptr<Engine>> RocksEngine::open(RocksHost& host, GroupId group) {
  std::unique_ptr<RocksEngine> engine(new RocksEngine(host, group));
  std::string value;
  const rocksdb::Status loading = host.db().Get({}, loading_key(group), &value);
  if (!loading.IsNotFound()) {
    FLUX_RETURN_IF_ERROR(from_rocks(loading, "open"));
    FLUX_RETURN_IF_ERROR(engine->clear());
    return std::unique_ptr<Engine>(std::move(engine));
  }
  const rocksdb::Status status = host.db().Get({}, count_key(group), &value);
  if (!status.IsNotFound()) {
    FLUX_RETURN_IF_ERROR(from_rocks(status, "open"));
    Decoder decoder(value);
    engine->count_ = decoder.varint();
    FLUX_RETURN_IF_ERROR(decoder.finish("key count"));
  }
  return std::unique_ptr<Engine>(std::move(engine));
}

RocksEngine::~RocksEngine() { host_.engine_closed(group_); }

// --- Reading ---------------------------------------------------------------------------------------------------------

Result<bool> RocksEngine::get(Family family, std::string_view key, PinnedValue& value) {
  rocksdb::PinnableSlice& found = pinned(value);
  const rocksdb::Status status = db_.Get({}, db_.DefaultColumnFamily(), slice(key_.of(family, key)), &found);
  if (status.IsNotFound()) return false;
  FLUX_RETURN_IF_ERROR(from_rocks(status, "get"));
  value.point_at(view(found));
  return true;
}

Status RocksEngine::multi_get(std::span<Lookup> lookups) {
  std::vector<std::string> keys;
  std::vector<rocksdb::Slice> slices;
  std::vector<rocksdb::PinnableSlice> values(lookups.size());
  std::vector<rocksdb::Status> statuses(lookups.size());
  keys.reserve(lookups.size());
  for (const Lookup& lookup : lookups) {
    keys.emplace_back(key_.of(lookup.family, lookup.key));
    slices.emplace_back(keys.back());
  }
  db_.MultiGet({}, db_.DefaultColumnFamily(), lookups.size(), slices.data(), values.data(), statuses.data());
  for (size_t i = 0; i < lookups.size(); ++i) {
    lookups[i].found = !statuses[i].IsNotFound();
    if (!lookups[i].found) continue;
    FLUX_RETURN_IF_ERROR(from_rocks(statuses[i], "multi-get"));
    rocksdb::PinnableSlice& found = pinned(lookups[i].value);
    found = std::move(values[i]);
    lookups[i].value.point_at(view(found));
  }
  return {};
}

std::unique_ptr<Iterator> RocksEngine::iterate(Family family, std::string_view low, std::string_view high) {
  return std::make_unique<RocksIterator>(db_, group_, family, low, high, nullptr);
}

std::unique_ptr<Snapshot> RocksEngine::snapshot() { return std::make_unique<RocksSnapshot>(db_, group_); }

Result<bool> RocksEngine::get_durable(Family family, std::string_view key, std::string& value) const {
  rocksdb::ReadOptions options;
  options.read_tier = rocksdb::kPersistedTier;  // without a write-ahead log: table files only
  const rocksdb::Status status = db_.Get(options, slice(RocksKey(group_).of(family, key)), &value);
  if (status.IsNotFound()) return false;
  FLUX_RETURN_IF_ERROR(from_rocks(status, "get from files"));
  return true;
}

uint64_t RocksEngine::approximate_bytes(Family family, std::string_view low, std::string_view high) const {
  const std::string begin(RocksKey(group_).of(family, low));
  const std::string end(RocksKey(group_).end_of(family, high));
  const rocksdb::Range range(begin, end);
  rocksdb::SizeApproximationOptions options;
  options.include_memtables = true;
  options.include_files = true;
  uint64_t bytes = 0;
  if (!db_.GetApproximateSizes(options, db_.DefaultColumnFamily(), &range, 1, &bytes).ok()) return 0;
  return bytes;
}

uint64_t RocksEngine::approximate_count(Family family, std::string_view low, std::string_view high) const {
  if (family == Family::kData && low.empty() && high.empty()) return count_;
  // As many records as the store has on average in so many bytes.
  uint64_t keys = 0;
  uint64_t file_bytes = 0;
  uint64_t memtable_bytes = 0;
  db_.GetIntProperty(rocksdb::DB::Properties::kEstimateNumKeys, &keys);
  db_.GetIntProperty(rocksdb::DB::Properties::kEstimateLiveDataSize, &file_bytes);
  db_.GetIntProperty(rocksdb::DB::Properties::kCurSizeAllMemTables, &memtable_bytes);
  const uint64_t all = file_bytes + memtable_bytes;
  if (all == 0) return 0;
  return static_cast<uint64_t>(static_cast<double>(approximate_bytes(family, low, high)) * static_cast<double>(keys) /
                               static_cast<double>(all));
}

// --- Writing ---------------------------------------------------------------------------------------------------------

Status RocksEngine::write(Batch&& batch) {
  if (batch.empty()) return {};
  FLUX_TRY(const int64_t change, KeyCounter(db_, group_).change_by(batch));
  rocksdb::WriteBatch out;
  for (size_t i = 0; i < batch.size(); ++i) {
    const Batch::Change one = batch.change(i);
    const rocksdb::Slice key = slice(key_.of(one.family, one.key));
    rocksdb::Status status;
    switch (one.kind) {
      case Batch::Kind::kPut:
        status = out.Put(key, slice(one.value));
        break;
      case Batch::Kind::kErase:
        status = out.Delete(key);
        break;
      case Batch::Kind::kEraseRange: {
        if (!one.value.empty() && one.value <= one.key) break;
        const std::string begin = key.ToString();
        status = out.DeleteRange(begin, slice(key_.end_of(one.family, one.value)));
        break;
      }
    }
    FLUX_RETURN_IF_ERROR(from_rocks(status, "batch"));
  }
  const uint64_t count = count_ + static_cast<uint64_t>(change);
  if (change != 0) {
    std::string value;
    Encoder(value).varint(count);
    FLUX_RETURN_IF_ERROR(from_rocks(out.Put(count_key(group_), value), "batch"));
  }
  FLUX_RETURN_IF_ERROR(write_rocks(out));
  count_ = count;
  return {};
}

Status RocksEngine::write_rocks(rocksdb::WriteBatch& batch) {
  rocksdb::WriteOptions options;
  options.disableWAL = true;
  return from_rocks(db_.Write(options, &batch), "write");
}

Status RocksEngine::clear() {
  rocksdb::WriteBatch out;
  FLUX_RETURN_IF_ERROR(from_rocks(out.DeleteRange(group_prefix(group_), group_end(group_)), "clear"));
  FLUX_RETURN_IF_ERROR(write_rocks(out));
  count_ = 0;
  return {};
}

Status RocksEngine::load(SnapshotReader& reader) {
  // The mark goes first and leaves last: batches become durable in order, so a crash in between leaves the mark.
  rocksdb::WriteBatch out;
  FLUX_RETURN_IF_ERROR(from_rocks(out.DeleteRange(group_prefix(group_), group_end(group_)), "load"));
  FLUX_RETURN_IF_ERROR(from_rocks(out.Put(loading_key(group_), ""), "load"));
  FLUX_RETURN_IF_ERROR(write_rocks(out));
  count_ = 0;
  Status loaded = load_records(reader);
  if (!loaded.ok()) FLUX_RETURN_IF_ERROR(clear());
  return loaded;
}

Status RocksEngine::load_records(SnapshotReader& reader) {
  rocksdb::WriteBatch out;
  SnapshotReader::Record record;
  for (reader.rewind();;) {
    FLUX_TRY(const bool more, reader.next(record));
    if (!more) break;
    const rocksdb::Slice key = slice(key_.of(record.family, record.key));
    FLUX_RETURN_IF_ERROR(from_rocks(out.Put(key, slice(record.value)), "load"));
    if (out.GetDataSize() < kLoadBatchBytes) continue;
    FLUX_RETURN_IF_ERROR(write_rocks(out));
    out.Clear();
  }
  const uint64_t count = reader.info().records[static_cast<size_t>(Family::kData)];
  std::string value;
  Encoder(value).varint(count);
  FLUX_RETURN_IF_ERROR(from_rocks(out.Put(count_key(group_), value), "load"));
  FLUX_RETURN_IF_ERROR(from_rocks(out.Delete(loading_key(group_)), "load"));
  FLUX_RETURN_IF_ERROR(write_rocks(out));
  count_ = count;
  return {};
}

}  // namespace flux::engine
