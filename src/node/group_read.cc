// Reads: confirmed by the core, served once what they may see has been applied; and the sweep of expired keys.
#include <algorithm>

#include "api/limits.h"
#include "base/probe.h"
#include "node/group.h"

namespace flux::node {
namespace {

// Keys that one sweep expires; more follow at once.
constexpr size_t kExpiriesPerSweep = 1000;
// Pause after a sweep that was refused.
constexpr Micros kSweepRetry = Millis(100);

std::vector<api::Command> expire_commands(const std::vector<kv::Overdue>& overdue) {
  std::vector<api::Command> commands;
  commands.reserve(overdue.size());
  for (const kv::Overdue& key : overdue) {
    commands.push_back(api::ExpireDue{.encoded_key = key.encoded_key, .deadline = key.deadline});
  }
  return commands;
}

}  // namespace

void Group::read(const api::ReadRequest& request, api::ReadDone done) {
  submit(WaitingRead(request, std::move(done), host_.loop().now() + host_.options().request_timeout));
}

void Group::submit(WaitingRead read) {
  if (!halted_.ok()) {
    return read.done({.status = Status(ErrorCode::kUnavailable, "this replica has stopped: " + halted_.message())});
  }
  if (retiring_) return send_elsewhere(std::move(read));
  if (requests_ >= api::kGroupRequestsMax) {
    return read.done({.status = Status(ErrorCode::kOverloaded, "too many requests are waiting")});
  }
  if (read.consistency == api::Consistency::kDefault) read.consistency = host_.options().read_consistency;
  count_request();
  if (read.consistency == api::Consistency::kStale) {
    confirmed_reads_.emplace(Index(0), std::move(read));
  } else {
    new_reads_.push_back(std::move(read));
  }
  host_.wake(*this);
}

void Group::on_read_result(raft::ReadResult& result) {
  auto node = asked_reads_.extract(result.ticket);
  if (node.empty() && retiring_) return;  // they were sent elsewhere
  FLUX_CHECK(!node.empty());
  for (WaitingRead& read : node.mapped()) {
    if (result.status.ok()) {
      confirmed_reads_.emplace(result.index, std::move(read));
    } else {
      retry_read(std::move(read), result.status);
    }
  }
}

void Group::send_elsewhere(WaitingRead read) {
  if (read.may_reroute) return host_.reroute(std::move(read));
  read.done({.status = Status(ErrorCode::kNotLeader, "this node's replica of the group goes")});
}

void Group::retry_read(WaitingRead read, const Status& why) {
  if (read.deadline <= host_.loop().now() || !halted_.ok()) {
    --requests_;
    return read.done({.status = why});
  }
  if (retiring_) {
    --requests_;
    return send_elsewhere(std::move(read));
  }
  parked_reads_.push_back(std::move(read));
  host_.wake(*this);
}

std::vector<WaitingRead> Group::take_reads() {
  std::vector<WaitingRead> reads = std::exchange(new_reads_, {});
  const auto take = [&reads](std::vector<WaitingRead>& more) {
    std::move(more.begin(), more.end(), std::back_inserter(reads));
    more.clear();
  };
  take(parked_reads_);
  for (auto& [ticket, asked] : asked_reads_) take(asked);
  asked_reads_.clear();
  for (auto& [index, read] : confirmed_reads_) reads.push_back(std::move(read));
  confirmed_reads_.clear();
  requests_ -= reads.size();
  return reads;
}

void Group::refuse_reads(const Status& status) {
  for (WaitingRead& read : take_reads()) read.done({.status = status});
}

void Group::answer_reads() {
  if (!halted_.ok() || install_) return;
  while (!confirmed_reads_.empty() && confirmed_reads_.begin()->first <= state_machine_.applied().index) {
    WaitingRead read = std::move(confirmed_reads_.extract(confirmed_reads_.begin()).mapped());
    serve(read);
  }
}

void Group::serve(WaitingRead& read) {
  const WallMillis wall = leads() ? host_.loop().wall_now() : WallMillis(0);
  state_machine_.read(read.view(read_keys_), wall, rng_, outcome_);
  if (outcome_.status.code() == ErrorCode::kWrongShard && read.may_reroute) {
    FLUX_PROBE("a shard went between a read's arrival and its turn");
    --requests_;
    return host_.reroute(std::move(read));
  }
  if (!outcome_.overdue.empty()) return commit_expiry_then_read(std::move(outcome_.overdue), std::move(read));
  if (read.consistency == api::Consistency::kLease && leads() && !core_->lease_valid(host_.loop().precise_now())) {
    // The process was held up since the lease was checked: ask a quorum instead.
    FLUX_PROBE("a lease ran out between check and answer");
    read.consistency = api::Consistency::kLinearizable;
    new_reads_.push_back(std::move(read));
    return host_.wake(*this);
  }
  --requests_;
  read.done(
      {.status = outcome_.status,
       .items = outcome_.items,
       .count = outcome_.count,
       .scan_resume = outcome_.scan_resume,
       .clock = std::max(state_machine_.clock(), host_.loop().wall_now()),
       .position = {.group = id_, .index = state_machine_.applied().index, .version = state_machine_.last_version()}});
}

void Group::commit_expiry_then_read(std::vector<kv::Overdue> overdue, WaitingRead read) {
  FLUX_PROBE("a read meets a key that is overdue by the wall clock");
  const std::vector<kv::Overdue> keys = std::move(overdue);  // what the commands point into
  const std::vector<api::Command> commands = expire_commands(keys);
  auto kept = std::make_unique<WaitingRead>(std::move(read));
  write({.commands = commands}, [this, alive = alive_, kept = std::move(kept)](const api::WriteReply& reply) mutable {
    if (!*alive) return;
    if (reply.status.ok()) {
      new_reads_.push_back(std::move(*kept));
      return host_.wake(*this);
    }
    retry_read(std::move(*kept), reply.status);
  });
}

void Group::sweep_expired() {
  const WallMillis next = state_machine_.next_deadline();
  if (sweeping_ || state_machine_.has_uncommitted() || next == WallMillis(UINT64_MAX)) return;
  const WallMillis wall = host_.loop().wall_now();
  if (next > wall) {
    if (next >= sweep_at_) return;
    host_.loop().cancel(sweep_timer_);
    sweep_at_ = next;
    // Not further ahead than an hour: wall clocks jump.
    const auto delay = Millis(std::min<uint64_t>(next.value() - wall.value(), 3'600'000));
    sweep_timer_ = host_.loop().call_after(delay, [this] {
      sweep_at_ = WallMillis(UINT64_MAX);
      host_.wake(*this);
    });
    return;
  }
  Result<std::vector<kv::Overdue>> due = state_machine_.due(wall, kExpiriesPerSweep);
  if (!due.ok()) return halt(due.status());
  if (due->empty()) return sweep_expired();
  sweeping_ = true;
  const std::vector<api::Command> commands = expire_commands(*due);
  write({.commands = commands}, [this, alive = alive_](const api::WriteReply& reply) {
    if (!*alive) return;
    if (reply.status.ok()) {
      sweeping_ = false;
      return host_.wake(*this);
    }
    sweep_timer_ = host_.loop().call_after(kSweepRetry, [this] {
      sweeping_ = false;
      host_.wake(*this);
    });
  });
}

}  // namespace flux::node
