#include "raft/log.h"

#include <fmt/core.h>

#include <algorithm>

namespace flux::raft {

Log::Log(const Restore& restore, LogReader& reader)
    : reader_(reader),
      base_(restore.base.last),
      runs_(restore.runs),
      last_index_(restore.last),
      tail_first_(restore.last + 1),
      unwritten_(restore.last + 1),
      disk_last_(restore.last),
      persisted_(restore.last) {}

EntryId Log::last() const { return runs_.empty() ? base_ : EntryId{.index = last_index_, .term = runs_.back().term}; }

std::optional<Term> Log::term_at(Index index) const {
  if (index == base_.index) return base_.term;
  if (index < base_.index || index > last_index_) return std::nullopt;
  const auto after =
      std::upper_bound(runs_.begin(), runs_.end(), index, [](Index i, const TermRun& run) { return i < run.first; });
  FLUX_CHECK(after != runs_.begin());
  return std::prev(after)->term;
}

EntryId Log::newest(Index index, Term term) const {
  Index end = std::min(index, last_index_);
  for (auto run = runs_.rbegin(); run != runs_.rend(); ++run) {
    if (run->first > end) continue;
    if (run->term <= term) return {.index = end, .term = run->term};
    end = run->first - 1;
  }
  return base_;
}

void Log::append(Entry entry) {
  FLUX_CHECK(entry.index == last().index + 1, "entry {} after {}", entry.id(), last());
  FLUX_CHECK(entry.term >= last().term, "entry {} after {}", entry.id(), last());
  if (runs_.empty() || runs_.back().term != entry.term) runs_.push_back({.term = entry.term, .first = entry.index});
  last_index_ = entry.index;
  if (tail_.empty()) tail_first_ = entry.index;
  tail_bytes_ += charge(entry);
  tail_.push_back(std::move(entry));
}

void Log::truncate(Index from) {
  FLUX_CHECK(from > base_.index);
  FLUX_CHECK(from <= last_index_);
  while (!tail_.empty() && tail_.back().index >= from) {
    tail_bytes_ -= charge(tail_.back());
    tail_.pop_back();
  }
  while (!runs_.empty() && runs_.back().first >= from) runs_.pop_back();
  last_index_ = from - 1;
  if (tail_.empty()) tail_first_ = from;
  unwritten_ = std::min(unwritten_, from);
  recompute_persisted();
}

std::vector<Entry> Log::take_unwritten(uint64_t number) {
  if (!has_unwritten()) return {};
  const Index first = unwritten_;
  FLUX_CHECK(first >= tail_first_);
  std::vector<Entry> entries(tail_.begin() + static_cast<std::ptrdiff_t>(first - tail_first_), tail_.end());
  writes_.push_back({.number = number, .first = first, .last = last_index_});
  unwritten_ = last_index_ + 1;
  return entries;
}

void Log::persist(uint64_t number) {
  while (!writes_.empty() && writes_.front().number <= number) {
    disk_last_ = writes_.front().last;
    writes_.pop_front();
  }
  recompute_persisted();
}

// What the disk holds is what memory holds up to where a write that is under way, or still to come, starts.
void Log::recompute_persisted() {
  Index same = std::min(disk_last_, unwritten_ - 1);
  for (const Write& write : writes_) same = std::min(same, write.first - 1);
  persisted_ = same;
}

void Log::compact(EntryId id) {
  FLUX_CHECK(contains(id), "compacted up to {} which is not in the log {} to {}", id, base_, last());
  FLUX_CHECK(id.index <= persisted_);
  while (!tail_.empty() && tail_.front().index <= id.index) {
    tail_bytes_ -= charge(tail_.front());
    tail_.pop_front();
  }
  tail_first_ = std::max(tail_first_, id.index + 1);
  if (id.index == last_index_) {
    runs_.clear();
  } else {
    while (runs_.size() > 1 && runs_[1].first <= id.index + 1) runs_.erase(runs_.begin());
    runs_.front().first = std::max(runs_.front().first, id.index + 1);
  }
  base_ = id;
}

void Log::restore(EntryId base) {
  base_ = base;
  runs_.clear();
  tail_.clear();
  tail_bytes_ = 0;
  writes_.clear();
  last_index_ = disk_last_ = persisted_ = base.index;
  tail_first_ = unwritten_ = base.index + 1;
}

Result<std::vector<Entry>> Log::read(Index first, Index last, size_t bytes_max) const {
  FLUX_CHECK(first > base_.index);
  FLUX_CHECK(first <= last);
  FLUX_CHECK(last <= last_index_);
  std::vector<Entry> entries;
  if (first < tail_first_) {
    FLUX_TRY(entries, read_disk(first, std::min(last, tail_first_ - 1), bytes_max));
    if (entries.back().index + 1 < tail_first_) return entries;
  }
  size_t bytes = 0;
  for (const Entry& entry : entries) bytes += charge(entry);
  for (Index index = std::max(first, tail_first_); index <= last; ++index) {
    const Entry& entry = tail_[index - tail_first_];
    bytes += charge(entry);
    if (!entries.empty() && bytes > bytes_max) break;
    entries.push_back(entry);
  }
  return entries;
}

// What the disk returns must be what was written.
Result<std::vector<Entry>> Log::read_disk(Index first, Index last, size_t bytes_max) const {
  FLUX_TRY(std::vector<Entry> entries, reader_.read(first, last, bytes_max));
  if (entries.empty()) return Status(ErrorCode::kCorruption, fmt::format("the log has no entry {}", first));
  Index index = first;
  for (const Entry& entry : entries) {
    if (entry.index != index || index > last || term_at(index) != entry.term) {
      return Status(ErrorCode::kCorruption, fmt::format("the log returned {} for entry {}", entry.id(), index));
    }
    ++index;
  }
  return entries;
}

size_t Log::charge(Index first, Index last) const {
  size_t bytes = 0;
  for (Index index = std::max(first, tail_first_); index <= last && index <= last_index_; ++index) {
    bytes += charge(tail_[index - tail_first_]);
  }
  return bytes;
}

void Log::trim(Index keep_after, size_t bytes_max) {
  const Index droppable = std::min(keep_after, persisted_);
  while (tail_bytes_ > bytes_max && !tail_.empty() && tail_.front().index <= droppable) {
    tail_bytes_ -= charge(tail_.front());
    tail_.pop_front();
    ++tail_first_;
  }
}

}  // namespace flux::raft
