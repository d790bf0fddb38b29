// Roles, elections and the timers that drive them (paper, section 5.2; dissertation, sections 9.6 and 6.2).
#include "base/probe.h"
#include "raft/core.h"
#include "raft/quorum.h"

namespace flux::raft {

void Core::on_tick() {
  expire_reads();
  if (transfer_ && now_ >= transfer_->deadline) transfer_end({ErrorCode::kTimeout, "the target did not take over"});
  if (role_ != Role::kLeader) {
    if (now_ >= election_deadline_) on_election_timeout();
    return;
  }
  check_quorum();
  if (role_ == Role::kLeader && now_ >= heartbeat_due_) {
    const bool idle = may_idle();
    if (idle_ && !idle) awake_since_ = now_;
    if (!idle_ && idle) FLUX_PROBE("a group has nothing to do");
    idle_ = idle;
    broadcast_heartbeat();
    transfer_advance();
  }
}

void Core::on_election_timeout() {
  if (!electable()) {
    // Somebody else's to elect; what is left to us is to stop naming a leader that is silent.
    set_leader(kNobody);
    election_deadline_ = MonoTime::infinite();
    return;
  }
  trace("election timeout -> campaign");
  campaign();
}

void Core::campaign() {
  if (role_ == Role::kLeader || !electable()) return;
  if (options_.leader_lease && hears_leader()) {
    // Our promise to the last leader binds our own candidacy too.
    trace("promise to the last leader still binds -> wait");
    election_deadline_ = *leader_heard_ + options_.election_timeout_min + patience_;
    return;
  }
  ++counters_.elections_started;
  if (options_.pre_vote) return campaign_pre();
  campaign_real(false);
}

// Asks the voters whether they would elect us, binding nobody: a node that cannot win does not raise the term.
void Core::campaign_pre() {
  set_leader(kNobody);
  role_ = Role::kPreCandidate;
  draw_election_timeout();
  reset_election_timer();
  votes_.clear();
  trace("become pre-candidate, last={}", log_.last());
  for (const NodeId voter : membership().members()) {
    if (voter == id() || !membership().is_voter(voter)) continue;
    send_in_term(voter, term_ + 1, Vote{.pre = true, .last = log_.last()});
  }
  record_vote(id(), true);
}

void Core::campaign_real(bool transfer) {
  set_leader(kNobody);
  role_ = Role::kCandidate;
  ++term_;
  vote_ = id();
  draw_election_timeout();
  reset_election_timer();
  votes_.clear();
  trace("become candidate in t{}{}, last={}", term_, transfer ? " by transfer" : "", log_.last());
  // These leave once our vote for ourselves is durable, and only then does that vote count: see count_own_vote().
  for (const NodeId voter : membership().members()) {
    if (voter == id() || !membership().is_voter(voter)) continue;
    send(voter, Vote{.transfer = transfer, .last = log_.last()});
  }
}

void Core::count_own_vote() {
  if (role_ != Role::kCandidate || votes_.contains(id())) return;
  if (durable_hard_state_ == hard_state()) record_vote(id(), true);
}

// The first answer of each voter counts; answers of others are kept and ignored by the arithmetic.
void Core::record_vote(NodeId from, bool granted) {
  votes_.emplace(from, granted);
  const Membership& config = membership();
  const quorum::Verdict verdict = quorum::joint_vote(config.voters, config.outgoing, [&](NodeId node) {
    const auto vote = votes_.find(node);
    if (vote == votes_.end()) return quorum::Answer::kNone;
    return vote->second ? quorum::Answer::kYes : quorum::Answer::kNo;
  });
  if (verdict == quorum::Verdict::kPending) return;
  if (verdict == quorum::Verdict::kLost) {
    FLUX_PROBE("a candidate loses");
    trace("a quorum refuses -> follower");
    return become_follower(term_, kNobody);
  }
  if (role_ == Role::kPreCandidate) return campaign_real(false);
  // Without our own vote on disk we might vote for another after a crash, in a term that we led.
  if (durable_hard_state_ == hard_state()) become_leader();
}

void Core::become_follower(Term term, NodeId leader) {
  FLUX_CHECK(term >= term_);
  const Role before = role_;
  role_ = Role::kFollower;
  votes_.clear();
  if (term > term_) {
    term_ = term;
    vote_ = kNobody;
    draw_election_timeout();
  }
  if (before == Role::kLeader) leave_leadership();
  set_leader(leader);
  if (leader != kNobody) leader_heard_ = now_;
  // A follower's timer runs on through a mere rise of the term: a candidate that cannot win must not keep others from
  // standing.
  if (before != Role::kFollower || leader != kNobody) reset_election_timer();
  trace("become follower in t{}, leader={}", term_, leader_);
}

void Core::become_leader() {
  FLUX_CHECK(role_ == Role::kCandidate);
  trace("become leader in t{}", term_);
  ++counters_.elections_won;
  role_ = Role::kLeader;
  votes_.clear();
  set_leader(id());
  progress_.clear();
  round_ = 0;
  rounds_.clear();
  lease_dropped_ = false;
  idle_ = false;
  active_at_ = now_;
  awake_since_ = now_;
  uncommitted_bytes_ = log_.charge(commit_ + 1, log_.last().index);
  sync_progress();
  // Nothing of earlier terms commits, no read is answered and no membership changes before our first entry commits
  // (paper, sections 5.4.2 and 8).
  term_start_ = append_own(EntryType::kNoop, {}).index;
  start_round();  // the appends of this entry carry it
  heartbeat_due_ = now_ + options_.heartbeat_interval;
}

void Core::leave_leadership() {
  progress_.clear();
  rounds_.clear();
  uncommitted_bytes_ = 0;
  fail_reads("leadership was lost");
}

void Core::set_leader(NodeId leader) {
  if (leader == leader_) return;
  patience_ = Micros(0);
  leader_ = leader;
  leader_since_ = Index(0);
  if (role_ != Role::kLeader) fail_reads("the leader changed");
  if (transfer_ && leader != kNobody) {
    transfer_end(leader == transfer_->target ? Status() : Status(ErrorCode::kUnavailable, "another node took over"));
  }
}

void Core::draw_election_timeout() {
  const auto min = static_cast<uint64_t>(options_.election_timeout_min.count());
  const auto max = static_cast<uint64_t>(options_.election_timeout_max.count());
  election_timeout_ = Micros(static_cast<int64_t>(rng_.between(min, max)));
}

void Core::reset_election_timer() { election_deadline_ = now_ + election_timeout_ + patience_; }

// A voter of the newest configuration stands for election. So does a voter of the one before while the newest is not
// committed: it may be the only one that has the entry, and then nobody can win against its log (dissertation, 4.2.2).
bool Core::electable() const {
  if (installing_) return false;
  if (membership().is_voter(id())) return true;
  return configs_.size() > 1 && membership_index() > commit_ && configs_[configs_.size() - 2].second.is_voter(id());
}

// Whether we owe it to a leader not to help replace it.
bool Core::hears_leader() const {
  if (!options_.check_quorum) return false;
  if (role_ == Role::kLeader) return true;  // it steps down by itself when it has lost its quorum
  if (!leader_heard_ || now_ >= *leader_heard_ + options_.election_timeout_min + patience_) return false;
  // A lease is a promise to whoever led when we answered, even after we forgot the name.
  return leader_ != kNobody || options_.leader_lease;
}

// A leader that a quorum has not answered for an election timeout may have been replaced without knowing.
void Core::check_quorum() {
  if (!options_.check_quorum) return;
  const Membership& config = membership();
  const MonoTime heard = quorum::joint_value(config.voters, config.outgoing, [&](NodeId node) {
    return node == id() ? now_ : std::max(progress_.at(node).heard, awake_since_);
  });
  if (now_ - heard < options_.election_timeout_max + patience_asked()) return;
  FLUX_PROBE("a leader has lost its quorum");
  trace("no quorum heard for {} ms -> step down", (now_ - heard).count() / 1000);
  become_follower(term_, kNobody);
}

void Core::on_leader_gone(NodeId node) {
  if (role_ != Role::kFollower || node == kNobody || leader_ != node) return;
  // It may be back at once, but what it asked for rests on a connection that is gone.
  if (patience_ > Micros(0)) {
    patience_ = Micros(0);
    election_deadline_ = std::min(election_deadline_, now_ + election_timeout_);
  }
  // Pre-vote keeps a wrong report harmless; with leases a forgotten leader may still be serving reads on our promise.
  if (!options_.pre_vote || !options_.check_quorum || options_.leader_lease) return;
  FLUX_PROBE("the leader's connection breaks");
  trace("leader {} is gone -> forget it", node);
  set_leader(kNobody);
  const uint64_t delay = rng_.between(0, static_cast<uint64_t>(options_.leader_gone_delay_max.count()));
  election_deadline_ = std::min(election_deadline_, now_ + Micros(static_cast<int64_t>(delay)));
}

}  // namespace flux::raft
