#include "wal/scan.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/probe.h"
#include "wal/segment_reader.h"

namespace flux::wal {
namespace {

// How far into a later segment the search for a valid batch goes: a segment that was begun has some in its first pages.
constexpr uint64_t kLaterSegmentSearchBytes = 1_MiB;

class Scanner {
 public:
  Scanner(const std::vector<SegmentFile>& segments, ScanVisitor& visitor) : segments_(segments), visitor_(visitor) {
    for (const SegmentFile& segment : segments) readers_.emplace_back(segment);
  }

  Result<ScanEnd> run();

 private:
  // What stands at the present place.
  enum class Step : uint8_t { kNext, kEnd };
  Result<Step> step();
  Result<Step> take_batch(const BatchHeader& header);
  Result<Step> past_missing_batch();
  // A batch from `offset` on that proves that batch `sequence` was durable, and where the unbroken run of batches of
  // the same epoch that leads up to it begins: those follow the damage.
  struct Proof {
    size_t segment;
    uint64_t offset;
    uint64_t sequence;  // of the first in the run
    BatchHeader header;
  };
  Result<std::optional<Proof>> find_proof(uint64_t offset, uint64_t sequence);

  Result<std::optional<BatchHeader>> header_at(size_t segment, uint64_t offset);
  bool continues_log(const BatchHeader& header) const {
    return (expected_ == 0 || header.sequence == expected_) && header.epoch >= epoch_;
  }
  std::string place(uint64_t offset) const { return fmt::format("{} at {}", segments_[end_.segment].path, offset); }

  const std::vector<SegmentFile>& segments_;
  ScanVisitor& visitor_;
  std::vector<SegmentReader> readers_;
  ScanEnd end_;
  uint64_t expected_ = 0;  // the next sequence number; 0 while any will do
  uint32_t epoch_ = 0;     // of the last batch
};

Result<ScanEnd> Scanner::run() {
  if (segments_.empty()) return end_;
  // Segment 1 begins the log. A later one comes first only after those before it were freed, which happens when its own
  // first batch is durable.
  expected_ = segments_.front().id == SegmentId(1) ? 1 : 0;
  visitor_.on_segment(segments_.front());
  for (;;) {
    FLUX_TRY(const Step step, this->step());
    if (step == Step::kEnd) break;
  }
  if (expected_ == 0) {
    return Status(
        ErrorCode::kDataLoss,
        fmt::format("{} holds no readable batch, and the segments before it are gone: the log is lost; restore "
                    "the directory from a copy, or remove it and join again as a new node",
                    segments_.front().path));
  }
  end_.next_sequence = expected_;
  return end_;
}

Result<Scanner::Step> Scanner::step() {
  std::optional<BatchHeader> here;
  if (end_.offset + kPageBytes <= segments_[end_.segment].bytes) {
    FLUX_TRY(here, header_at(end_.segment, end_.offset));
    if (here && !continues_log(*here)) here.reset();
  }
  if (end_.segment + 1 < segments_.size() && expected_ != 0) {
    FLUX_TRY(const std::optional<BatchHeader> next, header_at(end_.segment + 1, kPageBytes));
    // Of two batches with one number the later life's counts: it cut the other off, and began a segment.
    if (next && continues_log(*next) && (!here || next->epoch > here->epoch)) {
      end_.segment += 1, end_.offset = kPageBytes;
      visitor_.on_segment(segments_[end_.segment]);
      return Step::kNext;
    }
  }
  return here ? take_batch(*here) : past_missing_batch();
}

Result<Scanner::Step> Scanner::take_batch(const BatchHeader& header) {
  FLUX_TRY(const std::string records,
           readers_[end_.segment].read(end_.offset + kBatchHeaderBytes, header.records_bytes));
  // Checked as a whole first: of a torn batch nothing may be delivered.
  const uint32_t salt = header.salt(segments_[end_.segment].store);
  struct Found {
    size_t offset;
    std::optional<RecordView> record;  // nullopt: damaged
  };
  std::vector<Found> found;
  uint32_t good = 0;
  for (size_t offset = 0; offset < records.size();) {
    const std::string_view rest = std::string_view(records).substr(offset);
    const size_t size = record_size(rest);
    found.push_back({.offset = offset, .record = size == 0 ? std::nullopt : decode_record(rest, salt)});
    good += found.back().record.has_value();
    offset += size == 0 ? records.size() : size;
  }
  const bool whole = good == header.record_count && good == found.size();
  const uint64_t here = end_.offset;
  std::string finding;
  if (!whole) {
    FLUX_TRY(const std::optional<Proof> proof, find_proof(here + header.batch_bytes(), header.sequence));
    if (!proof) {
      FLUX_PROBE("a torn batch ends the log");
      end_.torn_bytes = header.batch_bytes();
      return Step::kEnd;
    }
    finding = fmt::format("{}: batch {} has {} damaged records of {}", place(here), header.sequence,
                          header.record_count - good, header.record_count);
  }
  visitor_.on_batch(end_.segment, here, header);
  for (const Found& one : found) {
    if (one.record) {
      visitor_.on_record(header, one.offset, *one.record);
    } else {
      visitor_.on_damage(GroupSet{.bits = header.groups}, std::exchange(finding, ""));
    }
  }
  visitor_.on_batch_end(header, whole);
  end_.batches += 1;
  end_.records += good;
  end_.last_segment = header.segment_id;
  end_.offset += header.batch_bytes();
  expected_ = header.sequence + 1;
  epoch_ = header.epoch;
  return Step::kNext;
}

// Nothing here continues the log: it ends, or something durable was lost.
Result<Scanner::Step> Scanner::past_missing_batch() {
  FLUX_TRY(const std::optional<Proof> proof, find_proof(end_.offset, expected_));
  if (!proof) return Step::kEnd;
  visitor_.on_damage(GroupSet::all(), fmt::format("{}: batch {} is unreadable, and batch {} says that it was durable",
                                                  place(end_.offset), expected_, proof->header.sequence));
  for (size_t segment = end_.segment + 1; segment <= proof->segment; ++segment) visitor_.on_segment(segments_[segment]);
  end_.segment = proof->segment, end_.offset = proof->offset;
  expected_ = proof->sequence;
  return Step::kNext;
}

Result<std::optional<Scanner::Proof>> Scanner::find_proof(uint64_t offset, uint64_t sequence) {
  std::optional<Proof> run;
  uint64_t run_end = 0;  // where its next batch would be
  for (size_t segment = end_.segment; segment < segments_.size(); ++segment) {
    const bool later = segment != end_.segment;
    const uint64_t stop =
        later ? std::min(segments_[segment].bytes, kPageBytes + kLaterSegmentSearchBytes) : segments_[segment].bytes;
    for (uint64_t at = later ? kPageBytes : offset; at + kPageBytes <= stop; at += kPageBytes) {
      FLUX_TRY(const std::optional<BatchHeader> header, header_at(segment, at));
      if (!header || header->epoch < epoch_ || header->sequence <= sequence) continue;
      const bool adjacent = run && (at == run_end || (later && at == kPageBytes));
      if (adjacent && header->sequence == run->header.sequence + 1 && header->epoch == run->header.epoch) {
        run->header = *header;
      } else {
        run = Proof{.segment = segment, .offset = at, .sequence = header->sequence, .header = *header};
      }
      run_end = at + header->batch_bytes();
      // Without a known sequence number any batch will do.
      if (sequence == 0 || header->durable_through >= sequence) return run;
    }
  }
  return std::optional<Proof>();
}

Result<std::optional<BatchHeader>> Scanner::header_at(size_t segment, uint64_t offset) {
  FLUX_TRY(const std::string bytes, readers_[segment].read(offset, kBatchHeaderBytes));
  const std::optional<BatchHeader> header = decode_batch_header(bytes, segments_[segment].store);
  if (!header || header->segment_id != segments_[segment].id) return std::optional<BatchHeader>();
  if (offset + header->batch_bytes() > segments_[segment].bytes) return std::optional<BatchHeader>();
  end_.epoch_max = std::max(end_.epoch_max, header->epoch);
  return header;
}

// A segment whose header page is damaged is ours if a batch in its first pages says so.
Result<bool> has_own_batch(const SegmentFile& segment) {
  SegmentReader reader(segment);
  for (uint64_t at = kPageBytes; at < kPageBytes + kLaterSegmentSearchBytes; at += kPageBytes) {
    FLUX_TRY(const std::string bytes, reader.read(at, kBatchHeaderBytes));
    const std::optional<BatchHeader> header = decode_batch_header(bytes, segment.store);
    if (header && header->segment_id == segment.id) return true;
  }
  return false;
}

Status check_header(SegmentFile& segment) {
  FLUX_TRY(const std::string page, segment.file->read_at(0, kPageBytes));
  const std::optional<SegmentHeader> header = decode_segment_header(page);
  if (!header) {
    FLUX_TRY(const uint64_t size, segment.file->size());
    segment.bytes = std::max(size / kPageBytes * kPageBytes, kSegmentBytesMin);
    segment.header_damaged = true;
    FLUX_TRY(const bool ours, has_own_batch(segment));
    if (ours) return {};
    return Status(
        ErrorCode::kCorruption,
        fmt::format("{} has no readable header and no readable batch: it cannot be told whether it held anything; "
                    "restore it from a copy, or remove the directory and join again as a new node",
                    segment.path));
  }
  if (header->version != kFormatVersion) {
    return Status(ErrorCode::kUnsupported, fmt::format("{} has log format {}; this build reads {}: use the newer build",
                                                       segment.path, header->version, kFormatVersion));
  }
  if (header->store_id != segment.store) {
    return Status(ErrorCode::kCorruption,
                  fmt::format("{} belongs to store {}, not to {}: directories or files were swapped; put them back",
                              segment.path, header->store_id, segment.store));
  }
  if (header->segment_id != segment.id) {
    return Status(ErrorCode::kCorruption,
                  fmt::format("{} is segment {:x}: files were renamed or swapped; put them back", segment.path,
                              header->segment_id.value()));
  }
  if (header->segment_bytes % kPageBytes != 0 || header->segment_bytes < kSegmentBytesMin ||
      header->segment_bytes > kSegmentBytesMax) {
    return Status(ErrorCode::kCorruption, fmt::format("{} says it has {} bytes", segment.path, header->segment_bytes));
  }
  segment.bytes = header->segment_bytes;
  return {};
}

// The store that the first readable header names.
Result<std::optional<StoreId>> first_store(env::Fs& fs, const std::string& dir, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (!parse_segment_name(name)) continue;
    FLUX_TRY(const std::unique_ptr<env::File> file, fs.open(dir + "/" + name, env::OpenMode::kRead));
    FLUX_TRY(const std::string page, file->read_at(0, kPageBytes));
    if (const std::optional<SegmentHeader> header = decode_segment_header(page)) return {header->store_id};
  }
  return {StoreId()};
}

}  // namespace

Result<std::vector<SegmentFile>> open_segments(env::Fs& fs, const std::string& dir, std::optional<StoreId> store,
                                               env::OpenMode mode) {
  FLUX_TRY(const std::vector<std::string> names, fs.list(dir));
  std::vector<SegmentFile> segments;
  if (!store) {
    FLUX_TRY(store, first_store(fs, dir, names));
  }
  for (const std::string& name : names) {
    const std::optional<SegmentId> id = parse_segment_name(name);
    if (!id) continue;
    SegmentFile segment{.id = *id, .path = dir + "/" + name};
    if (!segments.empty() && segments.back().id + 1 != segment.id) {
      return Status(ErrorCode::kDataLoss,
                    fmt::format("{} is followed by {}: a segment between them is missing; restore it from a copy, or "
                                "remove the directory and join again as a new node",
                                segments.back().path, segment.path));
    }
    FLUX_TRY(segment.file, fs.open(segment.path, mode));
    if (mode == env::OpenMode::kReadWrite) {
      // A process that was killed leaves bytes that are readable but not durable, and one whose sync failed leaves
      // readable bytes that are not on the disk. What recovery reads must be what a power cut would leave.
      FLUX_RETURN_IF_ERROR(segment.file->sync());
      FLUX_RETURN_IF_ERROR(segment.file->drop_cache());
    }
    segment.store = *store;
    FLUX_RETURN_IF_ERROR(check_header(segment));
    segments.push_back(std::move(segment));
  }
  return segments;
}

Result<ScanEnd> scan(const std::vector<SegmentFile>& segments, ScanVisitor& visitor) {
  return Scanner(segments, visitor).run();
}

}  // namespace flux::wal
