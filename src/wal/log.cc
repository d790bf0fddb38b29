#include "wal/log.h"

#include <fmt/core.h>

#include <algorithm>

namespace flux::wal {

Result<std::unique_ptr<Wal>> Wal::open(env::Fs& fs, std::string dir, Options options) {
  if (options.segment_bytes % kPageBytes != 0 || options.segment_bytes < kSegmentBytesMin ||
      options.segment_bytes > kSegmentBytesMax) {
    return Status(ErrorCode::kInvalidArgument,
                  fmt::format("a log segment of {} bytes is not a multiple of {} from {} to {}", options.segment_bytes,
                              kPageBytes, kSegmentBytesMin, kSegmentBytesMax));
  }
  auto log = std::make_unique<Log>(fs, std::move(dir), options);
  FLUX_RETURN_IF_ERROR(log->recover_or_create());
  return std::unique_ptr<Wal>(std::move(log));
}

Status Wal::flush() {
  seal();
  FLUX_RETURN_IF_ERROR(write());
  return sync();
}

Log::Log(env::Fs& fs, std::string dir, const Options& options)
    : fs_(fs), dir_(std::move(dir)), options_(options), pool_(fs, dir_, options_) {}

Status Log::recover_or_create() {
  FLUX_RETURN_IF_ERROR(fs_.create_dirs(dir_));
  FLUX_RETURN_IF_ERROR(pool_.clean_up());
  FLUX_RETURN_IF_ERROR(
      fs_.sync_dir(dir_));  // names that a killed process left are made to last before they are trusted
  FLUX_TRY(std::vector<SegmentFile> files, open_segments(fs_, dir_, options_.store_id, env::OpenMode::kReadWrite));
  if (files.empty()) {
    FLUX_TRY(active_, make_segment());
    live_.push_back(active_);
    epoch_ = 1;
    return {};
  }
  next_segment_id_ = files.back().id + 1;
  FLUX_TRY(Recovered recovered, recover(std::move(files)));
  recovery_ = std::move(recovered.report);
  FLUX_RETURN_IF_ERROR(adopt_segments(recovered));
  adopt_groups(recovered);
  return {};
}

Status Log::adopt_segments(Recovered& recovered) {
  if (recovered.scan.epoch_max >= kEpochMax || recovered.scan.next_sequence > kSequenceMax / 2) {
    return Status(ErrorCode::kCorruption, fmt::format("the log in {} counts further than any log can have come", dir_));
  }
  for (size_t i = 0; i < recovered.segments.size(); ++i) {
    SegmentPtr& segment = recovered.segments[i];
    // Segments without batches still have a place in the stream: they end where it ends.
    if (segment->batches.empty()) segment->end = i == 0 ? Position() : recovered.segments[i - 1]->end;
    (i <= recovered.scan.segment ? live_ : spares_).push_back(segment);
  }
  active_ = live_.back();
  // Spares of another size than is asked for now make way, the last one first, so that the ids keep no gap.
  const auto misfit = std::find_if(spares_.begin(), spares_.end(),
                                   [&](const SegmentPtr& spare) { return spare->bytes != options_.segment_bytes; });
  for (auto keep = misfit - spares_.begin(); std::ssize(spares_) > keep; spares_.pop_back()) {
    next_segment_id_ = spares_.back()->id;
    FLUX_RETURN_IF_ERROR(pool_.remove(spares_.back()));
  }
  offset_ = recovered.scan.offset;
  next_sequence_ = recovered.scan.next_sequence;
  durable_sequence_ = next_sequence_ - 1;  // all that was read was synced before
  epoch_ = recovered.scan.epoch_max + 1;
  durable_segment_ = recovered.scan.last_segment;
  return {};
}

void Log::adopt_groups(Recovered& recovered) {
  groups_ = std::move(recovered.groups);
  for (const auto& [id, log] : groups_) placed_[id] = log.summary();
  pending_.begin = sealed_.begin = flight_.begin = recovered.end;
  // Found damage is written down with the next batch: it must outlive the segments that show it.
  std::sort(recovered.newly_damaged.begin(), recovered.newly_damaged.end());
  for (const GroupId id : recovered.newly_damaged) {
    GroupSummary summary = groups_[id].summary();
    summary.settles = true;
    append_group_state(pending_.bytes, id, summary);
    pending_.through = ++appended_;
  }
}

// --- Mutations -------------------------------------------------------------------------------------------------------

// A quarter of a segment's pages, but for the header page and at least one, is for the checkpoint.
static uint64_t checkpoint_bytes_max(uint64_t segment_bytes) {
  return std::max<uint64_t>((segment_bytes / kPageBytes - 1) / 4, 1) * kPageBytes;
}

size_t Log::entry_bytes_max() const {
  const uint64_t batch = options_.segment_bytes - kPageBytes - checkpoint_bytes_max(options_.segment_bytes);
  return static_cast<size_t>(batch - kBatchHeaderBytes - kRecordHeaderBytes);
}

size_t Log::groups_max() const {
  return static_cast<size_t>((checkpoint_bytes_max(options_.segment_bytes) - kBatchHeaderBytes) /
                             (kRecordHeaderBytes + kGroupStateBytes));
}

Result<GroupLog*> Log::group_for_mutation(GroupId group) {
  if (!poison_.ok()) return poison_;
  const auto found = groups_.find(group);
  if (found != groups_.end()) return &found->second;
  if (groups_.size() >= groups_max()) {
    return Status(ErrorCode::kOverloaded,
                  fmt::format("the log store holds {} groups, as many as its segments allow", groups_.size()));
  }
  return &groups_[group];
}

void Log::record(GroupLog& log, RecordView record) {
  record.chain = ++log.chain;
  append_record(pending_.bytes, record);
  pending_.through = ++appended_;
  stats_.records += 1;
  stats_.bytes_appended += record.bytes();
}

Status Log::append(GroupId group, std::span<const Entry> entries) {
  if (entries.empty()) return {};
  for (const Entry& entry : entries) {
    if (entry.data.size() > entry_bytes_max()) {
      return Status(ErrorCode::kTooLarge,
                    fmt::format("an entry of {} bytes does not fit a log segment; the limit is {}", entry.data.size(),
                                entry_bytes_max()));
    }
  }
  const std::lock_guard lock(mutex_);
  FLUX_TRY(GroupLog* const log, group_for_mutation(group));
  FLUX_CHECK(entries.front().index >= log->first(), "group {}: append at {} before {}", group, entries.front().index,
             log->first());
  FLUX_CHECK(entries.front().index <= log->last() + 1, "group {}: append at {} leaves a gap after {}", group,
             entries.front().index, log->last());
  Index expected = entries.front().index;
  for (const Entry& entry : entries) {
    FLUX_CHECK(entry.index == expected, "group {}: entry {} in the place of {}", group, entry.index, expected);
    ++expected;
    const EntryRef ref{.position = pending_.end(), .data_bytes = static_cast<uint32_t>(entry.data.size())};
    record(*log, {.type = RecordType::kEntry,
                  .entry_type = entry.type,
                  .group = group,
                  .index = entry.index.value(),
                  .term = entry.term,
                  .payload = entry.data.view()});
    log->append(entry.id(), entry.type, ref);
  }
  return {};
}

Status Log::set_hard_state(GroupId group, const HardState& state) {
  const std::lock_guard lock(mutex_);
  FLUX_TRY(GroupLog* const log, group_for_mutation(group));
  FLUX_CHECK(state.term >= log->hard_state.term, "group {}: term {} after {}", group, state.term, log->hard_state.term);
  log->hard_state = state;
  record(*log, {.type = RecordType::kHardState, .group = group, .index = state.vote.value(), .term = state.term});
  return {};
}

Status Log::compact(GroupId group, EntryId base) {
  const std::lock_guard lock(mutex_);
  FLUX_TRY(GroupLog* const log, group_for_mutation(group));
  if (base.index <= log->base().index) return {};
  FLUX_CHECK(base.index <= log->last(), "group {}: compaction to {} after the last entry {}", group, base, log->last());
  log->compact(base);
  record(*log, {.type = RecordType::kCompact, .group = group, .index = base.index.value(), .term = base.term});
  housekeeping_due_ = true;
  return {};
}

Status Log::reset(GroupId group, EntryId base) {
  const std::lock_guard lock(mutex_);
  FLUX_TRY(GroupLog* const log, group_for_mutation(group));
  log->reset(base);
  record(*log, {.type = RecordType::kReset, .group = group, .index = base.index.value(), .term = base.term});
  housekeeping_due_ = true;
  return {};
}

Status Log::remove(GroupId group) {
  const std::lock_guard lock(mutex_);
  if (!poison_.ok()) return poison_;
  const auto found = groups_.find(group);
  if (found == groups_.end()) return {};
  record(found->second, {.type = RecordType::kRemove, .group = group});
  groups_.erase(found);
  housekeeping_due_ = true;
  return {};
}

Status Log::repaired(GroupId group) {
  const std::lock_guard lock(mutex_);
  FLUX_TRY(GroupLog* const log, group_for_mutation(group));
  if (!log->damage.any()) return {};
  log->damage = {};
  record(*log, {.type = RecordType::kRepaired, .group = group});
  return {};
}

Ticket Log::seal() {
  const std::lock_guard lock(mutex_);
  if (sealed_.bytes.empty()) {
    std::swap(sealed_, pending_);
  } else {
    sealed_.bytes += pending_.bytes;
  }
  sealed_.through = appended_;
  pending_.begin = sealed_.end();
  pending_.bytes.clear();
  return appended_;
}

Ticket Log::appended_through() const {
  const std::lock_guard lock(mutex_);
  return appended_;
}

Ticket Log::written_through() const {
  const std::lock_guard lock(mutex_);
  return written_;
}

Ticket Log::durable_through() const {
  const std::lock_guard lock(mutex_);
  return durable_;
}

Status Log::status() const {
  const std::lock_guard lock(mutex_);
  return poison_;
}

Stats Log::stats() const {
  const std::lock_guard lock(mutex_);
  Stats stats = stats_;
  stats.segments_live = live_.size();
  stats.segments_spare = spares_.size();
  return stats;
}

}  // namespace flux::wal
