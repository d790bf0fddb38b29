// The store of one group: ordered byte strings in a few families, changed by atomic batches, cut by snapshots.
//
// An engine is a cache of the log: nothing it holds is durable by itself but what get_durable() shows and what was
// saved as a snapshot. The state machine writes its applied index (family kMeta) in the batch with the data, so that
// engine and index never disagree; where small_writes_are_cheap(), after the data, and between rounds they agree too.
//
// Threads: owned by one thread; Snapshot, once taken, may be read and destroyed on another (one at a time); flush() and
// get_durable() may be called from any.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "base/types.h"
#include "engine/batch.h"
#include "engine/family.h"

namespace flux::engine {

class SnapshotReader;

// A value read without a copy. Memory engine: the view is valid until the next write to the engine. RocksDB: it holds
// the block it points into until it is reset or destroyed. Reuse one for many reads.
class PinnedValue {
 public:
  // What keeps the bytes in place, for engines that need it.
  class Pin {
   public:
    virtual ~Pin() = default;
  };

  std::string_view view() const { return view_; }
  size_t size() const { return view_.size(); }

  // For engines.
  void point_at(std::string_view view) { view_ = view; }
  std::unique_ptr<Pin>& pin() { return pin_; }

 private:
  std::string_view view_;  // points into the engine, or into what pin_ holds
  std::unique_ptr<Pin> pin_;
};

// One of many reads.
struct Lookup {
  Family family = Family::kData;
  std::string_view key;
  PinnedValue value;
  bool found = false;
};

// Walks keys in ascending order of their bytes.
//
// Tolerates writes to the engine between calls: a key that exists during the whole walk is returned exactly once, with
// a value it had during the walk; a key written or erased meanwhile may be seen or not. (RocksDB: as of creation.
// Memory: the walk finds its place again after each write.) For one consistent cut iterate over a Snapshot.
class Iterator {
 public:
  virtual ~Iterator() = default;
  // False at the end and after an error; then status() tells which.
  virtual bool valid() const = 0;
  // REQUIRES: valid().
  virtual void next() = 0;
  // REQUIRES: valid(). The views are valid until next() or the next write to the engine.
  virtual std::string_view key() const = 0;
  virtual std::string_view value() const = 0;
  virtual Status status() const = 0;
};

// All families as they were when it was taken. Costs memory for what is changed while it lives (memory: a copy of each
// touched leaf; RocksDB: old versions are kept).
class Snapshot {
 public:
  virtual ~Snapshot() = default;
  // The keys in [low, high); an empty `high` is no bound. The iterator must not outlive the snapshot.
  virtual std::unique_ptr<Iterator> iterate(Family family, std::string_view low, std::string_view high) const = 0;
  virtual Result<bool> get(Family family, std::string_view key, std::string& value) const = 0;
};

class Engine {
 public:
  virtual ~Engine() = default;

  // --- Reading. Errors of all of these: kCorruption, kIo (RocksDB only). ---------------------------------------------
  // False when the key does not exist.
  virtual Result<bool> get(Family family, std::string_view key, PinnedValue& value) = 0;
  // Fills each lookup; hides the latency of memory or disk behind each other.
  virtual Status multi_get(std::span<Lookup> lookups) = 0;
  // A hint that the keys will be read soon; hides the latency of memory behind each other.
  virtual void prefetch(Family, std::span<const std::string> /*keys*/) {}
  // The keys in [low, high); an empty `high` is no bound. The iterator must not outlive the engine.
  virtual std::unique_ptr<Iterator> iterate(Family family, std::string_view low, std::string_view high) = 0;
  // O(1) in the size of the store.
  virtual std::unique_ptr<Snapshot> snapshot() = 0;

  // --- Writing -------------------------------------------------------------------------------------------------------
  // All of the batch or nothing.
  virtual Status write(Batch&& batch) = 0;
  // Whether many small batches cost no more than a large one; nothing of them needs to be atomic across a crash then.
  virtual bool small_writes_are_cheap() const { return false; }
  // Erases everything.
  virtual Status clear() = 0;
  // Replaces everything by the snapshot's contents. On an error of the reader the memory engine keeps what it had; the
  // RocksDB engine may be empty then, also after a crash in the middle, but never holds a mix.
  virtual Status load(SnapshotReader& reader) = 0;

  // --- Sizes ---------------------------------------------------------------------------------------------------------
  // The exact number of keys in kData, in O(1).
  virtual uint64_t count() const = 0;
  // Memory: exact, in the number of leaves. RocksDB: from file sizes, may be far off for small ranges.
  virtual uint64_t approximate_count(Family family, std::string_view low, std::string_view high) const = 0;
  // Bytes of keys and values, approximately.
  virtual uint64_t approximate_bytes(Family family, std::string_view low, std::string_view high) const = 0;
  // Bytes of memory this group takes (RocksDB: 0, its caches are shared; see RocksStore::memory_used()).
  virtual uint64_t memory_used() const = 0;
  // The same number for the same contents in any engine. Reads everything.
  Result<uint64_t> state_hash();

  // --- Durability ----------------------------------------------------------------------------------------------------
  // Makes durable what can be (memory: nothing). RocksDB: flushes the whole store; concurrent calls share one flush.
  virtual Status flush() = 0;
  // The value that is durable in files and will be found after a power cut, for the log may only be compacted up to the
  // applied index that is durable (or that a saved snapshot covers). Memory: always false.
  virtual Result<bool> get_durable(Family family, std::string_view key, std::string& value) const = 0;
};

// An order-independent sum over all records of all families.
Result<uint64_t> state_hash(const Snapshot& snapshot);
// The same over one range, to compare shards between groups.
Result<uint64_t> content_hash(const Snapshot& snapshot, Family family, std::string_view low, std::string_view high);

}  // namespace flux::engine
