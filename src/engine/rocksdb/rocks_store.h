// One RocksDB for all groups of a data directory, and the engines on it.
//
// RocksDB's own write-ahead log is off: the Raft log is the log. All groups and families live in one column family, so
// that a flushed memtable is a prefix of the order of writes, for every group at once: after a power cut each group
// finds itself as it was after some earlier batch, whole. Keys are group (8 bytes, big endian) | family | key.
//
// RocksDB does its I/O itself, on real disks; the simulator runs on the memory engine.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace flux::engine {

struct RocksOptions {
  uint64_t block_cache_bytes = 256_MiB;
  // Memtables of all groups together, and of one. They count against the block cache.
  uint64_t write_buffers_bytes = 128_MiB;
  uint64_t write_buffer_bytes = 32_MiB;
  int background_threads = 2;
  // Of flushes and compactions; 0: no limit.
  uint64_t background_bytes_per_second = 0;
};

struct RocksStats {
  uint64_t memtable_bytes = 0;
  uint64_t block_cache_bytes = 0;
  uint64_t table_readers_bytes = 0;
  uint64_t sst_bytes = 0;
  uint64_t pending_compaction_bytes = 0;
  bool write_stalled = false;
};

// Thread-safe. Must outlive its engines.
class RocksStore {
 public:
  // The parent of `dir` must exist. Errors: kCorruption, kIo, kNoSpace.
  static Result<std::unique_ptr<RocksStore>> open(const std::string& dir, const RocksOptions& options);
  virtual ~RocksStore() = default;

  // The engine of a group, with what it held. A group whose load() was cut off by a crash is empty.
  virtual Result<std::unique_ptr<Engine>> engine(GroupId group) = 0;
  // The groups that hold anything.
  virtual Result<std::vector<GroupId>> groups() = 0;
  // Forgets a group. REQUIRES: it has no engine.
  virtual Status remove(GroupId group) = 0;
  // Makes everything written so far durable.
  virtual Status flush() = 0;
  virtual RocksStats stats() const = 0;
  // Of caches, memtables and table readers.
  virtual uint64_t memory_used() const = 0;
};

}  // namespace flux::engine
