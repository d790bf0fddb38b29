// Leaders that have nothing to do speak rarely, so that a node with a thousand idle groups has next to nothing to do.
//
// Only timing changes. A follower that was asked for patience waits longer before it stands for election, and sticks to
// its leader for as long; it answers, votes and promises as ever. Whatever gives the leader something to do makes it
// speak at once, and from then on as often as usual. A connection that breaks ends the patience (Core::on_leader_gone).
#include <algorithm>

#include "raft/core.h"

namespace flux::raft {

// There is something to do.
void Core::wake() {
  if (role_ != Role::kLeader) return;
  active_at_ = now_;
  if (!idle_) return;
  idle_ = false;
  awake_since_ = now_;
  broadcast_heartbeat();
}

// Whether everybody has everything, and nothing is asked.
bool Core::may_idle() const {
  if (!frugal_ || options_.idle_heartbeat_interval == Micros(0)) return false;
  if (now_ < active_at_ + options_.idle_after || transfer_ || membership().joint()) return false;
  if (commit_ != log_.last().index || !reads_waiting_.empty() || !reads_confirming_.empty()) return false;
  return std::all_of(progress_.begin(), progress_.end(), [&](const auto& each) {
    const Progress& peer = each.second;
    return peer.state == ProgressState::kReplicate && peer.match == commit_ && peer.commit_sent == commit_;
  });
}

Micros Core::speaking_interval() const {
  if (idle_) return options_.idle_heartbeat_interval;
  return frugal_ ? 2 * options_.heartbeat_interval : options_.heartbeat_interval;
}

// Idle: twice the time to the next heartbeat, so that one that is late or lost deposes nobody. Frugal: as much as the
// heartbeats are further apart, so that a node may stand still for as long as it might otherwise.
Micros Core::patience_asked() const {
  if (idle_) return 2 * options_.idle_heartbeat_interval;
  return frugal_ ? options_.heartbeat_interval : Micros(0);
}

bool Core::idles() const {
  if (role_ == Role::kLeader) return idle_;
  return patience_ > options_.heartbeat_interval;
}

bool Core::is_heard(const Progress& peer, MonoTime now) const {
  return peer.answered && now - std::max(peer.heard, awake_since_) < options_.election_timeout_max + patience_asked();
}

// In step with the other groups of the node, so that what they say goes out in the same turns and frames.
MonoTime Core::next_heartbeat() const {
  const Micros interval = speaking_interval();
  const Micros step = idle_ ? interval : std::max(interval / 4, Micros(1));
  return MonoTime((now_.since_start() + interval) / step * step);
}

// Whether the appends that are about to leave do for a heartbeat: all get one, and nobody owes an answer to an earlier
// one. An answer to an append waits for a disk; who has to wait for it is asked something that needs none, so that a
// slow disk does not look like silence.
bool Core::appends_say_it() const {
  return !progress_.empty() && std::all_of(progress_.begin(), progress_.end(), [&](const auto& each) {
    const Progress& peer = each.second;
    return peer.state == ProgressState::kReplicate && peer.match + 1 == peer.next && peer.next <= log_.last().index;
  });
}

}  // namespace flux::raft
