// Keyspaces, and where their keys lie among all keys of a group. Part of the stored format: it never changes.
//
//   default keyspace       slot (2, big endian), 0 to 16383 | key
//   other hash keyspaces   0x40 | id (4, big endian) | slot (2, big endian) | key
//   range keyspaces        0x80 | id (4, big endian) | key
//
// So the encoded keys of a keyspace are together, in their order, and tell which one it is.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/types.h"

namespace flux::api {

// Stored and sent: never change or reuse.
enum class KeyspaceKind : uint8_t {
  kHash = 1,   // keys are spread over slots (api/slot.h); shards are cut between slots
  kRange = 2,  // keys are in order; shards are cut anywhere
};

// The keyspace of requests that name none: the first that a cluster has, of kind hash.
inline constexpr std::string_view kDefaultKeyspaceName = "default";
inline constexpr KeyspaceId kDefaultKeyspaceId{1};
inline constexpr KeyspaceId kKeyspaceIdMax{UINT32_MAX};

// All that is needed of a keyspace to find its keys. The kind of an id never changes.
struct KeyspaceRef {
  KeyspaceId id = kDefaultKeyspaceId;
  KeyspaceKind kind = KeyspaceKind::kHash;

  bool is_default() const { return id == kDefaultKeyspaceId; }
  bool operator==(const KeyspaceRef&) const = default;
};

// Encoded keys from `start` up to `end`; an empty end is no bound.
struct KeyRange {
  std::string start;
  std::string end;
  bool empty() const { return !end.empty() && start >= end; }
  bool operator==(const KeyRange&) const = default;
};

void append_encoded_key(std::string& out, KeyspaceRef keyspace, std::string_view key);
std::string encoded_key(KeyspaceRef keyspace, std::string_view key);
// The key within an encoded key.
std::string_view decoded_key(std::string_view encoded);

// What the encoded keys of a keyspace begin with; empty for the default one.
std::string keyspace_prefix(KeyspaceRef keyspace);
// The keyspace that a place among the encoded keys belongs to, be it a key or where a shard begins. nullopt: none can.
std::optional<KeyspaceRef> keyspace_at(std::string_view encoded);
// All of its encoded keys.
KeyRange keyspace_range(KeyspaceRef keyspace);
// The part of [start, end) that is in the keyspace. An empty start is its beginning, an empty end its end.
KeyRange within(KeyspaceRef keyspace, std::string_view start, std::string_view end);

// The least string that is larger than all that begin with `prefix`; empty: there is none.
std::string after_prefix(std::string_view prefix);

}  // namespace flux::api
