// Reads a segment front to back in large pieces. What lies beyond the end of the file reads as zeros: a file may be
// shorter than its segment.
#pragma once

#include <cstdint>
#include <string>

#include "wal/scan.h"

namespace flux::wal {

// Not thread-safe. The segment must outlive it.
class SegmentReader {
 public:
  explicit SegmentReader(const SegmentFile& segment) : segment_(&segment) {}

  // Exactly `size` bytes; kIo when the file cannot be read.
  Result<std::string> read(uint64_t offset, size_t size);

 private:
  const SegmentFile* segment_;
  std::string window_;
  uint64_t window_offset_ = 0;
};

}  // namespace flux::wal
