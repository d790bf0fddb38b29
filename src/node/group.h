// A replica of one Raft group on this node: consensus core, state machine, and the requests that wait on them.
//
// Inputs arrive at any time in a turn of the worker's loop; the worker then takes all groups that have something to do
// through the seven steps together (worker.h). What the group needs from outside it asks of its GroupHost.
//
// Owned by one worker; not thread-safe.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/admin_service.h"
#include "api/kv_service.h"
#include "base/rng.h"
#include "engine/engine.h"
#include "kv/state_machine.h"
#include "node/admission.h"
#include "node/observer.h"
#include "node/options.h"
#include "node/requests.h"
#include "raft/core.h"
#include "wal/wal.h"

namespace flux::node {

class ControlMachine;
class Group;

// Answers to a request that another node made on ours.
using PeerReply = absl::AnyInvocable<void(Result<std::string_view>)>;

// The worker, as its groups see it.
class GroupHost {
 public:
  virtual ~GroupHost() = default;
  virtual env::Loop& loop() = 0;
  virtual const NodeOptions& options() const = 0;
  virtual Admission& admission() = 0;
  // The group has something to do at the end of this turn.
  virtual void wake(Group& group) = 0;
  // Requests wait in the group, whose time may be over before they are answered.
  virtual void holds_requests(Group& group) = 0;
  virtual void send(GroupId group, const raft::Message& message) = 0;
  virtual void forward_write(NodeId leader, GroupId group, std::string_view request, PeerReply reply) = 0;
  virtual void send_snapshot(Group& group, const raft::SnapshotRequest& request) = 0;
  // The membership, the table of shards or the controller's state has changed, or the role.
  virtual void state_changed(Group& group) = 0;
  // The group does not serve what these ask for; they go to whoever does.
  virtual void reroute(ParkedWrite write) = 0;
  virtual void reroute(WaitingRead read) = 0;
  // The group cannot go on; the rest of the node can.
  virtual void halted(Group& group, const Status& why) = 0;
  // Null: nobody watches.
  virtual Observer* observer() = 0;
};

// A complete, verified snapshot file of a peer, ready to be installed.
struct OfferedSnapshot {
  raft::SnapshotMeta meta;
  NodeId from;
  Term term;
};

class Group final : public raft::LogReader {
 public:
  // `control`: the controller's state machine, for group 0 only; null: a group that holds shards.
  Group(GroupHost& host, GroupId id, wal::Wal& wal, std::unique_ptr<engine::Engine> engine, Rng rng,
        ControlMachine* control);
  ~Group() override;

  // Starts from what engine and log hold; `founding` is the membership before the first entry. `promised`: this replica
  // has run before, and may have promised what a damaged log has lost.
  Status start(NodeId self, const raft::Membership& founding, bool promised);

  // --- Inputs ------------------------------------------------------------------------------------------------------
  void write(const api::WriteRequest& request, api::WriteDone done);
  // `request` is encoded and has been checked. kPeer: forwarded to the leader; answered kNotLeader rather than passed
  // on. kRouted: sent by a node without a replica; passed on to the leader, but not to another group.
  enum class Origin : uint8_t { kHere, kPeer, kRouted };
  // As write(), with what it is to become of it.
  void submit(ParkedWrite write, bool erases_only);
  void submit(WaitingRead read);
  void write_encoded(std::string request, bool erases_only, Origin origin, api::WriteDone done);
  void read(const api::ReadRequest& request, api::ReadDone done);
  void receive(raft::Message message);
  void change_config(raft::ConfigChange change, api::AdminDone done);
  void transfer(NodeId target, api::AdminDone done);
  void step(raft::Event event);
  void on_timer();
  // A piece of a shard for a group that receives it.
  Result<kv::ShardChunk> export_shard(const kv::ExportRequest& request);
  // The receiver of a shard has all of it.
  void release_shard(ShardId shard, ConfigNum num, api::AdminDone done);
  // A peer's snapshot is at hand, as a verified incoming file.
  void offer(OfferedSnapshot snapshot);
  size_t requests() const { return requests_; }
  // Gives up requests whose time is over.
  void expire_requests(MonoTime now);

  // --- The seven steps -----------------------------------------------------------------------------------------------
  void step_inputs();
  void send_now();
  // Whether something in the log is waited for that nobody may be writing yet.
  bool persist();
  void send_after_persist(wal::Ticket durable);
  void apply();
  void answer();
  // Whether something that was appended is not known to be durable yet; and whether some of it is by now.
  bool waits_for_disk() const { return halted_.ok() && !under_way_.empty(); }
  bool is_durable(wal::Ticket durable) const { return under_way_.empty() || under_way_.front().ticket <= durable; }
  // Whether another round would have something to do at once.
  bool more_to_do() const;

  // --- State ---------------------------------------------------------------------------------------------------------
  GroupId id() const { return id_; }
  const raft::Core& core() const { return *core_; }
  void be_frugal(bool frugal) { core_->be_frugal(frugal); }
  kv::StateMachine& state_machine() { return state_machine_; }
  const kv::StateMachine& state_machine() const { return state_machine_; }
  engine::Engine& engine() { return *engine_; }
  const engine::Engine& engine() const { return *engine_; }
  const Status& halt_reason() const { return halted_; }
  // Whether it would serve reads now without asking anybody.
  bool holds_lease(MonoTime now) const { return leads() && core_->lease_valid(now); }
  bool leads() const { return core_->role() == raft::Role::kLeader; }
  api::GroupStatus status() const;
  // Reads and writes of a shard in the last second that was counted.
  uint64_t operations_per_second(ShardId shard) const;
  void count_operations(MonoTime now);
  // The replica is about to go: it takes no more requests, and whoever waits for what was not proposed is sent
  // elsewhere.
  void retire();
  bool retiring() const { return retiring_; }
  // Nothing that the group says is heard, and nothing is said to it, for as long as this holds.
  void set_apart(bool apart) { apart_ = apart; }
  // Whether somebody waits for what was proposed, here or by the leader it was passed on to.
  bool awaits_outcomes() const { return !waiters_.empty() || !proposed_.empty() || !forwarded_.empty(); }
  // It says nothing any more. Who waits still is told.
  void end();
  bool ended() const { return ended_; }
  MonoTime next_deadline() const { return core_->next_deadline(); }
  // Payload bytes applied since the newest snapshot.
  uint64_t bytes_since_snapshot() const { return bytes_since_snapshot_; }
  EntryId last_snapshot() const { return last_snapshot_; }
  // A snapshot that covers the log up to `meta` is durable: forget entries it covers, but for the newest few.
  void snapshot_saved(EntryId last);
  raft::SnapshotMeta snapshot_meta() const { return core_->snapshot_meta(state_machine_.applied().index); }
  // A snapshot that the core has taken up: load it, then say how it went. Nothing is applied or read meanwhile.
  bool wants_install() const { return install_.has_value() && halted_.ok(); }
  raft::SnapshotMeta take_install() const { return *install_; }
  void installed(const raft::SnapshotMeta& meta, Status status);
  // It cannot be loaded after all, and nothing was touched: another will come.
  void install_declined(const raft::SnapshotMeta& meta, const Status& why);

  Result<std::vector<Entry>> read(Index first, Index last, size_t bytes_max) override;

  // The worker's: whether the group is on its lists, and when its timer runs.
  bool awake = false;
  bool in_disk_queue = false;
  bool in_asked = false;
  env::TimerId timer;
  MonoTime timer_at = MonoTime::infinite();

 private:
  // An update whose writes are under way.
  struct UnderWay {
    uint64_t number;
    wal::Ticket ticket;
    std::vector<raft::Message> messages;
    std::optional<raft::SnapshotMeta> install;
    std::optional<raft::SnapshotMeta> installed;  // was loaded; the log's new beginning is under way
  };
  struct Answer {
    api::WriteDone done;
    api::WriteReply reply;
  };

  // writes (group_write.cc)
  Status admit(bool erases_only) const;
  void count_request() {
    ++requests_;
    host_.holds_requests(*this);
  }
  EntryDraft& open_draft();
  void draft_finished(WriteWaiter waiter, size_t bytes_before);
  void route(ParkedWrite write);
  void forward(ParkedWrite write);
  void park(ParkedWrite write);
  void dispatch_parked();
  void refuse(std::vector<WriteWaiter> waiters, const Status& status);
  // Proposed by an earlier leadership of this node; what became of them is not learnt.
  void refuse_unknown(std::vector<WriteWaiter> waiters);
  // To whoever has the keys, if that is for us to say.
  void send_elsewhere(ParkedWrite write);
  void send_elsewhere(WaitingRead read);
  void on_proposal_result(raft::ProposalResult& result);

  // reads (group_read.cc)
  void on_read_result(raft::ReadResult& result);
  void answer_reads();
  void serve(WaitingRead& read);
  void retry_read(WaitingRead read, const Status& why);
  // All that wait, wherever they are. They count no more.
  std::vector<WaitingRead> take_reads();
  void refuse_reads(const Status& status);
  void commit_expiry_then_read(std::vector<kv::Overdue> overdue, WaitingRead read);
  void sweep_expired();

  void take_updates();
  void trim_feed(const kv::ExportRequest& request);
  void apply_entry(const Entry& entry);
  void on_role_change(const raft::RoleChange& change);
  void halt(Status why);
  void send(const raft::Message& message);
  MonoTime clock(MonoTime now);
  // Everybody who waits, to whom it never mattered here.
  void send_away(const Status& why);

  GroupHost& host_;
  const GroupId id_;
  wal::Wal& wal_;
  std::unique_ptr<engine::Engine> engine_;
  ControlMachine* const control_;
  kv::StateMachine state_machine_;
  Rng rng_;
  std::unique_ptr<raft::Core> core_;
  Status halted_;
  bool retiring_ = false;
  bool apart_ = false;
  MonoTime clock_;
  bool ended_ = false;

  // Writes: gathered in this turn, proposed, appended, waiting for a leader, sent to one.
  std::deque<EntryDraft> drafts_;
  size_t draft_bytes_ = 0;
  std::map<uint64_t, ProposedEntry> proposed_;
  Waiters waiters_;
  std::deque<ParkedWrite> parked_;
  size_t parked_bytes_ = 0;
  std::map<uint64_t, WriteWaiter> forwarded_;
  size_t requests_ = 0;  // all that wait, reads too

  // Reads: gathered in this turn, asked of the core, waiting to be applied, waiting for a leader.
  std::vector<WaitingRead> new_reads_;
  std::map<uint64_t, std::vector<WaitingRead>> asked_reads_;
  std::multimap<Index, WaitingRead> confirmed_reads_;
  std::vector<WaitingRead> parked_reads_;
  kv::ReadOutcome outcome_;
  std::vector<std::string_view> read_keys_;
  bool sweeping_ = false;
  env::TimerId sweep_timer_;
  WallMillis sweep_at_{UINT64_MAX};

  std::map<uint64_t, api::AdminDone> admin_;
  uint64_t next_ticket_ = 1;

  // Updates: taken, then carried out step by step.
  std::deque<raft::Update> updates_;
  std::deque<UnderWay> under_way_;
  std::vector<Entry> committed_;
  std::vector<Answer> answers_;
  std::vector<api::WriteReply> replies_;
  std::optional<OfferedSnapshot> offered_;
  std::optional<raft::SnapshotMeta> install_;
  bool state_changed_ = false;

  struct ShardLoad {
    uint64_t counted = 0;
    uint64_t per_second = 0;
  };
  std::map<ShardId, ShardLoad> loads_;
  MonoTime loads_counted_;

  uint64_t bytes_since_snapshot_ = 0;
  EntryId last_snapshot_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // shared with callbacks that may come later
};

}  // namespace flux::node
