// A worker's snapshots: taken to shorten the log, sent to peers that are too far behind, installed from peers.
#include <fmt/core.h>

#include "base/log.h"
#include "base/probe.h"
#include "node/steward.h"
#include "node/worker.h"

namespace flux::node {
namespace {

// One snapshot on its way to a peer: opened, then chunk after chunk, a few under way at a time.
class Sending : public std::enable_shared_from_this<Sending> {
 public:
  Sending(Worker& worker, std::shared_ptr<bool> alive, GroupId group, const raft::SnapshotRequest& request, env::Fs& fs,
          SavedSnapshot snapshot)
      : worker_(worker),
        alive_(std::move(alive)),
        group_(group),
        to_(request.to),
        term_(request.term),
        chunk_bytes_(worker.options().snapshot_chunk_bytes),
        fs_(fs),
        snapshot_(std::move(snapshot)) {}

  void start() {
    Result<std::unique_ptr<env::File>> file = fs_.open(snapshot_.path, env::OpenMode::kRead);
    if (!file.ok()) return finish(file.status());
    file_ = std::move(file).value();
    const SnapshotOpen open{.group = group_, .term = term_, .last = snapshot_.meta.last, .bytes = snapshot_.bytes};
    call(PeerMessage::kSnapshotOpen, encode_snapshot_open(open), [this](std::string_view body) {
      Decoder decoder(body);
      next_ = acked_ = decoder.varint();
      if (Status status = decoder.finish("the answer to a snapshot announcement"); !status.ok()) return finish(status);
      log::info("group {}: sending snapshot {} to node {} from byte {} of {}", group_, snapshot_.meta.last, to_, next_,
                snapshot_.bytes);
      send_more();
    });
  }

 private:
  static constexpr size_t kUnderWayMax = 4;

  void send_more() {
    if (done_) return;
    if (acked_ >= snapshot_.bytes) return finish({});
    while (under_way_ < kUnderWayMax && next_ < snapshot_.bytes) {
      const Result<std::string> bytes =
          file_->read_at(next_, std::min<uint64_t>(chunk_bytes_, snapshot_.bytes - next_));
      if (!bytes.ok() || bytes->empty()) {
        return finish(bytes.ok() ? Status(ErrorCode::kCorruption, "the snapshot file is shorter than it was")
                                 : bytes.status());
      }
      const SnapshotChunk chunk{.group = group_, .last = snapshot_.meta.last, .offset = next_, .bytes = *bytes};
      next_ += bytes->size();
      ++under_way_;
      call(PeerMessage::kSnapshotChunk, encode_snapshot_chunk(chunk), [this, size = bytes->size()](std::string_view) {
        --under_way_;
        acked_ += size;
        worker_.snapshot_sent(group_, to_, acked_, snapshot_.bytes);
        send_more();
      });
    }
  }

  void call(PeerMessage type, const std::string& body, std::function<void(std::string_view)> on_ok) {
    worker_.call(to_, type, body,
                 [self = shared_from_this(), on_ok = std::move(on_ok)](Result<std::string_view> answer) {
                   if (!*self->alive_ || self->done_) return;
                   if (!answer.ok()) return self->finish(answer.status());
                   std::string_view body_left = *answer;
                   if (Status status = take_status(body_left); !status.ok()) return self->finish(status);
                   on_ok(body_left);
                 });
  }

  void finish(const Status& status) {
    if (std::exchange(done_, true)) return;
    log::info("group {}: snapshot {} to node {}: {}", group_, snapshot_.meta.last, to_, status.to_string());
    Group* group = worker_.find(group_);
    if (group != nullptr) {
      group->step(raft::SnapshotSent{.to = to_, .index = snapshot_.meta.last.index, .ok = status.ok()});
    }
  }

  Worker& worker_;
  const std::shared_ptr<bool> alive_;
  const GroupId group_;
  const NodeId to_;
  const Term term_;
  const uint64_t chunk_bytes_;
  env::Fs& fs_;
  const SavedSnapshot snapshot_;
  std::unique_ptr<env::File> file_;
  uint64_t next_ = 0;
  uint64_t acked_ = 0;
  size_t under_way_ = 0;
  bool done_ = false;
};

}  // namespace

void Worker::maybe_snapshot(Group& group) {
  if (group.bytes_since_snapshot() < options().snapshot_log_bytes || !group.halt_reason().ok()) return;
  shorten_log(group);
}

void Worker::shorten_log(Group& group) {
  if (snapshotting_.contains(group.id()) || !group.halt_reason().ok()) return;
  // Nothing was applied since the last one: another would free nothing.
  if (group.state_machine().applied().index <= group.last_snapshot().index) return;
  if (options().engine == EngineKind::kMemory) {
    return take_snapshot(group, [](const Result<SavedSnapshot>&) {});
  }
  // RocksDB's files are the snapshot: what is flushed need not be replayed.
  snapshotting_.insert(group.id());
  struct Flush {
    Status status;
    std::string applied;
    bool found = false;
  };
  auto flush = std::make_shared<Flush>();
  engine::Engine& engine = group.engine();
  shared_.world.background.submit(
      loop_, [flush, &engine] { flush->status = engine.flush(); },
      [flush, &engine] {
        if (!flush->status.ok()) return;
        const Result<bool> found = engine.get_durable(engine::Family::kMeta, kv::kAppliedKey, flush->applied);
        flush->status = found.status();
        flush->found = found.ok() && *found;
      },
      [this, alive = alive_, flush, id = group.id()] {
        if (!*alive) return;
        snapshotting_.erase(id);
        Group* flushed = find(id);
        if (!flush->status.ok()) return log::error("group {}: cannot flush: {}", id, flush->status.to_string());
        if (flushed == nullptr || !flush->found) return;
        const Result<kv::Applied> applied = kv::decode_applied(flush->applied);
        if (applied.ok()) snapshot_saved(*flushed, applied->id);
      });
}

void Worker::take_snapshot(Group& group, SnapshotDone done) {
  // A replica that stopped may have stopped in the middle of an entry, and its engine with it.
  if (!group.halt_reason().ok()) return done(Status(ErrorCode::kUnavailable, "the replica has stopped"));
  if (snapshotting_.contains(group.id())) {
    return done(Status(ErrorCode::kOverloaded, "a snapshot of the group is being taken already"));
  }
  snapshotting_.insert(group.id());
  struct Save {
    std::unique_ptr<engine::Snapshot> snapshot;
    Result<SavedSnapshot> saved = Status(ErrorCode::kCancelled, "not saved");
  };
  auto save = std::make_shared<Save>();
  save->snapshot = group.engine().snapshot();
  const raft::SnapshotMeta meta = group.snapshot_meta();
  log::info("group {}: taking a snapshot at {}", group.id(), meta.last);
  shared_.world.background.submit(
      loop_, [this, save, meta, id = group.id()] { save->saved = shared_.snapshots.save(id, *save->snapshot, meta); },
      [save] { save->snapshot.reset(); },
      [this, alive = alive_, save, id = group.id(), done = std::move(done)]() mutable {
        if (!*alive) return;
        snapshotting_.erase(id);
        if (!save->saved.ok()) {
          log::error("group {}: no snapshot: {}", id, save->saved.status().to_string());
        } else if (Group* saved = find(id); saved != nullptr && options().engine == EngineKind::kMemory) {
          snapshot_saved(*saved, save->saved->meta.last);
        }
        done(std::move(save->saved));
      });
}

void Worker::snapshot_saved(Group& group, EntryId last) {
  group.snapshot_saved(last);
  // The log was written to. Whatever waits for it to be durable as far as it goes must not depend on the next entry: a
  // replica that is about to install a snapshot takes none.
  shared_.persister.kick(loop_);
}

void Worker::send_snapshot(Group& group, const raft::SnapshotRequest& request) {
  const auto start = [this, id = group.id(), request](SavedSnapshot snapshot) {
    std::make_shared<Sending>(*this, alive_, id, request, shared_.world.fs, std::move(snapshot))->start();
  };
  const auto failed = [&group, request](const Status& why) {
    log::warn("group {}: no snapshot for node {}: {}", group.id(), request.to, why.to_string());
    group.step(raft::SnapshotSent{.to = request.to, .index = request.index_min, .ok = false});
  };
  Result<std::optional<SavedSnapshot>> newest = shared_.snapshots.newest(group.id());
  if (!newest.ok()) log::error("{} -> a new snapshot is taken", newest.status().to_string());
  if (newest.ok() && newest->has_value() && (*newest)->meta.last.index >= request.index_min) {
    return start(std::move(**newest));
  }
  take_snapshot(group, [start, failed](Result<SavedSnapshot> saved) {
    if (!saved.ok()) return failed(saved.status());
    start(std::move(saved).value());
  });
}

void Worker::snapshot_sent(GroupId group, NodeId to, uint64_t bytes, uint64_t bytes_total) {
  const auto steward = stewards_.find(group);
  if (steward != stewards_.end()) steward->second->snapshot_sent(to, bytes, bytes_total);
}

void Worker::on_snapshot_complete(GroupId id, EntryId last, NodeId from, Term term, SnapshotVerdict done) {
  struct Verify {
    Result<raft::SnapshotMeta> meta = Status(ErrorCode::kCancelled, "not verified");
  };
  auto verify = std::make_shared<Verify>();
  shared_.world.background.submit(
      loop_, [this, verify, id, last] { verify->meta = shared_.snapshots.verify_incoming(id, last); }, [] {},
      [this, alive = alive_, verify, id, last, from, term, done = std::move(done)]() mutable {
        if (!*alive) return;
        Group* group = find(id);
        if (verify->meta.ok() && group != nullptr) {
          group->offer({.meta = *verify->meta, .from = from, .term = term});
        } else {
          log::warn("group {}: snapshot {} from node {}: {}", id, last, from, verify->meta.status().to_string());
        }
        done(verify->meta.ok() ? Status() : verify->meta.status());
      });
}

void Worker::install_snapshot(Group& group) {
  const raft::SnapshotMeta meta = group.take_install();
  struct Install {
    Status status;
  };
  // Ours and durable first: from here on a restart finds the new state, with or without the old log.
  const Result<SavedSnapshot> saved = shared_.snapshots.adopt(group.id(), meta.last);
  // A newer one has begun to arrive since this one was verified.
  if (saved.status().code() == ErrorCode::kPrecondition) {
    FLUX_PROBE("a newer snapshot overtakes an installation");
    return group.install_declined(meta, saved.status());
  }
  const auto install = [&]() -> Status {
    FLUX_RETURN_IF_ERROR(saved.status());
    FLUX_RETURN_IF_ERROR(shared_.snapshots.load(saved->path, group.engine()));
    FLUX_RETURN_IF_ERROR(group.engine().flush());
    return shared_.wal.reset(group.id(), meta.last);
  };
  if (Status status = install(); !status.ok()) return group.installed(meta, std::move(status));
  shared_.persister.kick(loop_);
  group.installed(meta, {});
}

}  // namespace flux::node
