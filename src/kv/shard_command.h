// How shards move between groups: what api::ShardChange carries to a group's state machine, and the pieces of a shard
// on their way (docs/formats/commands.md). A shard is a range of encoded keys.
//
//   giver     BeginFeed ........ export_chunk() ........ ApplyConfig, export_chunk() ... Release, EraseSome
//   receiver  BeginStaging, Import ... (until caught up), ApplyConfig, Import ... (serves), Confirm
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/codec.h"
#include "base/hlc.h"
#include "base/status.h"
#include "base/types.h"

namespace flux::kv {

// Stored: never change or reuse.
enum class ShardState : uint8_t {
  kServing = 1,
  kPulling = 2,    // ours by configuration, not all here yet; not served
  kBePulling = 3,  // given away by configuration: frozen, kept until the receiver has all; not served
  kGcing = 4,      // all here and served; the giver may still have its copy
  kStaged = 5,     // being copied while its owner serves; not served
  kErasing = 6,    // not ours any more, its data goes piece by piece; not served
};
// As operators read it: "serving", "be_pulling".
std::string_view to_string(ShardState state);

// How far a receiver is. A value never comes back, so that a chunk fits at one moment only.
struct MoveCursor {
  std::string copied_through;  // every record up to this encoded key is here; empty: none, or copied_all
  bool copied_all = false;
  // Which numbering of the giver's feed `feed_next` belongs to. 0: nothing was copied yet, or it is copied from a
  // frozen shard, which needs no feed.
  Version feed_epoch;
  uint64_t feed_next = 0;     // every change before this one is here
  uint64_t session_next = 0;  // frozen: every session of a smaller client is here
  bool sessions_done = false;
  bool operator==(const MoveCursor&) const = default;
};

struct ChunkItem {
  std::string key;                    // encoded
  std::optional<std::string> record;  // as record_format.h has it; none: there is no such key
  bool operator==(const ChunkItem&) const = default;
};

// One exactly-once session, with the replies that it keeps.
struct MovedSession {
  struct Reply {
    uint64_t sequence = 0;
    std::string bytes;  // api::encode_results
    bool operator==(const Reply&) const = default;
  };
  uint64_t client = 0;
  WallMillis opened;
  Version last_use;
  uint64_t low = 0;
  std::vector<Reply> replies;  // sequences ascend, all above `low`
  bool operator==(const MovedSession&) const = default;
};

// A piece of a shard, from one cursor to the next.
struct ShardChunk {
  MoveCursor from;
  MoveCursor next;
  ConfigNum num;           // the configuration it is frozen at; 0: copied ahead of one
  bool caught_up = false;  // ahead: there was nothing more when it was made; frozen: all is in this or earlier chunks
  // What was copied before is void: the receiver erases it, a piece with each import of this chunk, and only then goes
  // on from `next`.
  bool start_over = false;
  Version clock;  // of the giver
  std::vector<ChunkItem> items;
  // Those of clients from `from.session_next` on, up to `next.session_next` or all: clients ascend. Sessions that were
  // opened before `sessions_forgotten` may be missing because the giver has forgotten them.
  std::vector<MovedSession> sessions;
  WallMillis sessions_forgotten;

  bool holds_sessions() const {
    return !from.sessions_done && (next.sessions_done || next.session_next != from.session_next);
  }
  bool frozen() const { return num != ConfigNum(0); }
  bool operator==(const ShardChunk&) const = default;
};

// What a receiver asks of a giver (StateMachine::export_chunk).
struct ExportRequest {
  ShardId shard;
  ConfigNum num;  // 0: ahead of the configuration
  uint64_t plan = 0;
  uint32_t step = 0;
  MoveCursor from;
  size_t bytes_max = 0;
  bool operator==(const ExportRequest&) const = default;
};

// What becomes of one range in a configuration.
struct ShardCut {
  enum class Kind : uint8_t { kOwn = 1, kGive = 2, kDrop = 3 };
  Kind kind = Kind::kOwn;
  ShardId shard;
  std::string start;
  std::string end;  // excluded; empty is the end of all
  // kOwn: who had it in the configuration before; our own group or 0 (nobody: it begins empty): no pull. kGive: who
  // gets it. kDrop: 0.
  GroupId peer;
  bool operator==(const ShardCut&) const = default;
};

// All that the group owns in configuration `num`, and what it gives away or drops with it. Without effect unless `num`
// is newer than the newest applied; kPrecondition unless settled(), or if the cuts do not account for all that is
// served.
struct ApplyConfig {
  ConfigNum num;
  std::vector<ShardCut> cuts;
  bool operator==(const ApplyConfig&) const = default;
};

// Giver: keeps a record of each change of the shard from now on, for one step of a plan; replaces an older step's.
struct BeginFeed {
  ShardId shard;
  uint64_t plan = 0;
  uint32_t step = 0;
  bool operator==(const BeginFeed&) const = default;
};
// Giver: the receiver has every change before `through` of this numbering; forgets them, so that a feed stays short.
struct TrimFeed {
  ShardId shard;
  Version epoch;
  uint64_t through = 0;
  bool operator==(const TrimFeed&) const = default;
};
// Giver: the step is given up.
struct EndFeed {
  ShardId shard;
  uint64_t plan = 0;
  uint32_t step = 0;
  bool operator==(const EndFeed&) const = default;
};

// Receiver: a copy is made while `from` serves. kPrecondition while something of the range is here, being erased say.
struct BeginStaging {
  ShardId shard;
  std::string start;
  std::string end;
  GroupId from;
  uint64_t plan = 0;
  uint32_t step = 0;
  bool operator==(const BeginStaging&) const = default;
};
// Receiver: the step is given up; the copy is erased.
struct EndStaging {
  ShardId shard;
  uint64_t plan = 0;
  uint32_t step = 0;
  bool operator==(const EndStaging&) const = default;
};

// Receiver: the next chunk. Without effect unless the shard stands where the chunk begins. The last frozen chunk makes
// the shard served.
struct Import {
  ShardId shard;
  uint64_t plan = 0;
  uint32_t step = 0;
  ShardChunk chunk;
  bool operator==(const Import&) const = default;
};

// Giver: the receiver has all that was frozen at `num`. OK also when it is gone already; kPrecondition for another num.
struct Release {
  ShardId shard;
  ConfigNum num;
  bool operator==(const Release&) const = default;
};
// Receiver: the giver has released what was frozen at `num`. OK also when that is known already.
struct Confirm {
  ShardId shard;
  ConfigNum num;
  bool operator==(const Confirm&) const = default;
};
// The next piece of a shard that is being erased; the result's integer is how many keys that were. The shard is
// forgotten with the last.
struct EraseSome {
  ShardId shard;
  uint32_t keys_max = 0;
  bool operator==(const EraseSome&) const = default;
};

using ShardCommand = std::variant<ApplyConfig, BeginFeed, TrimFeed, EndFeed, BeginStaging, EndStaging, Import, Release,
                                  Confirm, EraseSome>;

std::string encode(const ShardCommand& command);
// kCorruption if the bytes are no command in its one spelling; kUnsupported for a kind of a newer version.
Result<ShardCommand> decode_shard_command(std::string_view bytes);

// The same for what travels between nodes.
std::string encode(const ShardChunk& chunk);
Result<ShardChunk> decode_shard_chunk(std::string_view bytes);
std::string encode(const ExportRequest& request);
Result<ExportRequest> decode_export_request(std::string_view bytes);
// A part of other encodings; whether it was well formed the decoder tells.
void append_cursor(Encoder& encoder, const MoveCursor& cursor);
MoveCursor read_cursor(Decoder& decoder);

}  // namespace flux::kv
