// Freeing, recycling and preparing segments.
#include <algorithm>

#include "base/probe.h"
#include "wal/log.h"

namespace flux::wal {

// The oldest position that some group's log still points at.
Position Log::needed_from() const {
  Position needed = pending_.end();
  for (const auto& [id, log] : groups_) {
    if (!log.empty()) needed = std::min(needed, log.ref(log.first()).position);
  }
  return needed;
}

// What is not needed now may be needed again after a power cut, until the compaction that freed it is durable.
void Log::advance_floor() {
  if (floor_when_durable_ && durable_ >= floor_when_durable_->first) {
    floor_ = floor_when_durable_->second;
    floor_when_durable_.reset();
  }
  if (floor_when_durable_) return;
  const Position needed = needed_from();
  if (durable_ == appended_) {
    floor_ = needed;
    housekeeping_due_ = false;
  } else {
    floor_when_durable_ = {appended_, needed};
  }
}

std::vector<Log::SegmentPtr> Log::take_free_segments() {
  std::vector<SegmentPtr> free;
  // The oldest segment that stays must begin with a durable checkpoint.
  while (live_.size() > 1 && live_.front()->end <= floor_ && live_.front()->id < durable_segment_) {
    free.push_back(std::move(live_.front()));
    live_.pop_front();
  }
  return free;
}

bool Log::wants_maintenance() const {
  const std::lock_guard lock(mutex_);
  return poison_.ok() && (housekeeping_due_ || spares_.size() < options_.spare_segments);
}

Status Log::maintain() {
  const std::lock_guard making(making_mutex_);
  std::vector<SegmentPtr> free;
  {
    const std::lock_guard lock(mutex_);
    if (!poison_.ok()) return poison_;
    advance_floor();
    free = take_free_segments();
  }
  // In order, each made durable before the next: the ids that are left never have a gap.
  for (SegmentPtr& segment : free) {
    if (Status disposed = dispose(segment); !disposed.ok()) return poison(std::move(disposed));
  }
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (spares_.size() >= options_.spare_segments) return {};
    }
    Result<SegmentPtr> made = make_segment();
    if (!made.ok()) return made.status().code() == ErrorCode::kNoSpace ? made.status() : poison(made.status());
    const std::lock_guard lock(mutex_);
    spares_.push_back(std::move(made).value());
  }
}

// Recycles the file, or removes it when there are spares enough or a read still holds it.
Status Log::dispose(const SegmentPtr& segment) {
  bool recycle;
  {
    const std::lock_guard lock(mutex_);
    recycle = spares_.size() < options_.spare_segments_max && segment->bytes == options_.segment_bytes &&
              segment.use_count() == 1;
    (recycle ? stats_.segments_recycled : stats_.segments_removed) += 1;
  }
  if (!recycle) return pool_.remove(segment);
  FLUX_PROBE("a segment is recycled");
  FLUX_TRY(SegmentPtr spare, pool_.recycle(segment, next_segment_id_));
  ++next_segment_id_;
  const std::lock_guard lock(mutex_);
  spares_.push_back(std::move(spare));
  return {};
}

std::vector<GroupId> Log::pinning_groups() const {
  const std::lock_guard lock(mutex_);
  if (live_.size() <= options_.segments_max) return {};
  const Position limit = live_[live_.size() - options_.segments_max - 1]->end;
  std::vector<std::pair<Position, GroupId>> pinning;
  for (const auto& [id, log] : groups_) {
    if (!log.empty() && log.ref(log.first()).position < limit) {
      pinning.emplace_back(log.ref(log.first()).position, id);
    }
  }
  std::sort(pinning.begin(), pinning.end());
  std::vector<GroupId> ids;
  for (const auto& [position, id] : pinning) ids.push_back(id);
  return ids;
}

}  // namespace flux::wal
