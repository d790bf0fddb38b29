// A segment file in use and where its batches stand.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "env/fs.h"
#include "wal/group_log.h"

namespace flux::wal {

struct BatchPlace {
  Position begin;       // of its first record
  uint64_t offset = 0;  // of its header in the file
  uint32_t salt = 0;
};

struct Segment {
  SegmentId id;
  std::string path;
  std::unique_ptr<env::File> file;
  uint64_t bytes = 0;
  std::vector<BatchPlace> batches;  // in order; checkpoints left out
  Position end;                     // after the last record

  // The batch that holds the record at `position`. REQUIRES: the segment holds it.
  const BatchPlace& batch_of(Position position) const {
    const auto after = std::upper_bound(batches.begin(), batches.end(), position,
                                        [](Position p, const BatchPlace& batch) { return p < batch.begin; });
    FLUX_CHECK(after != batches.begin());
    return *std::prev(after);
  }
};

}  // namespace flux::wal
