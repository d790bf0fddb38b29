// One group's engine on the shared RocksDB.
#pragma once

#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <memory>

#include "engine/engine.h"
#include "engine/rocksdb/rocks_keys.h"

namespace flux::engine {

// What an engine needs of its store.
class RocksHost {
 public:
  virtual ~RocksHost() = default;
  virtual rocksdb::DB& db() = 0;
  virtual Status flush_all() = 0;
  virtual void engine_closed(GroupId group) = 0;
};

class RocksEngine final : public Engine {
 public:
  // Reads the count, and empties a group whose load was cut off.
  static Result<std::unique_ptr<Engine>> open(RocksHost& host, GroupId group);
  ~RocksEngine() override;

  Result<bool> get(Family family, std::string_view key, PinnedValue& value) override;
  Status multi_get(std::span<Lookup> lookups) override;
  std::unique_ptr<Iterator> iterate(Family family, std::string_view low, std::string_view high) override;
  std::unique_ptr<Snapshot> snapshot() override;
  Status write(Batch&& batch) override;
  Status clear() override;
  Status load(SnapshotReader& reader) override;
  uint64_t count() const override { return count_; }
  uint64_t approximate_count(Family family, std::string_view low, std::string_view high) const override;
  uint64_t approximate_bytes(Family family, std::string_view low, std::string_view high) const override;
  uint64_t memory_used() const override { return 0; }
  Status flush() override { return host_.flush_all(); }
  Result<bool> get_durable(Family family, std::string_view key, std::string& value) const override;

 private:
  RocksEngine(RocksHost& host, GroupId group) : host_(host), db_(host.db()), group_(group), key_(group) {}

  Status load_records(SnapshotReader& reader);
  Status write_rocks(rocksdb::WriteBatch& batch);

  RocksHost& host_;
  rocksdb::DB& db_;
  const GroupId group_;
  RocksKey key_;
  uint64_t count_ = 0;
};

}  // namespace flux::engine
