// A worker: one thread's loop with the groups it owns and its own links to the other nodes.
//
// All that happens in a turn of the loop only touches groups' inputs. At the end of the turn run_once() takes the
// groups that were touched through seven steps, all of them together through each, so that one frame per peer and one
// write to the log carry what they have in common.
//
// Owned by its loop; post to it from elsewhere.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <unordered_map>
#include <vector>

#include "ctrl/apply.h"
#include "net/peer_link.h"
#include "node/chart.h"
#include "node/directory.h"
#include "node/group.h"
#include "node/identity.h"
#include "node/peer_messages.h"
#include "node/persister.h"
#include "node/shard_load.h"
#include "node/snapshots.h"

namespace flux::node {

// What the workers of a node share. All of it outlives them.
struct NodeShared {
  const NodeOptions& options;
  World& world;
  const Identity& identity;
  KnownPeers& known_peers;
  wal::Wal& wal;
  Persister& persister;
  Admission& admission;
  Directory& directory;
  SnapshotStore& snapshots;
  uint64_t workers;
  // Told, on the worker's loop, when a group has changed its members, role or shards, or when the controller's state
  // has.
  std::function<void(Group&)> state_changed;
  // Proposes a command to the controller; the answer comes on `loop`.
  using Submitted = absl::AnyInvocable<void(ctrl::Outcome)>;
  std::function<void(env::Loop& loop, const ctrl::Command& command, Submitted done)> submit;
  // Tells whoever leads the controller how busy shards are; lost if nobody is known to.
  std::function<void(LoadReport report)> report_load;
};

class Router;
class Steward;

class Worker final : public GroupHost {
 public:
  Worker(NodeShared& shared, env::Loop& loop, uint64_t number);
  ~Worker() override;
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // How a replica begins.
  struct Opening {
    std::unique_ptr<engine::Engine> engine;
    raft::Membership founding;  // before the first entry
    bool promised = false;      // it has run before
    ControlMachine* control = nullptr;
  };
  // Opens the group: newest snapshot, engine, log.
  Status add_group(GroupId id, Opening opening);
  // Whether a snapshot or a flush of the group is under way; it may not be removed then.
  bool is_saving(GroupId id) const { return snapshotting_.contains(id); }
  // The replica says nothing any more. Returns what it has said last.
  HardState silence(GroupId id);
  // Takes the replica away, with its log and snapshots; what the engine holds of it must go afterwards.
  Status remove_group(GroupId id);
  Group* find(GroupId id);
  const std::map<GroupId, std::unique_ptr<Group>>& groups() const { return groups_; }
  // Begins to run turns.
  void start();
  void set_router(Router* router) { router_ = router; }
  Router& router() { return *router_; }
  // The newest that this worker was told of.
  const ChartPtr& chart() const { return chart_; }
  void set_chart(ChartPtr chart);
  // Copies of shards that move here go on from then.
  MonoTime copies_from() const { return copies_from_; }
  void count_copied(uint64_t bytes);
  Rng fork_rng() { return rng_.fork(); }

  // A peer's words for a group of ours.
  void on_raft(GroupId group, raft::Message message);
  // A call on a peer's worker.
  void call(NodeId peer, PeerMessage type, std::string_view body, net::CallDone done);
  // All bytes of a peer's snapshot are here: verifies it, offers it to the group, says how it went.
  using SnapshotVerdict = absl::AnyInvocable<void(const Status&)>;
  void on_snapshot_complete(GroupId group, EntryId last, NodeId from, Term term, SnapshotVerdict done);
  // So much of a snapshot has reached a peer.
  void snapshot_sent(GroupId group, NodeId to, uint64_t bytes, uint64_t bytes_total);
  // Saves a snapshot of a group as it is now.
  using SnapshotDone = absl::AnyInvocable<void(Result<SavedSnapshot>)>;
  void take_snapshot(Group& group, SnapshotDone done);

  // What the workers of the node share.
  NodeShared& shared() { return shared_; }

  void wake(Group& group) override;
  void holds_requests(Group& group) override;
  env::Loop& loop() override { return loop_; }
  const NodeOptions& options() const override { return shared_.options; }

 private:
  // --- GroupHost
  Admission& admission() override { return shared_.admission; }
  void send(GroupId group, const raft::Message& message) override;
  void forward_write(NodeId leader, GroupId group, std::string_view request, PeerReply reply) override;
  void send_snapshot(Group& group, const raft::SnapshotRequest& request) override;
  void state_changed(Group& group) override;
  void reroute(ParkedWrite write) override;
  void reroute(WaitingRead read) override;
  void halted(Group& group, const Status& why) override;
  Observer* observer() override { return shared_.world.observer; }

  // --- The seven steps
  void run_once();
  void collect();
  void step();
  void send_now();
  void persist();
  void send_after_persist();
  void apply();
  void answer();

  // Wakes the groups whose first unanswered append is durable.
  void wake_durable();
  void flush_links();
  void rearm(Group& group);
  void on_tick();
  // worker_snapshots.cc
  void maybe_snapshot(Group& group);
  void shorten_log(Group& group);
  void snapshot_saved(Group& group, EntryId last);
  void install_snapshot(Group& group);
  // Three ways to a peer, so that a heartbeat, a vote or an answer never waits behind megabytes.
  struct Links {
    std::unique_ptr<net::PeerLink> messages;
    std::unique_ptr<net::PeerLink> entries;  // appends, forwarded writes
    std::unique_ptr<net::PeerLink> bulk;     // snapshots; made when needed

    template <typename Visit>
    void for_each(Visit visit) {
      for (net::PeerLink* link : {messages.get(), entries.get(), bulk.get()}) {
        if (link != nullptr) visit(*link);
      }
    }
  };
  Links* links_to(NodeId peer);
  std::unique_ptr<net::PeerLink> make_link(NodeId peer, const env::Address& address, net::Channel channel);
  void refresh_addresses();
  void peer_down(NodeId peer, bool gone);

  NodeShared& shared_;
  env::Loop& loop_;
  Rng rng_;
  std::map<GroupId, std::unique_ptr<Group>> groups_;
  std::unordered_map<GroupId, Group*> by_id_;             // the same, for the way of every message
  std::map<GroupId, std::unique_ptr<Steward>> stewards_;  // of groups that hold shards
  MonoTime copies_from_;
  ChartPtr chart_ = std::make_shared<const Chart>();
  Router* router_ = nullptr;
  std::map<NodeId, Links> links_;
  uint64_t directory_generation_ = 0;

  std::vector<Group*> awake_;  // touched since the last round
  std::vector<Group*> round_;  // in this round
  std::vector<Group*> waiting_for_disk_;
  std::vector<Group*> asked_;    // requests waited in them when they were last looked at
  bool turn_requested_ = false;  // a turn was asked for although nothing may arrive
  std::string scratch_;
  std::set<GroupId> snapshotting_;  // groups whose snapshot or flush is under way
  env::TimerId tick_timer_;
  uint64_t ticks_ = 0;
  bool is_crowded_ = false;                                     // so many groups that they save messages
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // shared with callbacks that may come later
};

}  // namespace flux::node
