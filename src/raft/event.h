// Everything that can happen to a core. Events of the driver (all but Received) are trusted; messages are not.
#pragma once

#include <cstdint>
#include <variant>

#include "base/bytes.h"
#include "base/log_entry.h"
#include "base/types.h"
#include "raft/membership.h"
#include "raft/message.h"

namespace flux::raft {

// Time has passed. Only this event fires timers; useful from Core::next_deadline() on, harmless at any time.
struct Tick {};

struct Received {
  Message message;
};

// Tickets are the driver's names for its requests. Each is answered exactly once, in Update::proposals, reads or
// transfers; uniqueness is the driver's business.
struct Proposal {
  uint64_t ticket = 0;
  SharedBytes data;
};

enum class ReadMode : uint8_t {
  kLinearizable,  // a quorum confirms leadership after the request
  kLease,         // the leader's lease vouches, if there is one; as kLinearizable otherwise
};

// At a follower or learner the leader is asked on its behalf.
struct ReadRequested {
  uint64_t ticket = 0;
  ReadMode mode = ReadMode::kLinearizable;
};

struct ConfigProposed {
  uint64_t ticket = 0;
  ConfigChange change;
};

struct TransferRequested {
  uint64_t ticket = 0;
  NodeId target;  // kNobody: the voter that is furthest along
};

// The writes of update `number` and of all updates before it are durable. May come late, and one may stand for many.
struct Persisted {
  uint64_t number = 0;
};

// Committed entries up to `index` are applied. Only the highest matters.
struct Applied {
  Index index;
};

// The snapshot of Update::install_snapshot is installed and durable: the state machine stands at meta.last, and the log
// is empty and starts after it.
struct SnapshotPersisted {
  SnapshotMeta meta;
};
// It could not be installed; state machine and log are as they were.
struct SnapshotRefused {
  SnapshotMeta meta;
};

// The leader's driver has finished or given up streaming for Update::send_snapshots. `index` is the snapshot's.
struct SnapshotSent {
  NodeId to;
  Index index;
  bool ok = false;
};

// The driver holds a durable snapshot at `last` and dropped the log up to it. REQUIRES: last is applied.
struct Compacted {
  EntryId last;
};

// The transport lost or regained its connection to a peer. Hints only.
struct PeerUnreachable {
  NodeId node;
};
struct PeerReachable {
  NodeId node;
};

// The process of `node` is certainly gone (connection refused, orderly shutdown), not merely silent. If it was the
// leader it is forgotten: pre-votes are granted at once, and an election starts after a short random delay. Others that
// still hear it refuse, so a wrong report disturbs nobody. Ignored without pre-vote and check-quorum, and with leases.
struct LeaderGone {
  NodeId node;
};

// Start an election now, as if the election timeout had passed.
struct Campaign {};

using Event = std::variant<Tick, Received, Proposal, ReadRequested, ConfigProposed, TransferRequested, Persisted,
                           Applied, SnapshotPersisted, SnapshotRefused, SnapshotSent, Compacted, PeerUnreachable,
                           PeerReachable, LeaderGone, Campaign>;

}  // namespace flux::raft
