#include "engine/rocksdb/rocks_store.h"

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/rate_limiter.h>
#include <rocksdb/table.h>
#include <rocksdb/write_buffer_manager.h>

#include <condition_variable>
#include <mutex>
#include <set>

#include "engine/rocksdb/rocks_engine.h"
#include "engine/rocksdb/rocks_slice.h"
#include "engine/rocksdb/rocks_status.h"

namespace flux::engine {
namespace {

class RocksStoreImpl final : public RocksStore, public RocksHost {
 public:
  explicit RocksStoreImpl(std::shared_ptr<rocksdb::Cache> cache) : cache_(std::move(cache)) {}

  Status open_db(const std::string& dir, const rocksdb::Options& options) {
    rocksdb::DB* db = nullptr;
    FLUX_RETURN_IF_ERROR(from_rocks(rocksdb::DB::Open(options, dir, &db), "open " + dir));
    db_.reset(db);
    return {};
  }

  Result<std::unique_ptr<Engine>> engine(GroupId group) override {
    {
      const std::lock_guard lock(mutex_);
      FLUX_CHECK(engines_.insert(group).second, "group {} has an engine", group);
    }
    return RocksEngine::open(*this, group);
  }

  Result<std::vector<GroupId>> groups() override {
    std::vector<GroupId> groups;
    const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator({}));
    for (it->SeekToFirst(); it->Valid(); it->Seek(group_end(groups.back()))) {
      if (it->key().size() < kKeyPrefixBytes) return Status(ErrorCode::kCorruption, "RocksDB: a key without a group");
      groups.push_back(group_of(view(it->key())));
    }
    FLUX_RETURN_IF_ERROR(from_rocks(it->status(), "listing groups"));
    return groups;
  }

  Status remove(GroupId group) override {
    {
      const std::lock_guard lock(mutex_);
      FLUX_CHECK(!engines_.contains(group), "group {} has an engine", group);
    }
    rocksdb::WriteOptions options;
    options.disableWAL = true;
    return from_rocks(db_->DeleteRange(options, db_->DefaultColumnFamily(), group_prefix(group), group_end(group)),
                      "remove");
  }

  // A caller is served by a flush that began after it called; callers that wait for the same one share it.
  Status flush() override {
    std::unique_lock lock(mutex_);
    const uint64_t wanted = flushes_begun_ + 1;
    while (flushes_done_ < wanted) {
      if (flushing_) {
        flush_done_.wait(lock);
        continue;
      }
      flushing_ = true;
      const uint64_t mine = ++flushes_begun_;
      lock.unlock();
      Status status = from_rocks(db_->Flush({}), "flush");
      lock.lock();
      flushing_ = false;
      flush_done_.notify_all();
      if (!status.ok()) return status;
      flushes_done_ = mine;
    }
    return {};
  }

  RocksStats stats() const override {
    RocksStats stats;
    using Properties = rocksdb::DB::Properties;
    stats.memtable_bytes = property(Properties::kCurSizeAllMemTables);
    stats.block_cache_bytes = property(Properties::kBlockCacheUsage);
    stats.table_readers_bytes = property(Properties::kEstimateTableReadersMem);
    stats.sst_bytes = property(Properties::kTotalSstFilesSize);
    stats.pending_compaction_bytes = property(Properties::kEstimatePendingCompactionBytes);
    stats.write_stalled =
        property(Properties::kIsWriteStopped) != 0 || property(Properties::kActualDelayedWriteRate) != 0;
    return stats;
  }

  uint64_t memory_used() const override {
    // Memtables are charged to the cache already.
    return cache_->GetUsage() + property(rocksdb::DB::Properties::kEstimateTableReadersMem);
  }

  rocksdb::DB& db() override { return *db_; }
  Status flush_all() override { return flush(); }
  void engine_closed(GroupId group) override {
    const std::lock_guard lock(mutex_);
    engines_.erase(group);
  }

 private:
  uint64_t property(const std::string& name) const {
    uint64_t value = 0;
    db_->GetIntProperty(name, &value);
    return value;
  }

  const std::shared_ptr<rocksdb::Cache> cache_;  // shared with the database
  std::unique_ptr<rocksdb::DB> db_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable flush_done_;
  std::set<GroupId> engines_;
  bool flushing_ = false;
  uint64_t flushes_begun_ = 0;
  uint64_t flushes_done_ = 0;
};

rocksdb::Options options_for(const RocksOptions& options, const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.cache_index_and_filter_blocks = true;
  table.pin_l0_filter_and_index_blocks_in_cache = true;
  table.block_size = 16_KiB;
  table.format_version = 5;

  rocksdb::Options out;
  out.create_if_missing = true;
  out.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  out.write_buffer_manager = std::make_shared<rocksdb::WriteBufferManager>(options.write_buffers_bytes, cache);
  out.write_buffer_size = options.write_buffer_bytes;
  out.max_write_buffer_number = 4;
  out.max_background_jobs = options.background_threads;
  out.max_open_files = 1024;
  out.level_compaction_dynamic_level_bytes = true;
  out.bytes_per_sync = 1_MiB;
  out.compression = rocksdb::kLZ4Compression;
  if (options.background_bytes_per_second > 0) {
    out.rate_limiter.reset(rocksdb::NewGenericRateLimiter(static_cast<int64_t>(options.background_bytes_per_second)));
  }
  out.info_log_level = rocksdb::WARN_LEVEL;
  out.max_log_file_size = 4_MiB;
  out.keep_log_file_num = 3;
  return out;
}

}  // namespace

Result<std::unique_ptr<RocksStore>> RocksStore::open(const std::string& dir, const RocksOptions& options) {
  const std::shared_ptr<rocksdb::Cache> cache = rocksdb::NewLRUCache(options.block_cache_bytes);
  auto store = std::make_unique<RocksStoreImpl>(cache);
  FLUX_RETURN_IF_ERROR(store->open_db(dir, options_for(options, cache)));
  return std::unique_ptr<RocksStore>(std::move(store));
}

}  // namespace flux::engine
