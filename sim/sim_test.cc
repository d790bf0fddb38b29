// Goal: a seed tells one story, a few seeds are clean, and a record that lacks an acknowledged write is found out, as
// is a request that took effect twice. Thousands of seeds are fluxsim's to run.
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "exactly_once.h"
#include "trial.h"

namespace flux::sim {
namespace {

TEST(Sim, the_same_seed_tells_the_same_story) {
  for (const uint64_t seed : {uint64_t{3}, uint64_t{7}}) {
    const Outcome first = run_trial({.seed = seed});
    const Outcome again = run_trial({.seed = seed});
    EXPECT_EQ(first.story, again.story);
    EXPECT_EQ(first.operations.ok, again.operations.ok);
    EXPECT_NE(first.story, run_trial({.seed = seed + 1}).story);
  }
}

TEST(Sim, a_handful_of_seeds_is_clean) {
  OutcomeCounts sum;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    const Outcome outcome = run_trial({.seed = seed});
    ASSERT_EQ(outcome.problem, "") << "replay with fluxsim --seed " << seed << " --trace";
    sum.operations.ok += outcome.operations.ok;
    sum.role_changes += outcome.role_changes;
    for (size_t i = 0; i < kFaultKinds; ++i) sum.faults[i] += outcome.faults[i];
  }
  // A run in which nothing happens shows nothing.
  EXPECT_GT(sum.operations.ok, 10'000u);
  EXPECT_GT(sum.role_changes, 300u);
  for (size_t i = 0; i < kFaultKinds; ++i) EXPECT_GT(sum.faults[i], 0u) << to_string(static_cast<FaultKind>(i));
}

// Seeds that showed something once.
TEST(Sim, regressions_stay_fixed) {
  std::ifstream file(FLUX_SIM_REGRESSIONS);
  ASSERT_TRUE(file.is_open());
  size_t seeds = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line.front() == '#') continue;
    EXPECT_EQ(run_trial({.seed = std::stoull(line)}).problem, "") << line;
    ++seeds;
  }
  EXPECT_GT(seeds, 0u);
}

TEST(Sim, the_canary_is_found) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    const Outcome outcome = run_trial({.seed = seed, .canary = true});
    EXPECT_FALSE(outcome.in_vain);
    EXPECT_NE(outcome.problem.find("not linearizable"), std::string::npos) << outcome.problem;
  }
}

TEST(Sim, a_fault_that_is_left_out_does_not_happen) {
  TrialOptions options{.seed = 3};
  for (size_t i = 0; i < kFaultKinds; ++i) options.without.insert(static_cast<FaultKind>(i));
  const Outcome outcome = run_trial(options);
  EXPECT_EQ(outcome.problem, "");
  EXPECT_EQ(outcome.faults, FaultCounts{});
}

TEST(ExactlyOnce, finds_what_took_effect_twice_or_never) {
  std::vector<std::string> problems;
  ExactlyOnce sessions(2, [&](std::string problem) { problems.push_back(std::move(problem)); });
  sessions.called({.client = 1, .sequence = 1}, {{history::Kind::kAppend, "l", "a,"}, {history::Kind::kAdd, "k", "5"}});
  sessions.called({.client = 2, .sequence = 1}, {{history::Kind::kAppend, "l", "b,"}, {history::Kind::kAdd, "k", "2"}});
  sessions.check_list("l", "");
  sessions.check_list("l", "b,a,");
  sessions.check_counter("k", "5");
  EXPECT_TRUE(problems.empty());
  sessions.check_list("l", "a,b,a,");
  sessions.check_list("l", "c,");
  sessions.check_counter("k", "8");
  EXPECT_EQ(problems.size(), 3u);
  const api::WriteReply answer{.position = {.index = Index(3)}};
  sessions.answered({.client = 1, .sequence = 1}, answer);
  sessions.check_list("l", "b,");
  sessions.check_counter("k", "2");
  EXPECT_EQ(problems.size(), 5u);
  sessions.answered({.client = 1, .sequence = 1}, answer);
  EXPECT_EQ(problems.size(), 5u);
  sessions.answered({.client = 1, .sequence = 1}, {.position = {.index = Index(4)}});
  sessions.answered({.client = 1, .sequence = 1}, {.status = Status(ErrorCode::kStaleRequest, "")});
  EXPECT_EQ(problems.size(), 7u);
}

}  // namespace
}  // namespace flux::sim
