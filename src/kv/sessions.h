// Exactly-once sessions (Ongaro's dissertation, section 6.3): the replies a client may still ask for again, replicated
// with the data.
//
//   kSession  key  client (8, big endian)                        value  last use: version (8) | low sequence (8) |
//                                                                       opened: milliseconds (8)
//             key  client (8) | sequence (8), both big endian    value  the encoded reply (api::encode_results)
//
// A session keeps its newest replies, as many as its window has. Sequences may arrive in any order within that window;
// one at or below `low` is stale.
//
//   kMeta     key  "sessions/forgotten"                          value  milliseconds (8); 0 where it is missing
//
// Every session that this group has forgotten, or that a group had forgotten from which a shard came, was opened before
// then. One that is younger and not here has never been here: it may come with a shard, and it may stay when a shard
// comes without it. With any other, a request that has run might run again: it ends.
//
// Which sessions live is decided by the log's clock and by use, so all replicas agree.
#pragma once

#include <map>
#include <set>
#include <utility>

#include "api/kv_service.h"
#include "api/limits.h"
#include "kv/draft.h"
#include "kv/shard_command.h"

namespace flux::kv {

class Sessions {
 public:
  // The limits decide what commands do: all replicas have the same.
  explicit Sessions(const api::StateLimits& limits) : limits_(limits) {}

  // Reads what the engine holds; after construction, after a snapshot was loaded.
  Status load(engine::Engine& engine);

  void open(Draft& draft, uint64_t client, WallMillis opened, Version now);
  void close(Draft& draft, uint64_t client);

  enum class Verdict : uint8_t { kRun, kAnswered };
  // Whether a request must be run. kAnswered: `reply` holds the earlier reply, kStaleRequest or kSessionExpired.
  Result<Verdict> begin(Draft& draft, const api::SessionRef& ref, Version now, api::WriteReply& reply);
  // Keeps the reply of a request that begin() let run, unless the request has ended its own session.
  void finish(Draft& draft, const api::SessionRef& ref, Version now, const api::WriteReply& reply);

  // Sessions that move along with a shard. Appends those of clients from `client` on to `out`, at least one if there is
  // any, at most `bytes_max`; the value is where to go on, none after the last. REQUIRES: `engine` holds all changes.
  Result<std::optional<uint64_t>> read(engine::Engine& engine, uint64_t client, size_t bytes_max,
                                       std::vector<MovedSession>& out) const;
  // Takes up the sessions of a chunk that holds_sessions(). A request runs again nowhere where either side knows its
  // reply, or has known it. REQUIRES: no last use is after the log's clock.
  void merge(Draft& draft, const ShardChunk& chunk);
  WallMillis forgotten() const { return forgotten_; }

  size_t size() const { return by_client_.size(); }

 private:
  struct Session {
    Version last_use;
    WallMillis opened;
    uint64_t low = 0;
    std::set<uint64_t> kept;  // sequences whose replies are stored
  };
  void merge(Draft& draft, const MovedSession& moved);
  void forgot(Draft& draft, WallMillis before);
  void keep_window(Draft& draft, uint64_t client, Session& session);
  void forget(Draft& draft, uint64_t client);
  void touch(Draft& draft, uint64_t client, Session& session, Version now);

  const api::StateLimits limits_;
  WallMillis forgotten_;
  // A mirror of what the engine holds, but for the replies.
  std::map<uint64_t, Session> by_client_;
  std::set<std::pair<Version, uint64_t>> by_use_;  // Invariant: one element per session.
};

}  // namespace flux::kv
