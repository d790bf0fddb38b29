#include "replay.h"

#include <fmt/core.h>

#include "engine/memory/memory_engine.h"
#include "engine/snapshot_file.h"
#include "env/testing/fake_fs.h"
#include "kv/record_format.h"
#include "raft/membership.h"

namespace flux::sim {
namespace {

// The state is summed up at every so many entries, and the newest few sums are kept for replicas that are late.
constexpr uint64_t kHashEvery = 32;
constexpr size_t kHashesMax = 64;

}  // namespace

Replay::Replay(GroupId group, const api::StateLimits& limits)
    : group_(group),
      limits_(limits),
      control_(limits.control_log_bytes_max),
      engine_(engine::make_memory_engine({.hash_seed = 1})),
      machine_(group, *engine_, limits, controls(group) ? &control_ : nullptr,
               controls(group) ? kv::Sharding::kOff : kv::Sharding::kOn) {
  FLUX_CHECK(machine_.load().ok());
}

Status Replay::apply(const Entry& entry) {
  if (entry.index != applied() + 1) {
    return Status(ErrorCode::kCorruption, fmt::format("{} is applied after {}", entry.id(), applied()));
  }
  FLUX_RETURN_IF_ERROR(machine_.apply(entry, nullptr));
  if (entry.type == EntryType::kConfig) {
    FLUX_TRY(const raft::ConfigRecord record, raft::decode_config(entry.data.view()));
    std::string bytes;
    Encoder encoder(bytes);
    raft::encode(encoder, record.membership);
    machine_.put_system("membership", bytes);
  }
  FLUX_RETURN_IF_ERROR(machine_.commit());
  if (entry.index.value() % kHashEvery != 0) return {};
  FLUX_TRY(const uint64_t hash, state_hash());
  hashes_.emplace(entry.index, hash);
  if (hashes_.size() > kHashesMax) hashes_.erase(hashes_.begin());
  return {};
}

std::optional<uint64_t> Replay::hash_at(Index index) const {
  if (index.value() % kHashEvery != 0) return std::nullopt;
  const auto found = hashes_.find(index);
  if (found == hashes_.end()) return std::nullopt;
  return found->second;
}

Status Replay::check_deadlines() {
  uint64_t keys = 0;
  uint64_t with_deadline = 0;
  for (auto it = engine_->iterate(engine::Family::kData, {}, {}); it->valid(); it->next(), ++keys) {
    FLUX_TRY(const kv::Record record, kv::read_record(it->value()));
    if (!record.deadline) continue;
    ++with_deadline;
    engine::PinnedValue value;
    FLUX_TRY(const bool listed,
             engine_->get(engine::Family::kExpiry, kv::expiry_key(*record.deadline, it->key()), value));
    if (!listed) return Status(ErrorCode::kCorruption, "a key has a deadline that will never come");
  }
  uint64_t listed = 0;
  for (auto it = engine_->iterate(engine::Family::kExpiry, {}, {}); it->valid(); it->next()) ++listed;
  if (listed == with_deadline && keys == engine_->count()) return {};
  return Status(ErrorCode::kCorruption,
                fmt::format("{} keys are counted as {}; {} of them have a deadline, and {} deadlines are kept", keys,
                            engine_->count(), with_deadline, listed));
}

Status Replay::check_snapshot() {
  env::testing::FakeFs fs;
  FLUX_RETURN_IF_ERROR(fs.create_dirs("/replay"));
  const std::unique_ptr<engine::Snapshot> snapshot = engine_->snapshot();
  FLUX_RETURN_IF_ERROR(engine::save_snapshot(*snapshot, fs, "/replay", "state", "").status());
  FLUX_TRY(const std::unique_ptr<engine::SnapshotReader> reader, engine::SnapshotReader::open(fs, "/replay/state"));
  const std::unique_ptr<engine::Engine> copy = engine::make_memory_engine({.hash_seed = 2});
  FLUX_RETURN_IF_ERROR(copy->load(*reader));
  node::ControlMachine control;
  kv::StateMachine machine(group_, *copy, limits_, controls(group_) ? &control : nullptr,
                           controls(group_) ? kv::Sharding::kOff : kv::Sharding::kOn);
  FLUX_RETURN_IF_ERROR(machine.load());
  FLUX_TRY(const uint64_t ours, state_hash());
  FLUX_TRY(const uint64_t theirs, copy->state_hash());
  const bool same = machine.applied() == machine_.applied() && machine.last_version() == machine_.last_version() &&
                    machine.session_count() == machine_.session_count() && machine.key_count() == machine_.key_count();
  if (same && ours == theirs) return {};
  return Status(ErrorCode::kCorruption, fmt::format("the state {:x} at {} is {:x} at {} in a snapshot", ours,
                                                    machine_.applied(), theirs, machine.applied()));
}

}  // namespace flux::sim
