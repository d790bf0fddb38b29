// A world for nodes: time that only moves when something happens, clocks that drift, a network that delays, cuts and
// resets, executors whose work takes time. One thread, one seed; the same seed gives the same story.
//
// Every event runs on one process's loop and is a turn of that loop: the event, the turn-end hook, then what was
// written to streams leaves.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <fmt/core.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "env/loop.h"
#include "env/net.h"

namespace flux::sim {

class World;
class SimStream;

// A process's monotonic clock against true time, and its wall clock.
struct Clock {
  int64_t drift_ppm = 0;
  int64_t wall_offset_ms = 0;
};

// A process's loop. Dies with its process: what was scheduled for it never runs.
class SimLoop final : public env::Loop {
 public:
  SimLoop(World& world, uint64_t host, const Clock& clock);
  ~SimLoop() override;

  MonoTime now() const override;
  MonoTime precise_now() const override;
  WallMillis wall_now() const override;
  void post(env::Task task) override;
  env::TimerId call_at(MonoTime when, env::Task task) override;
  void cancel(env::TimerId timer) override { timers_.erase(timer.value()); }
  void set_turn_end(env::Task hook) override { turn_end_ = std::move(hook); }

  uint64_t host() const { return host_; }
  World& world() { return world_; }
  // Where the world knows it; never given out twice.
  size_t slot() const { return slot_; }
  // Runs a task as a turn of this loop.
  template <typename Work>
  void run_turn(Work&& work) {
    work();
    end_turn();
  }
  void flush_at_turn_end(std::shared_ptr<SimStream> stream) { to_flush_.push_back(std::move(stream)); }
  // How long the host was held up since the turn began.
  Micros held_up{0};
  // The host will be held up for so long in the middle of a turn: at the n-th look at the precise time from now on (1:
  // the next). What the turn sends leaves after that, and the next one begins after that.
  void stall(uint64_t look, Micros length) { stall_look_ = look, stall_length_ = length; }
  Micros stalled() const { return stalled_; }
  // The host stands still from now on and has read the clock already: what has arrived until it goes on, `resumes`, it
  // takes in as if it were still now.
  void stand_still_after_look(MonoTime resumes) { seen_ = now(), seen_until_ = resumes; }
  // What the clock shows, to somebody from outside.
  MonoTime clock_now() const;
  // The clock runs at another rate from now on.
  void set_drift(int64_t ppm);

 private:
  friend class World;
  void end_turn();

  World& world_;
  const uint64_t host_;
  MonoTime local_at(MonoTime true_time) const;
  MonoTime true_at(MonoTime local) const;

  const Clock& clock_;
  // When the rate of the clock was last set, by true time and by its own.
  MonoTime since_;
  MonoTime since_local_;
  int64_t drift_ppm_;
  mutable uint64_t stall_look_ = 0;  // 0: none
  Micros stall_length_{0};
  mutable Micros stalled_{0};  // in this turn
  MonoTime seen_;              // what a look at the clock has shown, and holds up to and with seen_until_ of true time
  MonoTime seen_until_;
  size_t slot_;
  env::Task turn_end_;
  uint64_t last_timer_ = 0;
  absl::flat_hash_map<uint64_t, MonoTime> timers_;  // not yet due, with their time by our clock; looked up only
  std::vector<std::shared_ptr<SimStream>> to_flush_;
};

// File work that takes time, one job after the other; a crash may fall between a write and its sync.
class SimExecutor final : public env::Executor {
 public:
  SimExecutor(World& world, SimLoop& owner, Micros write_max, Micros sync_max)
      : world_(world), owner_(owner), write_max_(write_max), sync_max_(sync_max) {}
  void submit(env::Loop& reply_to, env::Task write, env::Task sync, env::Task done) override;
  // When all that was submitted until now is done.
  MonoTime free_at() const { return free_at_; }
  // Times everything takes longer than usual.
  void slow_down(int64_t factor) { factor_ = factor; }

 private:
  World& world_;
  SimLoop& owner_;
  const Micros write_max_;
  const Micros sync_max_;
  int64_t factor_ = 1;
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
  ~World();

  MonoTime now() const { return now_; }
  Rng& rng() { return rng_; }
  SimNetwork& network() { return network_; }

  // Schedules a turn of a loop.
  void at(MonoTime when, SimLoop& loop, env::Task task) { push(when, loop.slot(), 0, std::move(task)); }
  // Schedules something outside of any process: a fault, a client.
  void at(MonoTime when, env::Task task) { push(when, kNoLoop, 0, std::move(task)); }
  void after(Micros delay, env::Task task) { at(now_ + delay, std::move(task)); }
  // Runs events until `until`, or until `done` says so (asked after every event). Returns whether it did.
  template <typename Done>
  bool run(MonoTime until, Done&& done) {
    while (step(until)) {
      if (done()) return true;
    }
    return false;
  }
  bool run(MonoTime until) {
    return run(until, [] { return false; });
  }

  // --- Hosts ---------------------------------------------------------------------------------------------------------
  // A host without power says nothing; one that has it again does not know its old connections.
  void set_power(uint64_t host, bool on) { on ? void(powerless_.erase(host)) : void(powerless_.insert(host)); }
  bool has_power(uint64_t host) const { return !powerless_.contains(host); }
  // Nothing runs there until then. A pause is never shortened: what was put off keeps its order.
  void pause(uint64_t host, MonoTime until) { paused_[host] = std::max(paused_[host], until); }
  // Now, or when a pause ends.
  MonoTime paused_until(uint64_t host) const {
    const auto paused = paused_.find(host);
    return paused == paused_.end() ? now_ : std::max(now_, paused->second);
  }
  // Destroys what is scheduled for a loop, unrun.
  void forget_tasks(const SimLoop& loop);

  // --- The network's state -------------------------------------------------------------------------------------------
  // Bytes from one host to another wait while the way is cut, as TCP would have it. Cuts count: each wants its mending.
  void cut(uint64_t from, uint64_t to) { ++cuts_[{from, to}]; }
  void mend(uint64_t from, uint64_t to);
  void slow_link(uint64_t from, uint64_t to, Micros extra) { slow_[{from, to}] = extra; }
  // Mends and quickens all.
  void heal() { cuts_.clear(), slow_.clear(); }
  bool is_cut(uint64_t from, uint64_t to) const { return !cuts_.empty() && cuts_.contains({from, to}); }
  // Connections between two hosts end with an error in the middle of what arrives next.
  void reset_connections(uint64_t one, uint64_t other);
  // How often a piece of data arrives in two.
  void set_chop(double probability) { chop_ = probability; }
  Micros draw_latency(uint64_t from, uint64_t to);

  // A digest of everything that has happened, in order.
  uint64_t story() const { return story_; }
  void tell(uint64_t word) { story_ = (story_ ^ word) * 0x100000001B3ULL; }
  uint64_t events() const { return events_; }
  // Lines for people: what faults do, and what the nodes log. Null: nobody reads.
  using Narrator = std::function<void(MonoTime when, uint64_t host, std::string_view line)>;
  void set_narrator(Narrator narrator) { narrator_ = std::move(narrator); }
  template <typename... Args>
  void say(fmt::format_string<Args...> format, Args&&... args) {
    if (narrator_) narrator_(now_, current_host_, fmt::format(format, std::forward<Args>(args)...));
  }
  // The host whose turn it is; 0: none.

 private:
  friend class SimLoop;
  friend class SimStream;
  friend class SimNetwork;
  friend class SimListener;
  static constexpr size_t kNoLoop = SIZE_MAX;

  struct Event {
    size_t loop = kNoLoop;
    uint64_t timer = 0;  // of the loop; 0: none
    env::Task task;
  };
  // Order by time, then by when it was scheduled.
  struct Due {
    MonoTime when;
    uint64_t sequence;
    size_t event;
    bool operator<(const Due& other) const {
      return when != other.when ? other.when < when : other.sequence < sequence;
    }
  };
  struct Bound {
    size_t loop;
    env::StreamOptions options;
    env::AcceptFn on_accept;
  };

  void push(MonoTime when, size_t loop, uint64_t timer, env::Task task);
  void push_due(Due due);
  bool step(MonoTime until);
  SimLoop* loop(size_t slot) { return loops_[slot]; }
  void establish(size_t from_slot, const std::string& address, const env::StreamOptions& options, MonoTime deadline,
                 std::shared_ptr<env::ConnectFn> call);

  Rng rng_;
  MonoTime now_{Micros(1'000'000)};
  uint64_t sequence_ = 0;
  std::vector<Due> due_;  // a heap
  std::vector<Event> events_store_;
  std::vector<size_t> free_events_;
  uint64_t events_ = 0;
  uint64_t story_ = 0xCBF29CE484222325ULL;
  uint64_t current_host_ = 0;
  Narrator narrator_;
  std::vector<SimLoop*> loops_;  // by slot; null: dead
  std::set<uint64_t> powerless_;
  std::map<uint64_t, MonoTime> paused_;
  std::map<std::pair<uint64_t, uint64_t>, int> cuts_;
  std::map<std::pair<uint64_t, uint64_t>, Micros> slow_;
  double chop_ = 0;
  std::map<std::string, std::shared_ptr<Bound>> bound_;  // by address; shared with connections being made
  std::map<std::string, uint64_t> host_of_;              // of every address that was ever listened on
  std::vector<std::weak_ptr<SimStream>> streams_;        // in the order they were opened
  SimNetwork network_;
};

}  // namespace flux::sim
