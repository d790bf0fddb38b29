// The cycle: sealed records become batches, batches are written, what was written is synced.
#include <algorithm>

#include "base/probe.h"
#include "wal/log.h"

namespace flux::wal {
namespace {

// Memory that a buffer keeps between two cycles.
constexpr size_t kBufferKeptBytes = 4_MiB;

}  // namespace

Status Log::write() {
  {
    const std::lock_guard lock(mutex_);
    if (!poison_.ok()) return poison_;
    if (sealed_.bytes.empty()) return {};
    FLUX_CHECK(flight_.bytes.empty(), "two writes at once");
    std::swap(flight_, sealed_);
    sealed_.begin = flight_.end();
  }
  const std::vector<PlannedBatch> batches = plan(flight_.bytes);
  const auto new_segments = std::count_if(batches.begin(), batches.end(), [](const auto& b) { return b.new_segment; });
  if (Status ready = ready_segments(static_cast<size_t>(new_segments)); !ready.ok()) {
    if (ready.code() != ErrorCode::kNoSpace) return poison(std::move(ready));
    // Nothing was written: what is sealed stays sealed.
    FLUX_PROBE("no space for a segment");
    const std::lock_guard lock(mutex_);
    flight_.bytes += sealed_.bytes;
    if (!sealed_.bytes.empty()) flight_.through = sealed_.through;
    std::swap(flight_, sealed_);
    flight_.bytes.clear();
    return ready;
  }
  FLUX_RETURN_IF_ERROR(write_batches(batches));
  const std::lock_guard lock(mutex_);
  written_ = flight_.through;
  flight_.bytes.clear();
  if (flight_.bytes.capacity() > kBufferKeptBytes) flight_.bytes.shrink_to_fit();
  return {};
}

// Cuts the records into batches: one, unless they do not fit a segment.
std::vector<Log::PlannedBatch> Log::plan(const std::string& records) const {
  const PlannedBatch whole{.begin = 0, .end = records.size(), .new_segment = false};
  const uint64_t segment_left = active_->bytes - offset_;
  const uint64_t whole_bytes = page_round_up(kBatchHeaderBytes + records.size());
  if (offset_ != kPageBytes && whole_bytes <= segment_left) return {whole};

  // How many groups a checkpoint may come to hold on the way.
  size_t groups = placed_.size();
  for (size_t at = 0; at < records.size();) {
    const RecordView record = record_fields(std::string_view(records).substr(at));
    if (!placed_.contains(record.group)) groups += 1;
    at += record.bytes();
  }
  groups = std::min(groups, groups_max());
  const uint64_t checkpoint = page_round_up(kBatchHeaderBytes + groups * (kRecordHeaderBytes + kGroupStateBytes));
  const auto room = [&](uint64_t offset, uint64_t bytes) {
    const uint64_t start = offset == kPageBytes ? offset + checkpoint : offset;
    return start + page_round_up(kBatchHeaderBytes + bytes) <= options_.segment_bytes;
  };

  if (offset_ == kPageBytes && whole_bytes + checkpoint <= segment_left) return {whole};

  std::vector<PlannedBatch> batches;
  for (size_t begin = 0; begin < records.size();) {
    size_t end = begin;
    while (end < records.size()) {
      const size_t size = record_size(std::string_view(records).substr(end));
      FLUX_CHECK(size > 0);
      if (!room(kPageBytes, end + size - begin)) break;
      end += size;
    }
    FLUX_CHECK(end > begin, "a record does not fit a segment");
    batches.push_back({.begin = begin, .end = end, .new_segment = true});
    begin = end;
  }
  return batches;
}

Status Log::ready_segments(size_t count) {
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (spares_.size() >= count) return {};
    }
    const std::lock_guard making(making_mutex_);
    {
      const std::lock_guard lock(mutex_);  // housekeeping may have made one meanwhile
      if (spares_.size() >= count) return {};
    }
    FLUX_TRY(SegmentPtr segment, make_segment());
    const std::lock_guard lock(mutex_);
    spares_.push_back(std::move(segment));
  }
}

// Under making_mutex_.
Result<Log::SegmentPtr> Log::make_segment() {
  FLUX_TRY(SegmentPtr segment, pool_.create(next_segment_id_));
  ++next_segment_id_;
  const std::lock_guard lock(mutex_);
  stats_.segments_created += 1;
  return segment;
}

Status Log::write_batches(const std::vector<PlannedBatch>& batches) {
  const std::string_view records = flight_.bytes;
  for (const PlannedBatch& batch : batches) {
    std::string out;
    if (batch.new_segment) {
      const std::lock_guard lock(mutex_);
      active_ = spares_.front();
      spares_.pop_front();
      active_->batches.clear();
      active_->end = flight_.begin + batch.begin;
      live_.push_back(active_);
      offset_ = kPageBytes;
      FLUX_PROBE("the log goes on in another segment");
      housekeeping_due_ = true;
    }
    const uint64_t offset = offset_;
    // A segment begins with a checkpoint, so that those before it can be freed.
    if (offset == kPageBytes) add_checkpoint(out, 0);
    const uint64_t data_offset = offset + out.size();
    const BatchPlace place{
        .begin = flight_.begin + batch.begin,
        .offset = data_offset,
        .salt = BatchHeader{.segment_id = active_->id, .sequence = next_sequence_, .epoch = epoch_}.salt(
            options_.store_id)};
    add_batch(out, records.substr(batch.begin, batch.end - batch.begin), 0);
    FLUX_RETURN_IF_ERROR(write_out(out, offset));
    const std::lock_guard lock(mutex_);
    active_->batches.push_back(place);
    active_->end = flight_.begin + batch.end;
  }
  return {};
}

// The term, vote, base and end of every group.
void Log::add_checkpoint(std::string& out, uint32_t flags) {
  std::vector<GroupId> ids;
  for (const auto& [id, summary] : placed_) ids.push_back(id);
  std::sort(ids.begin(), ids.end());
  std::string records;
  for (const GroupId id : ids) append_group_state(records, id, placed_[id]);
  add_batch(out, records, BatchHeader::kCheckpoint | flags);
}

// Appends a batch with these records and keeps track of what it says.
void Log::add_batch(std::string& out, std::string_view records, uint32_t flags) {
  BatchHeader header{.segment_id = active_->id,
                     .sequence = next_sequence_++,
                     .durable_through = durable_sequence_,
                     .epoch = epoch_,
                     .records_bytes = static_cast<uint32_t>(records.size()),
                     .flags = flags};
  const uint32_t salt = header.salt(options_.store_id);
  const size_t start = out.size();
  out.reserve(start + header.batch_bytes());
  out.resize(start + kBatchHeaderBytes);
  out.append(records);
  out.resize(start + header.batch_bytes());
  for (size_t at = start + kBatchHeaderBytes; at < start + kBatchHeaderBytes + records.size();) {
    const RecordView record = record_fields(std::string_view(out).substr(at));
    seal_record(&out[at], record.bytes(), salt);
    header.groups |= group_bit(record.group);
    header.record_count += 1;
    if (record.type == RecordType::kRemove) {
      placed_.erase(record.group);
    } else if ((flags & BatchHeader::kCheckpoint) == 0) {
      placed_[record.group].apply(record);
    }
    at += record.bytes();
  }
  encode_batch_header(header, options_.store_id, &out[start]);
  const std::lock_guard lock(mutex_);
  stats_.batches += 1;
  stats_.bytes_padded += header.batch_bytes() - kBatchHeaderBytes - records.size();
}

Status Log::write_out(const std::string& out, uint64_t offset) {
  const SegmentPtr& segment = active_;
  FLUX_CHECK(offset % kPageBytes == 0);
  FLUX_CHECK(offset + out.size() <= segment->bytes);
  if (unsynced_.empty() || unsynced_.back() != segment) unsynced_.push_back(segment);
  if (Status written = segment->file->write_at(offset, out); !written.ok()) return poison(std::move(written));
  offset_ = offset + out.size();
  marked_ = false;
  const std::lock_guard lock(mutex_);
  stats_.bytes_written += out.size();
  return {};
}

Status Log::sync() {
  {
    const std::lock_guard lock(mutex_);
    if (!poison_.ok()) return poison_;
  }
  if (unsynced_.empty()) return {};
  for (const SegmentPtr& segment : unsynced_) {
    if (Status synced = segment->file->sync(); !synced.ok()) return poison(std::move(synced));
  }
  durable_sequence_ = next_sequence_ - 1;
  const std::lock_guard lock(mutex_);
  durable_ = written_;
  durable_segment_ = unsynced_.back()->id;
  stats_.syncs += unsynced_.size();
  unsynced_.clear();
  return {};
}

Status Log::close() {
  FLUX_RETURN_IF_ERROR(flush());
  if (marked_) return {};
  // No room for the mark: the log is as good without it.
  const size_t records_bytes = placed_.size() * (kRecordHeaderBytes + kGroupStateBytes);
  if (offset_ + page_round_up(kBatchHeaderBytes + records_bytes) > active_->bytes) return {};
  std::string out;
  add_checkpoint(out, BatchHeader::kMark);
  FLUX_RETURN_IF_ERROR(write_out(out, offset_));
  FLUX_RETURN_IF_ERROR(sync());
  marked_ = true;
  return {};
}

Status Log::poison(Status error) {
  const std::lock_guard lock(mutex_);
  if (poison_.ok()) {
    // Of a full disk too: kNoSpace would ask to try again.
    if (error.code() == ErrorCode::kNoSpace) error = Status(ErrorCode::kIo, error.message());
    poison_ = std::move(error).with("the log store can no longer promise durability; restart the process");
  }
  return poison_;
}

}  // namespace flux::wal
