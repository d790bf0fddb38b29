// The consensus of one group at one replica: Raft (Ongaro and Ousterhout 2014; Ongaro's dissertation) as a pure state
// machine. Events go in with the time, effects come out; there is no thread, clock, socket, file or randomness but the
// seeded generator it is given.
//
// The driver's duties, in this order:
//   1. step() whatever has happened: messages, proposals, reads, a Tick from next_deadline() on. Several steps may
//      precede one update; that is group commit.
//   2. While has_update(): take_update(). Updates are carried out in the order they were taken.
//   3. Send `send_now`. A leader's appends leave before its own disk write: the two run in parallel.
//   4. If needs_persist(): write `hard_state` and `append` (which replaces the log from append[0].index on), and sync.
//      The driver need not wait: the writes of several updates may be under way, in order.
//   5. When the writes of this and of all earlier updates are durable: send `send_after_persist`, then step
//      Persisted{number}. One Persisted may stand for many updates; an update without writes needs none.
//   6. If `install_snapshot`: after the writes, install the offered state and sync, then step SnapshotPersisted or
//      SnapshotRefused. Appends are not accepted meanwhile.
//   7. Apply `committed`, then step Applied{index of the last}. More may remain: has_update() says so.
//   8. Answer `proposals` that were refused, `reads` once applied has reached their index, and `transfers`.
//   9. Start what `send_snapshots` asks for; step SnapshotSent when done or given up. A stream belongs to the replica
//   that
//      it began with: none is offered to one that was created after it.
//  10. On `fatal`: stop. A failed write or sync is fatal too: drop the core, never step it again.
// A proposal that was accepted has no second answer: the driver watches `committed` for its index and term, and calls
// it unknown when leadership is lost before.
//
// Entries are kept as runs of terms and a tail of bodies bounded in bytes; older bodies are read through LogReader.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "base/status.h"
#include "base/types.h"
#include "raft/event.h"
#include "raft/log.h"
#include "raft/membership.h"
#include "raft/message.h"
#include "raft/options.h"
#include "raft/progress.h"
#include "raft/restore.h"
#include "raft/update.h"

namespace flux::raft {

// Listens to what a core decides and why: "append from 1 prev=11^4 conflicts (ours 11^3) -> reject, hint=9^3".
class Tracer {
 public:
  virtual ~Tracer() = default;
  // Whether anybody reads; lines are not made otherwise.
  virtual bool listens() const { return true; }
  virtual void trace(std::string_view line) = 0;
};

// What a leader knows of one peer, for status pages.
struct PeerStatus {
  NodeId id;
  bool voter = false;
  ProgressState state = ProgressState::kProbe;
  Index match;  // durable and equal to ours up to here
  Index next;   // sent up to the one before
  bool recently_active = false;
};

struct Counters {
  uint64_t messages_dropped = 0;  // from outside and without sense: bad term, index or sender
  uint64_t elections_started = 0;
  uint64_t elections_won = 0;
  uint64_t proposals_refused = 0;
  uint64_t read_rounds = 0;
  uint64_t snapshots_requested = 0;
};

// Owned by one worker; not thread-safe.
class Core {
 public:
  // `reader` and `tracer` must outlive the core. `rng` must be seeded differently for every incarnation of a replica.
  // REQUIRES: options.validate() is OK.
  Core(Options options, Restore restore, LogReader& reader, Rng rng, MonoTime now, Tracer* tracer = nullptr);
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  // Takes in one event. Never fails: bad messages are dropped and counted. REQUIRES: `now` never goes back; leases rest
  // on it.
  void step(MonoTime now, Event event);

  // Whether take_update() may have something to do.
  bool has_update() const;
  Update take_update();

  // When a Tick is next useful; MonoTime::infinite() if never. Changes with every step.
  MonoTime next_deadline() const;

  // Whether a read that began before now may be served at once from state that includes commit_index(). Check it after
  // the state was read, with a fresh time, before the answer leaves.
  bool lease_valid(MonoTime now) const;

  const Options& options() const { return options_; }
  NodeId id() const { return options_.id; }
  Role role() const { return role_; }
  Term term() const { return term_; }
  // The newest, durable or not.
  HardState hard_state() const { return {.term = term_, .vote = vote_}; }
  NodeId leader() const { return leader_; }  // kNobody: not known
  Index commit_index() const { return commit_; }
  Index applied_index() const { return applied_; }
  Index last_index() const { return log_.last().index; }
  EntryId last_id() const { return log_.last(); }
  // What the log starts after.
  EntryId base_id() const { return log_.base(); }
  // The term of a log entry; known from the base to the last.
  std::optional<Term> term_at(Index index) const { return log_.term_at(index); }
  // Durable here up to this.
  Index persisted_index() const { return log_.persisted(); }
  // In force now; may be uncommitted.
  const Membership& membership() const { return configs_.back().second; }
  Index membership_index() const { return configs_.back().first; }
  // What a snapshot of the state machine at `index` has to say. REQUIRES: base <= index <= applied.
  SnapshotMeta snapshot_meta(Index index) const;
  // Whether a proposal would be looked at now. kNotLeader, or kUnavailable for a while: why not.
  Status may_propose() const;
  NodeId transfer_target() const { return transfer_ ? transfer_->target : kNobody; }
  // As leader, all peers but itself, ascending; empty otherwise.
  std::vector<PeerStatus> peers(MonoTime now) const;
  // Whether to say less, for the sake of many other groups on the node: what is committed is told with the next append
  // or heartbeat rather than in a message of its own, appends stand for heartbeats, which come half as often, and a
  // leader with nothing to do speaks rarely (Options::idle_heartbeat_interval). Not before this is called.
  void be_frugal(bool frugal) { frugal_ = frugal; }
  // Whether the leader speaks rarely, as far as it has said so here.
  bool idles() const;
  // As leader: OK if `learner` has so much of the log, and was heard so lately, that it may be promoted.
  Status ready_to_promote(NodeId learner, MonoTime now) const;
  const Counters& counters() const { return counters_; }
  bool failed() const { return failed_; }

 private:
  friend class InvariantChecker;

  struct PendingRead {
    uint64_t ticket;   // local reads
    NodeId from;       // kNobody: local; otherwise who forwarded it
    uint64_t context;  // forwarded reads
    MonoTime deadline;
    uint64_t round = 0;  // confirming: the round that decides
    Index index;         // confirming: what to answer
  };
  struct ForwardedReads {
    uint64_t context;
    MonoTime deadline;
    std::vector<uint64_t> tickets;
  };
  struct Transfer {
    uint64_t ticket;
    NodeId target;
    MonoTime deadline;
  };
  struct Round {
    uint64_t number;
    MonoTime started;
  };
  enum class Durable : uint8_t { kTerm, kLog };

  // core.cc: events and effects. receive.cc: messages up to their handler.
  void dispatch(Event&& event);
  void on_received(Message&& message);
  bool admit(const Message& message);
  bool reconcile_term(const Message& message);
  void drop(const Message& message, std::string_view why);
  void send(NodeId to, MessageBody body, Durable needs = Durable::kTerm);
  void send_in_term(NodeId to, Term term, MessageBody body, Durable needs = Durable::kTerm);
  void fail(Status status);
  void on_persisted(uint64_t number);
  void on_applied(Index index);

  // election.cc: roles and timers.
  void on_tick();
  void on_leader_gone(NodeId node);
  void become_follower(Term term, NodeId leader);
  void become_leader();
  void campaign();
  void campaign_pre();
  void campaign_real(bool transfer);
  void record_vote(NodeId from, bool granted);
  void count_own_vote();
  void leave_leadership();
  void step_down_removed();
  bool follow(const Message& message);
  void set_leader(NodeId leader);
  void on_election_timeout();
  void draw_election_timeout();
  void reset_election_timer();
  bool electable() const;
  bool hears_leader() const;
  void check_quorum();
  // idle.cc
  void wake();
  bool may_idle() const;
  Micros speaking_interval() const;
  Micros patience_asked() const;
  bool is_heard(const Progress& peer, MonoTime now) const;
  MonoTime next_heartbeat() const;
  bool appends_say_it() const;

  // on_<message>.cc: one handler each.
  void on_message(const Message& message, Append& append);
  void on_message(const Message& message, const AppendResult& result);
  void on_message(const Message& message, const Vote& vote);
  void on_message(const Message& message, const VoteResult& result);
  void on_message(const Message& message, const Heartbeat& heartbeat);
  void on_message(const Message& message, const HeartbeatResult& result);
  void on_message(const Message& message, const SnapshotOffer& offer);
  void on_message(const Message& message, const TimeoutNow& timeout_now);
  void on_message(const Message& message, const ReadIndex& read);
  void on_message(const Message& message, const ReadIndexResult& result);

  // replication.cc: the leader's side, and commit.
  void on_proposal(Proposal&& proposal);
  void refuse(uint64_t ticket, Status why);
  EntryId append_own(EntryType type, SharedBytes data);
  void flush();
  void flush_peer(NodeId to, Progress& peer);
  bool has_words_for(const Progress& peer) const;
  bool lacks_commit(const Progress& peer) const;
  bool send_append(NodeId to, Progress& peer);
  void request_snapshot(NodeId to, Progress& peer);
  void broadcast_heartbeat();
  void send_heartbeat(NodeId to, Progress& peer, bool wants_reply);
  void maybe_commit();
  void commit_to(Index index);
  bool has_committed() const;
  void collect_committed();
  Progress* heard_from(const Message& message, Index since, uint64_t round);

  // snapshot.cc: both sides.
  void on_snapshot_persisted(const SnapshotMeta& meta);
  void on_snapshot_refused(const SnapshotMeta& meta);
  void on_snapshot_sent(const SnapshotSent& sent);
  void on_compacted(EntryId last);
  void on_peer_unreachable(NodeId node);
  void on_peer_reachable(NodeId node);

  // config_change.cc
  void on_config_proposed(ConfigProposed&& proposed);
  Status config_change_allowed() const;
  Index joining_since() const;
  EntryId append_config(Membership next, std::string_view context);
  void push_config(Index index, Membership membership);
  void truncate_configs(Index from);
  void sync_progress();
  void on_config_committed();
  void promote_ready_learners();

  // transfer.cc
  void on_transfer_requested(const TransferRequested& request);
  void transfer_advance();
  void transfer_end(Status status);
  NodeId best_successor() const;

  // read_index.cc: reads and the lease.
  void on_read_requested(const ReadRequested& request);
  void start_round();
  void start_reads();
  void forward_reads();
  void confirm_reads();
  void fail_reads(std::string_view why);
  void expire_reads();
  void answer_read(const PendingRead& read, Status status);
  uint64_t quorum_round() const;
  MonoTime next_read_deadline() const;
  Micros lease_length() const;

  template <typename... Args>
  void trace(fmt::format_string<Args...> format, Args&&... args) {
    if (tracer_ != nullptr && tracer_->listens()) tracer_->trace(fmt::format(format, std::forward<Args>(args)...));
  }

  const Options options_;
  Rng rng_;
  Tracer* const tracer_;
  MonoTime now_;  // of the newest step; never goes back

  // What a vote rests on. Invariant: term_ never goes back; vote_ changes only from kNobody within a term.
  Term term_;
  NodeId vote_;
  HardState handed_hard_state_;   // as of the newest update
  HardState durable_hard_state_;  // as of the newest Persisted
  std::deque<std::pair<uint64_t, HardState>> hard_states_under_way_;

  Log log_;
  // Configurations in the log, ascending; the first is the base's. Invariant: never empty.
  std::vector<std::pair<Index, Membership>> configs_;
  // Invariant: base <= applied_ <= handed_ <= commit_ <= last. None ever goes back.
  Index commit_;
  Index handed_;  // given to the driver to apply
  Index applied_;

  Role role_ = Role::kFollower;
  NodeId leader_;  // of term_, as far as known
  // When a leader was last heard. Kept when the leader is forgotten: with leases it is a promise not to help elect
  // another before leader_heard_ + election_timeout_min, and a restart must keep a promise it cannot remember.
  std::optional<MonoTime> leader_heard_;
  Micros patience_{0};          // how much longer than usual the leader may be silent
  Index leader_since_;          // its name for our stay, echoed when no message is at hand to echo from
  Micros election_timeout_{0};  // drawn anew for every term
  MonoTime election_deadline_;

  // Candidates: answers so far.
  std::map<NodeId, bool> votes_;

  // Leaders. All of it is made anew by become_leader() and void otherwise.
  std::map<NodeId, Progress> progress_;  // Invariant: exactly the members but for ourselves.
  Index term_start_;                     // our no-op. Invariant: nothing older is committed by counting.
  MonoTime heartbeat_due_;
  bool frugal_ = false;
  bool idle_ = false;         // speaks rarely
  MonoTime active_at_;        // the last time there was something to do
  MonoTime awake_since_;      // silence from before counts no more: it was asked for
  uint64_t round_ = 0;        // newest leadership round
  std::deque<Round> rounds_;  // leases: those that no quorum has answered yet, and the newest that one has
  bool lease_dropped_ = false;
  size_t uncommitted_bytes_ = 0;
  std::optional<Transfer> transfer_;

  // Reads: waiting for a round to start, for a quorum to confirm it, for an index from the leader.
  std::deque<PendingRead> reads_waiting_;
  std::deque<PendingRead> reads_confirming_;  // Invariant: round ascending.
  std::vector<std::pair<uint64_t, MonoTime>> reads_to_forward_;
  std::deque<ForwardedReads> reads_forwarded_;
  size_t reads_forwarded_count_ = 0;
  uint64_t read_context_;

  // A snapshot that the driver is installing. Invariant: role_ is kFollower, and last > commit_, while it is set.
  std::optional<SnapshotMeta> installing_;

  Update out_;
  uint64_t update_number_ = 0;
  bool flush_needed_ = false;
  RoleChange reported_role_;
  bool failed_ = false;
  Counters counters_;
  std::unique_ptr<class InvariantChecker> checker_;  // null: not checking
};

}  // namespace flux::raft
