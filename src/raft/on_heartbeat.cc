#include "raft/core.h"

namespace flux::raft {

void Core::on_message(const Message& message, const Heartbeat& heartbeat) {
  if (!follow(message)) return;
  leader_since_ = heartbeat.since;
  patience_ = heartbeat.patience;
  reset_election_timer();
  if (heartbeat.wants_reply) {
    send(message.from, HeartbeatResult{.round = heartbeat.round, .since = heartbeat.since});
  }
  if (installing_) return;
  if (heartbeat.commit > log_.last().index) return drop(message, "commits what is not in the log");
  commit_to(heartbeat.commit);
}

void Core::on_message(const Message& message, const HeartbeatResult& result) {
  Progress* peer = heard_from(message, result.since, result.round);
  if (peer == nullptr) return;
  peer->probe_sent = false;
  flush_needed_ = flush_needed_ || has_words_for(*peer);
  if (peer->state != ProgressState::kReplicate) return;
  // It answers, but the log has stood still since the last heartbeat although entries were sent: ask where it is. If
  // something was lost it rejects, and is probed.
  if (peer->match + 1 < peer->next && peer->match == peer->match_at_heartbeat) {
    trace("{} stands at {} with {} sent -> ask", message.from, peer->match, peer->next - 1);
    const std::optional<Term> term = log_.term_at(peer->next - 1);
    if (term) {
      send(message.from, Append{.prev = {.index = peer->next - 1, .term = *term},
                                .commit = commit_,
                                .round = round_,
                                .since = peer->since});
    } else {
      peer->become_probe();  // the log has moved past what was sent
      flush_needed_ = true;
    }
  }
  peer->match_at_heartbeat = peer->match;
}

}  // namespace flux::raft
