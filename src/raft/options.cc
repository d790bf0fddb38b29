#include "raft/options.h"

#include "raft/message.h"

namespace flux::raft {
namespace {
Status invalid(const char* why) { return {ErrorCode::kInvalidArgument, why}; }
}  // namespace

Status Options::validate() const {
  if (id == kNobody) return invalid("raft: node id 0 means nobody");
  if (heartbeat_interval <= Micros(0)) return invalid("raft: heartbeat_interval must be positive");
  // One lost heartbeat must not start an election.
  if (election_timeout_min < 2 * heartbeat_interval) {
    return invalid("raft: election_timeout_min must be at least twice heartbeat_interval");
  }
  if (idle_heartbeat_interval != Micros(0) &&
      (idle_heartbeat_interval < heartbeat_interval || 2 * idle_heartbeat_interval > kPatienceMax)) {
    return invalid("raft: idle_heartbeat_interval must be 0, or from heartbeat_interval to 30 s");
  }
  if (election_timeout_max <= election_timeout_min) {
    return invalid("raft: election_timeout_max must be above election_timeout_min, or votes would split for ever");
  }
  if (election_timeout_max > Micros(std::chrono::hours(1))) return invalid("raft: election_timeout_max is absurd");
  if (leader_gone_delay_max < Micros(0)) return invalid("raft: leader_gone_delay_max must not be negative");
  if (leader_lease) {
    if (!check_quorum)
      return invalid("raft: leader_lease needs check_quorum: voters must stick to the leader they hear");
    if (clock_drift_ppm_max == 0) return invalid("raft: leader_lease needs a declared clock_drift_ppm_max");
    if (clock_drift_ppm_max > 200'000) return invalid("raft: clock_drift_ppm_max leaves no lease (limit: 200000)");
  }
  if (read_timeout <= Micros(0)) return invalid("raft: read_timeout must be positive");
  if (transfer_timeout <= Micros(0)) return invalid("raft: transfer_timeout must be positive");
  if (inflight_messages_max == 0) return invalid("raft: inflight_messages_max must be positive");
  if (inflight_bytes_max < append_bytes_max) return invalid("raft: inflight_bytes_max must hold one append");
  if (entry_bytes_max > uncommitted_bytes_max) return invalid("raft: uncommitted_bytes_max must hold one entry");
  return {};
}

}  // namespace flux::raft
