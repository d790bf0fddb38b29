// What goes wrong in a seed, and when. Swarm testing: each kind of fault is on or off, and comes often or seldom, as
// the seed draws it; a tenth of all seeds has no faults, and a tenth has one kind only.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "cluster.h"
#include "operator.h"
#include "wire_faults.h"

namespace flux::sim {

enum class FaultKind : uint8_t {
  kPowerCut,      // of one host; un-synced sectors are kept, dropped or torn
  kPowerCutDeep,  // in the middle of whatever file operation comes next
  kBlackout,      // of all hosts at once
  kKill,          // the process; its page cache survives
  kKillAll,       // all processes at once
  kPause,         // a process stands still, and goes on without knowing
  kPartition,     // a host, or some of them, from the others
  kOneWay,        // one direction of one link
  kSwizzle,       // links are cut one by one and mended in another order
  kSlowLink,
  kReset,      // connections break in the middle of a message
  kClockStep,  // of a wall clock
  kSlowDisk,
  kSyncFails,  // once, as a disk does that drops the data: the node must stop
  kDiskFull,   // for a while
  kTransfer,   // leadership, to any node
  kAddNode,
  kRemoveNode,
  kLoseMessages,  // of consensus, with a probability, for a while
  kDuplicateMessages,
  kReplayMessages,
  kReorderMessages,
  // The disk of a host is not what it was, and the host must be replaced. Never more of them at a time than the cluster
  // can do without.
  kRot,          // of data at rest
  kStaleSector,  // a write was confirmed, and the disk still holds what was there before
  kMisdirected,  // so it does, and the write has hit another place
  kWipe,         // the host comes back with an empty disk
  kRollback,     // with its disk as it was before an earlier start
  kSwapDisks,    // two hosts get each other's disks, until somebody sees it
  kWriteError,   // once; the node may stop
  kReadError,
  kStall,    // a process stands still in the middle of a turn, after it has looked at the clock
  kDrift,    // a monotonic clock runs at another rate, within what is declared
  kReshape,  // shards and groups are moved, cut, put together, made and ended
};
inline constexpr size_t kFaultKinds = 33;
std::string_view to_string(FaultKind kind);
std::optional<FaultKind> fault_named(std::string_view name);

using FaultCounts = std::array<uint64_t, kFaultKinds>;

struct FaultPlan {
  // Mean time between two of a kind; 0: none of it.
  std::array<Micros, kFaultKinds> every{};
  int64_t clock_step_ms_max = 500;

  static FaultPlan draw(Rng rng);
  bool has(FaultKind kind) const { return every[static_cast<size_t>(kind)].count() > 0; }
  bool any() const;
  std::string to_text() const;
};

Micros draw_micros(Rng& rng, uint64_t low, uint64_t high);
env::testing::CrashPolicy draw_policy(Rng& rng);

// Carries a plan out against a cluster, until it is told to stop.
class Faults {
 public:
  Faults(World& world, Cluster& cluster, const FaultPlan& plan, Rng rng);

  void start();
  // No more faults; what is broken is mended: hosts start, ways open, disks have space and time.
  void stop();
  const FaultCounts& counts() const { return counts_; }
  // Works on after stop(), until all damaged hosts are replaced.
  const Operator& hands() const { return operator_; }

 private:
  void schedule(FaultKind kind);
  // Whether it could be done.
  bool inject(FaultKind kind, Rng& rng);
  bool power_cut(size_t victim, Rng& rng);
  bool deep_power_cut(size_t victim, Rng& rng);
  void watch_deep_cut(size_t victim, uint64_t policy, MonoTime until);
  bool kill(size_t victim, Rng& rng);
  bool pause(size_t victim, Rng& rng);
  bool partition(Rng& rng);
  bool swizzle(Rng& rng);
  bool slow_link(size_t victim, Rng& rng);
  bool slow_disk(size_t victim, Rng& rng);
  bool sync_fails(size_t victim, Rng& rng);
  bool disk_full(size_t victim, Rng& rng);
  bool write_error(size_t victim, Rng& rng);
  bool read_error(size_t victim, Rng& rng);
  bool damage(FaultKind kind, size_t victim, Rng& rng);
  bool wipe(size_t victim, Rng& rng);
  bool rollback(size_t victim, Rng& rng);
  bool swap_disks(size_t one, size_t other, Rng& rng);
  void swap_back();
  void forgive_when_heard(size_t victim, MonoTime disk_done);
  void supervise(size_t victim, Rng& rng);
  bool transfer(size_t through, Rng& rng);
  bool stall(size_t victim, Rng& rng);
  bool drift(size_t victim, Rng& rng);
  bool wire(WireFault fault, size_t victim, Rng& rng);
  bool add_node(size_t through);
  bool remove_node(size_t through, size_t victim);
  void remove_when_drained(size_t victim, int tries);
  bool reshape(size_t through, Rng& rng);
  void ask(size_t through, const api::ClusterRequest& request);
  void restart_later(size_t victim, Rng& rng);
  void after(Micros delay, env::Task task);
  void cut_for(std::vector<std::pair<size_t, size_t>> ways, Micros length);
  std::vector<size_t> running() const;

  World& world_;
  Cluster& cluster_;
  const FaultPlan plan_;
  WireFaults wire_;
  Operator operator_;
  std::vector<std::pair<size_t, size_t>> swapped_;  // hosts that have each other's disks
  std::vector<Rng> rngs_;  // one for every kind: leaving one out does not change the draws of the others
  FaultCounts counts_{};
  bool stopped_ = false;
};

}  // namespace flux::sim
