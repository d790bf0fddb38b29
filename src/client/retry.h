// Whether a request that was turned away is tried again, and how long after.
#pragma once

#include <algorithm>

#include "base/rng.h"
#include "base/status.h"
#include "base/types.h"

namespace flux::client {

// Whether a definite refusal may be gone at the next attempt, or somewhere else.
constexpr bool worth_another_try(ErrorCode code) {
  return code == ErrorCode::kWrongShard || code == ErrorCode::kNotLeader || code == ErrorCode::kUnavailable;
}

inline constexpr Micros kRetryFirst = Millis(2);
inline constexpr Micros kRetryMost = Millis(200);

// The pause before the attempt after the `attempts`-th: twice as long each time, up to kRetryMost, and by chance
// between half of it and all, so that those who were turned away together do not come back together.
inline Micros retry_pause(uint32_t attempts, Rng& rng) {
  const int64_t whole = std::min(kRetryMost.count(), kRetryFirst.count() << std::min(attempts, 16u));
  return Micros(whole / 2 + static_cast<int64_t>(rng.below(static_cast<uint64_t>(whole / 2) + 1)));
}

}  // namespace flux::client
