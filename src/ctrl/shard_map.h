// How a keyspace is cut into shards, and which group owns each. Value types; not thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "api/keyspace.h"
#include "base/status.h"
#include "base/types.h"
#include "ctrl/fields.h"

namespace flux::ctrl {

inline constexpr GroupId kNoGroup{0};  // group 0 is the controller, which owns no shard

using api::KeyspaceKind;
template <>
inline constexpr KeyspaceKind kLast<KeyspaceKind> = KeyspaceKind::kRange;

// The keys from `start` up to the start of the next shard. A place among the keys of a keyspace is written without what
// encoded keys begin with (api/keyspace.h): as a slot in a hash keyspace, as a key in a range keyspace.
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

  api::KeyspaceRef ref() const { return {.id = id, .kind = kind}; }
  // The shard that holds a place. O(log n).
  const Shard& lookup(std::string_view place) const;
  // By id. Null if there is none. O(n).
  const Shard* find(ShardId shard) const;
  Shard* find(ShardId shard);
  // Where the shard at this place ends; empty: it is the last.
  std::string_view end_of(size_t at) const;
  // The encoded keys of the shard at this place.
  api::KeyRange encoded_range(size_t at) const;
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
