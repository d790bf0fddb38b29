#include "wal/segment_pool.h"

#include <algorithm>

#include "wal/wal_format.h"

namespace flux::wal {
namespace {

constexpr uint64_t kFillSyncBytes = 8_MiB;

}  // namespace

Status SegmentPool::clean_up() {
  FLUX_TRY(const bool left_over, fs_.exists(unfinished_path()));
  if (!left_over) return {};
  return fs_.remove(unfinished_path());
}

Result<std::shared_ptr<Segment>> SegmentPool::create(SegmentId id) {
  FLUX_RETURN_IF_ERROR(clean_up());
  FLUX_TRY(std::unique_ptr<env::File> file, fs_.open(unfinished_path(), env::OpenMode::kCreate));
  Status filled = options_.prefill ? fill(*file) : Status();
  Result<std::shared_ptr<Segment>> segment = filled.ok() ? finish(std::move(file), id) : std::move(filled);
  // Best effort: what matters is the error that is returned.
  if (!segment.ok()) static_cast<void>(clean_up().ok());
  return segment;
}

Result<std::shared_ptr<Segment>> SegmentPool::recycle(const std::shared_ptr<Segment>& old, SegmentId id) {
  FLUX_CHECK(old->bytes == options_.segment_bytes);
  FLUX_RETURN_IF_ERROR(clean_up());
  // The old name goes first: a segment under a name that is not its own must never be found.
  FLUX_RETURN_IF_ERROR(fs_.rename(old->path, unfinished_path()));
  FLUX_RETURN_IF_ERROR(fs_.sync_dir(dir_));
  return finish(std::move(old->file), id);
}

Status SegmentPool::remove(const std::shared_ptr<Segment>& old) {
  FLUX_RETURN_IF_ERROR(fs_.remove(old->path));
  return fs_.sync_dir(dir_);
}

Status SegmentPool::fill(env::File& file) const {
  const std::string zeros(static_cast<size_t>(std::min<uint64_t>(options_.segment_bytes, 1_MiB)), '\0');
  for (uint64_t at = 0; at < options_.segment_bytes; at += zeros.size()) {
    const size_t size = static_cast<size_t>(std::min<uint64_t>(zeros.size(), options_.segment_bytes - at));
    FLUX_RETURN_IF_ERROR(file.write_at(at, std::string_view(zeros).substr(0, size)));
    // In portions, so that the log's own syncs do not wait for all of it at once.
    if ((at + size) % kFillSyncBytes == 0) FLUX_RETURN_IF_ERROR(file.sync());
  }
  return {};
}

Result<std::shared_ptr<Segment>> SegmentPool::finish(std::unique_ptr<env::File> file, SegmentId id) {
  FLUX_RETURN_IF_ERROR(file->write_at(
      0, encode_segment_header(
             {.store_id = options_.store_id, .segment_id = id, .segment_bytes = options_.segment_bytes})));
  FLUX_RETURN_IF_ERROR(file->sync());
  const std::string path = dir_ + "/" + segment_name(id);
  FLUX_RETURN_IF_ERROR(fs_.rename(unfinished_path(), path));
  FLUX_RETURN_IF_ERROR(fs_.sync_dir(dir_));
  return std::make_shared<Segment>(
      Segment{.id = id, .path = path, .file = std::move(file), .bytes = options_.segment_bytes});
}

}  // namespace flux::wal
