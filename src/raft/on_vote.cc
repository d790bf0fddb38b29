// Votes and pre-votes (paper, sections 5.2 and 5.4.1; dissertation, section 9.6).
#include "raft/core.h"

namespace flux::raft {
namespace {

// Paper, section 5.4.1: the later last term wins; with equal terms the longer log.
bool up_to_date(EntryId candidate, EntryId ours) {
  if (candidate.term != ours.term) return candidate.term > ours.term;
  return candidate.index >= ours.index;
}

}  // namespace

// We answer whoever asks, member or not, and even as a learner: a configuration that says otherwise may not have
// reached us yet, and the candidate alone knows whose votes it counts.
void Core::on_message(const Message& message, const Vote& vote) {
  if (membership().voters.empty()) {
    // All but those who have only just joined: they may have promised something in an earlier life and forgotten it.
    trace("vote from {} t{} before our first snapshot -> ignore", message.from, message.term);
    return;
  }
  const EntryId ours = log_.last();
  const bool current = up_to_date(vote.last, ours);

  if (vote.pre) {
    // Only a term that is still to come can be stood for. Granting changes nothing here.
    const bool granted = current && message.term > term_;
    trace("pre-vote from {} t{} last={}, ours {} -> {}", message.from, message.term, vote.last, ours,
          granted ? "grant" : "reject");
    if (granted) return send_in_term(message.from, message.term, VoteResult{.pre = true, .granted = true});
    return send(message.from, VoteResult{.pre = true});
  }

  const bool free = vote_ == message.from || (vote_ == kNobody && leader_ == kNobody);
  const bool granted = current && free;
  trace("vote from {} t{} last={}, ours {}, voted {} -> {}", message.from, message.term, vote.last, ours, vote_,
        granted ? "grant" : "reject");
  if (granted) {
    vote_ = message.from;
    reset_election_timer();
  }
  send(message.from, VoteResult{.granted = granted});
}

void Core::on_message(const Message& message, const VoteResult& result) {
  const Role asking = result.pre ? Role::kPreCandidate : Role::kCandidate;
  if (role_ != asking) return;
  // A pre-vote is granted in the term that we would run in; an older grant was for an older try.
  if (result.pre && result.granted && message.term != term_ + 1) return;
  if (!membership().is_voter(message.from)) return drop(message, "not a voter");
  trace("{} {} our {}vote", message.from, result.granted ? "grants" : "rejects", result.pre ? "pre-" : "");
  record_vote(message.from, result.granted);
}

}  // namespace flux::raft
