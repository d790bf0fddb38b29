// One group of a story about shards: a state machine with its log, and, if wanted, a second replica on RocksDB that
// applies the same log in rounds of another size and must hold the same bytes.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/keyspace.h"
#include "api/slot.h"
#include "base/rng.h"
#include "engine/memory/memory_engine.h"
#include "engine/rocksdb/rocks_store.h"
#include "kv/entry_codec.h"
#include "kv/state_machine.h"

namespace flux::kv::testing {

inline constexpr uint64_t kStart = 1'000'000;  // wall milliseconds of the first entry

// Two halves of the keys.
inline const std::string kMiddle = api::slot_start(8192);

// A key of the lower or the upper half.
inline std::string low_key(uint64_t i) {
  std::string key = "low" + std::to_string(i);
  while (api::encoded_key({}, key) >= kMiddle) key += '.';
  return key;
}
inline std::string high_key(uint64_t i) {
  std::string key = "high" + std::to_string(i);
  while (api::encoded_key({}, key) < kMiddle) key += '.';
  return key;
}

class ShardGroup {
 public:
  // `store`: null, or where the second replica lives.
  explicit ShardGroup(uint64_t group, engine::RocksStore* store = nullptr, api::StateLimits limits = {})
      : id(group), limits_(limits), engine_(engine::make_memory_engine({.hash_seed = group})) {
    machine_ = make(*engine_);
    if (store == nullptr) return;
    second_engine_ = std::move(store->engine(GroupId(id))).value();
    second_ = make(*second_engine_);
  }

  api::WriteReply apply(const api::WriteRequest& request) {
    std::string bytes;
    begin_entry(bytes);
    EXPECT_TRUE(api::append_request(bytes, request).ok());
    stamp_entry(bytes, version_at(WallMillis(now_ms++)));
    log.push_back({.index = machine_->applied().index + 1,
                   .term = Term(1),
                   .type = EntryType::kCommand,
                   .data = SharedBytes(std::move(bytes))});
    std::vector<api::WriteReply> replies;
    EXPECT_TRUE(machine_->apply(log.back(), &replies).ok());
    EXPECT_TRUE(machine_->commit().ok());
    if (second_ != nullptr) apply_to_second(log.back(), replies);
    return replies.at(0);
  }
  api::CommandResult run(const api::Command& command) {
    const api::WriteReply reply = apply({.commands = std::span(&command, 1)});
    EXPECT_TRUE(reply.status.ok()) << reply.status.to_string();
    return reply.results.empty() ? api::CommandResult() : reply.results[0];
  }
  // The status of a request of one command, in a session or in none.
  api::WriteReply ask(const api::Command& command, uint64_t client = 0, uint64_t sequence = 0) {
    return apply({.commands = std::span(&command, 1), .session = {.client = client, .sequence = sequence}});
  }
  bool set(std::string_view key, std::string_view value, api::Expiry expiry = {}) {
    return ask(api::Put{.key = key, .value = value, .expiry = expiry}).status.ok();
  }
  api::CommandResult shard(const ShardCommand& command) {
    const std::string bytes = encode(command);
    return run(api::ShardChange{.bytes = bytes});
  }
  // It took effect.
  bool did(const ShardCommand& command) {
    const api::CommandResult result = shard(command);
    EXPECT_EQ(result.code, ErrorCode::kOk) << result.value;
    return result.applied;
  }
  bool configure(uint64_t num, std::vector<ShardCut> cuts) {
    return did(ApplyConfig{.num = ConfigNum(num), .cuts = std::move(cuts)});
  }

  // "(none)" if there is no such key, "(elsewhere)" if it is not served here.
  std::string get(std::string_view key) {
    const std::string_view keys[] = {key};
    machine_->read({.what = api::GetRequest{.keys = keys}}, WallMillis(0), rng_, outcome);
    if (outcome.status.code() == ErrorCode::kWrongShard) return "(elsewhere)";
    EXPECT_TRUE(outcome.status.ok()) << outcome.status.to_string();
    return outcome.items.at(0).found ? std::string(outcome.items[0].value) : "(none)";
  }
  uint64_t count() {
    machine_->read({.what = api::CountRequest{}}, WallMillis(0), rng_, outcome);
    return outcome.count;
  }

  const ShardInfo* info(uint64_t shard) const {
    for (const ShardInfo& each : machine_->shards()) {
      if (each.shard == ShardId(shard)) return &each;
    }
    return nullptr;
  }
  // "serving", or "absent".
  std::string state(uint64_t shard) const {
    const ShardInfo* const found = info(shard);
    return found == nullptr ? "absent" : std::string(to_string(found->state));
  }

  // Everything of a range, in any engine.
  uint64_t hash(std::string_view low = {}, std::string_view high = {}) {
    return engine::content_hash(*engine_->snapshot(), engine::Family::kData, low, high).value();
  }
  // As after a restart: everything is read anew from the engines.
  void reload() {
    EXPECT_TRUE(machine_->load().ok());
    if (second_ == nullptr) return;
    EXPECT_TRUE(second_->commit().ok());
    EXPECT_TRUE(second_->load().ok());
  }
  void expect_replicas_agree() {
    if (second_ == nullptr) return;
    EXPECT_TRUE(second_->commit().ok());
    EXPECT_EQ(second_engine_->state_hash().value(), engine_->state_hash().value()) << "group " << id;
    EXPECT_EQ(second_->key_count(), machine_->key_count());
    EXPECT_EQ(second_->session_count(), machine_->session_count());
    EXPECT_EQ(second_->shards().size(), machine_->shards().size());
  }
  // The whole log on a fresh engine makes the same.
  void expect_log_makes_the_same() {
    const auto fresh = engine::make_memory_engine({.hash_seed = 77});
    const auto other = make(*fresh);
    for (const Entry& entry : log) ASSERT_TRUE(other->apply(entry, nullptr).ok());
    ASSERT_TRUE(other->commit().ok());
    EXPECT_EQ(fresh->state_hash().value(), engine_->state_hash().value());
  }

  StateMachine& machine() { return *machine_; }
  engine::Engine& engine() { return *engine_; }
  std::unique_ptr<StateMachine> make(engine::Engine& engine) {
    auto made = std::make_unique<StateMachine>(GroupId(id), engine, limits_, nullptr, Sharding::kOn);
    EXPECT_TRUE(made->load().ok());
    return made;
  }

  const uint64_t id;
  std::vector<Entry> log;
  uint64_t now_ms = kStart;
  ReadOutcome outcome;

 private:
  void apply_to_second(const Entry& entry, const std::vector<api::WriteReply>& expected) {
    std::vector<api::WriteReply> replies;
    EXPECT_TRUE(second_->apply(entry, &replies).ok());
    EXPECT_EQ(replies.size(), expected.size());
    for (size_t i = 0; i < replies.size(); ++i) {
      EXPECT_EQ(replies[i].status, expected[i].status);
      EXPECT_EQ(replies[i].results, expected[i].results);
    }
    if (rng_.chance(0.7)) return;
    EXPECT_TRUE(second_->commit().ok());
  }

  const api::StateLimits limits_;
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<StateMachine> machine_;
  std::unique_ptr<engine::Engine> second_engine_;
  std::unique_ptr<StateMachine> second_;
  Rng rng_{1};
};

using Cut = ShardCut::Kind;

// Shard 1 is the lower half of the keys, shard 2 the upper one.
inline ShardCut cut(Cut kind, uint64_t shard, uint64_t peer = 0) {
  return {.kind = kind,
          .shard = ShardId(shard),
          .start = shard == 1 ? std::string() : kMiddle,
          .end = shard == 1 ? kMiddle : std::string(),
          .peer = GroupId(peer)};
}

// What `to` would ask of a giver now; num 0: ahead of the configuration.
inline ExportRequest next_request(const ShardGroup& to, uint64_t shard, uint64_t num = 0, size_t bytes_max = 1000) {
  const ShardInfo& info = *to.info(shard);
  return {.shard = info.shard,
          .num = ConfigNum(num),
          .plan = info.plan,
          .step = info.step,
          .from = info.cursor,
          .bytes_max = bytes_max};
}
inline Import import_of(const ExportRequest& request, ShardChunk chunk) {
  return {.shard = request.shard, .plan = request.plan, .step = request.step, .chunk = std::move(chunk)};
}
// One piece; whether it was the last for now.
inline bool pull_once(ShardGroup& from, ShardGroup& to, uint64_t shard, uint64_t num = 0, size_t bytes_max = 1000) {
  const ExportRequest request = next_request(to, shard, num, bytes_max);
  Result<ShardChunk> chunk = from.machine().export_chunk(request);
  EXPECT_TRUE(chunk.ok()) << chunk.status().to_string();
  const Result<ShardChunk> received = decode_shard_chunk(encode(*chunk));
  EXPECT_EQ(*received, *chunk);
  const bool caught_up = received->caught_up;
  EXPECT_TRUE(to.did(import_of(request, *received)));
  return caught_up;
}
inline void pull_all(ShardGroup& from, ShardGroup& to, uint64_t shard, uint64_t num = 0, size_t bytes_max = 1000) {
  while (!pull_once(from, to, shard, num, bytes_max)) {
  }
}
inline void erase_all(ShardGroup& group, uint64_t shard, uint32_t keys_max = 7) {
  while (group.state(shard) == "erasing") ASSERT_TRUE(group.did(EraseSome{ShardId(shard), keys_max}));
}

}  // namespace flux::kv::testing
