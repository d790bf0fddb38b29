// What a disk does to data at rest. Only where a node promises to find it: a log cannot tell rot of its newest batch
// from a write that was never finished (docs/formats/wal.md), so what nothing later vouches for is spared.
#pragma once

#include <string>
#include <vector>

#include "base/rng.h"
#include "env/testing/fake_fs.h"

namespace flux::sim {

// Bytes [begin, end) of a file.
struct Extent {
  std::string path;
  uint64_t begin = 0;
  uint64_t end = 0;
};

// Where damage to the data directory is found, if it matters at all. Empty if the log cannot be read as it is.
std::vector<Extent> damageable(const env::testing::FakeFs& fs);

// Each of them says what it has done; nothing if there was nothing to do it to.
// Some bits flip, or a sector loses what it held.
std::string rot(env::testing::FakeFs& fs, Rng& rng);
// A sector that was written and synced holds what it held before.
std::string stale_sector(env::testing::FakeFs& fs, Rng& rng);
// The same, and what it should hold stands in place of another sector, of that file or of another.
std::string misdirected(env::testing::FakeFs& fs, Rng& rng);

}  // namespace flux::sim
