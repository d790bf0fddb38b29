// One seed: a cluster, its clients and its faults for a while; then peace, in which everything must come to agree.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "faults.h"
#include "workload.h"

namespace flux::sim {

struct TrialOptions {
  uint64_t seed = 1;
  int64_t seconds = 60;         // simulated, all phases together but for the time it takes to settle
  std::set<FaultKind> without;  // kinds that are left out of the seed's plan
  bool canary = false;          // one acknowledged write is left out of the history: must be found
  World::Narrator narrator;     // null: silent
};

// Plain figures, which may travel between processes.
struct OutcomeCounts {
  uint64_t story = 0;
  uint64_t events = 0;
  int64_t simulated_us = 0;
  WorkloadCounts operations;
  FaultCounts faults{};
  uint64_t role_changes = 0;
  uint64_t entries = 0;
  uint64_t search_steps = 0;
  bool undecided = false;  // the search for an explanation of a history was cut short
  bool in_vain = false;    // the canary found nothing to leave out
};

struct Outcome : OutcomeCounts {
  using Counts = OutcomeCounts;
  std::string problem;  // empty: all is well
};

Outcome run_trial(const TrialOptions& options);

// What the seed has drawn, for people.
std::string describe_seed(uint64_t seed);

}  // namespace flux::sim
