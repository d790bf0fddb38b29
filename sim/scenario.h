// Whole nodes for directed scenarios: a test says who starts, who is cut off, what a disk does and which words between
// nodes are lost, and runs the world until what it waits for has happened.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "env/testing/fake_fs.h"
#include "node/node.h"
#include "node/node_impl.h"
#include "raft/message.h"
#include "server/wire/door.h"
#include "tap.h"
#include "world.h"

namespace flux::sim {

// The group that holds the data of these clusters, which have no other.
inline constexpr GroupId kDataGroup{1};

// A read's answer, with its values kept.
struct Seen {
  Status status;
  std::optional<std::string> value;
  std::optional<WallMillis> deadline;
};

// A request that may still be answered. One that a crash has taken never is.
template <typename Reply>
using Pending = std::shared_ptr<std::optional<Reply>>;

// The consensus message that passes, if it is one, and the group it is for.
std::optional<raft::Message> raft_message(const Passing& passing, GroupId& group);
// No leader hears that what it has sent is there: nothing is committed by more than one node.
Fate drop_append_results(Passing& passing);

class Nodes {
 public:
  using Adjust = std::function<void(size_t node, node::NodeOptions& options)>;
  // Starts a cluster of `founders` nodes, numbered from 0: n1 at 10.0.0.1 and so on. It serves when this returns.
  Nodes(uint64_t seed, size_t founders, Adjust adjust = nullptr);
  ~Nodes();
  Nodes(const Nodes&) = delete;
  Nodes& operator=(const Nodes&) = delete;

  World& world() { return world_; }
  TappedNetwork& network() { return network_; }
  size_t size() const { return hosts_.size(); }
  uint64_t host_id(size_t i) const { return i + 1; }
  NodeId id(size_t i) { return node(i).identity().node; }
  bool up(size_t i) const { return hosts_[i]->node != nullptr; }

  Status start(size_t i, const node::JoinTicket* ticket = nullptr);
  // The power of a node goes; of what was not synced, the policy decides.
  void crash(size_t i, const env::testing::CrashPolicy& policy = env::testing::CrashPolicy::drop_all());
  // The process of a node ends; the page cache stays.
  void kill(size_t i);
  // A machine that is not started, at an address that may be somebody else's. Returns its number.
  size_t add_host(std::string name, env::Address address);
  // The ticket of a node that was added under that name.
  node::JoinTicket ticket_for(size_t asked, const std::string& name);
  // Adds a node n<number> at 10.0.0.<number> and starts it. It takes part in group 0 when this returns.
  size_t join(size_t through);

  node::Node& node(size_t i) { return *hosts_[i]->node; }
  node::Group& group(size_t i, GroupId id = kDataGroup);
  bool has_group(size_t i, GroupId id = kDataGroup);
  // What the node knows of the cluster.
  node::ChartPtr chart(size_t i);
  api::GroupStatus status(size_t i, GroupId id = kDataGroup) { return group(i, id).status(); }
  SimLoop& loop(size_t i) { return *hosts_[i]->loop; }
  env::testing::FakeFs& fs(size_t i) { return *hosts_[i]->fs; }
  // Puts another disk into a machine that is down.
  void set_disk(size_t i, std::unique_ptr<env::testing::FakeFs> fs) { hosts_[i]->fs = std::move(fs); }
  env::Address address(size_t i) const { return hosts_[i]->address; }
  // Where it takes clients of the wire protocol.
  env::Address wire_address(size_t i) const { return {.host = hosts_[i]->address.host, .port = 7378}; }
  // What the node reported as the end of it; OK while it goes on.
  const Status& fatal(size_t i) const { return hosts_[i]->fatal; }
  // Milliseconds that the node's wall clock is ahead, also after its next start.
  void set_wall_offset(size_t i, int64_t millis);
  // A number for everything the state machine holds.
  uint64_t hash(size_t i, GroupId id = kDataGroup) { return group(i, id).engine().state_hash().value(); }
  Index applied(size_t i, GroupId id = kDataGroup) { return group(i, id).state_machine().applied().index; }
  // Names of the snapshot files, oldest first.
  std::vector<std::string> snapshots(size_t i, GroupId id = kDataGroup);
  static std::string snapshot_dir(GroupId id = kDataGroup);

  // --- Running the world. Each of these fails the test when what it waits for does not come. -------------------------
  bool until(const std::function<bool()>& done, Micros at_most = Millis(30'000));
  void pass(Micros time);
  // Something to look at after every event.
  void watch(std::function<void()> watcher) { watcher_ = std::move(watcher); }
  // The node that leads the group now in the highest term; SIZE_MAX if none does.
  size_t leader(GroupId id = kDataGroup);
  size_t wait_leader(GroupId id = kDataGroup);
  void make_leader(size_t i, GroupId id = kDataGroup);
  // All replicas that are up have applied the same, and all that is committed.
  bool converged(GroupId id = kDataGroup);
  void settle(GroupId id = kDataGroup);

  void isolate(size_t i);
  void heal() { world_.heal(); }

  // --- Requests ------------------------------------------------------------------------------------------------------
  Pending<api::WriteReply> begin_write(size_t through, const std::vector<api::Command>& commands,
                                       api::SessionRef session = {});
  Pending<Seen> begin_get(size_t through, std::string_view key,
                          api::Consistency consistency = api::Consistency::kLinearizable);
  api::WriteReply write(size_t through, const std::vector<api::Command>& commands, api::SessionRef session = {});
  // OK, or the status.
  Status put(size_t through, std::string_view key, std::string_view value, api::Expiry expiry = {});
  Seen get(size_t through, std::string_view key, api::Consistency consistency = api::Consistency::kLinearizable);
  Pending<api::ClusterReply> begin_change(size_t through, const api::ClusterRequest& request);
  api::ClusterReply change(size_t through, const api::ClusterRequest& request);
  // The state of a plan as a node knows it.
  std::optional<ctrl::PlanState> plan_state(size_t through, uint64_t plan);
  void wait_plan_done(size_t through, uint64_t plan, Micros at_most = Millis(60'000));
  // Runs a task as a turn of a node and waits until it has run.
  void in_turn(size_t i, env::Task task);

 private:
  struct Host {
    std::string name;
    env::Address address;
    std::unique_ptr<env::testing::FakeFs> fs = std::make_unique<env::testing::FakeFs>();
    std::unique_ptr<SimLoop> loop;
    std::unique_ptr<SimExecutor> log_executor;
    std::unique_ptr<SimExecutor> background;
    std::unique_ptr<node::Node> node;
    std::unique_ptr<server::wire::Door> wire;
    Status fatal;
    Clock clock;
  };
  node::NodeOptions options_of(size_t i) const;
  void end_process(size_t i);
  // Whether the node knows of the cluster's groups, and serves what it has of them.
  bool is_founded(size_t i);

  World world_;
  TappedNetwork network_{world_.network()};
  const size_t founders_;
  const Adjust adjust_;
  std::function<void()> watcher_;
  std::vector<std::unique_ptr<Host>> hosts_;
};

}  // namespace flux::sim
