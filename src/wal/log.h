// The log behind the Wal interface. What it does is in four files: log.cc (opening and mutations), log_write.cc (the
// cycle), log_read.cc and log_housekeeping.cc.
#pragma once

#include <absl/container/btree_map.h>

#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "wal/group_log.h"
#include "wal/recovery.h"
#include "wal/segment.h"
#include "wal/segment_pool.h"
#include "wal/wal.h"

namespace flux::wal {

class Log final : public Wal {
 public:
  Log(env::Fs& fs, std::string dir, const Options& options);

  // Called once, before anything else.
  Status recover_or_create();

  const RecoveryReport& recovery() const override { return recovery_; }
  std::vector<GroupId> groups() const override;
  bool has_group(GroupId group) const override;
  GroupLogState state(GroupId group) const override;
  Result<std::vector<Entry>> read(GroupId group, Index first, Index last, size_t bytes_max) const override;
  Status for_each(GroupId group, const std::function<Status(const Entry&)>& visit) const override;

  Status append(GroupId group, std::span<const Entry> entries) override;
  Status set_hard_state(GroupId group, const HardState& state) override;
  Status compact(GroupId group, EntryId base) override;
  Status reset(GroupId group, EntryId base) override;
  Status remove(GroupId group) override;
  Status repaired(GroupId group) override;

  Ticket seal() override;
  Status write() override;
  Status sync() override;
  Ticket appended_through() const override;
  Ticket written_through() const override;
  Ticket durable_through() const override;
  Status close() override;
  Status status() const override;

  bool wants_maintenance() const override;
  Status maintain() override;
  std::vector<GroupId> pinning_groups() const override;
  size_t entry_bytes_max() const override;
  Stats stats() const override;

 private:
  using SegmentPtr = std::shared_ptr<Segment>;  // shared: a read holds the segment while housekeeping frees it

  // Encoded records on their way to the disk.
  struct Buffer {
    Position begin;
    std::string bytes;
    Ticket through;

    Position end() const { return begin + bytes.size(); }
    bool holds(Position position) const { return position >= begin && position < end(); }
  };
  // One batch to be written, with the records at [begin, end) of the flight buffer.
  struct PlannedBatch {
    size_t begin;
    size_t end;
    bool new_segment;
  };

  // --- Opening (log.cc) ---
  Status adopt_segments(Recovered& recovered);
  void adopt_groups(Recovered& recovered);

  // --- Mutations (log.cc). All under mutex_. ---
  Result<GroupLog*> group_for_mutation(GroupId group);
  void record(GroupLog& log, RecordView record);
  size_t groups_max() const;

  // --- The cycle (log_write.cc). Only the thread that runs it. ---
  std::vector<PlannedBatch> plan(const std::string& records) const;
  Status ready_segments(size_t count);
  Result<SegmentPtr> make_segment();
  Status write_batches(const std::vector<PlannedBatch>& batches);
  void add_checkpoint(std::string& out, uint32_t flags);
  void add_batch(std::string& out, std::string_view records, uint32_t flags);
  Status write_out(const std::string& out, uint64_t offset);
  Status poison(Status error);

  // --- Reads (log_read.cc) ---
  struct DiskRead;
  struct ReadPlan;
  Result<ReadPlan> plan_read(GroupId group, Index first, Index last, size_t bytes_max) const;
  const Buffer* buffer_of(Position position) const;
  SegmentPtr segment_of(Position position) const;
  static Status read_from_disk(const std::vector<DiskRead>& reads, std::vector<Entry>& entries);

  // --- Housekeeping (log_housekeeping.cc) ---
  Position needed_from() const;
  void advance_floor();
  std::vector<SegmentPtr> take_free_segments();
  Status dispose(const SegmentPtr& segment);

  env::Fs& fs_;
  const std::string dir_;
  const Options options_;
  RecoveryReport recovery_;  // written once, by recover_or_create()

  // One segment is made at a time. Taken before mutex_.
  std::mutex making_mutex_;
  SegmentPool pool_;              // guarded by making_mutex_
  SegmentId next_segment_id_{1};  // guarded by making_mutex_

  mutable std::mutex mutex_;  // guards what follows, up to the mark
  Status poison_;
  absl::btree_map<GroupId, GroupLog> groups_;
  // Invariant: flight_, sealed_ and pending_ follow each other without a gap.
  Buffer flight_;  // being written; its bytes are not touched by others
  Buffer sealed_;
  Buffer pending_;
  Ticket appended_;
  Ticket written_;
  Ticket durable_;
  std::deque<SegmentPtr> live_;    // oldest first; the last one is written to
  std::deque<SegmentPtr> spares_;  // ready to become live, in order
  Stats stats_;
  bool housekeeping_due_ = true;
  // Segments that end at or before floor_ hold nothing anybody needs, durably.
  Position floor_;
  std::optional<std::pair<Ticket, Position>> floor_when_durable_;
  SegmentId durable_segment_;  // of the last batch that was synced
  // --- end of mutex_ ---

  // The cycle's own: only the thread that runs write and sync.
  SegmentPtr active_;                              // live_.back()
  absl::btree_map<GroupId, GroupSummary> placed_;  // what the batches so far say of each group
  uint64_t offset_ = kPageBytes;                   // of the next batch in the live segment
  uint64_t next_sequence_ = 1;
  uint64_t durable_sequence_ = 0;
  uint32_t epoch_ = 0;
  bool marked_ = true;  // nothing was written since the last mark
  std::vector<SegmentPtr> unsynced_;
};

}  // namespace flux::wal
