// Who belongs to a group, and how that changes (Ongaro's dissertation, chapter 4; joint consensus, section 4.3).
//
// A kConfig entry carries the whole resulting membership, so restoring needs only the newest one. It is in force on a
// replica from the moment the replica appends it, and out of force again if the entry is truncated.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/codec.h"
#include "base/log_entry.h"
#include "base/status.h"
#include "raft/node_set.h"

namespace flux::raft {

// More members than this are refused: it bounds messages, quorum arithmetic and what a decoder accepts.
inline constexpr size_t kMembersMax = 64;
inline constexpr size_t kConfigContextBytesMax = 64_KiB;

struct Membership {
  // Every decision needs a majority of these. Invariant: not empty in a group that can elect.
  NodeSet voters;
  // While a joint change is under way: the voters before it; every decision needs a majority of these too.
  // Empty otherwise.
  NodeSet outgoing;
  // Receive the log and never count. Invariant: disjoint from voters and outgoing.
  NodeSet learners;
  // Outgoing voters that become learners when the joint change ends. Invariant: within outgoing, disjoint from voters.
  NodeSet learners_next;
  // Learners that the leader promotes by itself once they have caught up. Invariant: within learners.
  NodeSet promote_when_ready;
  // Members that joined later than the group was founded. Their log starts with a snapshot at or after this index,
  // never with the entries before it: there they might find themselves under an older life of their id, whose promises
  // they have forgotten. It also names their stay in the group. Invariant: keys within members(), indexes above 0.
  std::map<NodeId, Index> since;

  bool joint() const { return !outgoing.empty(); }
  bool is_voter(NodeId node) const { return voters.contains(node) || outgoing.contains(node); }
  bool is_learner(NodeId node) const { return learners.contains(node); }
  bool contains(NodeId node) const { return is_voter(node) || is_learner(node); }
  // 0 for founders.
  Index since_of(NodeId node) const;
  // Voters of both halves and learners, ascending.
  NodeSet members() const;
  // The simple membership that a joint one turns into. REQUIRES: joint().
  Membership left_joint() const;
  // OK if the invariants above hold and the sizes are within limits.
  Status validate() const;

  bool operator==(const Membership&) const = default;
};

// "voters=1,2,3", with "&&1,2" for outgoing voters, "learners=4", "learners_next=2", "promoting=4" when present.
std::string to_string(const Membership& membership);

// There is no way to make a node a voter before it has the log: it would count and could not help, and a group that
// lost its leader at that moment might never elect another.
enum class ConfigStepKind : uint8_t {
  kAddVoter = 1,    // joins as a learner (or is one); the leader promotes it when it has caught up
  kAddLearner = 2,  // a voter becomes a learner
  kRemove = 3,
  kPromote = 4,  // a learner becomes a voter now; refused unless it has caught up
};

struct ConfigStep {
  ConfigStepKind kind;
  NodeId node;
  bool operator==(const ConfigStep&) const = default;
};

// Steps take effect together: as one entry when at most one voter changes, by way of a joint membership otherwise.
struct ConfigChange {
  std::vector<ConfigStep> steps;
  SharedBytes context;  // opaque; comes back in the entry (decode_config)
};

// The membership that `change` leads to. kInvalidArgument for a malformed change, kAlreadyExists if nothing would
// change, kPrecondition where it may not happen now (joint already, last voter, not a learner).
// Readiness for promotion is the leader's to judge. `since`: an index that is committed, at or after the one where
// `current` stands; above 0.
Result<Membership> apply_change(const Membership& current, const ConfigChange& change, Index since);

// What the data of a kConfig entry says.
struct ConfigRecord {
  Membership membership;
  std::string context;
  bool operator==(const ConfigRecord&) const = default;
};

void encode(Encoder& encoder, const Membership& membership);
// Fails the decoder on malformed input; the caller validates.
Membership decode_membership(Decoder& decoder);

SharedBytes encode_config(const Membership& membership, std::string_view context);
// kCorruption unless the bytes are one valid record.
Result<ConfigRecord> decode_config(std::string_view data);

// What a snapshot stands for: the log up to `last` and the membership in force there.
struct SnapshotMeta {
  EntryId last;
  Membership membership;
  bool operator==(const SnapshotMeta&) const = default;
};

void encode(Encoder& encoder, const SnapshotMeta& meta);
SnapshotMeta decode_snapshot_meta(Decoder& decoder);

}  // namespace flux::raft
