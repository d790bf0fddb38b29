// Nodes in a simulated world, and a client that remembers what was promised to it.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "env/testing/fake_fs.h"
#include "node/node.h"
#include "world.h"

namespace flux::sim {

class Cluster {
 public:
  Cluster(World& world, size_t size);
  ~Cluster();

  size_t size() const { return hosts_.size(); }
  bool up(size_t i) const { return hosts_[i]->node != nullptr; }
  void start(size_t i);
  // Power cut: what was not synced survives as `policy` says.
  void crash(size_t i, const env::testing::CrashPolicy& policy);
  node::Node& node(size_t i) { return *hosts_[i]->node; }
  SimLoop& loop(size_t i) { return *hosts_[i]->loop; }
  uint64_t host_id(size_t i) const { return i + 1; }

  // The status of a running node's group.
  api::GroupStatus group(size_t i);
  // The running node that leads in the highest term; SIZE_MAX if none.
  size_t leader();
  // All running nodes have applied the same index, all of it committed.
  bool converged();
  // In what node was the first problem that a node reported as fatal; empty if none did.
  const std::string& fatal() const { return fatal_; }

 private:
  struct Host {
    env::testing::FakeFs fs;
    std::unique_ptr<SimLoop> loop;
    std::unique_ptr<SimExecutor> log_executor;
    std::unique_ptr<SimExecutor> background;
    std::unique_ptr<node::Node> node;
  };
  World& world_;
  std::vector<std::unique_ptr<Host>> hosts_;
  std::string fatal_;
};

// Writes and reads registers, one operation at a time, and checks every answer against what is possible.
class Client {
 public:
  Client(World& world, Cluster& cluster, uint64_t number);

  // Goes on until stop(); each operation goes to a random running node.
  void start() { next(); }
  void stop() { stopped_ = true; }
  bool idle() const { return stopped_ && !busy_; }
  uint64_t acknowledged() const { return acknowledged_; }
  // What was wrong; empty if nothing.
  const std::string& problem() const { return problem_; }
  // Reads every register through a node, then calls `done`.
  void check_all(size_t through, std::function<void()> done);

 private:
  static constexpr uint64_t kRegisters = 4;
  struct Register {
    std::string value;               // newest acknowledged; empty: absent
    std::set<std::string> possible;  // written since, with unknown outcome
  };
  void next();
  void read(size_t through, uint64_t number, std::function<void()> done);
  void saw(uint64_t number, bool found, std::string_view value);
  std::string key(uint64_t number) const;

  World& world_;
  Cluster& cluster_;
  const uint64_t number_;
  std::map<uint64_t, Register> registers_;
  uint64_t step_ = 0;
  uint64_t operation_ = 0;  // answers to earlier ones are late, and ignored
  uint64_t acknowledged_ = 0;
  bool busy_ = false;
  bool stopped_ = false;
  std::string problem_;
};

}  // namespace flux::sim
