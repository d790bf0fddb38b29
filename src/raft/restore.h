// How a core starts: from what its log and its snapshot say.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "base/log_entry.h"
#include "base/status.h"
#include "raft/membership.h"

namespace flux::raft {

// The log is runs of equal terms; this is where one starts.
struct TermRun {
  Term term;
  Index first;
  bool operator==(const TermRun&) const = default;
};

// Made by RestoreBuilder; trusted by Core.
struct Restore {
  HardState hard_state;
  // What the log starts after. The founders of a group start with its first membership at 0^0. A replica that joins
  // starts with an empty membership there, and neither votes nor takes entries before it has installed a snapshot.
  SnapshotMeta base;
  std::vector<TermRun> runs;                          // after base; first and term strictly ascending
  Index last;                                         // base.last.index if the log is empty
  Index applied;                                      // what the state machine has; within [base.last.index, last]
  std::vector<std::pair<Index, Membership>> configs;  // the kConfig entries after base, ascending

  EntryId last_id() const { return runs.empty() ? base.last : EntryId{.index = last, .term = runs.back().term}; }
};

// Feed it the headers of all entries in the log, in order, then build().
class RestoreBuilder {
 public:
  RestoreBuilder(HardState hard_state, SnapshotMeta base);

  // Entries up to the base are skipped; if the log contradicts the base there, what follows is skipped too (a crash
  // came between installing a snapshot and dropping the log it replaces). `data` is read for kConfig only.
  // kCorruption if there is a gap, a term goes back or a configuration does not decode.
  Status add(Index index, Term term, EntryType type, std::string_view data);

  // kDataLoss if the state machine has applied what the log does not have.
  Result<Restore> build(Index applied) &&;

 private:
  Restore restore_;
  bool stale_ = false;  // the log belongs to a history that the base replaced
};

}  // namespace flux::raft
