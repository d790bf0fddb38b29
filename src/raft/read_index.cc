// Linearizable reads without a log entry (dissertation, section 6.4), and the lease that can stand in for the messages.
//
// The leader numbers rounds. A round starts when it sends heartbeats or appends that carry its number; whoever answers
// with the number, or a higher one, still followed this leader after the round started. All reads that arrived before
// a round starts share it: when a quorum has answered, no other leader can have committed anything before the start.
#include "base/probe.h"
#include "raft/core.h"
#include "raft/quorum.h"

namespace flux::raft {

void Core::on_read_requested(const ReadRequested& request) {
  const auto refuse_read = [&](ErrorCode code, std::string why) {
    out_.reads.push_back({.ticket = request.ticket, .status = {code, std::move(why)}, .index = {}});
  };
  const size_t pending =
      reads_waiting_.size() + reads_confirming_.size() + reads_to_forward_.size() + reads_forwarded_count_;
  if (pending >= options_.reads_pending_max) return refuse_read(ErrorCode::kOverloaded, "too many reads are waiting");
  const MonoTime deadline = now_ + options_.read_timeout;
  if (role_ == Role::kLeader) {
    if (request.mode == ReadMode::kLease && lease_valid(now_)) {
      out_.reads.push_back({.ticket = request.ticket, .status = {}, .index = commit_});
      return;
    }
    wake();
    reads_waiting_.push_back({.ticket = request.ticket, .from = kNobody, .context = 0, .deadline = deadline});
  } else if (leader_ != kNobody) {
    reads_to_forward_.emplace_back(request.ticket, deadline);
  } else {
    return refuse_read(ErrorCode::kUnavailable, "no leader is known");
  }
  flush_needed_ = true;
}

// A follower's reads, all of one batch.
void Core::on_message(const Message& message, const ReadIndex& read) {
  const auto reject = [&] { send(message.from, ReadIndexResult{.context = read.context}); };
  if (role_ != Role::kLeader) return reject();
  if (!progress_.contains(message.from)) return drop(message, "not a member");
  if (reads_waiting_.size() + reads_confirming_.size() >= options_.reads_pending_max) return reject();
  wake();
  reads_waiting_.push_back(
      {.ticket = 0, .from = message.from, .context = read.context, .deadline = now_ + options_.read_timeout});
  flush_needed_ = true;
}

void Core::on_message(const Message& message, const ReadIndexResult& result) {
  const auto found = std::find_if(reads_forwarded_.begin(), reads_forwarded_.end(),
                                  [&](const ForwardedReads& batch) { return batch.context == result.context; });
  if (found == reads_forwarded_.end()) return;  // answered before, or given up
  if (message.from != leader_) return drop(message, "not from our leader");
  for (const uint64_t ticket : found->tickets) {
    const Status status = result.ok ? Status() : Status(ErrorCode::kUnavailable, "the leader could not confirm");
    out_.reads.push_back({.ticket = ticket, .status = status, .index = result.index});
  }
  reads_forwarded_count_ -= found->tickets.size();
  reads_forwarded_.erase(found);
}

void Core::start_round() {
  ++round_;
  if (!options_.leader_lease) return;
  rounds_.push_back({.number = round_, .started = now_});
  // Without answers there is no lease to measure; the oldest are the least useful.
  if (rounds_.size() > 256) rounds_.pop_front();
}

// One round for all that wait. Parked until we have committed in our own term: before that our commit index may be
// behind what an earlier leader answered to clients (paper, section 8).
void Core::start_reads() {
  if (reads_waiting_.empty()) return;
  if (commit_ < term_start_) {
    FLUX_PROBE("a read waits for the first commit of a term");
    return;
  }
  start_round();
  ++counters_.read_rounds;
  trace("{} reads wait -> round {} at {}", reads_waiting_.size(), round_, commit_);
  for (PendingRead& read : reads_waiting_) {
    read.round = round_;
    read.index = commit_;
    reads_confirming_.push_back(read);
  }
  reads_waiting_.clear();
  for (auto& [node, peer] : progress_) {
    if (membership().is_voter(node)) send_heartbeat(node, peer, true);
  }
  confirm_reads();
}

// The newest round that a quorum has answered. We are one of the quorum only as a voter.
uint64_t Core::quorum_round() const {
  return quorum::joint_value(membership().voters, membership().outgoing,
                             [&](NodeId node) { return node == id() ? round_ : progress_.at(node).round; });
}

void Core::confirm_reads() {
  const uint64_t confirmed = quorum_round();
  while (rounds_.size() > 1 && rounds_[1].number <= confirmed) rounds_.pop_front();
  while (!reads_confirming_.empty() && reads_confirming_.front().round <= confirmed) {
    answer_read(reads_confirming_.front(), {});
    reads_confirming_.pop_front();
  }
}

void Core::answer_read(const PendingRead& read, Status status) {
  const bool ok = status.ok();
  if (read.from == kNobody) {
    out_.reads.push_back({.ticket = read.ticket, .status = std::move(status), .index = ok ? read.index : Index(0)});
  } else {
    send(read.from, ReadIndexResult{.context = read.context, .ok = ok, .index = ok ? read.index : Index(0)});
    if (const auto peer = progress_.find(read.from); ok && peer != progress_.end()) {
      peer->second.reads = read.index;
      flush_needed_ = true;
    }
  }
}

void Core::fail_reads(std::string_view why) {
  const auto failed = [&] { return Status(ErrorCode::kUnavailable, std::string(why)); };
  for (const PendingRead& read : reads_waiting_) answer_read(read, failed());
  for (const PendingRead& read : reads_confirming_) answer_read(read, failed());
  for (const auto& [ticket, deadline] : reads_to_forward_) out_.reads.push_back({ticket, failed(), {}});
  for (const ForwardedReads& batch : reads_forwarded_) {
    for (const uint64_t ticket : batch.tickets) out_.reads.push_back({ticket, failed(), {}});
  }
  reads_waiting_.clear();
  reads_confirming_.clear();
  reads_to_forward_.clear();
  reads_forwarded_.clear();
  reads_forwarded_count_ = 0;
}

void Core::forward_reads() {
  if (reads_to_forward_.empty()) return;
  FLUX_CHECK(leader_ != kNobody);
  ForwardedReads batch{.context = ++read_context_, .deadline = reads_to_forward_.front().second, .tickets = {}};
  for (const auto& [ticket, deadline] : reads_to_forward_) batch.tickets.push_back(ticket);
  reads_to_forward_.clear();
  reads_forwarded_count_ += batch.tickets.size();
  trace("{} reads wait -> ask leader {}", batch.tickets.size(), leader_);
  send(leader_, ReadIndex{.context = batch.context});
  reads_forwarded_.push_back(std::move(batch));
}

// Deadlines ascend within each queue, because the timeout is the same for all.
void Core::expire_reads() {
  const Status late{ErrorCode::kUnavailable, "leadership could not be confirmed in time"};
  for (std::deque<PendingRead>* reads : {&reads_confirming_, &reads_waiting_}) {
    while (!reads->empty() && reads->front().deadline <= now_) {
      FLUX_PROBE("leadership is not confirmed in time");
      answer_read(reads->front(), late);
      reads->pop_front();
    }
  }
  while (!reads_forwarded_.empty() && reads_forwarded_.front().deadline <= now_) {
    for (const uint64_t ticket : reads_forwarded_.front().tickets) out_.reads.push_back({ticket, late, {}});
    reads_forwarded_count_ -= reads_forwarded_.front().tickets.size();
    reads_forwarded_.pop_front();
  }
}

MonoTime Core::next_read_deadline() const {
  MonoTime next = MonoTime::infinite();
  if (!reads_waiting_.empty()) next = std::min(next, reads_waiting_.front().deadline);
  if (!reads_confirming_.empty()) next = std::min(next, reads_confirming_.front().deadline);
  if (!reads_forwarded_.empty()) next = std::min(next, reads_forwarded_.front().deadline);
  return next;
}

// A voter that answered a round refuses for election_timeout_min, by its own clock, to help elect another. Ours may be
// slow and its fast by the declared drift.
Micros Core::lease_length() const {
  const int64_t drift = options_.clock_drift_ppm_max;
  return Micros(options_.election_timeout_min.count() * (1'000'000 - drift) / (1'000'000 + drift));
}

// Measured from when the round started, not from when its answers came. Not before our own term has committed, and
// never again in a term in which we told somebody to take over.
bool Core::lease_valid(MonoTime now) const {
  if (!options_.leader_lease || failed_ || role_ != Role::kLeader) return false;
  if (lease_dropped_ || transfer_ || commit_ < term_start_ || !membership().is_voter(id())) return false;
  if (progress_.empty()) return true;  // nobody can be elected without our vote
  if (rounds_.empty() || rounds_.front().number > quorum_round()) return false;
  return now < rounds_.front().started + lease_length();
}

}  // namespace flux::raft
