#include "raft/quorum.h"

namespace flux::raft::quorum {

Verdict majority_verdict(size_t yes, size_t no, size_t total) {
  FLUX_CHECK(total > 0);
  FLUX_CHECK(yes + no <= total);
  if (yes >= majority_of(total)) return Verdict::kWon;
  // The rest could not make a majority any more.
  if (total - no < majority_of(total)) return Verdict::kLost;
  return Verdict::kPending;
}

Verdict joint_verdict(Verdict incoming, Verdict outgoing) {
  if (incoming == Verdict::kLost || outgoing == Verdict::kLost) return Verdict::kLost;
  if (incoming == Verdict::kWon && outgoing == Verdict::kWon) return Verdict::kWon;
  return Verdict::kPending;
}

}  // namespace flux::raft::quorum
