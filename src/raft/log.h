// A replica's log as the core sees it: where it starts, the runs of terms after that, the newest bodies, and how much
// of it is durable.
//
// Durability is tracked by write, not by entry: an entry that was overwritten and later written again bears the same
// index and term as its first copy, so the name of an entry cannot say which copy reached the disk.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "base/log_entry.h"
#include "base/status.h"
#include "raft/restore.h"

namespace flux::raft {

// The driver's log on disk.
class LogReader {
 public:
  virtual ~LogReader() = default;
  // Entries `first` to `last`, both included, cut short after `bytes_max` of payload but never empty. Only asked for
  // entries after the base whose writes were reported by Persisted. An error stops the core.
  virtual Result<std::vector<Entry>> read(Index first, Index last, size_t bytes_max) = 0;
};

// Part of one core; not thread-safe.
class Log {
 public:
  Log(const Restore& restore, LogReader& reader);

  EntryId base() const { return base_; }
  EntryId last() const;
  // Durable and not replaced in memory up to here. Invariant: base <= persisted <= last.
  Index persisted() const { return persisted_; }

  // Known for base to last.
  std::optional<Term> term_at(Index index) const;
  bool contains(EntryId id) const { return term_at(id.index) == id.term; }
  // The newest entry at or before `index` whose term is at most `term`; the base if there is none.
  EntryId newest(Index index, Term term) const;

  // REQUIRES: entry.index is last + 1 and entry.term is at least last's.
  void append(Entry entry);
  // Drops `from` and everything after it. REQUIRES: base < from <= last.
  void truncate(Index from);

  // What no write has carried yet; it becomes part of write `number`.
  std::vector<Entry> take_unwritten(uint64_t number);
  bool has_unwritten() const { return unwritten_ <= last().index; }
  // Writes up to `number` are durable.
  void persist(uint64_t number);

  // Bodies up to `id` are gone from disk. REQUIRES: contains(id) and id is persisted.
  void compact(EntryId id);
  // The log is empty and starts after `base`, on disk too.
  void restore(EntryId base);

  // As LogReader::read, from memory where possible. REQUIRES: base < first <= last <= last().
  Result<std::vector<Entry>> read(Index first, Index last, size_t bytes_max) const;
  // Payload of the entries in memory from `first` to `last`, with a fixed charge for each.
  size_t charge(Index first, Index last) const;
  // Forgets bodies beyond `bytes_max`, oldest first, but none after `keep_after` and none that is not durable.
  void trim(Index keep_after, size_t bytes_max);
  Index tail_first() const { return tail_first_; }

  static size_t charge(const Entry& entry) { return entry.data.size() + kEntryOverhead; }
  static constexpr size_t kEntryOverhead = 48;

 private:
  struct Write {
    uint64_t number;
    Index first;
    Index last;
  };
  void recompute_persisted();
  Result<std::vector<Entry>> read_disk(Index first, Index last, size_t bytes_max) const;

  LogReader& reader_;
  EntryId base_;
  std::vector<TermRun> runs_;  // of the entries after base_; index and term strictly ascending
  Index last_index_;
  std::deque<Entry> tail_;  // Invariant: tail_first_ to last, without a gap; holds all that is not persisted.
  Index tail_first_;        // last + 1 when the tail is empty
  size_t tail_bytes_ = 0;
  Index unwritten_;           // first index that no write carries
  std::deque<Write> writes_;  // under way, oldest first
  Index disk_last_;           // last entry of the log on disk after all writes that are done
  Index persisted_;
};

}  // namespace flux::raft
