// Nodes in a simulated world, each on a host with a disk, a clock and a door for clients.
#pragma once

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "env/testing/fake_fs.h"
#include "invariants.h"
#include "node/chart.h"
#include "node/join.h"
#include "node/node.h"
#include "server/resp/door.h"
#include "tap.h"
#include "world.h"

namespace flux::sim {

// What is drawn for a seed beside its faults.
// The range keyspace, where there is one.
inline constexpr std::string_view kOrdered = "ordered";

struct Knobs {
  size_t size = 3;
  node::NodeOptions node;  // names and addresses are filled in
  int64_t drift_ppm_max = 0;
  double chop = 0;
  Micros write_max = Micros(200);
  Micros sync_max = Micros(2000);
  Micros background_max = Micros(20'000);

  static Knobs draw(Rng rng);
};

class Cluster {
 public:
  // Machines that are in use at a time, and all that there ever are: one that is retired never comes back.
  static constexpr size_t kMembersMax = 9;
  static constexpr size_t kHostsMax = 40;

  Cluster(World& world, Knobs knobs, Invariants& invariants);
  ~Cluster();

  size_t hosts() const { return hosts_.size(); }
  bool up(size_t i) const { return hosts_[i]->node != nullptr; }
  // Removed from the cluster; never started again.
  bool retired(size_t i) const { return hosts_[i]->retired; }
  size_t count_up() const;
  size_t count_in_use() const;
  void start(size_t i);
  // What was not synced survives as `policy` says; nobody is told.
  void power_cut(size_t i, const env::testing::CrashPolicy& policy);
  // The page cache survives, and the system closes the connections.
  void kill(size_t i);
  // A host with an empty disk. It is to be added before it can join.
  size_t add_host();
  // Asks the others who it is, then starts; again and again until it runs or is retired.
  void join(size_t i);
  void retire(size_t i);
  // The disk of a host is made to fail: its node may stop, and may not start, until forgive().
  void expect_failure(size_t i) { ++hosts_[i]->failures; }
  void forgive(size_t i) { hosts_[i]->failures = std::max(0, hosts_[i]->failures - 1); }
  bool may_fail(size_t i) const { return hosts_[i]->failures > 0; }
  // What is on the disk of a host is not what its node has put there: it may halt at any time, until it is retired.
  void damage(size_t i);
  bool damaged(size_t i) const { return hosts_[i]->damaged; }
  // A node that could not go on: its process ends, if a failure was to be expected.
  void failed(size_t i, const Status& why);

  node::Node& node(size_t i) { return *hosts_[i]->node; }
  SimLoop& loop(size_t i) { return *hosts_[i]->loop; }
  env::testing::FakeFs& fs(size_t i) { return *hosts_[i]->fs; }
  // Remembers from now on what disks held before the last starts, and sectors that were replaced.
  void watch_disks(bool images, bool sectors);
  // What the disk held before some start, oldest first.
  const std::deque<std::unique_ptr<env::testing::FakeFs>>& images(size_t i) const { return hosts_[i]->images; }
  // For hosts that are down.
  void set_disk(size_t i, std::unique_ptr<env::testing::FakeFs> fs);
  void swap_disks(size_t i, size_t j) { std::swap(hosts_[i]->fs, hosts_[j]->fs); }
  // What the nodes dial each other through.
  TappedNetwork& network() { return network_; }
  Clock& clock(size_t i) { return hosts_[i]->clock; }
  void slow_disk(size_t i, int64_t factor);
  // When the disk will have done all that it was asked for until now.
  MonoTime disk_done_at(size_t i) const;
  // Whether the cluster has its first groups and keyspace.
  bool founded();
  static uint64_t host_id(size_t i) { return i + 1; }
  std::optional<size_t> host_of(NodeId node) const;
  NodeId node_id(size_t i) const { return hosts_[i]->id; }
  static env::Address peer_address(size_t i);
  static env::Address resp_address(size_t i);
  const Knobs& knobs() const { return knobs_; }

  // The replicas of a running node.
  std::vector<api::GroupStatus> groups(size_t i);
  // Its replica of one group, if it has one.
  std::optional<api::GroupStatus> group(size_t i, GroupId id);
  // What the node knows of the cluster.
  node::ChartPtr chart(size_t i);
  // The running node that leads a group in the highest term.
  std::optional<size_t> leader(GroupId id);
  // Groups that hold shards, by the newest configuration that a running node knows; the controller's first.
  std::vector<GroupId> all_groups();
  // Of every group all members have applied the same index, all of it committed, and nothing is being moved.
  bool converged();
  // Where a group's log ended under its leader.
  struct Mark {
    Term term;
    Index last;
  };
  // Of every group the members that run know the leader, and have applied what its log held when it was looked at
  // first. `marks` begins empty and belongs to one wait.
  bool goes_on(std::map<GroupId, Mark>& marks);
  // The first problem that nothing was to blame for; empty if there is none.
  const std::string& problem() const { return problem_; }
  void report(std::string problem);

 private:
  struct Host {
    std::unique_ptr<env::testing::FakeFs> fs = std::make_unique<env::testing::FakeFs>();
    std::deque<std::unique_ptr<env::testing::FakeFs>> images;
    Clock clock;
    NodeId id;
    bool retired = false;
    bool damaged = false;
    int failures = 0;     // expected
    bool ending = false;  // kill() is scheduled
    std::unique_ptr<SimLoop> loop;
    std::unique_ptr<SimExecutor> log_executor;
    std::unique_ptr<SimExecutor> background;
    std::unique_ptr<node::Node> node;
    std::unique_ptr<server::resp::Door> door;
    std::shared_ptr<void> asking;  // to join
  };
  node::NodeOptions options_of(size_t i) const;
  void launch(size_t i, const node::JoinTicket* ticket);
  bool converged(GroupId id);
  bool goes_on(GroupId id, std::map<GroupId, Mark>& marks);
  bool settled_shards(size_t i, GroupId id);
  void make_process(size_t i);
  void end_process(size_t i);

  World& world_;
  TappedNetwork network_{world_.network()};
  const Knobs knobs_;
  Invariants& invariants_;
  std::vector<std::unique_ptr<Host>> hosts_;
  bool keep_images_ = false;
  bool keep_sectors_ = false;
  std::string problem_;
};

}  // namespace flux::sim
