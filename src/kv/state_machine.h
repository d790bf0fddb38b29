// The replicated state machine of one group: applies the log's entries to an engine, in order, and answers reads.
//
// apply() gathers; commit() writes everything applied since the last one, with the applied index, as one batch. Reads
// see what was committed. What a command does depends on the log and the state alone.
//
// Owned by one worker; not thread-safe.
#pragma once

#include <array>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/kv_service.h"
#include "api/request_codec.h"
#include "base/log_entry.h"
#include "base/rng.h"
#include "engine/engine.h"
#include "kv/draft.h"
#include "kv/rider.h"
#include "kv/sessions.h"
#include "kv/shard_command.h"
#include "kv/shards.h"

namespace flux::kv {

// A key whose deadline has passed.
struct Overdue {
  std::string encoded_key;
  WallMillis deadline;
};

// The answer to a read. Its views are valid until the next apply(), commit() or load().
struct ReadOutcome {
  Status status;
  std::vector<api::Item> items;
  uint64_t count = 0;
  std::string scan_resume;
  // Keys that are overdue by the caller's wall clock but not yet by the log's. A leader must have their expiry
  // committed before it answers, so that no later leader with a slower clock shows them again.
  std::vector<Overdue> overdue;

  // What the items point into.
  std::vector<engine::Lookup> lookups;
  std::vector<std::string> lookup_keys;
  std::vector<std::string> copies;
};

class StateMachine {
 public:
  // `engine` and `rider` must outlive it; null: nothing rides here, and api::Control is refused. Call load() before
  // anything else.
  StateMachine(GroupId group, engine::Engine& engine, const api::StateLimits& limits = {}, Rider* rider = nullptr,
               Sharding sharding = Sharding::kOff);

  // Reads where the engine stands: at start, and after the engine was loaded from a snapshot.
  Status load();

  // Applies one entry; entries come in index order without gaps. Appends one reply per request of the entry if
  // `replies` is given. An error means this replica cannot go on: a log it cannot read, or an engine that failed. It
  // must halt rather than skip, and take no snapshot any more: the engine may hold part of the entry.
  Status apply(const Entry& entry, std::vector<api::WriteReply>* replies);
  Status commit();
  bool has_uncommitted() const { return uncommitted_; }

  // Of the newest applied entry; Index(0) before the first.
  EntryId applied() const { return applied_; }
  Version last_version() const { return last_version_; }
  // The clock that judges expiry: wall time of the newest version.
  WallMillis clock() const { return wall_of(last_version_); }

  // `wall`: a leader's wall clock, or 0 to judge by the log's clock alone. REQUIRES: !has_uncommitted().
  void read(const api::ReadRequest& request, WallMillis wall, Rng& rng, ReadOutcome& outcome);

  // --- Shards. With Sharding::kOff all keys are served and there is no table. ----------------------------------------
  // The newest applied configuration.
  ConfigNum config_num() const { return shards_.config_num(); }
  // By start; their ranges do not overlap. Valid until the next apply() or load().
  std::span<const ShardInfo> shards() const { return shards_.all(); }
  std::string busy_middle(ShardId shard) const { return shards_.busy_middle(shard); }
  bool serves(std::string_view encoded_key) const { return !sharded() || shards_.serves(encoded_key); }
  // All of [low, high); an empty `high` is no bound.
  bool serves(std::string_view low, std::string_view high) const { return !sharded() || shards_.serves(low, high); }
  // Whether the next configuration may be applied: nothing is being handed over.
  bool settled() const { return shards_.settled(); }
  // Whether the table has changed since the last call, but for feeds growing; true after load().
  bool take_shards_changed() { return shards_.take_changed(); }

  // The next piece of a shard for whoever receives it. kNotFound: there is no such feed, or the frozen copy is released
  // already. kUnavailable: this replica is behind what the receiver has seen. REQUIRES: !has_uncommitted().
  Result<ShardChunk> export_chunk(const ExportRequest& request);

  // A value of the group's own that changes with an entry (its membership), written in the same batch as the entry's
  // effects; to be called between apply() of that entry and commit().
  void put_system(std::string_view name, std::string_view value);
  Result<std::optional<std::string>> get_system(std::string_view name);

  // A moment before which no key expires; WallMillis(UINT64_MAX) if none ever does.
  WallMillis next_deadline() const { return next_deadline_; }
  // Up to `keys_max` keys whose deadline is at or before `wall`, earliest first; updates next_deadline().
  // REQUIRES: !has_uncommitted().
  Result<std::vector<Overdue>> due(WallMillis wall, size_t keys_max);

  uint64_t key_count() const { return draft_.count(); }
  // How many keys there are of each keyspace, of the default one also where it has none; whether served or not.
  // REQUIRES: !has_uncommitted().
  Result<std::map<KeyspaceId, uint64_t>> counts() const;
  size_t session_count() const { return sessions_.size(); }
  engine::Engine& engine() { return engine_; }

 private:
  // state_machine.cc
  Status apply_requests(const Entry& entry, std::vector<api::WriteReply>* replies);
  void prefetch(std::span<const api::DecodedRequest> requests);
  Status write_draft();
  Status run(const api::DecodedRequest& request, Version version, api::WriteReply& reply);
  Result<bool> all_conditions_hold(const api::DecodedRequest& request, Version version);
  bool sharded() const { return sharding_ == Sharding::kOn; }
  // Whether the request may run here, as far as shards decide it; counts its operations.
  Status admit(const api::DecodedRequest& request);
  // Leaves the encoded key, in the keyspace of the request at hand, in key_.
  void encode_key(std::string_view key);
  Status admit_key(std::string_view key);
  Status admit_range(std::string_view low, std::string_view high);

  // apply.cc: one function per command. An error is the engine's; what the user did wrong is in the result.
  Status apply_command(const api::Command& command, Version version, api::CommandResult& result);
  Status apply_put(const api::Put& put, Version version, api::CommandResult& result);
  Status apply_delete(const api::Delete& command, Version version, api::CommandResult& result);
  Status apply_increment(const api::Increment& command, Version version, api::CommandResult& result);
  Status apply_increment_float(const api::IncrementFloat& command, Version version, api::CommandResult& result);
  Status apply_append(const api::Append& command, Version version, api::CommandResult& result);
  Status apply_set_range(const api::SetRange& command, Version version, api::CommandResult& result);
  Status apply_set_expiry(const api::SetExpiry& command, Version version, api::CommandResult& result);
  Status apply_copy(const api::Copy& command, Version version, api::CommandResult& result);
  Status apply_control(const api::Control& command, api::CommandResult& result);
  Status apply_expire_due(const api::ExpireDue& command, Version version, api::CommandResult& result);
  Status apply_delete_range(std::string_view low, std::string_view high, Version version, api::CommandResult& result);

  // apply_shards.cc: one function per command, as above.
  Status apply_shard_change(const api::ShardChange& change, Version version, api::CommandResult& result);
  Status apply_shard(const ApplyConfig& command, Version version, api::CommandResult& result);
  Status apply_shard(const BeginFeed& command, Version version, api::CommandResult& result);
  Status apply_shard(const TrimFeed& command, Version version, api::CommandResult& result);
  Status apply_shard(const EndFeed& command, Version version, api::CommandResult& result);
  Status apply_shard(const BeginStaging& command, Version version, api::CommandResult& result);
  Status apply_shard(const EndStaging& command, Version version, api::CommandResult& result);
  Status apply_shard(const Import& command, Version version, api::CommandResult& result);
  Status apply_shard(const Release& command, Version version, api::CommandResult& result);
  Status apply_shard(const Confirm& command, Version version, api::CommandResult& result);
  Status apply_shard(const EraseSome& command, Version version, api::CommandResult& result);
  // Erases up to `keys_max` keys of the shard's range; whether none is left.
  Result<bool> erase_piece(const ShardInfo& shard, size_t keys_max, api::CommandResult& result);
  Status import_items(const ShardChunk& chunk);

  // shard_export.cc
  Status export_feed(const ShardInfo& shard, size_t bytes_max, size_t& bytes, ShardChunk& chunk);
  Status export_records(const ShardInfo& shard, size_t bytes_max, size_t& bytes, ShardChunk& chunk);

  // What a key holds for the commands of a version.
  struct Current {
    std::optional<Record> stored;  // as the engine has it
    bool live = false;             // and has not expired
    const Record* get() const { return live ? &*stored : nullptr; }
  };
  Result<Current> current(std::string_view encoded_key, Version version);
  // Stores the value unless its deadline has passed already, which erases the key.
  void store(std::string_view encoded_key, Version version, std::optional<WallMillis> deadline, std::string_view value,
             const std::optional<Record>& old);

  // read.cc
  void read_get(const api::GetRequest& request, api::KeyspaceRef keyspace, WallMillis wall, ReadOutcome& outcome);
  void read_scan(const api::ScanRequest& request, api::KeyspaceRef keyspace, WallMillis wall, ReadOutcome& outcome);
  void read_random(api::KeyspaceRef keyspace, WallMillis wall, Rng& rng, ReadOutcome& outcome);
  // The parts of [low, high) that are served, in order.
  std::vector<std::pair<std::string, std::string>> served_parts(std::string_view low, std::string_view high) const;
  Result<uint64_t> count_served(api::KeyspaceRef keyspace) const;
  // Whether the record is to be shown; notes it in `outcome` if only the wall clock says it is overdue.
  bool visible(const Record& record, std::string_view encoded_key, WallMillis wall, ReadOutcome& outcome) const;

  const GroupId group_;
  const Sharding sharding_;
  engine::Engine& engine_;
  Rider* const rider_;
  Shards shards_;
  Draft draft_;
  Sessions sessions_;
  // Requests that are decoded and brought closer together before they run; reused, as their memory is.
  std::array<api::DecodedRequest, 16> window_;
  std::vector<std::string> window_keys_;
  api::KeyspaceRef keyspace_;  // of the request at hand
  std::string key_;            // the encoded key of the command at hand
  EntryId applied_;
  Version last_version_;
  WallMillis next_deadline_{0};
  bool uncommitted_ = false;
};

}  // namespace flux::kv
