// What each command does to the shards of a group. All of them may come late or twice, from leaders that knew no
// better: what has been done already is OK and changes nothing; what does not fit is refused and changes nothing.
#include <fmt/core.h>

#include <algorithm>

#include "api/limits.h"
#include "base/probe.h"
#include "kv/config_cuts.h"
#include "kv/state_machine.h"

namespace flux::kv {
namespace {

Status refuse(api::CommandResult& result, ErrorCode code, std::string why) {
  result.code = code;
  result.value = std::move(why);
  return {};
}

// Versions go on from here; beyond it they would run out.
constexpr Version kClockMax{UINT64_MAX / 2};

bool in_range(std::string_view key, const ShardInfo& shard) {
  return key >= shard.start && (shard.end.empty() || key < shard.end);
}

// Everything of a chunk that could be wrong, before any of it takes effect.
Status check_chunk(const ShardInfo& shard, const ShardChunk& chunk) {
  const auto corrupt = [](std::string why) { return Status(ErrorCode::kCorruption, std::move(why)); };
  for (const ChunkItem& item : chunk.items) {
    if (!in_range(item.key, shard)) return corrupt(fmt::format("a key is outside the range of shard {}", shard.shard));
    if (item.record) FLUX_RETURN_IF_ERROR(read_record(*item.record).ok() ? Status() : corrupt("a record is malformed"));
  }
  if (chunk.clock > kClockMax) return corrupt("the clock of its group shows no time");
  if (!chunk.frozen() && !chunk.sessions.empty()) return corrupt("sessions come before the shard is frozen");
  if (!chunk.holds_sessions() && !chunk.sessions.empty()) return corrupt("sessions come that no cursor counts");
  const uint64_t ends = chunk.next.sessions_done ? 0 : chunk.next.session_next;
  if (chunk.holds_sessions() && ends != 0 && ends <= chunk.from.session_next) return corrupt("sessions go backwards");
  const MovedSession* before = nullptr;
  for (const MovedSession& session : chunk.sessions) {
    const bool outside = session.client < chunk.from.session_next || (ends != 0 && session.client >= ends);
    if (outside || (before != nullptr && session.client <= before->client)) {
      return corrupt("sessions are not in the order of their clients");
    }
    before = &session;
    if (session.last_use > chunk.clock) return corrupt("a session was used later than the clock of its group");
    api::WriteReply reply;
    for (const MovedSession::Reply& kept : session.replies)
      FLUX_RETURN_IF_ERROR(api::decode_results(kept.bytes, reply));
  }
  const bool all = chunk.next.copied_all && chunk.next.sessions_done;
  if (chunk.frozen() && chunk.caught_up && !all) return corrupt("a last chunk does not hold all");
  if (chunk.start_over && !chunk.items.empty()) return corrupt("a chunk both starts over and goes on");
  return {};
}

// Whether the chunk is the one that the shard waits for.
bool fits(const ShardInfo& shard, const Import& command) {
  const ShardChunk& chunk = command.chunk;
  if (shard.plan != command.plan || shard.step != command.step || shard.cursor != chunk.from) return false;
  if (chunk.frozen()) return shard.state == ShardState::kPulling && shard.since == chunk.num;
  if (shard.state == ShardState::kStaged) return true;
  // Made ahead of the configuration and come after it: good as long as a feed tells what has changed since.
  return shard.state == ShardState::kPulling && shard.cursor.feed_epoch != Version(0);
}

}  // namespace

Status StateMachine::apply_shard_change(const api::ShardChange& change, Version version, api::CommandResult& result) {
  if (!sharded()) return refuse(result, ErrorCode::kPrecondition, "this group has no shards");
  const Result<ShardCommand> command = decode_shard_command(change.bytes);
  if (!command.ok() && command.status().code() == ErrorCode::kUnsupported) return command.status();
  if (!command.ok()) return refuse(result, command.status().code(), command.status().message());
  return std::visit([&](const auto& each) { return apply_shard(each, version, result); }, *command);
}

Status StateMachine::apply_shard(const ApplyConfig& command, Version, api::CommandResult& result) {
  if (command.num <= config_num()) return {};
  if (!settled()) return refuse(result, ErrorCode::kPrecondition, "shards are still being handed over");
  Result<std::vector<ShardInfo>> table = cut_table(shards_.all(), group_, command);
  if (!table.ok()) return refuse(result, table.status().code(), table.status().message());
  shards_.replace(draft_, command.num, *std::move(table));
  next_deadline_ = WallMillis(0);  // what begins to be served may be due
  result.applied = true;
  return {};
}

Status StateMachine::apply_shard(const BeginFeed& command, Version version, api::CommandResult& result) {
  const ShardInfo* const shard = shards_.find(command.shard);
  if (command.plan == 0) return refuse(result, ErrorCode::kInvalidArgument, "a feed is for the step of a plan");
  if (shard == nullptr || !shard->served()) {
    return refuse(result, ErrorCode::kPrecondition, fmt::format("shard {} is not served here", command.shard));
  }
  if (shard->feed && shard->feed_plan == command.plan && shard->feed_step == command.step) return {};
  shards_.begin_feed(draft_, command.shard, command.plan, command.step, version);
  result.applied = true;
  return {};
}

Status StateMachine::apply_shard(const TrimFeed& command, Version, api::CommandResult& result) {
  const ShardInfo* const shard = shards_.find(command.shard);
  const bool there = shard != nullptr && shard->feed && shard->feed_epoch == command.epoch;
  if (!there || command.through <= shard->feed_first || command.through > shard->feed_next()) return {};
  shards_.trim_feed(draft_, command.shard, command.through);
  result.applied = true;
  return {};
}

Status StateMachine::apply_shard(const EndFeed& command, Version, api::CommandResult& result) {
  const ShardInfo* const shard = shards_.find(command.shard);
  const bool there =
      shard != nullptr && shard->feed && shard->feed_plan == command.plan && shard->feed_step == command.step;
  if (!there) return {};
  if (!shard->served()) {
    return refuse(result, ErrorCode::kPrecondition, fmt::format("shard {} is handed over by its feed", command.shard));
  }
  shards_.end_feed(draft_, command.shard);
  result.applied = true;
  return {};
}

Status StateMachine::apply_shard(const BeginStaging& command, Version, api::CommandResult& result) {
  const bool empty = !command.end.empty() && command.end <= command.start;
  if (command.shard == ShardId(0) || command.plan == 0 || command.from == group_ || empty) {
    return refuse(result, ErrorCode::kInvalidArgument, "nothing can be staged by this");
  }
  ShardInfo staged{.shard = command.shard,
                   .start = command.start,
                   .end = command.end,
                   .state = ShardState::kStaged,
                   .peer = command.from,
                   .plan = command.plan,
                   .step = command.step,
                   .cursor = {}};
  for (const ShardInfo& shard : shards_.all()) {
    if (shard.state == ShardState::kStaged && shard.shard == staged.shard && shard.start == staged.start &&
        shard.end == staged.end && shard.peer == staged.peer && shard.plan == staged.plan &&
        shard.step == staged.step) {
      return {};
    }
    const bool apart =
        (!shard.end.empty() && shard.end <= staged.start) || (!staged.end.empty() && staged.end <= shard.start);
    if (apart && shard.shard != staged.shard) continue;
    FLUX_PROBE("a shard is to be staged while something of its range is still here");
    return refuse(result, ErrorCode::kPrecondition,
                  fmt::format("shard {} is still {} here", shard.shard, to_string(shard.state)));
  }
  shards_.put(draft_, std::move(staged));
  result.applied = true;
  return {};
}

Status StateMachine::apply_shard(const EndStaging& command, Version, api::CommandResult& result) {
  const ShardInfo* const shard = shards_.find(command.shard);
  const bool there = shard != nullptr && shard->state == ShardState::kStaged && shard->plan == command.plan &&
                     shard->step == command.step;
  if (!there) return {};
  ShardInfo given_up = *shard;
  given_up.state = ShardState::kErasing;
  given_up.cursor = {};
  shards_.put(draft_, std::move(given_up));
  result.applied = true;
  return {};
}

Status StateMachine::apply_shard(const Import& command, Version, api::CommandResult& result) {
  const ShardChunk& chunk = command.chunk;
  const ShardInfo* const shard = shards_.find(command.shard);
  if (shard == nullptr || !fits(*shard, command)) return {};
  if (Status bad = check_chunk(*shard, chunk); !bad.ok()) return refuse(result, bad.code(), bad.message());
  // No version goes back when the shard is served here, and nothing that was expired there is seen here.
  last_version_ = std::max(last_version_, chunk.clock);
  result.applied = true;
  if (chunk.start_over) {
    FLUX_PROBE("the copy of a shard starts over");
    FLUX_TRY(const bool none_left, erase_piece(*shard, api::kEraseKeysMax, result));
    if (!none_left) return {};
  }
  FLUX_RETURN_IF_ERROR(import_items(chunk));
  if (chunk.frozen() && chunk.holds_sessions()) sessions_.merge(draft_, chunk);
  ShardInfo further = *shard;
  further.cursor = chunk.next;
  if (chunk.frozen() && chunk.caught_up) {
    further.state = ShardState::kGcing;
    further.cursor = {};
    next_deadline_ = WallMillis(0);
  }
  shards_.put(draft_, std::move(further));
  return {};
}

Status StateMachine::import_items(const ShardChunk& chunk) {
  for (const ChunkItem& item : chunk.items) {
    FLUX_TRY(const std::optional<Record> old, draft_.find(item.key));
    if (!item.record) {
      if (old) draft_.erase(item.key, *old);
      continue;
    }
    FLUX_TRY(const Record record, read_record(*item.record));
    if (old && old->version >= record.version) {
      FLUX_PROBE("a piece of a shard holds an older version of a key");
      continue;
    }
    store(item.key, record.version, record.deadline, record.value, old);
  }
  return {};
}

Status StateMachine::apply_shard(const Release& command, Version, api::CommandResult& result) {
  const ShardInfo* const shard = shards_.find(command.shard);
  if (command.num > config_num()) {
    return refuse(result, ErrorCode::kPrecondition, fmt::format("configuration {} was not applied here", command.num));
  }
  if (shard == nullptr) return {};
  if (shard->state == ShardState::kBePulling && shard->since == command.num) {
    if (shard->feed) shards_.end_feed(draft_, command.shard);
    ShardInfo released = *shards_.find(command.shard);
    released.state = ShardState::kErasing;
    shards_.put(draft_, std::move(released));
    result.applied = true;
    return {};
  }
  // Here again, or still? What came later than `num` was gone in between.
  const bool here = shard->served() || shard->state == ShardState::kPulling;
  if (shard->state == ShardState::kBePulling || (here && shard->since <= command.num)) {
    return refuse(result, ErrorCode::kPrecondition,
                  fmt::format("shard {} is {} since configuration {}, and was not given away by {}", command.shard,
                              to_string(shard->state), shard->since, command.num));
  }
  FLUX_PROBE("a shard is released that has gone already");
  return {};
}

Status StateMachine::apply_shard(const Confirm& command, Version, api::CommandResult& result) {
  const ShardInfo* const shard = shards_.find(command.shard);
  if (shard == nullptr) return {};
  if (shard->state == ShardState::kGcing && shard->since == command.num) {
    ShardInfo ours = *shard;
    ours.state = ShardState::kServing;
    ours.peer = {};
    ours.plan = 0;
    ours.step = 0;
    shards_.put(draft_, std::move(ours));
    result.applied = true;
    return {};
  }
  const bool waiting = shard->state == ShardState::kGcing || shard->state == ShardState::kPulling;
  if (waiting && shard->since <= command.num) {
    return refuse(
        result, ErrorCode::kPrecondition,
        fmt::format("shard {} is {} since configuration {}", command.shard, to_string(shard->state), shard->since));
  }
  return {};
}

Status StateMachine::apply_shard(const EraseSome& command, Version, api::CommandResult& result) {
  const ShardInfo* const shard = shards_.find(command.shard);
  if (shard == nullptr || shard->state != ShardState::kErasing) return {};
  FLUX_TRY(const bool none_left,
           erase_piece(*shard, std::clamp<size_t>(command.keys_max, 1, api::kEraseKeysMax), result));
  if (none_left) shards_.remove(draft_, command.shard);
  result.applied = true;
  return {};
}

Result<bool> StateMachine::erase_piece(const ShardInfo& shard, size_t keys_max, api::CommandResult& result) {
  Draft::Walk walk(draft_, shard.start, shard.end);
  std::string key;
  Record record;
  for (size_t erased = 0;; ++erased) {
    FLUX_TRY(const bool more, walk.next(key, record));
    if (!more) return true;
    if (erased == keys_max) return false;
    draft_.erase(key, record);
    ++result.integer;
  }
}

}  // namespace flux::kv
