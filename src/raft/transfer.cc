// Leadership transfer (dissertation, section 3.10): hold proposals, bring the target up to date, tell it to stand.
#include "base/probe.h"
#include "raft/core.h"

namespace flux::raft {

void Core::on_transfer_requested(const TransferRequested& request) {
  const auto answer = [&](Status status) { out_.transfers.push_back({request.ticket, std::move(status)}); };
  if (role_ != Role::kLeader) return answer({ErrorCode::kNotLeader, "not the leader"});
  if (transfer_) return answer({ErrorCode::kPrecondition, "another transfer is under way"});
  const NodeId target = request.target == kNobody ? best_successor() : request.target;
  if (target == kNobody) return answer({ErrorCode::kPrecondition, "no other voter is heard"});
  if (target == id()) return answer({});
  if (!membership().voters.contains(target)) return answer({ErrorCode::kPrecondition, "the target is not a voter"});
  trace("transfer to {} -> hold proposals", target);
  wake();
  transfer_ = Transfer{.ticket = request.ticket, .target = target, .deadline = now_ + options_.transfer_timeout};
  transfer_advance();
}

// Tells the target as soon as it has everything, and again with every heartbeat in case that was lost. From then on it
// may be elected by voters that still hear us, so our lease is worth nothing for the rest of the term, whatever becomes
// of the transfer.
void Core::transfer_advance() {
  if (!transfer_ || progress_.at(transfer_->target).match != log_.last().index) return;
  trace("{} has everything -> tell it to take over", transfer_->target);
  lease_dropped_ = true;
  send(transfer_->target, TimeoutNow{});
}

void Core::transfer_end(Status status) {
  trace("transfer to {} ends: {}", transfer_->target, status.to_string());
  out_.transfers.push_back({transfer_->ticket, std::move(status)});
  transfer_.reset();
}

// The voter that is heard and has the most; the lowest id among equals.
NodeId Core::best_successor() const {
  NodeId best = kNobody;
  Index match;
  for (const auto& [node, peer] : progress_) {
    if (!is_heard(peer, now_) || !membership().voters.contains(node)) continue;
    if (best != kNobody && peer.match <= match) continue;
    best = node;
    match = peer.match;
  }
  return best;
}

void Core::on_message(const Message& message, const TimeoutNow&) {
  if (role_ == Role::kLeader || (leader_ != kNobody && leader_ != message.from)) {
    return drop(message, "not from our leader");
  }
  if (!electable()) return;
  FLUX_PROBE("a leader hands over");
  trace("leader {} hands over -> campaign", message.from);
  ++counters_.elections_started;
  campaign_real(true);
}

}  // namespace flux::raft
