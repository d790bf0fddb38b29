// How a keyspace is cut into shards, and which group owns each. Value types; not thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/types.h"
#include "ctrl/fields.h"

namespace flux::ctrl {

inline constexpr GroupId kNoGroup{0};  // group 0 is the controller, which owns no shard

// Stored and sent: never change or reuse.
enum class KeyspaceKind : uint8_t {
  kHash = 1,   // encoded keys begin with their slot (api/slot.h); shards are cut between slots
  kRange = 2,  // encoded keys are the keys themselves; shards are cut anywhere
};
template <>
inline constexpr KeyspaceKind kLast<KeyspaceKind> = KeyspaceKind::kRange;

// The encoded keys from `start` up to the start of the next shard.
struct Shard {
  ShardId id;
  std::string start;
  GroupId group;

  static void fields(auto& self, auto& io) { io(self.id, self.start, self.group); }
  bool operator==(const Shard&) const = default;
};

struct Keyspace {
  KeyspaceId id;
  std::string name;
  KeyspaceKind kind = KeyspaceKind::kHash;
  // Its shards live in groups with at least so many voters.
  uint32_t replication = 1;
  // Invariant: not empty, starts strictly ascending, the first one empty: every key has exactly one shard.
  std::vector<Shard> shards;

  // The shard that holds an encoded key. O(log n).
  const Shard& lookup(std::string_view encoded_key) const;
  // By id. Null if there is none. O(n).
  const Shard* find(ShardId shard) const;
  Shard* find(ShardId shard);
  // Where the shard at this place ends; empty: it is the last.
  std::string_view end_of(size_t at) const;
  // What it counts in balance: its slots in a hash keyspace, one in a range keyspace.
  uint64_t measure(size_t at) const;

  // OK if a shard may begin here, apart from what stands there already.
  Status check_boundary(std::string_view start) const;
  Status validate() const;
  bool operator==(const Keyspace&) const = default;
};

// The starts of `count` hash shards of equal size, give or take a slot. REQUIRES: 0 < count <= api::kSlotCount.
std::vector<std::string> equal_slot_ranges(uint32_t count);

}  // namespace flux::ctrl
