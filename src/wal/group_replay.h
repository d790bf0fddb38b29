// One group's log while it is read back, tolerant of records that are missing.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "wal/group_log.h"
#include "wal/wal_format.h"

namespace flux::wal {

// Not thread-safe.
class GroupReplay {
 public:
  // Damage was met that may have concerned the group.
  void suspect() { suspect_ = true; }
  // Records of the group in log order, but not kRemove.
  void apply(const RecordView& record, Position position);
  // After the last: cuts the log before the first hole and sets its damage. Returns whether damage was found that the
  // log did not already say.
  bool finish();

  GroupLog& log() { return log_; }

 private:
  // Indexes whose entries were in the log and are not to be had.
  struct Hole {
    Index first;
    Index last;
  };
  void follow_chain(const RecordView& record);
  void apply_entry(const RecordView& record, EntryRef ref);
  void apply_base(EntryId base);
  void apply_group_state(const GroupSummary& summary);
  // What the log holds from `first` on is doubtful, and it goes on after `last`.
  void make_hole(Index first, Index last);

  GroupLog log_;             // may begin after base_, with the entries between missing
  EntryId base_;             // the true one
  std::vector<Hole> holes_;  // ascending, after log_.base(), filled with missing references
  uint64_t skipped_ = 0;     // records missing since the last one that settled what they were
  bool suspect_ = false;     // damage was met after the last record
  bool hard_state_unsure_ = false;
  bool first_ = true;
};

}  // namespace flux::wal
