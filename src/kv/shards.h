// Which shards a group has, and in what state each is: replicated with the data.
//
//   kMeta  "config"                             the newest applied configuration (8)
//          "shard/" shard id (8, big endian)    state (1) | start, end (varint length, bytes) | since, peer, plan, step
//                                               (varints) | cursor | feed (1): 0, or 1 | plan, step (varints)
//   kFeed  shard id (8, big endian)             epoch (8) | first (8) | next (8): the numbers its records have
//          shard id | sequence (8), big endian  kind (1) = 1: changed | encoded key
//
// A feed names the keys that changed while it was on; who reads it looks up what they hold. It is numbered anew, under
// another epoch, whenever it cannot tell all: a reader of an older epoch starts over.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/limits.h"
#include "engine/engine.h"
#include "kv/shard_command.h"

namespace flux::kv {

class Draft;

// Whether a group serves what its shards cover, or everything, as a group does that shares the keys with nobody.
enum class Sharding : uint8_t { kOff, kOn };

struct ShardInfo {
  ShardId shard;
  std::string start;
  std::string end;  // excluded; empty is the end of all
  ShardState state = ShardState::kServing;
  ConfigNum since;    // the configuration that put it into this state, or began it; kStaged: 0
  GroupId peer;       // kPulling, kGcing, kStaged: the giver; kBePulling: the receiver
  uint64_t plan = 0;  // kStaged, and what became of it: the step that copies it
  uint32_t step = 0;
  MoveCursor cursor;  // kStaged, kPulling
  bool feed = false;
  uint64_t feed_plan = 0;
  uint32_t feed_step = 0;
  Version feed_epoch;
  uint64_t feed_first = 0;
  uint64_t feed_length = 0;
  uint64_t operations = 0;  // reads and writes of its keys since load(); not replicated

  uint64_t feed_next() const { return feed_first + feed_length; }
  bool served() const { return state == ShardState::kServing || state == ShardState::kGcing; }
  bool operator==(const ShardInfo&) const = default;
};

inline constexpr std::string_view kConfigKey = "config";
inline constexpr std::string_view kShardPrefix = "shard/";

std::string feed_key(ShardId shard, uint64_t sequence);
// The encoded key that a record of a feed names.
Result<std::string_view> read_feed_record(std::string_view bytes);

// A mirror of what the engine holds; every change goes into a draft, too. Owned by one worker; not thread-safe.
class Shards {
 public:
  // `feed_records_max` decides what commands do: all replicas have the same.
  explicit Shards(size_t feed_records_max = api::kFeedRecordsMax) : feed_records_max_(feed_records_max) {}

  // Reads what the engine holds; after construction, after a snapshot was loaded.
  Status load(engine::Engine& engine);

  ConfigNum config_num() const { return config_num_; }
  // Invariant: by start, each start before its end, no two overlap.
  std::span<const ShardInfo> all() const { return table_; }
  const ShardInfo* find(ShardId shard) const;
  // The shard whose range has the key; null: none.
  const ShardInfo* at(std::string_view encoded_key) const;
  bool serves(std::string_view encoded_key) const;
  // All of [low, high); an empty `high` is no bound.
  bool serves(std::string_view low, std::string_view high) const;
  // The same, and counts an operation.
  bool use(std::string_view encoded_key);
  // A key that halves what is used of the shard, from a sample of its last operations; empty: none is known. Where it
  // cuts off nothing, few keys bear all of the load.
  std::string busy_middle(ShardId shard) const;
  bool settled() const;
  bool take_changed() { return std::exchange(changed_, false); }

  // Adds the shard or replaces it; its feed stays as it is. REQUIRES: its range overlaps no other's.
  void put(Draft& draft, ShardInfo info);
  void remove(Draft& draft, ShardId shard);
  // Replaces all. Feeds of shards that have none in `table` end.
  void replace(Draft& draft, ConfigNum num, std::vector<ShardInfo> table);

  // --- Feeds. REQUIRES of all: the shard exists; of all but begin_feed: its feed is on. ------------------------------
  void begin_feed(Draft& draft, ShardId shard, uint64_t plan, uint32_t step, Version epoch);
  void end_feed(Draft& draft, ShardId shard);
  // Numbers it anew: everybody who reads it starts over. REQUIRES: `epoch` is newer than its own.
  void renumber_feed(Draft& draft, ShardId shard, Version epoch);
  void trim_feed(Draft& draft, ShardId shard, uint64_t through);
  bool any_feed() const { return feeds_ > 0; }
  // Told by the draft of every change to a key.
  void on_change(Draft& draft, std::string_view encoded_key);

 private:
  ShardInfo* mutable_find(ShardId shard);
  void write(Draft& draft, const ShardInfo& info);
  void write_feed_head(Draft& draft, const ShardInfo& info);
  void forget_feed(Draft& draft, ShardInfo& info);

  const size_t feed_records_max_;
  ConfigNum config_num_;
  std::vector<ShardInfo> table_;
  // Keys of operations, one of every kSampleEvery; the oldest makes room. Not replicated.
  struct Sample {
    std::vector<std::string> keys;
    size_t next = 0;
  };
  void sample(ShardId shard, std::string_view encoded_key);
  std::map<ShardId, Sample> samples_;
  size_t feeds_ = 0;  // how many are on
  bool changed_ = false;
};

}  // namespace flux::kv
