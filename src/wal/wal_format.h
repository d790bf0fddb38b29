// The bytes of the log store; docs/formats/wal.md explains them. All integers are little-endian.
//
//   segment file  wal-<segment id, 16 hex digits>.log
//   +-------------+-------------+-------------+-----------------------+
//   | header page | batch       | batch       | ... zeros or old bytes|     every part begins on a 4 KiB page
//   +-------------+-------------+-------------+-----------------------+
//
//   header page (4096 bytes)                  batch header (64 bytes)
//    0  u64 magic "FLUXWAL1"                   0  u32 magic "FLXB"
//    8  u32 format version                     4  u32 crc of the store id and bytes 8 to 64
//   12  u32 crc of the page with this as 0     8  u64 segment id
//   16  u64 store id                          16  u64 sequence number of the batch
//   24  u64 segment id                        24  u64 sequence number known durable when it was written
//   32  u64 segment bytes                     32  u64 groups: a one-hash Bloom filter of who is in it
//   40  zeros                                 40  u32 epoch: one more with every open
//                                             44  u32 bytes of records
//   batch = header, records, zeros to the     48  u32 number of records
//   end of the page                           52  u32 flags: 1 checkpoint, 2 mark
//                                             56  zeros
//
//   record (40 bytes and the payload)
//    0  u32 payload size                      The crc is CRC-32C over store id, segment id, batch sequence number
//    4  u32 crc                               and epoch (28 bytes that are not stored again), payload size, bytes
//    8  u8  record type                       8 to 40 and the payload: a record in a recycled, copied or overwritten
//    9  u8  entry type                        place is no record. chain counts the records of the group: a reader
//   10  u16 zero                              sees where some are missing.
//   12  u32 chain
//   16  u64 group                              type           index        term         payload
//   24  u64 index                              1 entry        its index    its term     its data
//   32  u64 term                               2 hard state   the vote     the term
//   40  payload                                3 compact      base         base
//                                              4 reset        base         base
//   group state payload (56 bytes)             5 remove
//    0  u64 last index                         6 repaired
//    8  u64 last term                          7 group state  base         base         see left; chain is that of
//   16  u64 hard state term                                                             the group's last record
//   24  u64 hard state vote
//   32  u64 first lost index
//   40  u64 last known lost index
//   48  u8  flags: 1 hard state lost, 2 entries lost, 4 settles
//   49  zeros
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/codec.h"
#include "base/log_entry.h"
#include "wal/wal.h"

namespace flux::wal {

inline constexpr uint64_t kPageBytes = 4096;
inline constexpr uint64_t kSegmentBytesMin = 4 * kPageBytes;
inline constexpr uint64_t kSegmentBytesMax = uint64_t{1} << 30;
inline constexpr uint32_t kFormatVersion = 1;
inline constexpr size_t kBatchHeaderBytes = 64;
inline constexpr size_t kRecordHeaderBytes = 40;
inline constexpr size_t kGroupStateBytes = 56;
// Far beyond any log; keeps sums of indexes from overflowing.
inline constexpr uint64_t kIndexMax = uint64_t{1} << 60;
inline constexpr uint64_t kSequenceMax = uint64_t{1} << 60;
inline constexpr uint32_t kEpochMax = uint32_t{1} << 31;

// Never change or reuse the numbers.
enum class RecordType : uint8_t {
  kEntry = 1,
  kHardState = 2,
  kCompact = 3,
  kReset = 4,
  kRemove = 5,
  kRepaired = 6,
  kGroupState = 7,
};

constexpr uint64_t page_round_up(uint64_t bytes) { return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes; }

struct SegmentHeader {
  uint32_t version = kFormatVersion;
  StoreId store_id;
  SegmentId segment_id;
  uint64_t segment_bytes = 0;
  bool operator==(const SegmentHeader&) const = default;
};

// One page.
std::string encode_segment_header(const SegmentHeader& header);
// nullopt: not a header, or damaged. A version other than ours is returned for the caller to refuse.
std::optional<SegmentHeader> decode_segment_header(std::string_view page);

struct BatchHeader {
  static constexpr uint32_t kCheckpoint = 1;  // group states of all groups; the first batch of every segment is one
  static constexpr uint32_t kMark = 2;        // the log was closed here

  SegmentId segment_id;
  uint64_t sequence = 0;
  uint64_t durable_through = 0;
  uint64_t groups = 0;
  uint32_t epoch = 0;
  uint32_t records_bytes = 0;
  uint32_t record_count = 0;
  uint32_t flags = 0;

  uint64_t batch_bytes() const { return page_round_up(kBatchHeaderBytes + records_bytes); }
  // What the checksums of the batch's records start from.
  uint32_t salt(StoreId store) const;
  bool operator==(const BatchHeader&) const = default;
};

// The bit of BatchHeader::groups that stands for the group.
uint64_t group_bit(GroupId group);

void encode_batch_header(const BatchHeader& header, StoreId store, char* target);
std::optional<BatchHeader> decode_batch_header(std::string_view bytes, StoreId store);

// A record's fields. `payload` points into what it was decoded from.
struct RecordView {
  RecordType type = RecordType::kEntry;
  EntryType entry_type = EntryType::kNoop;
  uint32_t chain = 0;
  GroupId group;
  uint64_t index = 0;  // the vote of a hard state
  Term term;
  std::string_view payload;

  EntryId id() const { return {.index = Index(index), .term = term}; }
  size_t bytes() const { return kRecordHeaderBytes + payload.size(); }
};

// Appends a record whose checksum is still to be sealed.
void append_record(std::string& out, const RecordView& record);
// Puts the checksum into an encoded record.
void seal_record(char* record, size_t size, uint32_t salt);
// The fields of a record that is known to be good.
RecordView record_fields(std::string_view bytes);
// The size the record at the front of `bytes` says it has; 0 when it cannot be.
size_t record_size(std::string_view bytes);
// The record at the front of `bytes`; nullopt when it fails its checks.
std::optional<RecordView> decode_record(std::string_view bytes, uint32_t salt);

// What a checkpoint says of a group.
struct GroupSummary {
  HardState hard_state;
  EntryId base;
  EntryId last;
  Damage damage;
  uint32_t chain = 0;
  // Written by the recovery that found the damage: what was damaged before this record is accounted for in it.
  bool settles = false;

  // Takes part in what `record`, of this group and not kRemove, says.
  void apply(const RecordView& record);
  bool operator==(const GroupSummary&) const = default;
};

void append_group_state(std::string& out, GroupId group, const GroupSummary& summary);
// REQUIRES: the record is a kGroupState. nullopt: the payload is malformed.
std::optional<GroupSummary> group_summary(const RecordView& record);

std::string segment_name(SegmentId id);
std::optional<SegmentId> parse_segment_name(std::string_view name);

}  // namespace flux::wal
