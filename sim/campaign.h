// Many seeds in many processes: one that crashes or hangs fails its seed alone.
#pragma once

#include <cstdint>

#include "trial.h"

namespace flux::sim {

struct CampaignOptions {
  uint64_t seeds = 100;
  uint64_t from = 1;
  uint64_t jobs = 2;
  bool stop_at_failure = false;
  bool list_probes = false;  // how many seeds took each of the rare branches
  bool every_probe = false;  // a branch that no seed took is a failure
  TrialOptions trial;        // the seed in it is not used
};

// Prints failures as they come and figures at the end. Returns what the program should exit with.
int run_campaign(const CampaignOptions& options);

// Leaves out kinds of faults, then shortens the time, as long as the seed goes on failing; prints how to replay what is
// left.
int minimize(TrialOptions options);

}  // namespace flux::sim
