// Everything a core wants done. See the driver's duties in raft/core.h for the order.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/log_entry.h"
#include "base/status.h"
#include "base/types.h"
#include "raft/membership.h"
#include "raft/message.h"

namespace flux::raft {

enum class Role : uint8_t { kFollower, kPreCandidate, kCandidate, kLeader };

// "follower", "pre_candidate", "candidate", "leader".
std::string_view to_string(Role role);

struct RoleChange {
  Role role;
  Term term;
  NodeId leader;  // kNobody: not known
  bool operator==(const RoleChange&) const = default;
};

// status OK: the state machine answers the read once it has applied `index`. Otherwise the read was not and will not be
// served.
struct ReadResult {
  uint64_t ticket;
  Status status;
  Index index;
};

// status OK: appended as `id`; it is committed when Update::committed shows an entry of that id, and has failed when it
// shows another term at that index. Otherwise definitely not proposed.
struct ProposalResult {
  uint64_t ticket;
  Status status;
  EntryId id;
};

// status OK: the target leads.
struct TransferResult {
  uint64_t ticket;
  Status status;
};

// The peer needs entries that the log no longer has: stream it a snapshot, then report SnapshotSent. At most one per
// peer is asked for at a time.
struct SnapshotRequest {
  NodeId to;
  Term term;  // for the Message around SnapshotOffer
  // The oldest snapshot that helps. It is applied: where the newest is older, the driver makes one.
  Index index_min;
};

struct Update {
  // Rises by one with every update; goes back in Persisted.
  uint64_t number = 0;

  std::optional<HardState> hard_state;
  // Replaces the log from append[0].index on; what stood there and after is gone.
  std::vector<Entry> append;

  std::vector<Message> send_now;
  // Only when this update's writes, and those of all updates before it, are durable.
  std::vector<Message> send_after_persist;

  // Install the snapshot that was offered with this meta, after the writes above; answer SnapshotPersisted or
  // SnapshotRefused. An offer that is not taken up by the next update is declined: throw the snapshot away.
  std::optional<SnapshotMeta> install_snapshot;

  // Committed and locally durable entries, in order, each exactly once per incarnation of the core.
  std::vector<Entry> committed;

  std::vector<ReadResult> reads;
  std::vector<ProposalResult> proposals;
  std::vector<TransferResult> transfers;
  std::vector<SnapshotRequest> send_snapshots;
  std::optional<RoleChange> role_change;

  // The core could not read its log and has stopped: it ignores all further events. Close the replica and alarm.
  std::optional<Status> fatal;

  bool needs_persist() const { return hard_state.has_value() || !append.empty(); }
};

}  // namespace flux::raft
