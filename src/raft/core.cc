#include "raft/core.h"

#include <algorithm>
#include <utility>

#include "base/overloaded.h"
#include "raft/invariants.h"

namespace flux::raft {

std::string_view to_string(Role role) {
  switch (role) {
    case Role::kFollower:
      return "follower";
    case Role::kPreCandidate:
      return "pre_candidate";
    case Role::kCandidate:
      return "candidate";
    case Role::kLeader:
      return "leader";
  }
  return "?";
}

Core::Core(Options options, Restore restore, LogReader& reader, Rng rng, MonoTime now, Tracer* tracer)
    : options_(options),
      rng_(rng),
      tracer_(tracer),
      now_(now),
      term_(restore.hard_state.term),
      vote_(restore.hard_state.vote),
      handed_hard_state_(restore.hard_state),
      durable_hard_state_(restore.hard_state),
      log_(restore, reader),
      commit_(restore.applied),
      handed_(restore.applied),
      applied_(restore.applied),
      read_context_(rng_.next()),
      reported_role_{.role = Role::kFollower, .term = term_, .leader = kNobody} {
  const Status valid = options_.validate();
  FLUX_CHECK(valid.ok(), "{}", valid.to_string());
  configs_.emplace_back(restore.base.last.index, std::move(restore.base.membership));
  for (auto& config : restore.configs) configs_.push_back(std::move(config));
  draw_election_timeout();
  reset_election_timer();
  if (options_.leader_lease) {
    leader_heard_ = now_;
  } else if (membership().voters == NodeSet{id()} && !membership().joint()) {
    election_deadline_ = now_;  // nobody to wait for
  }
#ifdef FLUX_DCHECK_ON
  checker_ = std::make_unique<InvariantChecker>();
#else
  if (options_.check_invariants) checker_ = std::make_unique<InvariantChecker>();
#endif
  if (checker_) checker_->check(*this);
}

Core::~Core() = default;

void Core::step(MonoTime now, Event event) {
  if (failed_) return;
  FLUX_CHECK(now >= now_, "time went back by {} us", (now_ - now).count());
  now_ = now;
  dispatch(std::move(event));
  if (checker_ && !failed_) checker_->check(*this);
}

void Core::dispatch(Event&& event) {
  std::visit(Overloaded{
                 [&](const Tick&) { on_tick(); },
                 [&](Received& e) { on_received(std::move(e.message)); },
                 [&](Proposal& e) { on_proposal(std::move(e)); },
                 [&](const ReadRequested& e) { on_read_requested(e); },
                 [&](ConfigProposed& e) { on_config_proposed(std::move(e)); },
                 [&](const TransferRequested& e) { on_transfer_requested(e); },
                 [&](const Persisted& e) { on_persisted(e.number); },
                 [&](const Applied& e) { on_applied(e.index); },
                 [&](const SnapshotPersisted& e) { on_snapshot_persisted(e.meta); },
                 [&](const SnapshotRefused& e) { on_snapshot_refused(e.meta); },
                 [&](const SnapshotSent& e) { on_snapshot_sent(e); },
                 [&](const Compacted& e) { on_compacted(e.last); },
                 [&](const PeerUnreachable& e) { on_peer_unreachable(e.node); },
                 [&](const PeerReachable& e) { on_peer_reachable(e.node); },
                 [&](const LeaderGone& e) { on_leader_gone(e.node); },
                 [&](const Campaign&) { campaign(); },
             },
             event);
}

void Core::on_persisted(uint64_t number) {
  FLUX_CHECK(number <= update_number_, "persisted update {} of {}", number, update_number_);
  log_.persist(number);
  while (!hard_states_under_way_.empty() && hard_states_under_way_.front().first <= number) {
    durable_hard_state_ = hard_states_under_way_.front().second;
    hard_states_under_way_.pop_front();
  }
  count_own_vote();
  if (role_ == Role::kLeader) maybe_commit();
}

void Core::on_applied(Index index) {
  FLUX_CHECK(index <= handed_, "applied {} but only {} was handed out", index, handed_);
  applied_ = std::max(applied_, index);
}

bool Core::has_update() const {
  if (failed_) return out_.fatal.has_value();
  return flush_needed_ || log_.has_unwritten() || hard_state() != handed_hard_state_ || has_committed() ||
         !out_.send_now.empty() || !out_.send_after_persist.empty() || out_.install_snapshot || !out_.reads.empty() ||
         !out_.proposals.empty() || !out_.transfers.empty() || !out_.send_snapshots.empty() ||
         reported_role_ != RoleChange{.role = role_, .term = term_, .leader = leader_};
}

Update Core::take_update() {
  if (!failed_) {
    flush();
    collect_committed();
  }
  if (failed_) return std::exchange(out_, {});
  Update update = std::exchange(out_, {});
  update.number = ++update_number_;
  update.append = log_.take_unwritten(update.number);
  if (hard_state() != handed_hard_state_) {
    handed_hard_state_ = hard_state();
    update.hard_state = handed_hard_state_;
    hard_states_under_way_.emplace_back(update.number, handed_hard_state_);
  }
  const RoleChange role{.role = role_, .term = term_, .leader = leader_};
  if (role != reported_role_) update.role_change = reported_role_ = role;
  log_.trim(handed_, frugal_ ? options_.tail_bytes_max_frugal : options_.tail_bytes_max);
  return update;
}

bool Core::has_committed() const { return !installing_ && handed_ < std::min(commit_, log_.persisted()); }

// One bounded piece of what is committed and durable here, and not handed out yet.
void Core::collect_committed() {
  if (!has_committed()) return;
  Result<std::vector<Entry>> entries =
      log_.read(handed_ + 1, std::min(commit_, log_.persisted()), options_.committed_bytes_max);
  if (!entries.ok()) return fail(std::move(entries).status());
  out_.committed = std::move(*entries);
  handed_ = out_.committed.back().index;
}

// The replica cannot go on: nothing it says after this could be trusted.
void Core::fail(Status status) {
  trace("log unreadable: {} -> stop", status.to_string());
  failed_ = true;
  out_ = {};
  out_.fatal = std::move(status);
}

void Core::send(NodeId to, MessageBody body, Durable needs) { send_in_term(to, term_, std::move(body), needs); }

// The one place where messages leave, and where each is held back until what it promises is durable. Every message
// tells our term, and a term that was told must survive a crash; an acceptance promises the log as well.
void Core::send_in_term(NodeId to, Term term, MessageBody body, Durable needs) {
  bool durable = durable_hard_state_ == hard_state();
  if (needs == Durable::kLog) durable = durable && std::get<AppendResult>(body).index <= log_.persisted();
  Message message{.from = id(), .to = to, .term = term, .body = std::move(body)};
  (durable ? out_.send_now : out_.send_after_persist).push_back(std::move(message));
}

MonoTime Core::next_deadline() const {
  if (failed_) return MonoTime::infinite();
  MonoTime next = next_read_deadline();
  if (transfer_) next = std::min(next, transfer_->deadline);
  if (role_ != Role::kLeader) return std::min(next, election_deadline_);
  return progress_.empty() ? next : std::min(next, heartbeat_due_);
}

SnapshotMeta Core::snapshot_meta(Index index) const {
  FLUX_CHECK(index >= log_.base().index);
  FLUX_CHECK(index <= applied_);
  const auto after = std::upper_bound(configs_.begin(), configs_.end(), index,
                                      [](Index i, const auto& config) { return i < config.first; });
  FLUX_CHECK(after != configs_.begin());
  return {.last = {.index = index, .term = *log_.term_at(index)}, .membership = std::prev(after)->second};
}

std::vector<PeerStatus> Core::peers(MonoTime now) const {
  std::vector<PeerStatus> peers;
  for (const auto& [node, peer] : progress_) {
    peers.push_back({.id = node,
                     .voter = membership().is_voter(node),
                     .state = peer.state,
                     .match = peer.match,
                     .next = peer.next,
                     .recently_active = is_heard(peer, now)});
  }
  return peers;
}

}  // namespace flux::raft
