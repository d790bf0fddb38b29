// What an engine holds for a key (family kData), for the expiry index (kExpiry) and for the state machine (kMeta).
//
//   kData    key    an encoded key (api/keyspace.h)
//            value  flags (1) | version (8) | deadline (8, if flags & 1) | user's value
//   kExpiry  key    deadline (8, big endian) | encoded key          value  empty
//   kMeta    "applied"  index (8) | term (8) | last version (8)
//            "system/" name a value of the group's own (its membership)
//            "config", "shard/" id: which shards the group has (kv/shards.h)
//            "keys/" id     of a keyspace (8, big endian), not the default one: how many keys the group holds (8);
//            none: 0
//
// Integers are little-endian but where noted. Versions and deadlines end up in snapshots: the layout never changes
// without a new flag.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/hlc.h"
#include "base/log_entry.h"
#include "base/status.h"

namespace flux::kv {

inline constexpr std::string_view kAppliedKey = "applied";
inline constexpr std::string_view kSystemPrefix = "system/";
inline constexpr std::string_view kCountPrefix = "keys/";

// Points into the bytes it was read from.
struct Record {
  Version version;
  std::optional<WallMillis> deadline;
  std::string_view value;

  bool expired_at(WallMillis clock) const { return deadline.has_value() && *deadline <= clock; }
};

void append_record(std::string& out, const Record& record);
// kCorruption if the bytes are no record.
Result<Record> read_record(std::string_view bytes);

std::string expiry_key(WallMillis deadline, std::string_view encoded_key);
struct ExpiryEntry {
  WallMillis deadline;
  std::string_view encoded_key;
};
Result<ExpiryEntry> read_expiry_key(std::string_view bytes);

struct Applied {
  EntryId id;
  Version last_version;
  bool operator==(const Applied&) const = default;
};
std::string encode_applied(const Applied& applied);
Result<Applied> decode_applied(std::string_view bytes);

std::string count_key(KeyspaceId keyspace);
std::string encode_count(uint64_t count);
Result<uint64_t> read_count(std::string_view bytes);

// Big-endian, so that byte order is number order.
void append_u64_ordered(std::string& out, uint64_t value);
uint64_t read_u64_ordered(std::string_view eight_bytes);

}  // namespace flux::kv
