// What the cores of one group say to each other. Which group a message belongs to is the transport's business.
//
// Every message carries its sender's term when it was made, but for a pre-vote and its grant, which carry the term the
// candidate would run in. Messages may be lost, delayed, repeated and reordered; a core drops what makes no sense.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/log_entry.h"
#include "base/types.h"
#include "raft/membership.h"

namespace flux::raft {

// Leader to follower: entries after `prev`.
struct Append {
  EntryId prev;                // the entry before entries[0]; 0^0 at the start of the log
  Index commit;                // the leader's commit index
  uint64_t round = 0;          // the newest leadership round the leader had started; echoed
  Index since;                 // names the peer's present stay in the group (Membership::since); echoed
  std::vector<Entry> entries;  // consecutive from prev.index + 1, terms ascending, none above the message's term
  bool operator==(const Append&) const = default;
};

// Follower to leader. Accepted: the log is durable and equal to the leader's up to `index`.
// Rejected: there is no entry `index` = prev.index of that term here; `hint` is the best guess where logs may agree.
struct AppendResult {
  bool accepted = false;
  Index index;
  EntryId hint;  // rejected only: the newest entry here at or before `index` whose term is not above prev.term
  uint64_t round = 0;
  Index since;
  bool operator==(const AppendResult&) const = default;
};

// Candidate to voter.
struct Vote {
  bool pre = false;       // asks "would you?", binds nobody
  bool transfer = false;  // the leader asked for this election: vote although a leader was heard
  EntryId last;           // the candidate's last entry
  bool operator==(const Vote&) const = default;
};

struct VoteResult {
  bool pre = false;
  bool granted = false;
  bool operator==(const VoteResult&) const = default;
};

// A leader that has nothing to say asks for no more patience than this.
inline constexpr Micros kPatienceMax{60'000'000};

// Leader to follower: I lead. Small, sent to idle peers, for read rounds, and to spread the commit index.
struct Heartbeat {
  Index commit;  // never above what the leader knows to be equal in the follower's log
  uint64_t round = 0;
  Index since;
  bool wants_reply = true;  // false: only spreads the commit index
  Micros patience{0};       // the next one may be so much later than usual
  bool operator==(const Heartbeat&) const = default;
};

struct HeartbeatResult {
  uint64_t round = 0;
  Index since;
  bool operator==(const HeartbeatResult&) const = default;
};

// Leader to follower, when the whole verified state is at hand on the follower's node. The driver makes it (from = the
// leader that streamed, term = SnapshotRequest::term); cores never send it.
struct SnapshotOffer {
  SnapshotMeta meta;
  bool operator==(const SnapshotOffer&) const = default;
};

// Leader to the voter it hands leadership to: start an election now.
struct TimeoutNow {
  bool operator==(const TimeoutNow&) const = default;
};

// Follower to leader: from which index on may I read?
struct ReadIndex {
  uint64_t context = 0;  // the follower's name for the batch of reads; echoed
  bool operator==(const ReadIndex&) const = default;
};

struct ReadIndexResult {
  uint64_t context = 0;
  bool ok = false;
  Index index;  // ok only
  bool operator==(const ReadIndexResult&) const = default;
};

using MessageBody = std::variant<Append, AppendResult, Vote, VoteResult, Heartbeat, HeartbeatResult, SnapshotOffer,
                                 TimeoutNow, ReadIndex, ReadIndexResult>;

struct Message {
  NodeId from;
  NodeId to;
  Term term;
  MessageBody body;
  bool operator==(const Message&) const = default;
};

// "append", "append_result", ...: for metrics.
std::string_view name_of(const MessageBody& body);
// One line: "1->2 t3 append prev=4^2 commit=3 entries=[5^3 6^3]".
std::string to_string(const Message& message);

}  // namespace flux::raft
