// Walks the segments of a log in order and tells live records, damage and the torn tail apart. It decides nothing about
// groups; recovery and the dump tool do.
//
// A batch that fails its checks was durable, and so is damaged, if and only if a later batch says so (its
// durable_through); otherwise it is the torn end of a write that was never promised, and the log ends before it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "env/fs.h"
#include "wal/wal_format.h"

namespace flux::wal {

struct SegmentFile {
  SegmentId id;
  std::string path;
  std::unique_ptr<env::File> file;
  StoreId store;
  uint64_t bytes = 0;           // as its header says
  bool header_damaged = false;  // known to be ours by its batches only
};

// The segments of `dir` in order of their ids. Refuses what cannot be one log of this store (`store`: nullopt, of the
// one that the first readable header names): gaps, swapped or foreign files, newer formats.
Result<std::vector<SegmentFile>> open_segments(env::Fs& fs, const std::string& dir, std::optional<StoreId> store,
                                               env::OpenMode mode);

// Which groups an event may concern: a union of group_bit().
struct GroupSet {
  uint64_t bits = 0;
  static GroupSet all() { return {.bits = ~uint64_t{0}}; }
  bool may_contain(GroupId group) const { return (bits & group_bit(group)) != 0; }
};

// What the walk meets, in log order.
class ScanVisitor {
 public:
  virtual ~ScanVisitor() = default;
  virtual void on_segment(const SegmentFile&) {}
  // `segment` counts in the order of open_segments().
  virtual void on_batch(size_t segment, uint64_t offset, const BatchHeader& header) = 0;
  // `offset`: of the record within the records of its batch. The record is valid during the call.
  virtual void on_record(const BatchHeader& batch, size_t offset, const RecordView& record) = 0;
  // `whole`: no record was damaged.
  virtual void on_batch_end(const BatchHeader& batch, bool whole) = 0;
  // Durable records of these groups were damaged here; `finding` says where, for people (empty: the same place again).
  virtual void on_damage(GroupSet groups, const std::string& finding) = 0;
};

// Where the log ends, and the next batch begins.
struct ScanEnd {
  size_t segment = 0;
  uint64_t offset = kPageBytes;
  uint64_t next_sequence = 1;
  uint32_t epoch_max = 0;  // of all batches seen, dead ones too
  uint64_t batches = 0;
  uint64_t records = 0;
  uint64_t torn_bytes = 0;
  SegmentId last_segment;  // of the last valid batch
};

Result<ScanEnd> scan(const std::vector<SegmentFile>& segments, ScanVisitor& visitor);

}  // namespace flux::wal
