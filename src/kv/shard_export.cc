// What a giver hands out of a shard: reads of the committed state.
//
// The receiver's cursor says what it has. Records go in key order; what changes behind the cursor meanwhile is told by
// the feed, whose records name keys: what they hold now is sent. So a chunk is as new as the feed is long, and whatever
// changes later stands in the feed after it; a replica that is behind sends older values, but no gap.
#include <fmt/core.h>

#include <algorithm>
#include <set>

#include "api/limits.h"
#include "base/probe.h"
#include "kv/state_machine.h"

namespace flux::kv {
namespace {

using engine::Family;

constexpr size_t kItemBytes = 16;                // of an item, but for its key and record
constexpr size_t kFeedRecordsPerChunk = 20'000;  // read for one chunk, whether they make items or not
constexpr size_t kChunkBytesMax = api::kRequestBytesMax / 2;
static_assert(api::kRequestBytesMax > api::kValueBytesMax + 4 * api::kKeyBytesMax,
              "one item must fit, with its cursors");

// Whether there is room for `more`; the first piece always has.
bool take(size_t& bytes, size_t more, size_t bytes_max) {
  if (bytes > 0 && bytes + more > bytes_max) return false;
  bytes += more;
  return true;
}

bool copied(std::string_view key, const MoveCursor& cursor) {
  return cursor.copied_all || (!cursor.copied_through.empty() && key <= cursor.copied_through);
}

// The shard that the request is about, in the state that it needs.
Result<const ShardInfo*> giver_of(const Shards& shards, const ExportRequest& request) {
  const ShardInfo* const shard = shards.find(request.shard);
  if (request.num == ConfigNum(0)) {
    if (shard != nullptr && shard->served() && shard->feed && shard->feed_plan == request.plan &&
        shard->feed_step == request.step) {
      return shard;
    }
    return Status(ErrorCode::kNotFound, fmt::format("shard {} has no such feed here, not yet", request.shard));
  }
  if (shards.config_num() < request.num) {
    FLUX_PROBE("a shard is asked for before its giver knows of it");
    return Status(ErrorCode::kUnavailable, fmt::format("configuration {} is not applied here yet", request.num));
  }
  if (shard != nullptr && shard->state == ShardState::kBePulling && shard->since == request.num) return shard;
  return Status(ErrorCode::kNotFound,
                fmt::format("shard {} is not frozen at configuration {} here", request.shard, request.num));
}

void start_over(const ShardInfo& shard, ShardChunk& chunk) {
  chunk.start_over = true;
  chunk.next = {};
  if (chunk.frozen()) return;
  chunk.next.feed_epoch = shard.feed_epoch;
  chunk.next.feed_next = shard.feed_next();
}

// Finds the place of the cursor in the feed.
Status meet_feed(const ShardInfo& shard, const ExportRequest& request, ShardChunk& chunk) {
  MoveCursor& next = chunk.next;
  if (next.feed_epoch == Version(0)) {
    if (chunk.frozen()) return {};  // nothing changes: no feed is needed
    if (next != MoveCursor()) return Status(ErrorCode::kPrecondition, "the copy was not begun with a feed");
    next.feed_epoch = shard.feed_epoch;
    next.feed_next = shard.feed_next();
    return {};
  }
  const bool same_step = shard.feed && shard.feed_plan == request.plan && shard.feed_step == request.step;
  const bool ahead =
      next.feed_epoch > shard.feed_epoch || (next.feed_epoch == shard.feed_epoch && next.feed_next > shard.feed_next());
  if (same_step && ahead) {
    FLUX_PROBE("a replica that gives a shard is behind its receiver");
    return Status(ErrorCode::kUnavailable, "this replica is behind what the receiver has");
  }
  if (!same_step || next.feed_epoch < shard.feed_epoch || next.feed_next < shard.feed_first) {
    FLUX_PROBE("a receiver has missed a part of the feed");
    start_over(shard, chunk);
  }
  return {};
}

}  // namespace

Result<ShardChunk> StateMachine::export_chunk(const ExportRequest& request) {
  FLUX_CHECK(!uncommitted_);
  FLUX_TRY(const ShardInfo* const shard, giver_of(shards_, request));
  ShardChunk chunk{.from = request.from, .next = request.from, .num = request.num, .clock = last_version_};
  FLUX_RETURN_IF_ERROR(meet_feed(*shard, request, chunk));
  if (chunk.start_over) return chunk;
  const size_t bytes_max = std::min(request.bytes_max, kChunkBytesMax);
  size_t bytes = 0;
  // Half of it for each, so that neither waits for the other.
  FLUX_RETURN_IF_ERROR(export_feed(*shard, chunk.next.copied_all ? bytes_max : bytes_max / 2, bytes, chunk));
  FLUX_RETURN_IF_ERROR(export_records(*shard, bytes_max, bytes, chunk));
  MoveCursor& next = chunk.next;
  const bool no_more = next.copied_all && (next.feed_epoch == Version(0) || next.feed_next == shard->feed_next());
  if (chunk.frozen() && no_more && !next.sessions_done && (bytes < bytes_max || chunk.items.empty())) {
    FLUX_TRY(const std::optional<uint64_t> client,
             sessions_.read(engine_, next.session_next, bytes_max - std::min(bytes, bytes_max), chunk.sessions));
    next.session_next = client.value_or(0);
    next.sessions_done = !client.has_value();
    chunk.sessions_forgotten = sessions_.forgotten();
  }
  chunk.caught_up = no_more && (!chunk.frozen() || next.sessions_done);
  return chunk;
}

Status StateMachine::export_feed(const ShardInfo& shard, size_t bytes_max, size_t& bytes, ShardChunk& chunk) {
  MoveCursor& next = chunk.next;
  if (next.feed_epoch == Version(0)) return {};
  std::set<std::string, std::less<>> named;
  auto it = engine_.iterate(Family::kFeed, feed_key(shard.shard, next.feed_next), feed_key(shard.shard, UINT64_MAX));
  for (size_t seen = 0; it->valid() && seen < kFeedRecordsPerChunk; it->next(), ++seen) {
    FLUX_TRY(const std::string_view key, read_feed_record(it->value()));
    // What was not copied yet is copied later, as it is then.
    if (copied(key, next) && !named.contains(key)) {
      engine::PinnedValue value;
      FLUX_TRY(const bool found, engine_.get(Family::kData, key, value));
      if (!take(bytes, kItemBytes + key.size() + (found ? value.size() : 0), bytes_max)) break;
      named.emplace(key);
      ChunkItem& item = chunk.items.emplace_back();
      item.key = key;
      if (found) item.record = value.view();
    }
    ++next.feed_next;
  }
  return it->status();
}

Status StateMachine::export_records(const ShardInfo& shard, size_t bytes_max, size_t& bytes, ShardChunk& chunk) {
  MoveCursor& next = chunk.next;
  if (next.copied_all) return {};
  const std::string low = next.copied_through.empty() ? shard.start : next.copied_through + '\0';
  auto it = engine_.iterate(Family::kData, low, shard.end);
  for (; it->valid(); it->next()) {
    if (!take(bytes, kItemBytes + it->key().size() + it->value().size(), bytes_max)) return {};
    next.copied_through = it->key();
    chunk.items.push_back({.key = std::string(it->key()), .record = std::string(it->value())});
  }
  FLUX_RETURN_IF_ERROR(it->status());
  next.copied_all = true;
  next.copied_through.clear();
  return {};
}

}  // namespace flux::kv
