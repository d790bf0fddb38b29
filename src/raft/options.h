// Settings of one core. All replicas of a group must agree on the timeouts, check_quorum and leader_lease.
#pragma once

#include <cstdint>

#include "base/status.h"
#include "base/types.h"

namespace flux::raft {

struct Options {
  NodeId id;

  // A leader speaks to every peer at least this often.
  Micros heartbeat_interval{50'000};
  // A follower starts an election after this much silence, drawn anew for every term between min and max. A voter that
  // heard a leader within election_timeout_min refuses to help replace it (with check_quorum). A leader that has not
  // heard a quorum for election_timeout_max steps down.
  Micros election_timeout_min{300'000};
  Micros election_timeout_max{600'000};
  // A leader that has had nothing to do for idle_after, and whose followers have all that it has, speaks only this
  // often if it may (Core::be_frugal); it tells its followers to wait for it so much longer. 0: never.
  Micros idle_heartbeat_interval{0};
  Micros idle_after{2'000'000};
  // An election that LeaderGone triggers starts after a random part of this.
  Micros leader_gone_delay_max{25'000};

  // Ask before raising the term, so that a node that cannot win does not disturb (dissertation, section 9.6).
  bool pre_vote = true;
  // Leaders step down without a quorum; voters stick to a leader they hear (dissertation, section 6.2 and 4.2.3).
  bool check_quorum = true;

  // Serve ReadMode::kLease without a round of messages while a quorum's promise not to elect lasts. Needs check_quorum
  // and a bound on how much faster or slower than true time any replica's monotonic clock may run.
  bool leader_lease = false;
  uint32_t clock_drift_ppm_max = 0;  // 0: not declared

  // A read that could not be confirmed by then is answered kUnavailable.
  Micros read_timeout{1'000'000};
  size_t reads_pending_max = 100'000;
  // A leadership transfer that has not happened by then is given up.
  Micros transfer_timeout{600'000};

  // One Append carries at most this much payload (or one larger entry).
  size_t append_bytes_max = 1_MiB;
  // Appends sent to one peer and not yet answered.
  size_t inflight_messages_max = 128;
  size_t inflight_bytes_max = 8_MiB;

  // One proposal's data.
  size_t entry_bytes_max = 32_MiB;
  // Proposals are refused with kOverloaded while more than this is not committed.
  size_t uncommitted_bytes_max = 64_MiB;
  // One Update::committed carries at most this much (or one larger entry).
  size_t committed_bytes_max = 1_MiB;
  // Entry bodies kept in memory for followers and apply. What is not committed and durable yet is kept beyond it.
  size_t tail_bytes_max = 8_MiB;
  size_t tail_bytes_max_frugal = 64_KiB;  // of a core among many (Core::be_frugal)

  // A learner has caught up when it lacks at most this many entries and is heard.
  uint64_t learner_promote_lag = 64;

  // Run the invariant checker after every step, as builds with FLUX_DCHECK_ON always do.
  bool check_invariants = false;

  // kInvalidArgument with the reason if these do not fit together.
  Status validate() const;
};

}  // namespace flux::raft
