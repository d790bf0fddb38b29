#include "wal/segment_reader.h"

#include <algorithm>

namespace flux::wal {
namespace {

constexpr size_t kWindowBytes = 1_MiB;

}  // namespace

Result<std::string> SegmentReader::read(uint64_t offset, size_t size) {
  const uint64_t window_end = window_offset_ + window_.size();
  if (offset < window_offset_ || offset + size > window_end) {
    const uint64_t left = segment_->bytes - std::min(offset, segment_->bytes);
    const size_t window = std::max<size_t>(size, std::min<uint64_t>(left, kWindowBytes));
    FLUX_TRY(window_, segment_->file->read_at(offset, window));
    window_.resize(window, '\0');
    window_offset_ = offset;
  }
  return window_.substr(offset - window_offset_, size);
}

}  // namespace flux::wal
