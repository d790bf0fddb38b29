// Goal: three whole nodes, on a simulated clock, network and disk, keep every promise through elections, partitions and
// power cuts; and the same seed tells the same story.
#include <gtest/gtest.h>

#include <cstdlib>

#include "cluster.h"

namespace flux::sim {
namespace {

struct Outcome {
  uint64_t story = 0;
  uint64_t acknowledged = 0;
  uint64_t crashes = 0;
  uint64_t partitions = 0;
  uint64_t leader_changes = 0;
  uint64_t snapshot_index = 0;
  std::string problem;
};

// Faults for a while, then peace: all nodes up, the network whole. Then everything must agree.
class Trial {
 public:
  explicit Trial(uint64_t seed) : world_(seed), cluster_(world_, 3) {
    for (uint64_t i = 0; i < 4; ++i) clients_.push_back(std::make_unique<Client>(world_, cluster_, i));
  }

  Outcome go() {
    for (auto& client : clients_) client->start();
    disturb();
    watch();
    world_.run(world_.now() + Millis(20'000), [this] { return !cluster_.fatal().empty(); });
    peaceful_ = true;
    world_.heal();
    for (size_t i = 0; i < cluster_.size(); ++i) {
      if (!cluster_.up(i)) cluster_.start(i);
    }
    for (auto& client : clients_) client->stop();
    const bool settled =
        world_.run(world_.now() + Millis(20'000), [this] { return all_idle() && cluster_.converged(); });
    if (!settled && cluster_.fatal().empty()) outcome_.problem = "the cluster did not settle";
    for (size_t i = 0; i < cluster_.size() && cluster_.up(i); ++i) check_through(i);
    finish();
    return outcome_;
  }

 private:
  bool all_idle() {
    for (auto& client : clients_) {
      if (!client->idle()) return false;
    }
    return true;
  }

  void check_through(size_t node) {
    size_t left = clients_.size();
    for (auto& client : clients_) client->check_all(node, [&left] { --left; });
    if (!world_.run(world_.now() + Millis(10'000), [&left] { return left == 0; }) && outcome_.problem.empty()) {
      outcome_.problem = "final reads were not answered";
    }
  }

  // One fault after the other; at most one node is down at a time, and the network is cut in at most one place.
  void disturb() {
    if (peaceful_) return;
    const auto pause = Micros(static_cast<int64_t>(world_.rng().between(200'000, 2'500'000)));
    world_.at(world_.now() + pause, [this] {
      if (peaceful_) return;
      const size_t victim = world_.rng().below(cluster_.size());
      switch (world_.rng().below(4)) {
        case 0:
        case 1:
          power_cut(victim);
          break;
        case 2:
          partition(victim, true);
          break;
        default:
          partition(victim, false);
          break;
      }
      disturb();
    });
  }

  void power_cut(size_t victim) {
    if (!cluster_.up(victim)) return;
    for (size_t i = 0; i < cluster_.size(); ++i) {
      if (!cluster_.up(i)) return;
    }
    ++outcome_.crashes;
    cluster_.crash(victim, env::testing::CrashPolicy::random(world_.rng().next()));
    const auto down = Micros(static_cast<int64_t>(world_.rng().between(10'000, 3'000'000)));
    world_.at(world_.now() + down, [this, victim] {
      if (!cluster_.up(victim)) cluster_.start(victim);
    });
  }

  void partition(size_t victim, bool both_ways) {
    ++outcome_.partitions;
    world_.heal();
    for (size_t i = 0; i < cluster_.size(); ++i) {
      if (i == victim) continue;
      world_.cut(cluster_.host_id(victim), cluster_.host_id(i));
      if (both_ways) world_.cut(cluster_.host_id(i), cluster_.host_id(victim));
    }
    const auto length = Micros(static_cast<int64_t>(world_.rng().between(50'000, 3'000'000)));
    world_.at(world_.now() + length, [this] { world_.heal(); });
  }

  void watch() {
    if (peaceful_) return;
    const size_t leader = cluster_.leader();
    if (leader != SIZE_MAX && leader != last_leader_) ++outcome_.leader_changes, last_leader_ = leader;
    world_.at(world_.now() + Millis(50), [this] { watch(); });
  }

  void finish() {
    if (!cluster_.fatal().empty()) outcome_.problem = cluster_.fatal();
    for (auto& client : clients_) {
      outcome_.acknowledged += client->acknowledged();
      if (!client->problem().empty()) outcome_.problem = client->problem();
    }
    for (size_t i = 0; i < cluster_.size(); ++i) {
      if (cluster_.up(i))
        outcome_.snapshot_index = std::max(outcome_.snapshot_index, cluster_.group(i).snapshot_index.value());
    }
    outcome_.story = world_.story();
  }

  World world_;
  Cluster cluster_;
  std::vector<std::unique_ptr<Client>> clients_;
  Outcome outcome_;
  size_t last_leader_ = SIZE_MAX;
  bool peaceful_ = false;
};

uint64_t number_from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

TEST(Sim, the_same_seed_tells_the_same_story) {
  const Outcome first = Trial(7).go();
  const Outcome again = Trial(7).go();
  EXPECT_EQ(first.story, again.story);
  EXPECT_EQ(first.acknowledged, again.acknowledged);
  EXPECT_NE(first.story, Trial(8).go().story);
}

TEST(Sim, promises_hold_through_partitions_and_power_cuts) {
  // FLUX_SIM_SEEDS and FLUX_SIM_FROM: more seeds, or the one that failed.
  const uint64_t seeds = number_from_environment("FLUX_SIM_SEEDS", 12);
  const uint64_t from = number_from_environment("FLUX_SIM_FROM", 1);
  Outcome sum;
  for (uint64_t seed = from; seed < from + seeds; ++seed) {
    const Outcome outcome = Trial(seed).go();
    ASSERT_EQ(outcome.problem, "") << "replay with FLUX_SIM_FROM=" << seed << " FLUX_SIM_SEEDS=1";
    sum.acknowledged += outcome.acknowledged;
    sum.crashes += outcome.crashes;
    sum.partitions += outcome.partitions;
    sum.leader_changes += outcome.leader_changes;
    sum.snapshot_index += outcome.snapshot_index;
  }
  std::printf("%llu seeds: %llu writes acknowledged, %llu power cuts, %llu partitions, %llu leader changes\n",
              static_cast<unsigned long long>(seeds), static_cast<unsigned long long>(sum.acknowledged),
              static_cast<unsigned long long>(sum.crashes), static_cast<unsigned long long>(sum.partitions),
              static_cast<unsigned long long>(sum.leader_changes));
  if (seeds >= 10) {
    // A run in which nothing happens shows nothing.
    EXPECT_GT(sum.acknowledged, seeds * 100);
    EXPECT_GT(sum.crashes, seeds);
    EXPECT_GT(sum.partitions, seeds);
    EXPECT_GT(sum.leader_changes, seeds * 2);
    EXPECT_GT(sum.snapshot_index, 0u);
  }
}

}  // namespace
}  // namespace flux::sim
