// A group's log in memory: its state, and where in the log store each of its entries stands.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "wal/wal.h"
#include "wal/wal_format.h"

namespace flux::wal {

// A place in the stream of all records, checkpoints left out, counted in bytes from the oldest live segment at open().
using Position = StrongId<struct PositionTag>;

// Where an entry's record begins and how long its data is.
struct EntryRef {
  Position position;
  uint32_t data_bytes = 0;

  bool missing() const { return data_bytes == kMissing; }
  // A hole left by damage; only while recovery runs.
  static constexpr uint32_t kMissing = UINT32_MAX;
};

// Not thread-safe. Invariants: base <= last; refs_ holds entries base+1 to last; term_runs_ covers them.
class GroupLog {
 public:
  HardState hard_state;
  Damage damage;
  uint32_t chain = 0;  // of the group's last record

  EntryId base() const { return base_; }
  Index first() const { return base_.index + 1; }
  Index last() const { return base_.index + refs_.size(); }
  // The term of the last entry, or of the base.
  Term last_term() const { return term_runs_.empty() ? base_.term : term_runs_.back().term; }
  bool empty() const { return refs_.empty(); }
  // REQUIRES: first() <= index <= last().
  const EntryRef& ref(Index index) const { return refs_[index - first()]; }
  const std::vector<TermRun>& term_runs() const { return term_runs_; }

  // Appends after cutting off what stands at `id.index` or later. REQUIRES: first() <= id.index <= last() + 1.
  void append(EntryId id, EntryType type, EntryRef ref);
  // Forgets the entries up to `base`. REQUIRES: base().index <= base.index <= last().
  void compact(EntryId base);
  // An empty log that begins after `base`.
  void reset(EntryId base);
  // Forgets the entries after `last`. REQUIRES: base().index <= last <= last().
  void cut(Index last);

  GroupLogState state() const;
  GroupSummary summary() const;

 private:
  EntryId base_;
  std::deque<EntryRef> refs_;
  std::vector<TermRun> term_runs_;
  std::vector<Index> config_entries_;
};

}  // namespace flux::wal
