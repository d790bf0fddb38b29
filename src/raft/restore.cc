#include "raft/restore.h"

#include <fmt/core.h>

#include <algorithm>

namespace flux::raft {

RestoreBuilder::RestoreBuilder(HardState hard_state, SnapshotMeta base) {
  restore_.hard_state = hard_state;
  restore_.last = base.last.index;
  restore_.base = std::move(base);
}

Status RestoreBuilder::add(Index index, Term term, EntryType type, std::string_view data) {
  const EntryId base = restore_.base.last;
  if (index <= base.index) {
    if (index == base.index && term != base.term) stale_ = true;
    return {};
  }
  if (stale_) return {};
  if (index != restore_.last + 1) {
    return {ErrorCode::kCorruption, fmt::format("log entry {} follows {}", index, restore_.last)};
  }
  const Term before = restore_.runs.empty() ? base.term : restore_.runs.back().term;
  if (term < before || term == Term(0)) {
    return {ErrorCode::kCorruption, fmt::format("log entry {}^{} follows term {}", index, term, before)};
  }
  if (type == EntryType::kConfig) {
    Result<ConfigRecord> record = decode_config(data);
    if (!record.ok()) return std::move(record).status().with(fmt::format("log entry {}^{}", index, term));
    restore_.configs.emplace_back(index, std::move(record->membership));
  }
  if (restore_.runs.empty() || restore_.runs.back().term != term) restore_.runs.push_back({term, index});
  restore_.last = index;
  return {};
}

Result<Restore> RestoreBuilder::build(Index applied) && {
  if (applied > restore_.last) {
    return Status(ErrorCode::kDataLoss,
                  fmt::format("the state machine has applied {} but the log ends at {}", applied, restore_.last));
  }
  // A vote names its term before the first entry of that term can exist.
  const Term last_term = restore_.runs.empty() ? restore_.base.last.term : restore_.runs.back().term;
  if (restore_.hard_state.term < last_term) {
    if (!restore_.runs.empty()) {
      return Status(ErrorCode::kDataLoss,
                    fmt::format("the log has term {} but the hard state says {}", last_term, restore_.hard_state.term));
    }
    restore_.hard_state = {.term = last_term, .vote = kNobody};
  }
  restore_.applied = std::max(applied, restore_.base.last.index);
  return std::move(restore_);
}

}  // namespace flux::raft
