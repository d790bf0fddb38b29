#include "wal/group_log.h"

#include <algorithm>

#include "base/check.h"

namespace flux::wal {

void GroupLog::append(EntryId id, EntryType type, EntryRef ref) {
  FLUX_CHECK(id.index >= first() && id.index <= last() + 1, "entry {} in a log of {} to {}", id, first(), last());
  if (id.index <= last()) cut(id.index - 1);
  if (term_runs_.empty() || term_runs_.back().term != id.term)
    term_runs_.push_back({.first = id.index, .term = id.term});
  if (type == EntryType::kConfig) config_entries_.push_back(id.index);
  refs_.push_back(ref);
}

void GroupLog::cut(Index last_kept) {
  FLUX_CHECK(last_kept >= base_.index);
  FLUX_CHECK(last_kept <= last());
  refs_.resize(last_kept - base_.index);
  while (!term_runs_.empty() && term_runs_.back().first > last_kept) term_runs_.pop_back();
  while (!config_entries_.empty() && config_entries_.back() > last_kept) config_entries_.pop_back();
}

void GroupLog::compact(EntryId base) {
  FLUX_CHECK(base.index >= base_.index);
  FLUX_CHECK(base.index <= last());
  refs_.erase(refs_.begin(), refs_.begin() + static_cast<ptrdiff_t>(base.index - base_.index));
  base_ = base;
  // The run that holds the first kept entry begins there now.
  const auto kept =
      std::find_if(term_runs_.rbegin(), term_runs_.rend(), [&](const TermRun& run) { return run.first <= first(); });
  if (kept != term_runs_.rend()) {
    kept->first = first();
    term_runs_.erase(term_runs_.begin(), std::prev(kept.base()));
  }
  if (refs_.empty()) term_runs_.clear();
  std::erase_if(config_entries_, [&](Index index) { return index <= base.index; });
}

void GroupLog::reset(EntryId base) {
  base_ = base;
  refs_.clear();
  term_runs_.clear();
  config_entries_.clear();
}

GroupLogState GroupLog::state() const {
  return GroupLogState{.hard_state = hard_state,
                       .base = base_,
                       .last = {.index = last(), .term = last_term()},
                       .term_runs = term_runs_,
                       .config_entries = config_entries_,
                       .damage = damage};
}

GroupSummary GroupLog::summary() const {
  return GroupSummary{.hard_state = hard_state,
                      .base = base_,
                      .last = {.index = last(), .term = last_term()},
                      .damage = damage,
                      .chain = chain};
}

}  // namespace flux::wal
