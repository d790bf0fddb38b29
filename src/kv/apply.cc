// What each command does. The place in the log is the version: it stamps what is written and is the time that decides
// expiry.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "api/limits.h"
#include "base/overloaded.h"
#include "base/probe.h"
#include "kv/numbers.h"
#include "kv/state_machine.h"

namespace flux::kv {
namespace {

using ExpiryKind = api::Expiry::Kind;

// The deadline that an expiry means for a command at `clock`, when the key had `old`. A moment before 1970 is "at
// once".
std::optional<WallMillis> resolve(const api::Expiry& expiry, WallMillis clock, std::optional<WallMillis> old) {
  switch (expiry.kind) {
    case ExpiryKind::kClear:
      return std::nullopt;
    case ExpiryKind::kKeep:
      return old;
    case ExpiryKind::kAt:
      return WallMillis(expiry.millis < 0 ? 0 : static_cast<uint64_t>(expiry.millis));
    case ExpiryKind::kIn:
      break;
  }
  int64_t at = 0;
  if (__builtin_add_overflow(static_cast<int64_t>(clock.value()), expiry.millis, &at)) {
    at = expiry.millis < 0 ? 0 : std::numeric_limits<int64_t>::max();
  }
  return WallMillis(at < 0 ? 0 : static_cast<uint64_t>(at));
}

bool allowed(const api::SetExpiry& command, std::optional<WallMillis> old, std::optional<WallMillis> now) {
  using Only = api::SetExpiry;
  constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();
  const uint64_t old_at = old ? old->value() : kNever;
  const uint64_t new_at = now ? now->value() : kNever;
  if ((command.only & Only::kIfNone) != 0 && old) return false;
  if ((command.only & Only::kIfSome) != 0 && !old) return false;
  if ((command.only & Only::kIfLater) != 0 && !(new_at > old_at)) return false;
  if ((command.only & Only::kIfEarlier) != 0 && !(new_at < old_at)) return false;
  return true;
}

}  // namespace

Status StateMachine::apply_command(const api::Command& command, Version version, api::CommandResult& result) {
  return std::visit(Overloaded{
                        [&](const api::Put& c) { return apply_put(c, version, result); },
                        [&](const api::Delete& c) { return apply_delete(c, version, result); },
                        [&](const api::Increment& c) { return apply_increment(c, version, result); },
                        [&](const api::IncrementFloat& c) { return apply_increment_float(c, version, result); },
                        [&](const api::Append& c) { return apply_append(c, version, result); },
                        [&](const api::SetRange& c) { return apply_set_range(c, version, result); },
                        [&](const api::SetExpiry& c) { return apply_set_expiry(c, version, result); },
                        [&](const api::Copy& c) { return apply_copy(c, version, result); },
                        [&](const api::DeleteAll&) { return apply_delete_range({}, {}, version, result); },
                        [&](const api::DeleteRange& c) { return apply_delete_range(c.start, c.end, version, result); },
                        [&](const api::ExpireDue& c) { return apply_expire_due(c, version, result); },
                        [&](const api::Control& c) { return apply_control(c, result); },
                        [&](const api::ShardChange& c) { return apply_shard_change(c, version, result); },
                        [&](const api::OpenSession& c) {
                          sessions_.open(draft_, c.client, c.opened, version);
                          result.applied = true;
                          return Status();
                        },
                        [&](const api::CloseSession& c) {
                          sessions_.close(draft_, c.client);
                          result.applied = true;
                          return Status();
                        },
                    },
                    command);
}

Status StateMachine::apply_control(const api::Control& command, api::CommandResult& result) {
  if (rider_ != nullptr) return rider_->apply(draft_, command, result);
  result.code = ErrorCode::kPrecondition;
  result.value = "this group has no controller";
  return {};
}

Result<StateMachine::Current> StateMachine::current(std::string_view encoded_key, Version version) {
  FLUX_TRY(std::optional<Record> stored, draft_.find(encoded_key));
  const bool live = stored.has_value() && !stored->expired_at(wall_of(version));
  return Current{.stored = stored, .live = live};
}

void StateMachine::store(std::string_view encoded_key, Version version, std::optional<WallMillis> deadline,
                         std::string_view value, const std::optional<Record>& old) {
  if (deadline && *deadline <= wall_of(version)) {
    FLUX_PROBE("a value is past its deadline when it is written");
    if (old) draft_.erase(encoded_key, *old);
    return;
  }
  draft_.store(encoded_key, {.version = version, .deadline = deadline, .value = value}, old);
}

Status StateMachine::apply_put(const api::Put& put, Version version, api::CommandResult& result) {
  encode_key(put.key);
  FLUX_TRY(const Current now, current(key_, version));
  if (put.return_old && now.live) {
    result.had_value = true;
    result.value = now.stored->value;
  }
  switch (put.condition) {
    case api::Condition::kAlways:
      break;
    case api::Condition::kIfAbsent:
      if (now.live) return {};
      break;
    case api::Condition::kIfPresent:
      if (!now.live) return {};
      break;
    case api::Condition::kIfVersion:
      if (!now.live || now.stored->version != put.if_version) return {};
      break;
  }
  const auto old_deadline = now.live ? now.stored->deadline : std::nullopt;
  store(key_, version, resolve(put.expiry, wall_of(version), old_deadline), put.value, now.stored);
  result.applied = true;
  return {};
}

Status StateMachine::apply_delete(const api::Delete& command, Version version, api::CommandResult& result) {
  encode_key(command.key);
  FLUX_TRY(const Current now, current(key_, version));
  if (!now.stored) return {};
  if (now.live && command.condition == api::Condition::kIfVersion && now.stored->version != command.if_version) {
    return {};
  }
  if (now.live) {
    result.applied = true;
    result.integer = 1;
    if (command.return_old) {
      result.had_value = true;
      result.value = now.stored->value;
    }
  }
  draft_.erase(key_, *now.stored);
  return {};
}

Status StateMachine::apply_increment(const api::Increment& command, Version version, api::CommandResult& result) {
  encode_key(command.key);
  FLUX_TRY(const Current now, current(key_, version));
  int64_t value = 0;
  if (now.live) {
    const std::optional<int64_t> stored = parse_integer(now.stored->value);
    if (!stored) {
      result.code = ErrorCode::kNotInteger;
      result.value = "value is not an integer or out of range";
      return {};
    }
    value = *stored;
  }
  if (__builtin_add_overflow(value, command.delta, &value)) {
    result.code = ErrorCode::kNotInteger;
    result.value = "increment or decrement would overflow";
    return {};
  }
  const auto deadline = now.live ? now.stored->deadline : std::nullopt;
  store(key_, version, deadline, std::to_string(value), now.stored);
  result.integer = value;
  result.applied = true;
  return {};
}

Status StateMachine::apply_increment_float(const api::IncrementFloat& command, Version version,
                                           api::CommandResult& result) {
  encode_key(command.key);
  FLUX_TRY(const Current now, current(key_, version));
  const std::optional<long double> delta = parse_float(command.delta);
  const std::optional<long double> stored = now.live ? parse_float(now.stored->value) : 0.0L;
  if (!delta || !stored) {
    result.code = ErrorCode::kNotFloat;
    result.value = "value is not a valid float";
    return {};
  }
  const long double sum = *stored + *delta;
  if (!std::isfinite(sum)) {
    result.code = ErrorCode::kNotFloat;
    result.value = "increment would produce NaN or Infinity";
    return {};
  }
  const auto deadline = now.live ? now.stored->deadline : std::nullopt;
  const std::string text = format_float(sum);
  store(key_, version, deadline, text, now.stored);
  result.value = text;
  result.had_value = true;
  result.applied = true;
  return {};
}

Status StateMachine::apply_append(const api::Append& command, Version version, api::CommandResult& result) {
  encode_key(command.key);
  FLUX_TRY(const Current now, current(key_, version));
  std::string value(now.live ? now.stored->value : std::string_view());
  if (value.size() + command.value.size() > api::kValueBytesMax) {
    result.code = ErrorCode::kTooLarge;
    result.value = fmt::format("string exceeds maximum allowed size ({} bytes)", api::kValueBytesMax);
    return {};
  }
  value.append(command.value);
  const auto deadline = now.live ? now.stored->deadline : std::nullopt;
  store(key_, version, deadline, value, now.stored);
  result.integer = static_cast<int64_t>(value.size());
  result.applied = true;
  return {};
}

Status StateMachine::apply_set_range(const api::SetRange& command, Version version, api::CommandResult& result) {
  encode_key(command.key);
  FLUX_TRY(const Current now, current(key_, version));
  std::string value(now.live ? now.stored->value : std::string_view());
  if (command.value.empty()) {  // changes nothing and creates nothing, as in Redis
    result.integer = static_cast<int64_t>(value.size());
    return {};
  }
  const uint64_t end = command.offset + command.value.size();
  if (end > api::kValueBytesMax) {
    result.code = ErrorCode::kTooLarge;
    result.value = fmt::format("string exceeds maximum allowed size ({} bytes)", api::kValueBytesMax);
    return {};
  }
  if (value.size() < end) value.resize(end, '\0');
  value.replace(command.offset, command.value.size(), command.value);
  const auto deadline = now.live ? now.stored->deadline : std::nullopt;
  store(key_, version, deadline, value, now.stored);
  result.integer = static_cast<int64_t>(value.size());
  result.applied = true;
  return {};
}

Status StateMachine::apply_set_expiry(const api::SetExpiry& command, Version version, api::CommandResult& result) {
  encode_key(command.key);
  FLUX_TRY(const Current now, current(key_, version));
  if (!now.live) return {};
  if (command.return_value) {
    result.had_value = true;
    result.value = now.stored->value;
  }
  const std::optional<WallMillis> old = now.stored->deadline;
  const std::optional<WallMillis> deadline = resolve(command.expiry, wall_of(version), old);
  if (command.expiry.kind == ExpiryKind::kKeep) return {};
  if (command.expiry.kind == ExpiryKind::kClear && !old) return {};
  if (!allowed(command, old, deadline)) return {};
  const std::string value(now.stored->value);
  store(key_, version, deadline, value, now.stored);
  result.applied = true;
  return {};
}

Status StateMachine::apply_copy(const api::Copy& command, Version version, api::CommandResult& result) {
  const std::string source_key = api::encoded_key(keyspace_, command.source);
  const std::string destination_key = api::encoded_key(keyspace_, command.destination);
  FLUX_TRY(const Current source, current(source_key, version));
  if (!source.live) {
    result.code = ErrorCode::kNotFound;
    result.value = "no such key";
    return {};
  }
  const std::string value(source.stored->value);
  const std::optional<WallMillis> deadline = source.stored->deadline;
  const Record source_record{.version = source.stored->version, .deadline = deadline, .value = value};
  if (source_key == destination_key) {
    result.applied = command.replace;
    return {};
  }
  FLUX_TRY(const Current destination, current(destination_key, version));
  if (destination.live && !command.replace) return {};
  store(destination_key, version, deadline, value, destination.stored);
  if (command.remove_source) draft_.erase(source_key, source_record);
  result.applied = true;
  return {};
}

Status StateMachine::apply_expire_due(const api::ExpireDue& command, Version version, api::CommandResult& result) {
  const std::string_view key = command.encoded_key;
  if (!serves(key)) {
    FLUX_PROBE("a key is due whose shard has gone");
    return {};
  }
  FLUX_TRY(const Current now, current(key, version));
  // The key may have been written again, or given another deadline, since the leader looked.
  if (!now.stored || now.live || now.stored->deadline != command.deadline) return {};
  draft_.erase(key, *now.stored);
  result.applied = true;
  return {};
}

// What is served of the range.
Status StateMachine::apply_delete_range(std::string_view low, std::string_view high, Version version,
                                        api::CommandResult& result) {
  result.applied = true;
  const auto whole = [&](std::string_view start, std::string_view end) {
    return low <= start && (high.empty() || (!end.empty() && end <= high));
  };
  const std::span<const ShardInfo> shards = shards_.all();
  const bool everything = sharded()
                              ? std::all_of(shards.begin(), shards.end(),
                                            [&](const ShardInfo& s) { return s.served() && whole(s.start, s.end); })
                              : whole({}, {});
  if (everything) {
    result.integer = static_cast<int64_t>(draft_.count());
    draft_.erase_all_data();
  } else if (!sharded()) {
    FLUX_TRY(const uint64_t erased, draft_.erase_data(low, high));
    result.integer = static_cast<int64_t>(erased);
  }
  for (const ShardInfo& shard : shards) {
    const bool outside = (!high.empty() && shard.start >= high) || (!shard.end.empty() && shard.end <= low);
    if (!shard.served() || outside) continue;
    if (!everything) {
      FLUX_PROBE("a part of what a group serves is erased");
      const std::string_view from = std::max<std::string_view>(shard.start, low);
      const std::string_view to = whole(from, shard.end) ? std::string_view(shard.end) : high;
      FLUX_TRY(const uint64_t erased, draft_.erase_data(from, to));
      result.integer += static_cast<int64_t>(erased);
    }
    if (shard.feed && shard.feed_epoch < version) shards_.renumber_feed(draft_, shard.shard, version);
  }
  return {};
}

}  // namespace flux::kv
