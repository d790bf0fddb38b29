// Membership changes: in force when appended, one at a time, joint where more than one voter changes (dissertation,
// chapter 4).
#include "base/probe.h"
#include "raft/core.h"

namespace flux::raft {

void Core::on_config_proposed(ConfigProposed&& proposed) {
  const auto decide = [&]() -> Result<Membership> {
    if (role_ != Role::kLeader) return Status(ErrorCode::kNotLeader, "not the leader");
    FLUX_RETURN_IF_ERROR(config_change_allowed());
    FLUX_TRY(Membership next, apply_change(membership(), proposed.change, joining_since()));
    for (const ConfigStep& step : proposed.change.steps) {
      const bool promotes = step.kind == ConfigStepKind::kPromote && membership().is_learner(step.node);
      if (promotes) FLUX_RETURN_IF_ERROR(ready_to_promote(step.node, now_));
    }
    return next;
  };
  const Result<Membership> next = decide();
  if (!next.ok()) {
    trace("membership change -> refuse, {}", next.status().to_string());
    return refuse(proposed.ticket, next.status());
  }
  const EntryId entry = append_config(*next, proposed.change.context.view());
  out_.proposals.push_back({.ticket = proposed.ticket, .status = {}, .id = entry});
}

Status Core::config_change_allowed() const {
  if (transfer_) return {ErrorCode::kUnavailable, "leadership is being transferred"};
  // A leader that has not committed in its own term cannot know whether an older change is still under way, and two
  // half-done changes need not share a voter.
  if (commit_ < term_start_) return {ErrorCode::kPrecondition, "the leader has not committed in its term yet"};
  if (membership_index() > commit_) return {ErrorCode::kPrecondition, "another membership change is not committed"};
  if (membership().joint()) return {ErrorCode::kPrecondition, "a joint membership change is under way"};
  return {};
}

// A voter that must first copy the log would count against the quorum all that time (dissertation, section 4.2.1).
Status Core::ready_to_promote(NodeId node, MonoTime now) const {
  const auto found = progress_.find(node);
  if (found == progress_.end()) return {ErrorCode::kPrecondition, fmt::format("no learner {} is known here", node)};
  const Progress& peer = found->second;
  if (!is_heard(peer, now)) {
    return {ErrorCode::kPrecondition, fmt::format("learner {} is not heard", node)};
  }
  if (peer.state != ProgressState::kReplicate || peer.match + options_.learner_promote_lag < log_.last().index) {
    return {ErrorCode::kPrecondition,
            fmt::format("learner {} lacks entries: it has {} of {}", node, peer.match, log_.last().index)};
  }
  return {};
}

// Those who join now start at or after the configuration before theirs. It is committed, as is some entry of our own.
Index Core::joining_since() const { return std::max(membership_index(), Index(1)); }

EntryId Core::append_config(Membership next, std::string_view context) {
  const EntryId entry = append_own(EntryType::kConfig, encode_config(next, context));
  push_config(entry.index, std::move(next));
  trace("membership {} at {}", to_string(membership()), entry);
  sync_progress();
  return entry;
}

void Core::push_config(Index index, Membership membership) {
  FLUX_CHECK(index > membership_index());
  configs_.emplace_back(index, std::move(membership));
}

// Undoes the configurations that a truncation takes out of the log, newest first.
void Core::truncate_configs(Index from) {
  while (membership_index() >= from) {
    FLUX_CHECK(configs_.size() > 1);
    FLUX_PROBE("a membership is undone");
    configs_.pop_back();
    trace("membership back to {} at {}", to_string(membership()), membership_index());
  }
}

// As leader, keeps one Progress per member other than ourselves.
void Core::sync_progress() {
  const NodeSet members = membership().members();
  std::erase_if(progress_, [&](const auto& item) { return !members.contains(item.first); });
  for (const NodeId node : members) {
    if (node == id() || progress_.contains(node)) continue;
    Progress peer;
    peer.next = log_.last().index + 1;
    peer.heard = now_;
    peer.since = membership().since_of(node);
    progress_.emplace(node, std::move(peer));
  }
  if (transfer_ && !membership().voters.contains(transfer_->target)) {
    transfer_end({ErrorCode::kPrecondition, "the target is no longer a voter"});
  }
  flush_needed_ = true;
}

// The newest configuration is committed, under a leader that has committed in its own term. Any leader finishes what
// it finds, whoever began it.
void Core::on_config_committed() {
  if (membership().joint()) {
    append_config(membership().left_joint(), {});
  } else if (!membership().is_voter(id())) {
    step_down_removed();
  } else {
    promote_ready_learners();
  }
}

// A leader that removed itself has done its last duty. It tells the others that the change is committed and asks the
// one that is furthest along to take over at once.
void Core::step_down_removed() {
  trace("the change that removes us is committed -> step down");
  for (auto& [node, peer] : progress_) send_heartbeat(node, peer, false);
  if (const NodeId successor = best_successor(); successor != kNobody) {
    lease_dropped_ = true;
    send(successor, TimeoutNow{});
  }
  become_follower(term_, kNobody);
}

void Core::promote_ready_learners() {
  if (membership().promote_when_ready.empty() || !config_change_allowed().ok()) return;
  ConfigChange change;
  for (const NodeId node : membership().promote_when_ready) {
    if (ready_to_promote(node, now_).ok()) change.steps.push_back({.kind = ConfigStepKind::kPromote, .node = node});
  }
  if (change.steps.empty()) return;
  const Result<Membership> next = apply_change(membership(), change, joining_since());
  FLUX_CHECK(next.ok(), "{}", next.status().to_string());
  FLUX_PROBE("a learner has caught up");
  trace("learners have caught up -> promote");
  append_config(*next, {});
}

}  // namespace flux::raft
