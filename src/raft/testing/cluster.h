// Several replicas, the messages between them, one clock, and an oracle that knows what Raft promises.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "raft/testing/replica.h"

namespace flux::raft::testing {

// Not thread-safe. Deterministic: the same calls give the same run.
class Cluster : public Listener {
 public:
  explicit Cluster(uint64_t seed = 1) : rng_(seed) {}

  // --- Nodes ---
  // Nodes 1 to n as voters of a new group.
  void bootstrap(uint64_t voters, uint64_t learners = 0);
  Replica& add(NodeId id, Disk disk);
  Replica& add_empty(NodeId id) { return add(id, {}); }
  Options options;  // for nodes added from here on; id is filled in
  Replica& at(uint64_t id) { return *replicas_.at(NodeId(id)); }
  Core& core(uint64_t id) { return at(id).core(); }
  std::map<NodeId, std::unique_ptr<Replica>>& replicas() { return replicas_; }
  void crash(uint64_t id);
  void restart(uint64_t id) { at(id).start(local_now(id)); }

  // --- Time and events ---
  MonoTime now{Micros(1'000'000)};
  // How much faster than true time a node's clock runs, in parts per million.
  std::map<uint64_t, int64_t> clock_drift_ppm;
  MonoTime local_now(uint64_t id) const;
  void step(uint64_t id, Event event);
  void receive(uint64_t from, uint64_t to, uint64_t term, MessageBody body);
  void tick(uint64_t id) { step(id, Tick{}); }
  // Lets time pass, firing every timer when it is due and delivering everything at once.
  void run(Micros duration);

  // --- Network ---
  std::deque<Message>& network() { return network_; }
  // Delivers the oldest message that `pick` likes; false if there is none.
  bool deliver_one(const std::function<bool(const Message&)>& pick = {});
  size_t drop(const std::function<bool(const Message&)>& pick = {});
  // Delivers and persists until nothing is left to do.
  void stabilize();
  void cut(uint64_t from, uint64_t to) { cut_.insert({NodeId(from), NodeId(to)}); }
  void cut_both(uint64_t a, uint64_t b) { cut(a, b), cut(b, a); }
  void isolate(uint64_t id);
  void heal() { cut_.clear(); }
  bool is_cut(NodeId from, NodeId to) const { return cut_.contains({from, to}); }

  // --- Shorthand ---
  void campaign(uint64_t id) { step(id, Campaign{}); }
  // Makes `id` the leader and settles.
  void elect(uint64_t id);
  uint64_t propose(uint64_t id, std::string data);
  uint64_t propose_config(uint64_t id, std::vector<ConfigStep> steps);
  // Adds a node to the group as a learner and waits until it has caught up. REQUIRES: `leader` leads.
  void join(uint64_t leader, uint64_t id);
  uint64_t read(uint64_t id, ReadMode mode = ReadMode::kLinearizable);
  uint64_t transfer(uint64_t id, uint64_t target);
  // Whether a timer of the node is due.
  bool is_due(uint64_t id);
  // Streams a snapshot of `from`, as its driver would.
  void stream_snapshot(uint64_t from, uint64_t to, Index index_min = Index(0));
  // The leader of the highest term among the living; 0 if none.
  uint64_t leader() const;

  // --- What was seen ---
  std::vector<std::string> violations;
  std::map<uint64_t, ProposalResult> proposals;
  std::map<uint64_t, ReadResult> reads;
  std::map<uint64_t, TransferResult> transfers;
  // Asked and not answered, by node; a crash takes its own with it.
  std::map<NodeId, std::set<uint64_t>> open;
  std::vector<std::pair<NodeId, SnapshotRequest>> snapshot_requests;
  std::vector<std::pair<NodeId, Status>> fatals;
  // Index -> what any replica applied there, and the state after it.
  struct Committed {
    Entry entry;
    uint64_t state;
  };
  std::map<Index, Committed> committed;
  std::map<Term, NodeId> leaders;
  uint64_t role_changes = 0;
  // A message to be watched as it leaves; for tests that count or catch.
  std::function<void(const Message&)> on_message_sent;
  std::function<void(NodeId, std::string_view)> on_trace_line;
  // Snapshots are streamed as soon as they are asked for.
  bool auto_snapshot = true;

  // The commands that were applied, in order.
  std::vector<std::string> applied_commands() const;
  // How often each kind of thing happened, for tests that must not pass by idling.
  std::map<std::string, uint64_t> counts;
  // Compares every two logs; adds to `violations`.
  void check_log_matching();

 protected:
  void on_send(const Message& message) override;
  void on_trace(NodeId node, std::string_view line) override;
  void on_role(NodeId node, const RoleChange& change) override;
  void on_committed(NodeId node, const Entry& entry, uint64_t state) override;
  void on_installed(NodeId node, const SnapshotMeta& meta, uint64_t state) override;
  void on_proposal(NodeId node, const ProposalResult& result) override;
  void on_read(NodeId node, const ReadResult& result) override;
  void on_transfer(NodeId node, const TransferResult& result) override;
  void on_snapshot_request(NodeId node, const SnapshotRequest& request) override;
  void on_violation(NodeId node, const std::string& what) override;
  void on_fatal(NodeId node, const Status& status) override;

 private:
  uint64_t open_ticket(uint64_t id);
  void close_ticket(NodeId node, uint64_t ticket, std::string_view what);

  Rng rng_;
  std::map<NodeId, std::unique_ptr<Replica>> replicas_;
  std::deque<Message> network_;
  std::set<std::pair<NodeId, NodeId>> cut_;
  std::map<uint64_t, Index> read_floor_;  // ticket -> what was committed when the read was asked for
  uint64_t tickets_ = 0;
};

std::vector<ConfigStep> steps(std::initializer_list<std::pair<ConfigStepKind, uint64_t>> list);

}  // namespace flux::raft::testing
