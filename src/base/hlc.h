// Hybrid logical time: 48 bits of wall-clock milliseconds and 16 bits of counter in one number (Kulkarni et al.,
// "Logical Physical Clocks", 2014). A leader stamps commands with it; the state machine makes it strictly increasing.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "base/types.h"

namespace flux {

// A key's version, the id of a change event, the cut of a backup. 0 is "never".
using Version = StrongId<struct VersionTag>;

inline constexpr unsigned kHlcCounterBits = 16;

constexpr Version version_at(WallMillis wall) { return Version(wall.value() << kHlcCounterBits); }
constexpr WallMillis wall_of(Version version) { return WallMillis(version.value() >> kHlcCounterBits); }

// The version that follows both `last` and the stamp of a command: max(stamp, last + 1).
constexpr Version next_version(Version last, Version stamp) { return std::max(stamp, last + 1); }

// "2026-01-31T12:00:00.123+7": wall time in UTC, then the counter.
std::string to_string(Version version);

}  // namespace flux
