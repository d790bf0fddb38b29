#include "raft/testing/replica.h"

#include "base/crc32c.h"
#include "base/overloaded.h"

namespace flux::raft::testing {

const Entry* Disk::entry(Index index) const {
  if (index <= base.last.index || index > last()) return nullptr;
  return &log[index - base.last.index - 1];
}

uint64_t chain(uint64_t state, const Entry& entry) {
  std::string bytes;
  Encoder encoder(bytes);
  encoder.u64(state);
  encoder.id(entry.index);
  encoder.id(entry.term);
  encoder.u8(static_cast<uint8_t>(entry.type));
  encoder.bytes(entry.data.view());
  return state * 0x9E3779B97F4A7C15ULL + crc32c(bytes);
}

Replica::Replica(Options options, Disk disk, Listener& listener, uint64_t seed)
    : options_(options), disk_(std::move(disk)), listener_(listener), rng_(seed) {}

void Replica::start(MonoTime now) {
  RestoreBuilder builder(disk_.hard_state, disk_.base);
  for (const Entry& entry : disk_.log) {
    const Status added = builder.add(entry.index, entry.term, entry.type, entry.data.view());
    FLUX_CHECK(added.ok(), "{}", added.to_string());
  }
  // The state machine lives in memory: it starts from the snapshot.
  applied_ = disk_.base.last.index;
  state_ = disk_.base_state;
  core_ = std::make_unique<Core>(options_, std::move(builder).build(applied_).value(), *this, rng_.fork(), now, this);
  core_->be_frugal(options_.idle_heartbeat_interval != Micros(0));
}

void Replica::crash() {
  core_.reset();
  writes_.clear();
  to_apply_.clear();
  offered_state_.reset();
}

void Replica::step(MonoTime now, Event event) {
  core_->step(now, std::move(event));
  pump(now);
}

void Replica::pump(MonoTime now) {
  while (core_ && core_->has_update()) {
    Update update = core_->take_update();
    if (update.fatal) {
      listener_.on_fatal(options_.id, *update.fatal);
      crash();
      return;
    }
    if (update.role_change) listener_.on_role(options_.id, *update.role_change);
    for (const Message& message : std::exchange(update.send_now, {})) send(message);
    for (const ProposalResult& result : update.proposals) listener_.on_proposal(options_.id, result);
    for (const ReadResult& result : update.reads) listener_.on_read(options_.id, result);
    for (const TransferResult& result : update.transfers) listener_.on_transfer(options_.id, result);
    for (const SnapshotRequest& request : update.send_snapshots) listener_.on_snapshot_request(options_.id, request);
    for (Entry& entry : update.committed) to_apply_.push_back(std::move(entry));
    update.committed.clear();
    if (auto_apply) apply(now);
    Write write{.update = std::move(update), .install_state = {}};
    if (write.update.install_snapshot) write.install_state = std::exchange(offered_state_, {});
    if (write.update.needs_persist() || !write.update.send_after_persist.empty() || write.install_state) {
      writes_.push_back(std::move(write));
    }
    if (auto_persist) {
      while (persist_one(now)) {
      }
    }
  }
}

bool Replica::persist_one(MonoTime now) {
  if (writes_.empty() || !core_) return false;
  const Write write = std::move(writes_.front());
  writes_.pop_front();
  const Update& update = write.update;
  if (update.hard_state) disk_.hard_state = *update.hard_state;
  if (!update.append.empty()) {
    const Index from = update.append.front().index;
    FLUX_CHECK(from > disk_.base.last.index);
    FLUX_CHECK(from <= disk_.last() + 1, "a gap on disk: {} after {}", from, disk_.last());
    disk_.log.resize(from - disk_.base.last.index - 1);
    for (const Entry& entry : update.append) disk_.log.push_back(entry);
  }
  for (const Message& message : update.send_after_persist) send(message);
  core_->step(now, Persisted{.number = update.number});
  if (write.install_state) {
    to_apply_.clear();
    disk_.base = *update.install_snapshot;
    disk_.base_state = state_ = *write.install_state;
    disk_.log.clear();
    applied_ = disk_.base.last.index;
    listener_.on_installed(options_.id, disk_.base, state_);
    core_->step(now, SnapshotPersisted{.meta = disk_.base});
  }
  pump(now);
  return true;
}

void Replica::apply(MonoTime now) {
  if (to_apply_.empty()) return;
  for (; !to_apply_.empty(); to_apply_.pop_front()) {
    const Entry& entry = to_apply_.front();
    if (entry.index != applied_ + 1) {
      listener_.on_violation(options_.id, fmt::format("applies {} after {}", entry.id(), applied_));
    }
    const Entry* durable = disk_.entry(entry.index);
    if (durable == nullptr || *durable != entry) {
      listener_.on_violation(options_.id, fmt::format("applies {} which is not on its disk", entry.id()));
    }
    applied_ = entry.index;
    state_ = chain(state_, entry);
    listener_.on_committed(options_.id, entry, state_);
  }
  core_->step(now, Applied{.index = applied_});
}

void Replica::compact(MonoTime now, Index keep) {
  const Index at = std::min(applied_, keep == Index(0) ? applied_ : keep);
  if (at <= disk_.base.last.index) return;
  uint64_t state = disk_.base_state;
  for (Index index = disk_.base.last.index + 1; index <= at; ++index) state = chain(state, *disk_.entry(index));
  const SnapshotMeta meta = core_->snapshot_meta(at);
  disk_.log.erase(disk_.log.begin(), disk_.log.begin() + static_cast<std::ptrdiff_t>(at - disk_.base.last.index));
  disk_.base = meta;
  disk_.base_state = state;
  step(now, Compacted{.last = meta.last});
}

void Replica::offer(MonoTime now, const Message& offer, uint64_t state) {
  offered_state_ = state;
  step(now, Received{offer});
  offered_state_.reset();
}

Result<std::vector<Entry>> Replica::read(Index first, Index last, size_t bytes_max) {
  if (fail_reads) return Status(ErrorCode::kIo, "the disk does not answer");
  std::vector<Entry> entries;
  size_t bytes = 0;
  for (Index index = first; index <= last; ++index) {
    const Entry* entry = disk_.entry(index);
    if (entry == nullptr) {
      listener_.on_violation(options_.id, fmt::format("reads {} which is not on its disk", index));
      return Status(ErrorCode::kDataLoss, "read beyond what is durable");
    }
    bytes += entry->data.size();
    if (!entries.empty() && bytes > bytes_max) break;
    entries.push_back(*entry);
  }
  return entries;
}

void Replica::trace(std::string_view line) { listener_.on_trace(options_.id, line); }

void Replica::send(const Message& message) {
  check_promise(message);
  listener_.on_send(message);
}

// What a message promises must be true of the disk now.
void Replica::check_promise(const Message& message) {
  const auto violated = [&](std::string_view what) {
    listener_.on_violation(options_.id, fmt::format("{}: {}", what, to_string(message)));
  };
  const Vote* vote = std::get_if<Vote>(&message.body);
  const VoteResult* vote_result = std::get_if<VoteResult>(&message.body);
  const AppendResult* append_result = std::get_if<AppendResult>(&message.body);
  const bool hypothetical = (vote != nullptr && vote->pre) || (vote_result != nullptr && vote_result->pre);
  if (!hypothetical && disk_.hard_state.term < message.term) return violated("tells a term that is not durable");
  // A newer term in the same write: the promise of the older one was kept until then.
  if (disk_.hard_state.term > message.term) return;
  if (vote != nullptr && !vote->pre && disk_.hard_state.vote != message.from) violated("own vote is not durable");
  if (vote_result != nullptr && !vote_result->pre && vote_result->granted && disk_.hard_state.vote != message.to) {
    violated("vote is not durable");
  }
  if (append_result != nullptr && append_result->accepted && disk_.last() < append_result->index) {
    violated("accepted entries are not durable");
  }
}

}  // namespace flux::raft::testing
