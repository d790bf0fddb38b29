// fluxsim: whole clusters in simulation, from seeds. Exits with 0 if every seed was clean, 1 if one failed, 2 for a
// wrong command line.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "campaign.h"
#include "trial.h"

namespace {

using namespace flux::sim;

void print_line(flux::MonoTime when, uint64_t host, std::string_view line) {
  const int64_t us = when.since_start().count();
  const std::string who = host == 0 ? "--" : host < 1000 ? fmt::format("n{}", host) : fmt::format("c{}", host - 1000);
  fmt::print("{:>4}.{:06} {:<4} {}\n", us / 1'000'000, us % 1'000'000, who, line);
  // A process that ends in the middle has told all it knew.
  std::fflush(stdout);
}

int replay(const TrialOptions& options) {
  fmt::print("seed {}: {}\n", options.seed, describe_seed(options.seed));
  const Outcome outcome = run_trial(options);
  fmt::print("story {:016x}, {} events, {} entries, {} ok, {} failed, {} unknown\n", outcome.story, outcome.events,
             outcome.entries, outcome.operations.ok, outcome.operations.failed, outcome.operations.unknown);
  if (outcome.problem.empty()) return 0;
  fmt::print("FAILED: {}\n", outcome.problem);
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Simulates whole FluxKV clusters, their clients and their faults.");
  TrialOptions options;
  CampaignOptions campaign;
  bool trace = false;
  bool minimize_it = false;
  std::vector<std::string> without;
  auto* seed = app.add_option("--seed", options.seed, "Replays one seed and prints its story hash");
  app.add_option("--seeds", campaign.seeds, "Runs this many");
  app.add_option("--from", campaign.from, "from this one on");
  app.add_option("--jobs", campaign.jobs, "Processes at once")->check(CLI::Range(1, 256));
  app.add_flag("--stop-at-failure", campaign.stop_at_failure, "Ends with the first seed that fails");
  app.add_flag("--probes", campaign.list_probes, "Tells how many seeds took each rare branch of the code");
  app.add_flag("--every-probe", campaign.every_probe, "A rare branch that no seed took is a failure");
  app.add_option("--seconds", options.seconds, "Simulated seconds of a seed")->check(CLI::Range(1, 100'000));
  app.add_option("--without", without, "Kinds of faults to leave out")->delimiter(',');
  app.add_flag("--trace", trace, "Prints the story of --seed: faults, logs and decisions of all nodes");
  app.add_flag("--minimize", minimize_it, "Looks for fewer faults and less time with which --seed still fails");
  app.add_flag("--canary", options.canary, "Leaves an acknowledged write out of the record: must fail");
  CLI11_PARSE(app, argc, argv);
  for (const std::string& name : without) {
    const std::optional<FaultKind> kind = fault_named(name);
    if (!kind) {
      fmt::print(stderr, "fluxsim: there is no fault '{}'\n", name);
      return 2;
    }
    options.without.insert(*kind);
  }
  campaign.trial = options;
  if (seed->count() == 0) return run_campaign(campaign);
  if (minimize_it) return minimize(options);
  if (trace) options.narrator = print_line;
  return replay(options);
}
