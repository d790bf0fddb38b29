// The log store of one data directory: entries, hard states and compaction points of all its groups in one segmented
// log, made durable by one write and one sync for everybody.
//
// Life of a write: append() and its kin change the state in memory and encode records into a pending buffer; seal()
// closes the buffer and returns a ticket; write() and sync(), run by an executor or inline, make sealed records
// durable; whatever ticket durable_through() has reached is safe to promise. What is appended meanwhile is the next
// batch.
//
// Threads: all calls are thread-safe. write() and sync() belong to one cycle at a time: write, sync, write, sync...
// They may run beside appends, reads and maintain().
//
// Errors: the first failed write or sync poisons the log; every later mutation, write, sync and maintain returns that
// error, and the process is expected to stop (the state of what was being written is unknown). kNoSpace from write() is
// the exception: a new segment could not be made, nothing was written, and write() may be tried again.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/log_entry.h"
#include "base/status.h"
#include "env/fs.h"

namespace flux::wal {

// Which store a segment belongs to: files of another data directory are refused.
using StoreId = StrongId<struct StoreIdTag>;
using SegmentId = StrongId<struct SegmentIdTag>;
// Counts mutations since open(); a ticket covers all mutations up to it.
using Ticket = StrongId<struct TicketTag>;

struct Options {
  // Random, drawn when the store is created: checksums start from it, so that no value a client stores can look like a
  // part of the log.
  StoreId store_id;
  // Size of a segment file; a multiple of 4 KiB, at least 16 KiB. An existing log keeps the sizes its files have.
  uint64_t segment_bytes = 64_MiB;
  // Prepared segments that maintain() keeps ahead of the one in use, making new ones if it must.
  uint32_t spare_segments = 2;
  // Spares up to which freed segments are kept for reuse; those beyond are removed.
  uint32_t spare_segments_max = 8;
  // Fills new segments with zeros and syncs them, so that later syncs overwrite blocks that exist. Off: small tests.
  bool prefill = true;
  // Live segments above which pinning_groups() names who holds the oldest ones.
  uint32_t segments_max = 16;
};

// Entries from `first` on have the term, up to the next run.
struct TermRun {
  Index first;
  Term term;
  bool operator==(const TermRun&) const = default;
};

// Something durable that cannot be read any more. A group with damage must not vote, and must not count as holding what
// it lost, until it has been repaired from its peers; see Wal::repaired(). It survives restarts.
struct Damage {
  // The term and vote in GroupLogState may be older than what was promised.
  bool hard_state_lost = false;
  bool entries_lost = false;
  // The first lost entry (the log now ends before it) and the last index that is known to have been here; entries after
  // it may have been lost too when there is no later trace of the group.
  Index lost_first;
  Index lost_last_known;

  bool any() const { return hard_state_lost || entries_lost; }
  bool operator==(const Damage&) const = default;
};

// All of a group but its entries.
struct GroupLogState {
  HardState hard_state;
  EntryId base;                       // the log holds the entries after it; 0^0 at the beginning
  EntryId last;                       // equals base when there are none
  std::vector<TermRun> term_runs;     // the terms of entries base+1 to last
  std::vector<Index> config_entries;  // those of EntryType::kConfig, in order
  Damage damage;
};

struct GroupDamage {
  GroupId group;
  Damage damage;
};

// What open() found.
struct RecoveryReport {
  uint64_t segments = 0;
  uint64_t batches = 0;
  uint64_t records = 0;
  // Bytes of a last, never promised write that a crash had torn; they are overwritten.
  uint64_t torn_bytes = 0;
  // Groups that lost something durable, found now or earlier and not yet repaired.
  std::vector<GroupDamage> damaged;
  // Damage after the last checkpoint: a group that began after that one may have been lost without a trace.
  bool new_groups_lost = false;
  // One line for people per finding, damage first.
  std::vector<std::string> findings;
};

struct Stats {
  uint64_t segments_live = 0;
  uint64_t segments_spare = 0;
  uint64_t segments_created = 0;
  uint64_t segments_recycled = 0;
  uint64_t segments_removed = 0;
  uint64_t batches = 0;
  uint64_t records = 0;
  uint64_t syncs = 0;
  uint64_t bytes_appended = 0;  // records, without batch headers
  uint64_t bytes_padded = 0;    // zeros up to page ends
  uint64_t bytes_written = 0;   // all of it
};

class Wal {
 public:
  // Recovers the log in `dir`, or creates an empty one (the directory too). The caller holds the directory's lock.
  // Errors: kCorruption or kDataLoss when the files cannot be a log of this store as a whole (missing, foreign or
  // swapped segments); the message says what to do. Damage that only some groups suffer is reported, not an error.
  // kUnsupported: written by a newer format. kIo, kNoSpace.
  static Result<std::unique_ptr<Wal>> open(env::Fs& fs, std::string dir, Options options);
  virtual ~Wal() = default;

  virtual const RecoveryReport& recovery() const = 0;

  // --- Reading -------------------------------------------------------------------------------------------------------
  // What the group will be once all mutations so far are durable.
  virtual std::vector<GroupId> groups() const = 0;
  virtual bool has_group(GroupId group) const = 0;
  // REQUIRES: has_group(group).
  virtual GroupLogState state(GroupId group) const = 0;
  // The entries from `first` to `last`, both included, as many as fit `bytes_max` but at least one; each is verified.
  // kNotFound when the group does not hold `first` to `last` (any more: it may have been compacted meanwhile).
  // kCorruption when the bytes on disk fail their checks.
  virtual Result<std::vector<Entry>> read(GroupId group, Index first, Index last, size_t bytes_max) const = 0;
  // Calls `visit` with each entry of the group in order, until it returns an error.
  virtual Status for_each(GroupId group, const std::function<Status(const Entry&)>& visit) const = 0;

  // --- Buffered mutations --------------------------------------------------------------------------------------------
  // A group begins with the first mutation that names it. All may return the poison; append also kTooLarge, for an
  // entry over entry_bytes_max(), and all kOverloaded for a new group over the number that fits a segment's checkpoint.

  // Appends entries with consecutive indexes; those at or after the first of them that the log already holds are cut
  // off. REQUIRES: base.index < entries[0].index <= last.index + 1.
  virtual Status append(GroupId group, std::span<const Entry> entries) = 0;
  virtual Status set_hard_state(GroupId group, const HardState& state) = 0;
  // Forgets the entries up to `base`: a snapshot at or after it is durable elsewhere. Ignored when not after the
  // present base. REQUIRES: base.index <= last.index.
  virtual Status compact(GroupId group, EntryId base) = 0;
  // Replaces the whole log by a snapshot at `base`.
  virtual Status reset(GroupId group, EntryId base) = 0;
  // Forgets the group.
  virtual Status remove(GroupId group) = 0;
  // Declares the group's damage repaired: it holds again all it ever promised (or has given its identity up).
  virtual Status repaired(GroupId group) = 0;

  // --- Durability ----------------------------------------------------------------------------------------------------
  // Everything mutated so far goes into the next write(). Returns the ticket that covers it.
  virtual Ticket seal() = 0;
  // Writes what is sealed; one write call unless a segment ends. Does nothing when nothing is sealed.
  virtual Status write() = 0;
  // Makes durable what was written.
  virtual Status sync() = 0;

  virtual Ticket appended_through() const = 0;  // covers all mutations so far
  virtual Ticket written_through() const = 0;   // handed to the operating system; lost in a power cut
  virtual Ticket durable_through() const = 0;   // synced

  // seal, write and sync in one go. REQUIRES: no cycle is running elsewhere.
  Status flush();
  // Makes everything durable and ends with a checkpoint, so that damage to the last write too is told from a torn tail.
  // The log may be used on.
  virtual Status close() = 0;
  // The poison, or OK.
  virtual Status status() const = 0;

  // --- Housekeeping --------------------------------------------------------------------------------------------------
  // Whether maintain() has something to do.
  virtual bool wants_maintenance() const = 0;
  // Frees segments that nobody needs and prepares spares; slow (fills and syncs files). May run on a background thread
  // beside write and sync. kNoSpace is not fatal.
  virtual Status maintain() = 0;
  // The groups whose entries hold the oldest segments, when more than segments_max are live: make them take a snapshot
  // and compact(). Ordered by how old what they hold is.
  virtual std::vector<GroupId> pinning_groups() const = 0;
  // The largest Entry::data that append() takes: about three quarters of a segment.
  virtual size_t entry_bytes_max() const = 0;
  virtual Stats stats() const = 0;
};

}  // namespace flux::wal
