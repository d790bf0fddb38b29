#include "kv/sessions.h"

#include <fmt/core.h>

#include <algorithm>

#include "api/request_codec.h"
#include "base/codec.h"
#include "base/probe.h"

namespace flux::kv {
namespace {

using engine::Family;

std::string client_key(uint64_t client) {
  std::string key;
  append_u64_ordered(key, client);
  return key;
}

std::string reply_key(uint64_t client, uint64_t sequence) {
  std::string key = client_key(client);
  append_u64_ordered(key, sequence);
  return key;
}

constexpr std::string_view kForgottenKey = "sessions/forgotten";

bool idle_too_long(Version last_use, Version now, Millis idle_max) {
  const uint64_t idle = wall_of(now).value() - wall_of(last_use).value();
  return idle > static_cast<uint64_t>(idle_max.count());
}

}  // namespace

Status Sessions::load(engine::Engine& engine) {
  by_client_.clear();
  by_use_.clear();
  forgotten_ = {};
  engine::PinnedValue value;
  FLUX_TRY(const bool forgotten, engine.get(Family::kMeta, kForgottenKey, value));
  if (forgotten) {
    Decoder decoder(value.view());
    forgotten_ = WallMillis(decoder.u64());
    FLUX_RETURN_IF_ERROR(decoder.finish("what sessions were forgotten"));
  }
  auto it = engine.iterate(Family::kSession, {}, {});
  for (; it->valid(); it->next()) {
    if (it->key().size() < 8) return Status(ErrorCode::kCorruption, "a session key is too short");
    const uint64_t client = read_u64_ordered(it->key());
    if (it->key().size() == 8) {
      Decoder decoder(it->value());
      Session& session = by_client_[client];
      session.last_use = Version(decoder.u64());
      session.low = decoder.u64();
      session.opened = WallMillis(decoder.u64());
      FLUX_RETURN_IF_ERROR(decoder.finish("a session"));
      by_use_.emplace(session.last_use, client);
    } else {
      // The session's own record sorts first, so it has been seen.
      const auto found = by_client_.find(client);
      if (it->key().size() != 16 || found == by_client_.end()) {
        return Status(ErrorCode::kCorruption, "a session reply has no session");
      }
      found->second.kept.insert(read_u64_ordered(it->key().substr(8)));
    }
  }
  return it->status();
}

void Sessions::open(Draft& draft, uint64_t client, WallMillis opened, Version now) {
  if (by_client_.contains(client)) forget(draft, client);
  while (by_client_.size() >= limits_.sessions_max) forget(draft, by_use_.begin()->second);
  Session& session = by_client_[client];
  session.opened = opened;
  by_use_.emplace(session.last_use, client);
  touch(draft, client, session, now);
}

void Sessions::close(Draft& draft, uint64_t client) {
  if (by_client_.contains(client)) forget(draft, client);
}

Result<Sessions::Verdict> Sessions::begin(Draft& draft, const api::SessionRef& ref, Version now,
                                          api::WriteReply& reply) {
  const auto it = by_client_.find(ref.client);
  if (it != by_client_.end() && idle_too_long(it->second.last_use, now, limits_.session_idle_max)) {
    FLUX_PROBE("a session was unused for too long");
    forget(draft, ref.client);
    reply.status = Status(ErrorCode::kSessionExpired, "the session was unused for too long; open a new one");
    return Verdict::kAnswered;
  }
  if (it == by_client_.end()) {
    reply.status = Status(ErrorCode::kSessionExpired, "there is no such session; open one first");
    return Verdict::kAnswered;
  }
  Session& session = it->second;
  if (ref.sequence <= session.low) {
    FLUX_PROBE("a request is older than what its session keeps");
    reply.status = Status(ErrorCode::kStaleRequest,
                          fmt::format("sequence {} is older than the replies that are kept for it", ref.sequence));
    return Verdict::kAnswered;
  }
  if (!session.kept.contains(ref.sequence)) return Verdict::kRun;
  FLUX_PROBE("a request comes again and gets its first answer");
  FLUX_TRY(const std::optional<std::string> kept, draft.get_raw(Family::kSession, reply_key(ref.client, ref.sequence)));
  if (!kept) return Status(ErrorCode::kCorruption, "a kept session reply is missing");
  FLUX_RETURN_IF_ERROR(api::decode_results(*kept, reply));
  return Verdict::kAnswered;
}

void Sessions::finish(Draft& draft, const api::SessionRef& ref, Version now, const api::WriteReply& reply) {
  const auto it = by_client_.find(ref.client);
  // The request itself may have closed its session, or opened others until this one made room: no retry is possible.
  if (it == by_client_.end()) return;
  Session& session = it->second;
  std::string encoded;
  api::encode_results(encoded, reply);
  if (encoded.size() > api::kSessionReplyBytesMax) {
    api::WriteReply not_kept;
    not_kept.status = Status(ErrorCode::kTooLarge, "the request was applied, but its reply was too large to keep");
    not_kept.position = reply.position;
    encoded.clear();
    api::encode_results(encoded, not_kept);
  }
  draft.put_raw(Family::kSession, reply_key(ref.client, ref.sequence), encoded);
  session.kept.insert(ref.sequence);
  keep_window(draft, ref.client, session);
  touch(draft, ref.client, session, now);
}

Result<std::optional<uint64_t>> Sessions::read(engine::Engine& engine, uint64_t client, size_t bytes_max,
                                               std::vector<MovedSession>& out) const {
  size_t bytes = 0;
  for (auto it = by_client_.lower_bound(client); it != by_client_.end(); ++it) {
    MovedSession moved{.client = it->first,
                       .opened = it->second.opened,
                       .last_use = it->second.last_use,
                       .low = it->second.low,
                       .replies = {}};
    bytes += 32;
    for (const uint64_t sequence : it->second.kept) {
      engine::PinnedValue value;
      FLUX_TRY(const bool found, engine.get(Family::kSession, reply_key(it->first, sequence), value));
      if (!found) return Status(ErrorCode::kCorruption, "a kept session reply is missing");
      bytes += value.size() + 8;
      moved.replies.push_back({.sequence = sequence, .bytes = std::string(value.view())});
    }
    if (bytes > bytes_max && !out.empty()) return std::optional<uint64_t>(it->first);
    out.push_back(std::move(moved));
  }
  return std::optional<uint64_t>();
}

void Sessions::merge(Draft& draft, const ShardChunk& chunk) {
  std::vector<uint64_t> ended;
  auto moved = chunk.sessions.begin();
  for (auto it = by_client_.lower_bound(chunk.from.session_next); it != by_client_.end(); ++it) {
    if (!chunk.next.sessions_done && it->first >= chunk.next.session_next) break;
    while (moved != chunk.sessions.end() && moved->client < it->first) ++moved;
    const bool comes = moved != chunk.sessions.end() && moved->client == it->first;
    if (!comes && it->second.opened < chunk.sessions_forgotten) ended.push_back(it->first);
  }
  if (!ended.empty()) FLUX_PROBE("a session ends that the giver of a shard has forgotten");
  for (const uint64_t client : ended) forget(draft, client);
  for (const MovedSession& session : chunk.sessions) merge(draft, session);
  // Only now: what the giver has forgotten says nothing of what came from it.
  if (chunk.next.sessions_done) forgot(draft, chunk.sessions_forgotten);
}

void Sessions::merge(Draft& draft, const MovedSession& moved) {
  if (!by_client_.contains(moved.client) && moved.opened < forgotten_) {
    FLUX_PROBE("a session comes with a shard that may have been forgotten here");
    return;
  }
  const auto [it, is_new] = by_client_.try_emplace(moved.client);
  Session& session = it->second;
  if (is_new) {
    session.opened = moved.opened;
    by_use_.emplace(session.last_use, moved.client);
  }
  session.low = std::max(session.low, moved.low);
  for (const MovedSession::Reply& reply : moved.replies) {
    // Where both have one, they answered different requests of a client that counts per group; ours stays.
    if (!session.kept.insert(reply.sequence).second) continue;
    draft.put_raw(Family::kSession, reply_key(moved.client, reply.sequence), reply.bytes);
  }
  while (!session.kept.empty() && *session.kept.begin() <= session.low) {
    FLUX_PROBE("a reply that moved here is older than what its session keeps");
    draft.erase_raw(Family::kSession, reply_key(moved.client, *session.kept.begin()));
    session.kept.erase(session.kept.begin());
  }
  keep_window(draft, moved.client, session);
  touch(draft, moved.client, session, std::max(session.last_use, moved.last_use));
  while (by_client_.size() > limits_.sessions_max) forget(draft, by_use_.begin()->second);
}

void Sessions::keep_window(Draft& draft, uint64_t client, Session& session) {
  while (session.kept.size() > limits_.session_window) {
    session.low = *session.kept.begin();
    session.kept.erase(session.kept.begin());
    draft.erase_raw(Family::kSession, reply_key(client, session.low));
  }
}

void Sessions::forgot(Draft& draft, WallMillis before) {
  if (before <= forgotten_) return;
  forgotten_ = before;
  std::string value;
  Encoder encoder(value);
  encoder.u64(before.value());
  draft.put_raw(Family::kMeta, kForgottenKey, value);
}

void Sessions::forget(Draft& draft, uint64_t client) {
  const auto it = by_client_.find(client);
  const uint64_t opened = it->second.opened.value();
  forgot(draft, WallMillis(std::max(opened, opened + 1)));  // whatever a peer has said, it does not wrap
  for (const uint64_t sequence : it->second.kept) draft.erase_raw(Family::kSession, reply_key(client, sequence));
  draft.erase_raw(Family::kSession, client_key(client));
  by_use_.erase({it->second.last_use, client});
  by_client_.erase(it);
}

void Sessions::touch(Draft& draft, uint64_t client, Session& session, Version now) {
  by_use_.erase({session.last_use, client});
  session.last_use = now;
  by_use_.emplace(now, client);
  std::string value;
  Encoder encoder(value);
  encoder.u64(now.value());
  encoder.u64(session.low);
  encoder.u64(session.opened.value());
  draft.put_raw(Family::kSession, client_key(client), value);
}

}  // namespace flux::kv
