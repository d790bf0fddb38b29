#include "raft/invariants.h"

#include "raft/core.h"

namespace flux::raft {

void InvariantChecker::check(const Core& core) {
  check_state(core);
  if (seen_) check_change(core);
  seen_ = look(core);
}

void InvariantChecker::check_state(const Core& core) {
  check_log(core);
  check_configs(core);
  check_role(core);
  if (core.role_ == Role::kLeader) check_peers(core);
  check_reads(core);
}

void InvariantChecker::check_log(const Core& core) {
  const Log& log = core.log_;
  FLUX_CHECK(log.base().index <= core.applied_);
  FLUX_CHECK(core.applied_ <= core.handed_);
  FLUX_CHECK(core.handed_ <= core.commit_);
  FLUX_CHECK(core.commit_ <= log.last().index);
  FLUX_CHECK(log.base().index <= log.persisted());
  FLUX_CHECK(log.persisted() <= log.last().index);
  // The state machine never runs ahead of the local disk.
  FLUX_CHECK(core.handed_ <= log.persisted());
  FLUX_CHECK(log.tail_first() <= log.persisted() + 1);
  FLUX_CHECK(log.last().term <= core.term_);
  FLUX_CHECK(core.durable_hard_state_.term <= core.term_);
}

void InvariantChecker::check_configs(const Core& core) {
  FLUX_CHECK(!core.configs_.empty());
  FLUX_CHECK(core.configs_.front().first <= core.log_.base().index);
  size_t uncommitted = 0;
  for (size_t i = 0; i < core.configs_.size(); ++i) {
    const auto& [index, membership] = core.configs_[i];
    FLUX_CHECK(index <= core.last_index());
    FLUX_CHECK(membership.validate().ok());
    if (i > 0) FLUX_CHECK(core.configs_[i - 1].first < index);
    if (index > core.commit_) ++uncommitted;
  }
  if (core.role_ == Role::kLeader && core.commit_ >= core.term_start_) FLUX_CHECK(uncommitted <= 1);
}

void InvariantChecker::check_role(const Core& core) {
  FLUX_CHECK((core.role_ == Role::kLeader) == (core.leader_ == core.id()));
  const bool standing = core.role_ == Role::kPreCandidate || core.role_ == Role::kCandidate;
  if (standing) FLUX_CHECK(core.leader_ == kNobody);
  if (!standing) FLUX_CHECK(core.votes_.empty());
  if (core.role_ == Role::kCandidate || core.role_ == Role::kLeader) FLUX_CHECK(core.vote_ == core.id());
  if (core.role_ != Role::kLeader) FLUX_CHECK(core.progress_.empty());
  if (core.installing_) FLUX_CHECK(core.role_ == Role::kFollower);
  if (core.installing_) FLUX_CHECK(core.installing_->last.index > core.commit_);
}

void InvariantChecker::check_peers(const Core& core) {
  const NodeSet members = core.membership().members();
  FLUX_CHECK(core.progress_.size() == members.size() - (members.contains(core.id()) ? 1 : 0));
  FLUX_CHECK(core.term_start_ <= core.last_index());
  // Only ever our own: nobody can have replaced the entry that opened our term.
  FLUX_CHECK(core.term_start_ <= core.log_.base().index || core.log_.term_at(core.term_start_) == core.term_);
  for (const auto& [node, peer] : core.progress_) {
    FLUX_CHECK(members.contains(node));
    FLUX_CHECK(peer.match < peer.next);
    FLUX_CHECK(peer.next <= core.last_index() + 1);
    FLUX_CHECK(peer.since == core.membership().since_of(node));
    FLUX_CHECK(peer.since <= core.commit_ || core.commit_ < core.term_start_);
    FLUX_CHECK(peer.round <= core.round_);
    FLUX_CHECK(peer.commit_sent <= core.commit_);
    if (peer.state != ProgressState::kReplicate) FLUX_CHECK(peer.inflight.messages() == 0);
    FLUX_CHECK(peer.inflight.messages() <= core.options_.inflight_messages_max);
  }
  if (core.transfer_) FLUX_CHECK(core.progress_.contains(core.transfer_->target));
}

void InvariantChecker::check_reads(const Core& core) {
  if (core.role_ != Role::kLeader) {
    FLUX_CHECK(core.reads_waiting_.empty());
    FLUX_CHECK(core.reads_confirming_.empty());
  } else {
    FLUX_CHECK(core.reads_to_forward_.empty());
    FLUX_CHECK(core.reads_forwarded_.empty());
  }
  if (core.leader_ == kNobody) FLUX_CHECK(core.reads_to_forward_.empty());
  uint64_t round = 0;
  for (const auto& read : core.reads_confirming_) {
    FLUX_CHECK(round <= read.round);
    FLUX_CHECK(read.index <= core.commit_);
    round = read.round;
  }
}

void InvariantChecker::check_change(const Core& core) const {
  const Seen& before = *seen_;
  FLUX_CHECK(before.term <= core.term_);
  FLUX_CHECK(before.base <= core.log_.base().index);
  FLUX_CHECK(before.commit.index <= core.commit_);
  FLUX_CHECK(before.handed <= core.handed_);
  FLUX_CHECK(before.applied <= core.applied_);
  // What was committed stays what it was.
  if (before.commit.index >= core.log_.base().index) FLUX_CHECK(core.log_.contains(before.commit));
  if (before.term != core.term_) return;

  FLUX_CHECK(before.vote == core.vote_ || before.vote == kNobody);
  // A term has one leader, although it may be forgotten.
  if (before.leader != kNobody && core.leader_ != kNobody) FLUX_CHECK(before.leader == core.leader_);
  if (before.role == Role::kLeader && core.role_ != Role::kLeader) FLUX_CHECK(core.role_ == Role::kFollower);
  if (before.role != Role::kLeader || core.role_ != Role::kLeader) return;
  // A leader only appends.
  FLUX_CHECK(before.last.index <= core.last_index());
  if (before.last.index >= core.log_.base().index) FLUX_CHECK(core.log_.contains(before.last));
  FLUX_CHECK(before.round <= core.round_);
  // It commits entries of earlier terms only along with one of its own (paper, section 5.4.2).
  if (before.commit.index < core.commit_) FLUX_CHECK(core.log_.term_at(core.commit_) == core.term_);
  for (const auto& [node, peer] : core.progress_) {
    const auto known = before.peers.find(node);
    if (known == before.peers.end() || known->second.since != peer.since) continue;
    FLUX_CHECK(known->second.match <= peer.match);
    FLUX_CHECK(known->second.round <= peer.round);
  }
}

InvariantChecker::Seen InvariantChecker::look(const Core& core) {
  Seen seen{.term = core.term_,
            .vote = core.vote_,
            .role = core.role_,
            .leader = core.leader_,
            .base = core.log_.base().index,
            .commit = {.index = core.commit_, .term = *core.log_.term_at(core.commit_)},
            .handed = core.handed_,
            .applied = core.applied_,
            .last = core.last_id(),
            .round = core.round_,
            .peers = {}};
  for (const auto& [node, peer] : core.progress_) {
    seen.peers[node] = {.since = peer.since, .match = peer.match, .round = peer.round};
  }
  return seen;
}

}  // namespace flux::raft
