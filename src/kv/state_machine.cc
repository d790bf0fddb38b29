#include "kv/state_machine.h"

#include <fmt/core.h>

#include "base/overloaded.h"
#include "kv/entry_codec.h"

namespace flux::kv {

using engine::Family;

StateMachine::StateMachine(GroupId group, engine::Engine& engine, const api::StateLimits& limits, Rider* rider,
                           Sharding sharding)
    : group_(group),
      sharding_(sharding),
      engine_(engine),
      rider_(rider),
      shards_(limits.feed_records_max),
      draft_(engine, &shards_),
      sessions_(limits) {}

Status StateMachine::load() {
  draft_.drop();
  uncommitted_ = false;
  applied_ = {};
  last_version_ = {};
  next_deadline_ = WallMillis(0);  // unknown: the first due() finds out
  engine::PinnedValue value;
  FLUX_TRY(const bool exists, engine_.get(Family::kMeta, kAppliedKey, value));
  if (exists) {
    FLUX_TRY(const Applied applied, decode_applied(value.view()));
    applied_ = applied.id;
    last_version_ = applied.last_version;
  }
  if (rider_ != nullptr) FLUX_RETURN_IF_ERROR(rider_->load(engine_));
  if (sharded()) FLUX_RETURN_IF_ERROR(shards_.load(engine_));
  return sessions_.load(engine_);
}

Status StateMachine::apply(const Entry& entry, std::vector<api::WriteReply>* replies) {
  FLUX_CHECK(entry.index == applied_.index + 1, "apply {} after {}", entry.id(), applied_);
  FLUX_CHECK(entry.term >= applied_.term);
  if (entry.type == EntryType::kCommand) {
    Status status = apply_requests(entry, replies);
    if (!status.ok()) return std::move(status).with(fmt::format("group {} entry {}", group_, entry.id()));
  }
  applied_ = entry.id();
  uncommitted_ = true;
  return {};
}

Status StateMachine::commit() {
  if (!uncommitted_) return {};
  FLUX_RETURN_IF_ERROR(draft_.write_counts());
  draft_.put_raw(Family::kMeta, kAppliedKey, encode_applied({.id = applied_, .last_version = last_version_}));
  uncommitted_ = false;
  return write_draft();
}

Status StateMachine::write_draft() {
  next_deadline_ = std::min(next_deadline_, draft_.earliest_deadline());
  return draft_.write();
}

Status StateMachine::apply_requests(const Entry& entry, std::vector<api::WriteReply>* replies) {
  EntryReader reader(entry.data.view());
  FLUX_RETURN_IF_ERROR(reader.status());
  while (!reader.done()) {
    size_t count = 0;
    while (!reader.done() && count < window_.size()) FLUX_RETURN_IF_ERROR(reader.next(window_[count++]));
    const auto requests = std::span(window_).first(count);
    prefetch(requests);
    for (const api::DecodedRequest& request : requests) {
      // An engine that is all memory takes each request before the next, the last one with the commit: reading through
      // a growing batch costs more.
      if (uncommitted_ && engine_.small_writes_are_cheap()) FLUX_RETURN_IF_ERROR(write_draft());
      uncommitted_ = true;
      last_version_ = next_version(last_version_, reader.stamp());
      api::WriteReply reply;
      reply.position = {.group = group_, .index = entry.index, .version = last_version_};
      FLUX_RETURN_IF_ERROR(run(request, last_version_, reply));
      if (replies != nullptr) replies->push_back(std::move(reply));
    }
  }
  return {};
}

// Asks the engine for the keys of all requests at once, so that their cache misses overlap.
void StateMachine::prefetch(std::span<const api::DecodedRequest> requests) {
  size_t count = 0;
  window_keys_.resize(window_.size());
  for (const api::DecodedRequest& request : requests) {
    for (const api::Command& command : request.commands) {
      const std::string_view key = std::visit(
          [](const auto& each) {
            if constexpr (requires { each.key; }) return std::string_view(each.key);
            return std::string_view();
          },
          command);
      if (key.empty() || count == window_keys_.size()) break;
      window_keys_[count].clear();
      api::append_encoded_key(window_keys_[count++], request.keyspace, key);
    }
  }
  if (count > 1) engine_.prefetch(Family::kData, std::span(window_keys_).first(count));
}

Status StateMachine::run(const api::DecodedRequest& request, Version version, api::WriteReply& reply) {
  keyspace_ = request.keyspace;
  if (sharded()) {
    // Before the session is asked: what a shard that has gone answered before is for its new owner to say.
    reply.status = admit(request);
    if (!reply.status.ok()) return {};
  }
  const bool in_session = request.session.client != 0;
  if (in_session) {
    FLUX_TRY(const Sessions::Verdict verdict, sessions_.begin(draft_, request.session, version, reply));
    if (verdict == Sessions::Verdict::kAnswered) return {};
  }
  bool go = true;
  if (request.all_or_nothing) {
    FLUX_TRY(go, all_conditions_hold(request, version));
  }
  for (const api::Command& command : request.commands) {
    api::CommandResult& result = reply.results.emplace_back();
    if (go) FLUX_RETURN_IF_ERROR(apply_command(command, version, result));
  }
  if (in_session) sessions_.finish(draft_, request.session, version, reply);
  return {};
}

Status StateMachine::admit(const api::DecodedRequest& request) {
  for (const api::Command& command : request.commands) {
    Status status = std::visit(
        [&](const auto& each) {
          using Each = std::decay_t<decltype(each)>;
          if constexpr (std::is_same_v<Each, api::Copy>) {
            FLUX_RETURN_IF_ERROR(admit_key(each.source));
            return admit_key(each.destination);
          } else if constexpr (std::is_same_v<Each, api::DeleteRange>) {
            return admit_range(each.start, each.end);
          } else if constexpr (std::is_same_v<Each, api::DeleteAll>) {
            return admit_range({}, {});
          } else if constexpr (std::is_same_v<Each, api::ShardChange>) {
            if (request.commands.size() == 1) return Status();
            return Status(ErrorCode::kInvalidArgument, "a change of shards stands alone in its request");
          } else if constexpr (requires { each.key; }) {
            return admit_key(each.key);
          } else {
            return Status();
          }
        },
        command);
    if (!status.ok()) return status;
  }
  return {};
}

void StateMachine::encode_key(std::string_view key) {
  key_.clear();
  api::append_encoded_key(key_, keyspace_, key);
}

Status StateMachine::admit_key(std::string_view key) {
  encode_key(key);
  if (shards_.use(key_)) return {};
  return Status(ErrorCode::kWrongShard, fmt::format("group {} does not serve the key's shard", group_));
}

Status StateMachine::admit_range(std::string_view low, std::string_view high) {
  if (serves(low, high)) return {};
  return Status(ErrorCode::kWrongShard, fmt::format("group {} does not serve all of the range", group_));
}

Result<bool> StateMachine::all_conditions_hold(const api::DecodedRequest& request, Version version) {
  for (const api::Command& command : request.commands) {
    const auto* put = std::get_if<api::Put>(&command);
    const auto* erase = std::get_if<api::Delete>(&command);
    if (put == nullptr && erase == nullptr) continue;
    const api::Condition condition = put != nullptr ? put->condition : erase->condition;
    if (condition == api::Condition::kAlways) continue;
    const std::string key = api::encoded_key(request.keyspace, put != nullptr ? put->key : erase->key);
    FLUX_TRY(const Current now, current(key, version));
    const Version wanted = put != nullptr ? put->if_version : erase->if_version;
    const bool holds = condition == api::Condition::kIfAbsent    ? !now.live
                       : condition == api::Condition::kIfPresent ? now.live
                                                                 : now.live && now.stored->version == wanted;
    if (!holds) return false;
  }
  return true;
}

void StateMachine::put_system(std::string_view name, std::string_view value) {
  draft_.put_raw(Family::kMeta, std::string(kSystemPrefix) + std::string(name), value);
  uncommitted_ = true;
}

Result<std::optional<std::string>> StateMachine::get_system(std::string_view name) {
  return draft_.get_raw(Family::kMeta, std::string(kSystemPrefix) + std::string(name));
}

Result<std::vector<Overdue>> StateMachine::due(WallMillis wall, size_t keys_max) {
  FLUX_CHECK(!uncommitted_);
  std::vector<Overdue> found;
  next_deadline_ = WallMillis(UINT64_MAX);
  auto it = engine_.iterate(Family::kExpiry, {}, {});
  for (; it->valid(); it->next()) {
    FLUX_TRY(const ExpiryEntry entry, read_expiry_key(it->key()));
    if (entry.deadline <= wall && !serves(entry.encoded_key)) continue;  // its owner's to expire
    if (entry.deadline > wall || found.size() == keys_max) {
      next_deadline_ = entry.deadline;
      break;
    }
    found.push_back({.encoded_key = std::string(entry.encoded_key), .deadline = entry.deadline});
  }
  FLUX_RETURN_IF_ERROR(it->status());
  // Until the expiries are applied the same keys are due again; whoever proposes them asks anew afterwards.
  if (!found.empty()) next_deadline_ = std::min(next_deadline_, found.front().deadline);
  return found;
}

}  // namespace flux::kv
