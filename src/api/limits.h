// Every limit a user or a peer can run into, and how they depend on each other.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/types.h"

namespace flux::api {

inline constexpr size_t kKeyBytesMax = 64_KiB;
inline constexpr size_t kEncodedKeyBytesMax = kKeyBytesMax + 8;  // as api/keyspace.h encodes it, and one byte more
inline constexpr size_t kValueBytesMax = 16_MiB;

// One request: all its commands, keys and values as they are encoded in the log.
inline constexpr size_t kRequestBytesMax = 24_MiB;
static_assert(kRequestBytesMax > kValueBytesMax + kKeyBytesMax + 1_KiB, "the largest single write must fit a request");

// One log entry gathers requests until it is this large; a larger single request makes an entry of its own.
inline constexpr size_t kEntryBytesTarget = 512_KiB;
inline constexpr size_t kEntryBytesMax = kRequestBytesMax + 64_KiB;
static_assert(kEntryBytesMax <= 32_MiB, "an entry must fit the log's and the consensus core's largest entry");

// One frame between nodes.
inline constexpr size_t kPeerFrameBytesMax = 48_MiB;
static_assert(kPeerFrameBytesMax > kEntryBytesMax + 1_MiB, "an append with one largest entry must fit a frame");

// Commands in one request (MSET, DEL of many keys), and keys in one read.
inline constexpr size_t kCommandsPerRequestMax = 65'536;

// Keys in one page of a scan; a larger COUNT is served as this.
inline constexpr size_t kScanKeysMax = 10'000;
// Bytes of keys and values after which a page ends, whatever it was to hold.
inline constexpr size_t kScanBytesTarget = 4_MiB;
static_assert(kScanBytesTarget + kValueBytesMax + kKeyBytesMax < kPeerFrameBytesMax / 2, "a page must fit a frame");

// Requests of one group that wait for commit, apply or a read index.
inline constexpr size_t kGroupRequestsMax = 200'000;
// Their bytes, before they are entries.
inline constexpr size_t kGroupQueuedBytesMax = 64_MiB;
static_assert(kGroupQueuedBytesMax > 2 * kRequestBytesMax, "one large request must not lock the others out");

// Exactly-once sessions of one group; the least recently used goes first.
inline constexpr size_t kSessionsMax = 10'000;
// Replies a session keeps, which is how far its requests may overtake each other.
inline constexpr size_t kSessionWindow = 64;
// A session unused for this long, by the log's clock, is forgotten.
inline constexpr Millis kSessionIdleMax{3'600'000};
// A reply too large to keep is answered with "applied, reply not kept" on a retry.
inline constexpr size_t kSessionReplyBytesMax = 64_KiB;

// Changes of a shard that its receiver has not read yet; with one more it starts over.
inline constexpr size_t kFeedRecordsMax = 1'000'000;
static_assert(kFeedRecordsMax > 4 * kCommandsPerRequestMax, "a feed overflows less often than versions are given");
// A giver forgets what its receiver has read once it is this much.
inline constexpr size_t kFeedTrimRecords = 10'000;
static_assert(kFeedTrimRecords < kFeedRecordsMax / 10, "a feed that is read in time does not overflow");
// The controller's commands since its last full state are kept up to this, or to the size of that state.
inline constexpr size_t kControlLogBytesMax = 32_KiB;
// Limits that decide what commands do: the same at every replica of a cluster.
struct StateLimits {
  size_t sessions_max = kSessionsMax;
  size_t session_window = kSessionWindow;
  Millis session_idle_max = kSessionIdleMax;
  size_t feed_records_max = kFeedRecordsMax;
  size_t control_log_bytes_max = kControlLogBytesMax;
  size_t feed_trim_records() const { return std::min(kFeedTrimRecords, feed_records_max / 4); }
};
// Keys that one command erases of what a shard held.
inline constexpr uint32_t kEraseKeysMax = 10'000;

}  // namespace flux::api
