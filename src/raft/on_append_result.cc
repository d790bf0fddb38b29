#include "base/probe.h"
#include "raft/core.h"

namespace flux::raft {

void Core::on_message(const Message& message, const AppendResult& result) {
  if (result.accepted && role_ == Role::kLeader && result.index > log_.last().index) {
    return drop(message, "accepts what was never sent");
  }
  Progress* peer = heard_from(message, result.since, result.round);
  if (peer == nullptr) return;

  if (!result.accepted) {
    // Nothing of ours after the hint's term and index can be in the peer's log. A hint from before our log needs a
    // snapshot, which send_append() finds out.
    const Index agree = result.hint.index < log_.base().index ? result.hint.index
                                                              : log_.newest(result.hint.index, result.hint.term).index;
    flush_needed_ = true;
    if (peer->on_reject(result.index, agree + 1)) {
      FLUX_PROBE("a follower's log ends before or differs");
      trace("{} rejects prev={} -> {} from {}", message.from, result.index, to_string(peer->state), peer->next);
    }
    return;
  }

  const bool news = peer->on_accept(result.index);
  switch (peer->state) {
    case ProgressState::kProbe:
      if (result.index + 1 >= peer->next || news) peer->become_replicate();
      break;
    case ProgressState::kSnapshot:
      // It got there some other way, or the driver's report is still to come.
      if (peer->match >= std::max(log_.base().index, peer->since)) peer->become_replicate();
      break;
    case ProgressState::kReplicate:
      break;
  }
  flush_needed_ = flush_needed_ || has_words_for(*peer);
  if (!news) return;
  maybe_commit();
  if (role_ != Role::kLeader) return;
  transfer_advance();
  promote_ready_learners();
}

}  // namespace flux::raft
