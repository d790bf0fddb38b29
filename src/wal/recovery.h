// Rebuilds the groups' logs from the segments, and decides per group what damage means for it.
//
// Every record carries its group's record count (chain). So damage to a shared batch concerns only the groups whose
// count skips, or of whom nothing later is left to count. A later hard state or checkpoint makes up for a lost hard
// state; a compaction past lost entries, or a cut before them, makes up for those.
#pragma once

#include <absl/container/btree_map.h>

#include <memory>
#include <vector>

#include "wal/group_log.h"
#include "wal/scan.h"
#include "wal/segment.h"

namespace flux::wal {

struct Recovered {
  absl::btree_map<GroupId, GroupLog> groups;
  std::vector<std::shared_ptr<Segment>> segments;  // shared: reads hold a segment while it is freed
  Position end;
  ScanEnd scan;
  RecoveryReport report;
  std::vector<GroupId> newly_damaged;  // whose damage the log does not say yet
};

// Recovers what open_segments() found. REQUIRES: it found some.
Result<Recovered> recover(std::vector<SegmentFile> segments);

}  // namespace flux::wal
