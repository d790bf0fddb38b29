#include "wal/group_replay.h"

#include <algorithm>

namespace flux::wal {
namespace {

// A wider hole is not filled with references: what stands before it is given up too.
constexpr uint64_t kHoleFilledMax = uint64_t{1} << 20;

}  // namespace

void GroupReplay::apply(const RecordView& record, Position position) {
  if (record.type != RecordType::kGroupState) follow_chain(record);
  suspect_ = false;
  switch (record.type) {
    case RecordType::kEntry:
      apply_entry(record, {.position = position, .data_bytes = static_cast<uint32_t>(record.payload.size())});
      break;
    case RecordType::kHardState:
      log_.hard_state = {.term = record.term, .vote = NodeId(record.index)};
      hard_state_unsure_ = false;
      break;
    case RecordType::kCompact:
      apply_base(record.id());
      break;
    case RecordType::kReset:
      base_ = record.id();
      log_.reset(base_);
      holes_.clear();
      skipped_ = 0;
      break;
    case RecordType::kRepaired:
      log_.damage = {};
      break;
    case RecordType::kGroupState:
      apply_group_state(*group_summary(record));
      break;
    case RecordType::kRemove:
      break;
  }
  first_ = false;
}

void GroupReplay::follow_chain(const RecordView& record) {
  const uint32_t expected = log_.chain + 1;
  const uint32_t missing = record.chain - expected;
  log_.chain = record.chain;
  if (missing == 0) return;
  if (!first_ && (record.chain == 1 || missing > UINT32_MAX / 2)) {
    // The group was removed and begun again, and the record of it is lost.
    *this = GroupReplay();
    log_.chain = record.chain;
    skipped_ = record.chain - 1;
  } else {
    skipped_ += missing;
  }
  if (skipped_ > 0) hard_state_unsure_ = true;
}

void GroupReplay::apply_entry(const RecordView& record, EntryRef ref) {
  const Index index(record.index);
  if (index <= base_.index) {  // the compaction is known, the entry is not needed
    return;
  }
  if (index <= log_.base().index) {
    // The log was cut back into what is missing before it.
    log_.reset(index - 1 == base_.index ? base_ : EntryId{.index = index - 1, .term = record.term});
    holes_.clear();
  }
  if (index <= log_.last()) {
    log_.cut(index - 1);
    while (!holes_.empty() && holes_.back().first >= index) holes_.pop_back();
    if (!holes_.empty()) holes_.back().last = std::min(holes_.back().last, index - 1);
  }
  // Each missing record may have been one entry just before this one, so none further back has changed.
  const uint64_t before = index - log_.base().index - 1;
  const Index doubtful = index - std::min(skipped_, before);
  const Index unseen = log_.last() + 1;
  if (std::min(doubtful, unseen) < index) make_hole(std::min(doubtful, unseen), index - 1);
  skipped_ = 0;
  log_.append(record.id(), record.entry_type, ref);
}

void GroupReplay::apply_base(EntryId base) {
  if (base.index <= base_.index) return;
  base_ = base;
  if (base.index > log_.last()) {
    log_.reset(base);  // entries up to it were lost, and are not needed
    holes_.clear();
  } else if (base.index >= log_.base().index) {
    log_.compact(base);
    while (!holes_.empty() && holes_.front().last <= base.index) holes_.erase(holes_.begin());
    if (!holes_.empty()) holes_.front().first = std::max(holes_.front().first, base.index + 1);
  }
}

void GroupReplay::apply_group_state(const GroupSummary& summary) {
  const uint64_t skipped = summary.settles ? 0 : skipped_ + (first_ ? 0 : summary.chain - log_.chain);
  skipped_ = 0;
  if (summary.base.index < base_.index) {  // a lost reset
    base_ = summary.base;
    log_.reset(summary.base);
    holes_.clear();
  }
  apply_base(summary.base);
  base_ = summary.base;
  if (summary.last.index <= log_.base().index) {
    log_.reset(summary.last);
    holes_.clear();
  } else {
    if (summary.last.index < log_.last()) {
      log_.cut(summary.last.index);
      while (!holes_.empty() && holes_.back().first > summary.last.index) holes_.pop_back();
      if (!holes_.empty()) holes_.back().last = std::min(holes_.back().last, summary.last.index);
    }
    const uint64_t held = summary.last.index - log_.base().index;
    const Index doubtful = summary.last.index + 1 - std::min(skipped, held);
    const Index unseen = log_.last() + 1;
    if (std::min(doubtful, unseen) <= summary.last.index) make_hole(std::min(doubtful, unseen), summary.last.index);
  }
  log_.hard_state = summary.hard_state;
  log_.damage = summary.damage;
  log_.chain = summary.chain;
  hard_state_unsure_ = false;
}

void GroupReplay::make_hole(Index first, Index last) {
  if (first <= log_.last()) {
    log_.cut(first - 1);
    while (!holes_.empty() && holes_.back().first >= first) holes_.pop_back();
  }
  if (log_.empty() || last - first >= kHoleFilledMax) {
    log_.reset({.index = last, .term = log_.last_term()});
    holes_.clear();
    return;
  }
  holes_.push_back({.first = first, .last = last});
  const Term term = log_.last_term();
  for (Index index = first; index <= last; ++index) {
    log_.append({.index = index, .term = term}, EntryType::kNoop, {.data_bytes = EntryRef::kMissing});
  }
}

bool GroupReplay::finish() {
  Damage found;
  found.hard_state_lost = hard_state_unsure_ || suspect_;
  const Index last_seen = log_.last();
  std::optional<Index> first_lost;
  if (base_.index < log_.base().index) {
    first_lost = base_.index + 1;
  } else if (!holes_.empty()) {
    first_lost = holes_.front().first;
  } else if (skipped_ > 0 || suspect_) {
    first_lost = last_seen + 1;
  }
  if (first_lost) {
    found.entries_lost = true;
    found.lost_first = *first_lost;
    found.lost_last_known = std::max(last_seen, *first_lost - 1) + skipped_;
    if (base_.index < log_.base().index) {
      log_.reset(base_);
    } else {
      log_.cut(*first_lost - 1);
    }
  }
  // What the log says already stands until the group is declared repaired.
  Damage& damage = log_.damage;
  const Damage before = damage;
  if (found.entries_lost) {
    damage.lost_first = damage.entries_lost ? std::min(damage.lost_first, found.lost_first) : found.lost_first;
    damage.lost_last_known = std::max(damage.lost_last_known, found.lost_last_known);
    damage.entries_lost = true;
  }
  damage.hard_state_lost = damage.hard_state_lost || found.hard_state_lost;
  return found.any() || damage != before;
}

}  // namespace flux::wal
