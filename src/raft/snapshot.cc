// Snapshots: the state itself is the drivers' to stream; the core decides who needs one and what it means for the log.
#include "base/probe.h"
#include "raft/core.h"

namespace flux::raft {

// The whole verified state is at hand; is it news?
void Core::on_message(const Message& message, const SnapshotOffer& offer) {
  const SnapshotMeta& meta = offer.meta;
  if (meta.last.index == Index(0) || meta.last.term > message.term || meta.membership.voters.empty() ||
      !meta.membership.validate().ok()) {
    return drop(message, "malformed");
  }
  if (!follow(message)) return;
  if (installing_) return;
  const auto accept_up_to = [&](Index index) {
    send(message.from, AppendResult{.accepted = true, .index = index, .since = leader_since_}, Durable::kLog);
  };
  if (meta.last.index <= commit_) {
    FLUX_PROBE("a snapshot is behind the commit");
    trace("snapshot {} from {} is behind commit {} -> accept that", meta.last, message.from, commit_);
    return accept_up_to(commit_);
  }
  if (log_.contains(meta.last)) {
    FLUX_PROBE("a snapshot is in the log already");
    trace("snapshot {} from {} is in the log -> commit", meta.last, message.from);
    commit_to(meta.last.index);
    return accept_up_to(meta.last.index);
  }
  trace("snapshot {} from {}, ours ends at {} -> install", meta.last, message.from, log_.last());
  // Memory follows when the disk has it; until then nothing is appended, applied or campaigned for.
  installing_ = meta;
  out_.install_snapshot = meta;
}

void Core::on_snapshot_persisted(const SnapshotMeta& meta) {
  FLUX_CHECK(installing_ == meta, "snapshot {} was not to be installed", meta.last);
  installing_.reset();
  trace("snapshot {} is installed", meta.last);
  FLUX_PROBE("a snapshot takes the place of the log");
  log_.restore(meta.last);
  configs_.clear();
  configs_.emplace_back(meta.last.index, meta.membership);
  commit_ = handed_ = applied_ = meta.last.index;
  reset_election_timer();
  if (leader_ == kNobody) return;
  send(leader_, AppendResult{.accepted = true, .index = meta.last.index, .since = leader_since_}, Durable::kLog);
}

void Core::on_snapshot_refused(const SnapshotMeta& meta) {
  FLUX_CHECK(installing_ == meta, "snapshot {} was not to be installed", meta.last);
  FLUX_PROBE("a snapshot is not installed");
  trace("snapshot {} could not be installed", meta.last);
  installing_.reset();
  reset_election_timer();
}

void Core::request_snapshot(NodeId to, Progress& peer) {
  if (peer.state != ProgressState::kSnapshot) peer.become_snapshot();
  const Index index_min = std::max(log_.base().index, peer.since);
  if (peer.snapshot_streaming || now_ < peer.snapshot_retry_at || applied_ < index_min) return;
  // Nobody streams to a node that does not answer.
  if (!is_heard(peer, now_)) return;
  peer.snapshot_streaming = true;
  ++counters_.snapshots_requested;
  trace("{} needs {}, its log may start after {} -> snapshot", to, peer.next, index_min);
  out_.send_snapshots.push_back({.to = to, .term = term_, .index_min = index_min});
}

// The next probe tells whether the snapshot helped. Repeats wait longer and longer, so that a peer which never gets
// there does not keep the leader streaming.
void Core::on_snapshot_sent(const SnapshotSent& sent) {
  const auto found = progress_.find(sent.to);
  if (role_ != Role::kLeader || found == progress_.end()) return;
  Progress& peer = found->second;
  peer.snapshot_streaming = false;
  peer.snapshot_failures = std::min(peer.snapshot_failures + 1, 6U);
  peer.snapshot_retry_at = now_ + options_.heartbeat_interval * (1 << peer.snapshot_failures);
  flush_needed_ = true;
  if (peer.state != ProgressState::kSnapshot) return;
  peer.become_probe();
  if (sent.ok) peer.next = std::max(peer.next, std::min(sent.index, log_.last().index) + 1);
  trace("snapshot for {} {} -> probe from {}", sent.to, sent.ok ? "was sent" : "failed", peer.next);
}

void Core::on_compacted(EntryId last) {
  FLUX_CHECK(last.index <= applied_, "compacted {} but applied only {}", last, applied_);
  if (last.index <= log_.base().index) return;
  log_.compact(last);
  while (configs_.size() > 1 && configs_[1].first <= last.index) configs_.erase(configs_.begin());
}

// Sending ahead into a broken connection wastes the window; one probe at a time until it answers.
void Core::on_peer_unreachable(NodeId node) {
  const auto found = progress_.find(node);
  if (found == progress_.end() || found->second.state != ProgressState::kReplicate) return;
  found->second.become_probe();
  found->second.probe_sent = true;
}

void Core::on_peer_reachable(NodeId node) {
  const auto found = progress_.find(node);
  if (found == progress_.end()) return;
  found->second.probe_sent = false;
  flush_needed_ = true;
  wake();  // it may have begun anew, and does not know that it should wait for us
}

}  // namespace flux::raft
