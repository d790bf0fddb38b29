#include "faults.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "api/key_text.h"

namespace flux::sim {
namespace {

using env::testing::CrashPolicy;

constexpr std::array<std::string_view, kFaultKinds> kNames = {"power_cut",
                                                              "power_cut_deep",
                                                              "blackout",
                                                              "kill",
                                                              "kill_all",
                                                              "pause",
                                                              "partition",
                                                              "one_way",
                                                              "swizzle",
                                                              "slow_link",
                                                              "reset",
                                                              "clock_step",
                                                              "slow_disk",
                                                              "sync_fails",
                                                              "disk_full",
                                                              "transfer",
                                                              "add_node",
                                                              "remove_node",
                                                              "lose_messages",
                                                              "duplicate_messages",
                                                              "replay_messages",
                                                              "reorder_messages",
                                                              "rot",
                                                              "stale_sector",
                                                              "misdirected",
                                                              "wipe",
                                                              "rollback",
                                                              "swap_disks",
                                                              "write_error",
                                                              "read_error",
                                                              "stall",
                                                              "drift",
                                                              "reshape"};

}  // namespace

Micros draw_micros(Rng& rng, uint64_t low, uint64_t high) {
  return Micros(static_cast<int64_t>(rng.between(low, high)));
}

CrashPolicy draw_policy(Rng& rng) {
  const uint64_t seed = rng.next();
  switch (rng.below(4)) {
    case 0:
      return CrashPolicy::drop_all();
    case 1:
      return CrashPolicy::keep_all();
    default:
      return CrashPolicy::random(seed);
  }
}

std::string_view to_string(FaultKind kind) { return kNames[static_cast<size_t>(kind)]; }

std::optional<FaultKind> fault_named(std::string_view name) {
  const auto found = std::find(kNames.begin(), kNames.end(), name);
  if (found == kNames.end()) return std::nullopt;
  return static_cast<FaultKind>(found - kNames.begin());
}

FaultPlan FaultPlan::draw(Rng rng) {
  FaultPlan plan;
  const double style = rng.unit();
  const size_t only = rng.below(kFaultKinds);
  for (size_t i = 0; i < kFaultKinds; ++i) {
    // Evenly over the magnitudes, from one second to half a minute.
    const double seconds = std::exp(rng.unit() * std::log(30.0));
    const bool on = rng.chance(0.33);
    const bool wanted = style < 0.1 ? false : style < 0.2 ? i == only : on;
    if (wanted) plan.every[i] = Micros(static_cast<int64_t>(seconds * 1e6));
  }
  plan.clock_step_ms_max = static_cast<int64_t>(rng.between(10, 2000));
  return plan;
}

bool FaultPlan::any() const {
  return std::any_of(every.begin(), every.end(), [](Micros each) { return each.count() > 0; });
}

std::string FaultPlan::to_text() const {
  std::string text;
  for (size_t i = 0; i < kFaultKinds; ++i) {
    if (every[i].count() == 0) continue;
    text += fmt::format("{}{} every {:.1f} s", text.empty() ? "" : ", ", kNames[i],
                        static_cast<double>(every[i].count()) / 1e6);
  }
  return text.empty() ? "none" : text;
}

Faults::Faults(World& world, Cluster& cluster, const FaultPlan& plan, Rng rng)
    : world_(world),
      cluster_(cluster),
      plan_(plan),
      wire_(world, cluster.network(), Rng(rng.next())),
      operator_(world, cluster, Rng(rng.next())) {
  for (size_t i = 0; i < kFaultKinds; ++i) rngs_.push_back(rng.fork());
}

void Faults::start() {
  if (plan_.has(FaultKind::kReplayMessages)) wire_.remember();
  cluster_.watch_disks(plan_.has(FaultKind::kRollback),
                       plan_.has(FaultKind::kStaleSector) || plan_.has(FaultKind::kMisdirected));
  for (size_t i = 0; i < kFaultKinds; ++i) {
    if (plan_.every[i].count() > 0) schedule(static_cast<FaultKind>(i));
  }
}

void Faults::after(Micros delay, env::Task task) {
  world_.after(delay, [this, task = std::move(task)]() mutable {
    if (!stopped_) task();
  });
}

void Faults::schedule(FaultKind kind) {
  const auto i = static_cast<size_t>(kind);
  const auto mean = static_cast<uint64_t>(plan_.every[i].count());
  after(draw_micros(rngs_[i], mean / 10, 2 * mean), [this, kind, i] {
    if (inject(kind, rngs_[i])) ++counts_[i];
    schedule(kind);
  });
}

std::vector<size_t> Faults::running() const {
  std::vector<size_t> up;
  for (size_t i = 0; i < cluster_.hosts(); ++i) {
    if (cluster_.up(i)) up.push_back(i);
  }
  return up;
}

bool Faults::inject(FaultKind kind, Rng& rng) {
  const std::vector<size_t> up = running();
  if (up.empty()) return false;
  const size_t victim = up[rng.below(up.size())];
  switch (kind) {
    case FaultKind::kPowerCut:
      return power_cut(victim, rng);
    case FaultKind::kPowerCutDeep:
      return deep_power_cut(victim, rng);
    case FaultKind::kBlackout:
      for (const size_t each : up) power_cut(each, rng);
      return true;
    case FaultKind::kKill:
      return kill(victim, rng);
    case FaultKind::kKillAll:
      for (const size_t each : up) kill(each, rng);
      return true;
    case FaultKind::kPause:
      return pause(victim, rng);
    case FaultKind::kPartition:
      return partition(rng);
    case FaultKind::kOneWay: {
      const size_t other = rng.below(cluster_.hosts());
      if (other == victim) return false;
      world_.say("cut n{} -> n{}", victim + 1, other + 1);
      cut_for({{victim, other}}, draw_micros(rng, 20'000, 4'000'000));
      return true;
    }
    case FaultKind::kSwizzle:
      return swizzle(rng);
    case FaultKind::kSlowLink:
      return slow_link(victim, rng);
    case FaultKind::kReset: {
      const size_t other = rng.below(cluster_.hosts());
      if (other == victim) return false;
      world_.say("reset connections n{} - n{}", victim + 1, other + 1);
      world_.reset_connections(Cluster::host_id(victim), Cluster::host_id(other));
      return true;
    }
    case FaultKind::kClockStep: {
      const auto max = static_cast<uint64_t>(plan_.clock_step_ms_max);
      cluster_.clock(victim).wall_offset_ms = static_cast<int64_t>(rng.between(0, 2 * max)) - plan_.clock_step_ms_max;
      world_.say("wall clock of n{} at {} ms from true time", victim + 1, cluster_.clock(victim).wall_offset_ms);
      return true;
    }
    case FaultKind::kSlowDisk:
      return slow_disk(victim, rng);
    case FaultKind::kSyncFails:
      return sync_fails(victim, rng);
    case FaultKind::kDiskFull:
      return disk_full(victim, rng);
    case FaultKind::kTransfer:
      return transfer(victim, rng);
    case FaultKind::kAddNode:
      return add_node(victim);
    case FaultKind::kRemoveNode:
      return remove_node(victim, up[rng.below(up.size())]);
    case FaultKind::kLoseMessages:
      return wire(WireFault::kLose, victim, rng);
    case FaultKind::kDuplicateMessages:
      return wire(WireFault::kDuplicate, victim, rng);
    case FaultKind::kReplayMessages:
      return wire(WireFault::kReplay, victim, rng);
    case FaultKind::kReorderMessages:
      return wire(WireFault::kReorder, victim, rng);
    case FaultKind::kRot:
    case FaultKind::kStaleSector:
    case FaultKind::kMisdirected:
      return damage(kind, victim, rng);
    case FaultKind::kWipe:
      return wipe(victim, rng);
    case FaultKind::kRollback:
      return rollback(victim, rng);
    case FaultKind::kSwapDisks:
      return swap_disks(victim, up[rng.below(up.size())], rng);
    case FaultKind::kWriteError:
      return write_error(victim, rng);
    case FaultKind::kReadError:
      return read_error(victim, rng);
    case FaultKind::kStall:
      return stall(victim, rng);
    case FaultKind::kDrift:
      return drift(victim, rng);
    case FaultKind::kReshape:
      return reshape(victim, rng);
  }
  return false;
}

// --- Hosts and processes ---------------------------------------------------------------------------------------------

void Faults::restart_later(size_t victim, Rng& rng) {
  after(draw_micros(rng, 5'000, rng.chance(0.2) ? 8'000'000 : 1'500'000), [this, victim] { cluster_.start(victim); });
}

bool Faults::power_cut(size_t victim, Rng& rng) {
  world_.say("power cut at n{}", victim + 1);
  cluster_.power_cut(victim, draw_policy(rng));
  restart_later(victim, rng);
  return true;
}

bool Faults::deep_power_cut(size_t victim, Rng& rng) {
  if (cluster_.may_fail(victim)) return false;
  cluster_.expect_failure(victim);
  cluster_.fs(victim).stop_after(rng.between(1, 40));
  watch_deep_cut(victim, rng.next(), world_.now() + Millis(500));
  return true;
}

// The machine has stopped, and in the next instant the power is gone.
void Faults::watch_deep_cut(size_t victim, uint64_t policy, MonoTime until) {
  if (cluster_.up(victim) && !cluster_.fs(victim).stopped() && world_.now() < until) {
    return after(Micros(300), [this, victim, policy, until] { watch_deep_cut(victim, policy, until); });
  }
  world_.say("power cut at n{}, in the middle of a file operation", victim + 1);
  cluster_.power_cut(victim, CrashPolicy::random(policy));
  cluster_.forgive(victim);
  // Sometimes the next start meets the same.
  Rng rng(policy);
  if (rng.chance(0.3)) {
    after(draw_micros(rng, 5'000, 500'000), [this, victim, policy, stop = rng.between(1, 30)] {
      if (cluster_.up(victim) || cluster_.retired(victim)) return;
      cluster_.expect_failure(victim);
      cluster_.fs(victim).stop_after(stop);
      cluster_.start(victim);
      after(Millis(50), [this, victim, policy] {
        cluster_.power_cut(victim, CrashPolicy::random(policy + 1));
        cluster_.forgive(victim);
      });
    });
    rng = rng.fork();
    after(Millis(600), [this, victim] { cluster_.start(victim); });
    return;
  }
  restart_later(victim, rng);
}

bool Faults::kill(size_t victim, Rng& rng) {
  world_.say("kill n{}", victim + 1);
  cluster_.kill(victim);
  restart_later(victim, rng);
  return true;
}

bool Faults::pause(size_t victim, Rng& rng) {
  const Micros length = draw_micros(rng, 10'000, rng.chance(0.3) ? 5'000'000 : 900'000);
  world_.say("n{} stands still for {} ms", victim + 1, length.count() / 1000);
  const MonoTime resumes = world_.now() + length;
  world_.pause(Cluster::host_id(victim), resumes);
  if (rng.chance(0.5)) cluster_.loop(victim).stand_still_after_look(resumes);
  return true;
}

bool Faults::stall(size_t victim, Rng& rng) {
  const Micros length = draw_micros(rng, 50'000, rng.chance(0.3) ? 5'000'000 : 900'000);
  cluster_.loop(victim).stall(rng.between(1, 12), length);
  return true;
}

bool Faults::drift(size_t victim, Rng& rng) {
  const auto bound = static_cast<uint64_t>(cluster_.knobs().drift_ppm_max);
  const int64_t ppm = static_cast<int64_t>(rng.between(0, 2 * bound)) - static_cast<int64_t>(bound);
  world_.say("clock of n{} drifts by {} ppm", victim + 1, ppm);
  cluster_.clock(victim).drift_ppm = ppm;
  cluster_.loop(victim).set_drift(ppm);
  return true;
}

// --- The network -----------------------------------------------------------------------------------------------------

void Faults::cut_for(std::vector<std::pair<size_t, size_t>> ways, Micros length) {
  for (const auto& [from, to] : ways) world_.cut(Cluster::host_id(from), Cluster::host_id(to));
  after(length, [this, ways = std::move(ways)] {
    for (const auto& [from, to] : ways) world_.mend(Cluster::host_id(from), Cluster::host_id(to));
  });
}

bool Faults::partition(Rng& rng) {
  std::vector<std::pair<size_t, size_t>> ways;
  const uint64_t sides = rng.next();
  std::string side;
  for (size_t i = 0; i < cluster_.hosts(); ++i) {
    if ((sides >> i & 1) != 0) side += fmt::format(" n{}", i + 1);
    for (size_t j = 0; j < cluster_.hosts(); ++j) {
      if ((sides >> i & 1) != (sides >> j & 1)) ways.emplace_back(i, j);
    }
  }
  if (ways.empty()) return false;
  world_.say("partition:{} from the others", side);
  cut_for(std::move(ways), draw_micros(rng, 50'000, 5'000'000));
  return true;
}

bool Faults::swizzle(Rng& rng) {
  const size_t hosts = cluster_.hosts();
  for (size_t victim = 0; victim < hosts; ++victim) {
    if (rng.chance(0.5)) continue;
    const Micros begin = draw_micros(rng, 0, 1'000'000);
    const Micros length = draw_micros(rng, 100'000, 3'000'000);
    after(begin, [this, victim, hosts, length] {
      std::vector<std::pair<size_t, size_t>> ways;
      for (size_t other = 0; other < hosts; ++other) {
        if (other == victim) continue;
        ways.emplace_back(victim, other);
        ways.emplace_back(other, victim);
      }
      world_.say("swizzle: n{} is cut off", victim + 1);
      cut_for(std::move(ways), length);
    });
  }
  return hosts > 1;
}

bool Faults::slow_link(size_t victim, Rng& rng) {
  const size_t other = rng.below(cluster_.hosts());
  if (other == victim) return false;
  const Micros extra = draw_micros(rng, 1'000, 400'000);
  world_.say("link n{} -> n{} is {} ms slower", victim + 1, other + 1, extra.count() / 1000);
  world_.slow_link(Cluster::host_id(victim), Cluster::host_id(other), extra);
  after(draw_micros(rng, 100'000, 4'000'000),
        [this, victim, other] { world_.slow_link(Cluster::host_id(victim), Cluster::host_id(other), Micros(0)); });
  return true;
}

bool Faults::wire(WireFault fault, size_t victim, Rng& rng) {
  constexpr std::string_view kWhat[] = {"are lost", "come twice", "are followed by old ones", "overtake each other"};
  const uint64_t host = rng.chance(0.5) ? 0 : Cluster::host_id(victim);
  const double probability = rng.chance(0.5) ? 0.02 + 0.1 * rng.unit() : 0.5 * rng.unit();
  world_.say("{:.0f} % of the messages of {} {}", 100 * probability, host == 0 ? "all" : fmt::format("n{}", host),
             kWhat[static_cast<size_t>(fault)]);
  wire_.begin(fault, host, probability, draw_micros(rng, 100'000, 5'000'000));
  return true;
}

// --- Operators -------------------------------------------------------------------------------------------------------

bool Faults::transfer(size_t through, Rng& rng) {
  const size_t target = rng.below(cluster_.hosts());
  world_.say("transfer of leadership to n{}", target + 1);
  const NodeId node = rng.chance(0.3) ? kNobody : cluster_.node_id(target);
  const std::vector<GroupId> groups = cluster_.all_groups();
  const GroupId group = groups[rng.below(groups.size())];
  world_.at(world_.now(), cluster_.loop(through), [this, through, node, group] {
    cluster_.node(through).admin(0).transfer_leader(group, node, [](const Status&) {});
  });
  return true;
}

bool Faults::add_node(size_t through) {
  if (cluster_.hosts() >= Cluster::kHostsMax || cluster_.count_in_use() >= Cluster::kMembersMax) return false;
  const size_t host = cluster_.add_host();
  world_.say("add n{}", host + 1);
  ask(through,
      api::AddNode{.name = fmt::format("n{}", host + 1), .peer_address = Cluster::peer_address(host).to_string()});
  // It asks whether or not that went well.
  after(Millis(100), [this, host] { cluster_.join(host); });
  return true;
}

bool Faults::remove_node(size_t through, size_t victim) {
  // What is left must be able to lose one, or a seed soon ends with a single node. Nobody removes a good node while
  // there are bad ones.
  if (cluster_.count_in_use() < 3 || operator_.busy()) return false;
  operator_.removal_asked();
  world_.say("remove n{}", victim + 1);
  // First its replicas go elsewhere; once they have, it may be removed.
  ask(through, api::DrainNode{cluster_.node_id(victim)});
  remove_when_drained(victim, 40);
  return true;
}

void Faults::remove_when_drained(size_t victim, int tries) {
  after(Millis(500), [this, victim, tries] {
    const std::vector<size_t> up = running();
    if (tries == 0 || up.empty() || cluster_.retired(victim)) return;
    const size_t through = up.front();
    world_.at(world_.now(), cluster_.loop(through), [this, through, victim, tries] {
      cluster_.node(through).admin(0).change_cluster(
          {.request = api::RemoveNode{cluster_.node_id(victim)}, .expected = {}},
          [this, victim, tries](const api::ClusterReply& reply) {
            if (!reply.status.ok())
              return world_.after(Micros(0), [this, victim, tries] { remove_when_drained(victim, tries - 1); });
            world_.say("n{} is removed", victim + 1);
            if (reply.note.empty()) world_.after(Micros(0), [this, victim] { cluster_.retire(victim); });
          });
    });
  });
}

void Faults::ask(size_t through, const api::ClusterRequest& request) {
  world_.at(world_.now(), cluster_.loop(through), [this, through, request] {
    cluster_.node(through).admin(0).change_cluster(
        {.request = request, .expected = {}}, [this](const api::ClusterReply& reply) {
          world_.say("the controller answers: {}", reply.status.ok() ? "yes" : reply.status.message());
        });
  });
}

// Shards move, are cut and put together, groups come and go: somebody is always at it.
bool Faults::reshape(size_t through, Rng& rng) {
  const node::ChartPtr chart = cluster_.chart(through);
  const ctrl::Keyspace* keyspace = chart->config->keyspace(api::kDefaultKeyspaceName);
  if (keyspace == nullptr) return false;
  if (const ctrl::Keyspace* ordered = chart->config->keyspace(kOrdered); ordered != nullptr && rng.chance(0.5)) {
    keyspace = ordered;
  }
  const size_t at = rng.below(keyspace->shards.size());
  const ctrl::Shard& shard = keyspace->shards[at];
  std::vector<GroupId> groups;
  for (const auto& [id, group] : chart->config->groups) {
    if (group.state == ctrl::GroupState::kServing) groups.push_back(id);
  }
  if (groups.empty()) return false;
  const GroupId group = groups[rng.below(groups.size())];
  switch (rng.below(11)) {
    case 0:
      // Nobody founds a group on a host whose disk is bad.
      if (groups.size() >= 5 || operator_.busy()) return false;
      world_.say("a new group");
      ask(through, api::AddGroup{.replicas = cluster_.knobs().node.replication});
      return true;
    case 1:
      if (groups.size() < 3) return false;
      world_.say("group {} is to leave", group);
      ask(through, api::RemoveGroup{group});
      return true;
    case 2: {
      if (keyspace->shards.size() > 12) return false;
      std::string cut;
      if (keyspace->kind == ctrl::KeyspaceKind::kHash) {
        cut = api::slot_start(static_cast<uint16_t>(rng.between(1, api::kSlotCount - 1)));
      } else {
        cut = static_cast<char>('a' + rng.below(20));
        if (rng.chance(0.5)) cut += static_cast<char>('0' + rng.below(4));
      }
      world_.say("a cut of {} at {}", keyspace->name, api::key_text(cut));
      ask(through, api::SplitShard{.shard = keyspace->lookup(cut).id, .at = cut});
      return true;
    }
    case 3:
      if (at + 1 >= keyspace->shards.size()) return false;
      world_.say("shards {} and {} are put together", shard.id, keyspace->shards[at + 1].id);
      ask(through, api::MergeShards{.left = shard.id, .right = keyspace->shards[at + 1].id});
      return true;
    case 4:
      if (chart->plans.empty()) return false;
      ask(through, api::ControlPlan{.plan = chart->plans.rbegin()->first.value(),
                                    .verb = rng.chance(0.5)   ? "cancel"
                                            : rng.chance(0.5) ? "pause"
                                                              : "resume"});
      return true;
    case 5:
    case 6:
      ask(through, api::SetBalance{rng.chance(0.6) ? "load" : rng.chance(0.5) ? "shards" : "off"});
      return true;
    default:
      world_.say("shard {} is to move from group {} to {}", shard.id, shard.group, group);
      ask(through, api::MoveShard{.shard = shard.id, .to = group, .pin = rng.chance(0.2)});
      return true;
  }
}

void Faults::stop() {
  stopped_ = true;
  world_.say("all faults end");
  world_.heal();
  wire_.stop();
  while (!swapped_.empty()) swap_back();
  for (size_t i = 0; i < cluster_.hosts(); ++i) {
    if (cluster_.retired(i)) continue;
    cluster_.fs(i).set_fault(nullptr);
    cluster_.fs(i).set_free_bytes(std::nullopt);
    cluster_.slow_disk(i, 1);
    // One that was about to fail ends here: nobody can tell what it has met.
    if (cluster_.may_fail(i)) cluster_.kill(i);
    while (cluster_.may_fail(i)) cluster_.forgive(i);
    cluster_.start(i);
  }
}

}  // namespace flux::sim
