// A world for nodes: time that only moves when something happens, a network that delays, cuts and resets, executors
// whose work takes time. One thread, one seed; the same seed gives the same story.
//
// Every event runs on one node's loop and is a turn of that loop: the event, the turn-end hook, then what was written
// to streams leaves.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/rng.h"
#include "env/loop.h"
#include "env/net.h"

namespace flux::sim {

class World;
class SimStream;

// A process's loop. Dies with its process: what was scheduled for it never runs.
class SimLoop final : public env::Loop {
 public:
  SimLoop(World& world, uint64_t host) : world_(world), host_(host), alive_(std::make_shared<bool>(true)) {}
  ~SimLoop() override { *alive_ = false; }

  MonoTime now() const override;
  MonoTime precise_now() const override { return now() + held_up; }
  WallMillis wall_now() const override;
  void post(env::Task task) override;
  env::TimerId call_at(MonoTime when, env::Task task) override;
  void cancel(env::TimerId timer) override { cancelled_.insert(timer); }
  void set_turn_end(env::Task hook) override { turn_end_ = std::move(hook); }

  uint64_t host() const { return host_; }
  World& world() { return world_; }
  // Runs a task as a turn of this loop.
  void run_turn(env::Task& task);
  void flush_at_turn_end(std::shared_ptr<SimStream> stream) { to_flush_.push_back(std::move(stream)); }
  const std::shared_ptr<bool>& alive() const { return alive_; }
  // Milliseconds this host's wall clock is ahead of true time.
  int64_t wall_offset_ms = 0;
  // How long the host was held up since the turn began.
  Micros held_up{0};

 private:
  World& world_;
  const uint64_t host_;
  env::Task turn_end_;
  uint64_t last_timer_ = 0;
  std::set<env::TimerId> cancelled_;
  std::vector<std::shared_ptr<SimStream>> to_flush_;
  std::shared_ptr<bool> alive_;  // shared with scheduled events
};

// File work that takes time, one job after the other; a crash may fall between a write and its sync.
class SimExecutor final : public env::Executor {
 public:
  SimExecutor(World& world, SimLoop& owner, Micros write_max, Micros sync_max)
      : world_(world), owner_(owner), write_max_(write_max), sync_max_(sync_max) {}
  void submit(env::Loop& reply_to, env::Task write, env::Task sync, env::Task done) override;

 private:
  World& world_;
  SimLoop& owner_;
  const Micros write_max_;
  const Micros sync_max_;
  MonoTime free_at_;
};

class SimNetwork final : public env::Network {
 public:
  explicit SimNetwork(World& world) : world_(world) {}
  Result<std::unique_ptr<env::Listener>> listen(const std::vector<env::Loop*>& loops, const env::Address& address,
                                                const env::StreamOptions& options, env::AcceptFn on_accept) override;
  void connect(env::Loop& loop, const env::Address& address, const env::StreamOptions& options, Micros timeout,
               env::ConnectFn done) override;

 private:
  World& world_;
};

class World {
 public:
  explicit World(uint64_t seed);

  MonoTime now() const { return now_; }
  Rng& rng() { return rng_; }
  SimNetwork& network() { return network_; }

  // Schedules a turn of a loop.
  void at(MonoTime when, SimLoop& loop, env::Task task);
  // Schedules something outside of any process: a fault, a client.
  void at(MonoTime when, env::Task task);
  // Runs events until `until`, or until `done` says so (asked after every event). Returns whether it did.
  bool run(MonoTime until, const std::function<bool()>& done = [] { return false; });

  // --- The network's state -------------------------------------------------------------------------------------------
  // Bytes from one host to another wait while the way is cut, as TCP would have it.
  void cut(uint64_t from, uint64_t to) { cuts_.insert({from, to}); }
  void heal() { cuts_.clear(); }
  bool is_cut(uint64_t from, uint64_t to) const { return cuts_.contains({from, to}); }
  Micros draw_latency();

  // A digest of everything that has happened, in order.
  uint64_t story() const { return story_; }
  void tell(uint64_t word) { story_ = (story_ ^ word) * 0x100000001B3ULL; }
  uint64_t events() const { return events_; }

 private:
  friend class SimNetwork;
  friend class SimListener;
  struct Event {
    SimLoop* loop;                // null: outside of any process
    std::shared_ptr<bool> alive;  // of the loop
    env::Task task;
  };
  struct Bound {
    SimLoop* loop;
    std::shared_ptr<bool> alive;
    env::StreamOptions options;
    env::AcceptFn on_accept;
  };

  Rng rng_;
  MonoTime now_{Micros(1'000'000)};
  uint64_t sequence_ = 0;
  std::map<std::pair<MonoTime, uint64_t>, Event> events_queue_;
  uint64_t events_ = 0;
  uint64_t story_ = 0xCBF29CE484222325ULL;
  std::set<std::pair<uint64_t, uint64_t>> cuts_;
  std::map<std::string, std::shared_ptr<Bound>> bound_;  // by address
  SimNetwork network_;
};

}  // namespace flux::sim
