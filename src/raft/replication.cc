// The leader's side of the log: proposals in, appends and heartbeats out, commit (paper, sections 5.3 and 5.4).
#include <utility>

#include "base/probe.h"
#include "raft/core.h"
#include "raft/quorum.h"

namespace flux::raft {

Status Core::may_propose() const {
  if (role_ != Role::kLeader) return {ErrorCode::kNotLeader, "not the leader"};
  if (transfer_) return {ErrorCode::kUnavailable, "leadership is being transferred"};
  if (!membership().is_voter(id())) return {ErrorCode::kUnavailable, "the leader is leaving the group"};
  return {};
}

void Core::on_proposal(Proposal&& proposal) {
  const size_t charge = proposal.data.size() + Log::kEntryOverhead;
  if (Status status = may_propose(); !status.ok()) return refuse(proposal.ticket, std::move(status));
  if (proposal.data.size() > options_.entry_bytes_max) {
    return refuse(proposal.ticket, {ErrorCode::kTooLarge, "the proposal is larger than an entry may be"});
  }
  if (uncommitted_bytes_ > 0 && uncommitted_bytes_ + charge > options_.uncommitted_bytes_max) {
    return refuse(proposal.ticket, {ErrorCode::kOverloaded, "too much is waiting for a quorum"});
  }
  const EntryId entry = append_own(EntryType::kCommand, std::move(proposal.data));
  out_.proposals.push_back({.ticket = proposal.ticket, .status = {}, .id = entry});
}

void Core::refuse(uint64_t ticket, Status why) {
  ++counters_.proposals_refused;
  out_.proposals.push_back({.ticket = ticket, .status = std::move(why), .id = {}});
}

EntryId Core::append_own(EntryType type, SharedBytes data) {
  wake();
  const EntryId entry{.index = log_.last().index + 1, .term = term_};
  uncommitted_bytes_ += data.size() + Log::kEntryOverhead;
  log_.append({.index = entry.index, .term = term_, .type = type, .data = std::move(data)});
  flush_needed_ = true;
  return entry;
}

// Everything that the steps since the last update made possible to say, said once.
void Core::flush() {
  if (!std::exchange(flush_needed_, false)) return;
  if (role_ != Role::kLeader) return forward_reads();
  start_reads();
  if (frugal_ && appends_say_it()) {
    start_round();
    heartbeat_due_ = next_heartbeat();
  }
  for (auto& [node, peer] : progress_) {
    flush_peer(node, peer);
    if (failed_) return;
  }
}

void Core::flush_peer(NodeId to, Progress& peer) {
  switch (peer.state) {
    case ProgressState::kProbe:
      if (!peer.probe_sent) send_append(to, peer);
      return;
    case ProgressState::kReplicate:
      while (peer.next <= log_.last().index &&
             !peer.inflight.full(options_.inflight_messages_max, options_.inflight_bytes_max)) {
        if (!send_append(to, peer)) return;
      }
      if (lacks_commit(peer)) send_heartbeat(to, peer, false);
      return;
    case ProgressState::kSnapshot:
      request_snapshot(to, peer);
      return;
  }
}

// Whether flush_peer() would find something to say.
bool Core::has_words_for(const Progress& peer) const {
  return peer.state != ProgressState::kReplicate || peer.next <= log_.last().index || lacks_commit(peer);
}

bool Core::lacks_commit(const Progress& peer) const {
  return peer.commit_sent < std::min(frugal_ ? peer.reads : commit_, peer.match);
}

// One append from peer.next on; a snapshot instead where the log no longer reaches back, or where the
// peer may not see what is there. Returns whether to go on.
bool Core::send_append(NodeId to, Progress& peer) {
  const Index prev = peer.next - 1;
  const std::optional<Term> prev_term = log_.term_at(prev);
  if (!prev_term || prev < peer.since) {
    FLUX_PROBE("a peer needs what the log no longer has");
    return request_snapshot(to, peer), false;
  }
  Append append{.prev = {.index = prev, .term = *prev_term}, .commit = commit_, .round = round_, .since = peer.since};
  size_t bytes = 0;
  Index last = prev;
  if (peer.next <= log_.last().index) {
    Result<std::vector<Entry>> entries = log_.read(peer.next, log_.last().index, options_.append_bytes_max);
    if (!entries.ok()) return fail(std::move(entries).status()), false;
    for (const Entry& entry : *entries) bytes += Log::charge(entry);
    last = entries->back().index;
    append.entries = std::move(*entries);
  }
  peer.on_sent(last, bytes);
  peer.commit_sent = std::max(peer.commit_sent, std::min(commit_, last));
  send(to, std::move(append));
  return true;
}

void Core::broadcast_heartbeat() {
  start_round();
  for (auto& [node, peer] : progress_) send_heartbeat(node, peer, true);
  heartbeat_due_ = next_heartbeat();
  flush_needed_ = true;
}

void Core::send_heartbeat(NodeId to, Progress& peer, bool wants_reply) {
  // Not above match: the peer's log may differ from ours after that.
  const Index commit = std::min(commit_, peer.match);
  peer.commit_sent = std::max(peer.commit_sent, commit);
  send(to, Heartbeat{.commit = commit,
                     .round = round_,
                     .since = peer.since,
                     .wants_reply = wants_reply,
                     .patience = patience_asked()});
}

// Commits what a quorum holds durably, if it is of our own term (paper, section 5.4.2). We are one of the quorum only
// as a voter, and only with what our own disk has.
void Core::maybe_commit() {
  const Membership& config = membership();
  const Index held = quorum::joint_value(config.voters, config.outgoing, [&](NodeId node) {
    return node == id() ? log_.persisted() : progress_.at(node).match;
  });
  if (held <= commit_) return;
  if (log_.term_at(held) != term_) {
    FLUX_PROBE("a quorum holds an entry of an older term");
    return;
  }
  trace("quorum holds {}^{} -> commit", held, term_);
  commit_to(held);
}

// REQUIRES: no other leader can ever have another entry at `index`.
void Core::commit_to(Index index) {
  FLUX_CHECK(index <= log_.last().index, "commit {} beyond {}", index, log_.last());
  if (index <= commit_) return;
  uncommitted_bytes_ -= std::min(uncommitted_bytes_, log_.charge(commit_ + 1, index));
  commit_ = index;
  flush_needed_ = true;
  if (role_ == Role::kLeader && commit_ >= term_start_ && membership_index() <= commit_) on_config_committed();
}

// The peer that an answer of this term came from; null, having dropped it, where the answer means nothing.
Progress* Core::heard_from(const Message& message, Index since, uint64_t round) {
  if (role_ != Role::kLeader) return nullptr;
  const auto found = progress_.find(message.from);
  if (found == progress_.end()) return drop(message, "not a member"), nullptr;
  Progress& peer = found->second;
  if (since != peer.since) return drop(message, "answers an earlier stay in the group"), nullptr;
  if (round > round_) return drop(message, "absurd round"), nullptr;
  peer.heard = now_;
  peer.answered = true;
  if (round > peer.round) {
    peer.round = round;
    confirm_reads();
  }
  return &peer;
}

}  // namespace flux::raft
