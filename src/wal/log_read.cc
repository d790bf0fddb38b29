// Reading entries back: from the buffers on their way out, else from the segments.
#include <fmt/core.h>

#include <algorithm>

#include "wal/log.h"

namespace flux::wal {
namespace {

// Records of other groups up to this many bytes are read along rather than skipped.
constexpr uint64_t kReadGapMax = 16_KiB;
constexpr uint64_t kReadBytesMax = 4_MiB;
constexpr size_t kForEachBytes = 4_MiB;

Entry entry_of(const RecordView& record) {
  return Entry{.index = Index(record.index),
               .term = record.term,
               .type = record.entry_type,
               .data = SharedBytes(std::string(record.payload))};
}

}  // namespace

// A record to be read from a file.
struct Log::DiskRead {
  SegmentPtr segment;
  uint64_t offset;
  size_t bytes;
  uint32_t salt;
  size_t entry;  // which one it becomes
  GroupId group;
};

struct Log::ReadPlan {
  std::vector<Entry> entries;  // those from disk know only their index yet
  std::vector<DiskRead> from_disk;
};

Result<std::vector<Entry>> Log::read(GroupId group, Index first, Index last, size_t bytes_max) const {
  FLUX_TRY(ReadPlan plan, plan_read(group, first, last, bytes_max));
  const Status status = read_from_disk(plan.from_disk, plan.entries);
  if (!status.ok()) {
    // What was compacted meanwhile may have been overwritten.
    const std::lock_guard lock(mutex_);
    const auto found = groups_.find(group);
    if (found == groups_.end() || first < found->second.first()) {
      return Status(ErrorCode::kNotFound, fmt::format("group {}: entry {} was compacted", group, first));
    }
    return status.with(fmt::format("group {}", group));
  }
  return std::move(plan.entries);
}

Result<Log::ReadPlan> Log::plan_read(GroupId group, Index first, Index last, size_t bytes_max) const {
  const std::lock_guard lock(mutex_);
  const auto found = groups_.find(group);
  if (found == groups_.end()) return Status(ErrorCode::kNotFound, fmt::format("group {} has no log", group));
  const GroupLog& log = found->second;
  if (first < log.first() || last > log.last() || first > last) {
    return Status(ErrorCode::kNotFound, fmt::format("group {}: entries {} to {} are not in the log, which has {} to {}",
                                                    group, first, last, log.first(), log.last()));
  }
  ReadPlan plan;
  size_t bytes = 0;
  for (Index index = first; index <= last; ++index) {
    const EntryRef& ref = log.ref(index);
    bytes += ref.data_bytes;
    if (index != first && bytes > bytes_max) break;
    if (const Buffer* const buffer = buffer_of(ref.position)) {
      plan.entries.push_back(
          entry_of(record_fields(std::string_view(buffer->bytes).substr(ref.position - buffer->begin))));
      continue;
    }
    const SegmentPtr segment = segment_of(ref.position);
    const BatchPlace& batch = segment->batch_of(ref.position);
    plan.from_disk.push_back({.segment = segment,
                              .offset = batch.offset + kBatchHeaderBytes + (ref.position - batch.begin),
                              .bytes = kRecordHeaderBytes + ref.data_bytes,
                              .salt = batch.salt,
                              .entry = plan.entries.size(),
                              .group = group});
    plan.entries.push_back({.index = index});
  }
  return plan;
}

const Log::Buffer* Log::buffer_of(Position position) const {
  for (const Buffer* const buffer : {&flight_, &sealed_, &pending_}) {
    if (buffer->holds(position)) return buffer;
  }
  return nullptr;
}

Log::SegmentPtr Log::segment_of(Position position) const {
  const auto found = std::partition_point(live_.begin(), live_.end(),
                                          [&](const SegmentPtr& segment) { return segment->end <= position; });
  FLUX_CHECK(found != live_.end(), "no segment holds position {}", position);
  return *found;
}

Status Log::read_from_disk(const std::vector<DiskRead>& reads, std::vector<Entry>& entries) {
  for (size_t begin = 0; begin < reads.size();) {
    // Neighbours are read in one go.
    const DiskRead& front = reads[begin];
    uint64_t end_offset = front.offset + front.bytes;
    size_t end = begin + 1;
    while (end < reads.size() && reads[end].segment == front.segment && reads[end].offset >= end_offset &&
           reads[end].offset - end_offset <= kReadGapMax &&
           reads[end].offset + reads[end].bytes - front.offset <= kReadBytesMax) {
      end_offset = reads[end].offset + reads[end].bytes;
      ++end;
    }
    FLUX_TRY(std::string bytes, front.segment->file->read_at(front.offset, end_offset - front.offset));
    // Recovery reads what a torn write has left of a file in the same way, and takes a record whose checksum agrees.
    bytes.resize(end_offset - front.offset, '\0');
    for (; begin < end; ++begin) {
      const DiskRead& read = reads[begin];
      const size_t at = static_cast<size_t>(read.offset - front.offset);
      const std::optional<RecordView> record = decode_record(std::string_view(bytes).substr(at, read.bytes), read.salt);
      Entry& entry = entries[read.entry];
      if (!record || record->type != RecordType::kEntry || record->group != read.group ||
          Index(record->index) != entry.index) {
        return Status(ErrorCode::kCorruption, fmt::format("{} at {}: the record of entry {} is damaged",
                                                          read.segment->path, read.offset, entry.index));
      }
      entry = entry_of(*record);
    }
  }
  return {};
}

Status Log::for_each(GroupId group, const std::function<Status(const Entry&)>& visit) const {
  const GroupLogState now = state(group);
  for (Index next = now.base.index + 1; next <= now.last.index;) {
    FLUX_TRY(const std::vector<Entry> entries, read(group, next, now.last.index, kForEachBytes));
    for (const Entry& entry : entries) FLUX_RETURN_IF_ERROR(visit(entry));
    next = next + entries.size();
  }
  return {};
}

std::vector<GroupId> Log::groups() const {
  const std::lock_guard lock(mutex_);
  std::vector<GroupId> ids;
  for (const auto& [id, log] : groups_) ids.push_back(id);
  std::sort(ids.begin(), ids.end());
  return ids;
}

bool Log::has_group(GroupId group) const {
  const std::lock_guard lock(mutex_);
  return groups_.contains(group);
}

GroupLogState Log::state(GroupId group) const {
  const std::lock_guard lock(mutex_);
  const auto found = groups_.find(group);
  FLUX_CHECK(found != groups_.end(), "group {} has no log", group);
  return found->second.state();
}

}  // namespace flux::wal
