// A driver for one core, as raft/core.h prescribes it, over a disk that a crash cuts back to what was synced.
//
// Writes complete when the test says so, one update at a time and in order. Every message is checked on its way out
// against the disk: nothing may leave before what it promises is durable.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/rng.h"
#include "raft/core.h"

namespace flux::raft::testing {

// What survives a crash. The state machine is a chain of hashes: equal states mean equal histories.
struct Disk {
  HardState hard_state;
  SnapshotMeta base;        // of the snapshot
  uint64_t base_state = 0;  // the state machine there
  std::vector<Entry> log;   // after base

  Index last() const { return base.last.index + log.size(); }
  const Entry* entry(Index index) const;
};

uint64_t chain(uint64_t state, const Entry& entry);

// What a replica tells the test.
class Listener {
 public:
  virtual ~Listener() = default;
  virtual void on_send(const Message&) {}
  virtual void on_trace(NodeId, std::string_view) {}
  virtual void on_role(NodeId, const RoleChange&) {}
  virtual void on_committed(NodeId, const Entry&, uint64_t /*state after*/) {}
  virtual void on_installed(NodeId, const SnapshotMeta&, uint64_t /*state*/) {}
  virtual void on_proposal(NodeId, const ProposalResult&) {}
  virtual void on_read(NodeId, const ReadResult&) {}
  virtual void on_transfer(NodeId, const TransferResult&) {}
  virtual void on_snapshot_request(NodeId, const SnapshotRequest&) {}
  virtual void on_violation(NodeId, const std::string&) {}
  virtual void on_fatal(NodeId, const Status&) {}
};

class Replica final : public LogReader, public Tracer {
 public:
  // `persist_now`: writes complete as soon as they are asked for.
  Replica(Options options, Disk disk, Listener& listener, uint64_t seed);

  bool alive() const { return core_ != nullptr; }
  void start(MonoTime now);
  // Loses the core and every write that is not complete.
  void crash();
  Core& core() { return *core_; }
  const Core& core() const { return *core_; }
  Disk& disk() { return disk_; }
  const Disk& disk() const { return disk_; }
  Options& options() { return options_; }

  void step(MonoTime now, Event event);
  // Takes and carries out updates until there are none; writes are queued.
  void pump(MonoTime now);
  // Completes the oldest write. Returns false if there is none.
  bool persist_one(MonoTime now);
  size_t writes_under_way() const { return writes_.size(); }
  // Applies what was handed out. Off: the test calls apply().
  bool auto_apply = true;
  bool auto_persist = true;
  bool fail_reads = false;
  void apply(MonoTime now);

  uint64_t state() const { return state_; }
  Index applied() const { return applied_; }
  // Makes a snapshot of the state machine as it stands and drops the log up to `keep` entries before it.
  void compact(MonoTime now, Index keep = Index(0));
  // A snapshot for streaming: the newest one, or one made now where that is older than `index_min`.
  std::pair<SnapshotMeta, uint64_t> snapshot(Index index_min) const {
    if (disk_.base.last.index >= index_min) return {disk_.base, disk_.base_state};
    return {core_->snapshot_meta(applied_), state_};
  }
  // A snapshot has arrived whole.
  void offer(MonoTime now, const Message& offer, uint64_t state);

 private:
  struct Write {
    Update update;
    std::optional<uint64_t> install_state;
  };
  Result<std::vector<Entry>> read(Index first, Index last, size_t bytes_max) override;
  void trace(std::string_view line) override;
  void send(const Message& message);
  void check_promise(const Message& message);

  Options options_;
  Disk disk_;
  Listener& listener_;
  Rng rng_;
  std::unique_ptr<Core> core_;
  std::deque<Write> writes_;
  std::deque<Entry> to_apply_;
  std::optional<uint64_t> offered_state_;
  uint64_t state_ = 0;
  Index applied_;
};

}  // namespace flux::raft::testing
