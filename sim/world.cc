#include "world.h"

#include <algorithm>
#include <utility>

#include "stream.h"

namespace flux::sim {
namespace {

// True time at the start of every world, in milliseconds since 1970.
constexpr int64_t kEpochMs = 1'800'000'000'000;
constexpr int64_t kMillion = 1'000'000;

}  // namespace

// --- Loops and executors ---------------------------------------------------------------------------------------------

SimLoop::SimLoop(World& world, uint64_t host, const Clock& clock)
    : world_(world),
      host_(host),
      clock_(clock),
      since_(world.now()),
      since_local_(world.now()),
      drift_ppm_(clock.drift_ppm),
      slot_(world.loops_.size()) {
  world_.loops_.push_back(this);
}

SimLoop::~SimLoop() {
  to_flush_.clear();
  world_.forget_tasks(*this);
  world_.loops_[slot_] = nullptr;
}

MonoTime SimLoop::local_at(MonoTime true_time) const {
  const int64_t elapsed = (true_time - since_).count();
  return since_local_ + Micros(elapsed + elapsed * drift_ppm_ / kMillion);
}

// Rounded up: by then our clock has come so far.
MonoTime SimLoop::true_at(MonoTime local) const {
  const int64_t ahead = std::max<int64_t>((local - since_local_).count(), 0);
  return since_ + Micros(drift_ppm_ == 0 ? ahead : ahead * kMillion / (kMillion + drift_ppm_) + 2);
}

MonoTime SimLoop::now() const { return world_.now() <= seen_until_ ? seen_ : clock_now(); }

MonoTime SimLoop::clock_now() const { return local_at(world_.now()); }

MonoTime SimLoop::precise_now() const {
  if (stall_look_ > 0 && --stall_look_ == 0) {
    stalled_ += stall_length_;
    world_.say("n{} is held up for {} ms in the middle of a turn", host_, stall_length_.count() / 1000);
  }
  return local_at(world_.now() + stalled_) + held_up;
}

void SimLoop::set_drift(int64_t ppm) {
  since_local_ = clock_now();
  since_ = world_.now();
  drift_ppm_ = ppm;
}

WallMillis SimLoop::wall_now() const {
  const int64_t true_ms = kEpochMs + world_.now().since_start().count() / 1000;
  return WallMillis(static_cast<uint64_t>(true_ms + clock_.wall_offset_ms));
}

void SimLoop::post(env::Task task) { world_.push(world_.now(), slot_, 0, std::move(task)); }

env::TimerId SimLoop::call_at(MonoTime when, env::Task task) {
  const env::TimerId id(++last_timer_);
  timers_.emplace(id.value(), when);
  world_.push(std::max(true_at(when), world_.now()), slot_, id.value(), std::move(task));
  return id;
}

void SimLoop::end_turn() {
  if (turn_end_) turn_end_();
  for (size_t i = 0; i < to_flush_.size(); ++i) {
    const std::shared_ptr<SimStream> stream = std::move(to_flush_[i]);
    stream->flush();
  }
  to_flush_.clear();
  if (stalled_.count() > 0) {
    world_.pause(host_, world_.now() + stalled_);
    stalled_ = Micros(0);
  }
}

constexpr Micros kBacklogMax = Millis(2'000);

void SimExecutor::submit(env::Loop& reply_to, env::Task write, env::Task sync, env::Task done) {
  // What waits is not slowed down: otherwise a disk would be slow for long after the fault has ended.
  const int64_t factor = free_at_ > world_.now() + kBacklogMax ? 1 : factor_;
  const auto draw = [&](Micros max) {
    return Micros(static_cast<int64_t>(world_.rng().between(1, static_cast<uint64_t>(max.count()))) * factor);
  };
  const MonoTime written = std::max(free_at_, world_.now()) + draw(write_max_);
  const MonoTime synced = written + draw(sync_max_);
  free_at_ = synced;
  world_.at(written, owner_, std::move(write));
  world_.at(synced, owner_, [&reply_to, sync = std::move(sync), done = std::move(done)]() mutable {
    sync();
    reply_to.post(std::move(done));
  });
}

// --- The network -----------------------------------------------------------------------------------------------------

class SimListener final : public env::Listener {
 public:
  SimListener(World& world, env::Address address) : world_(world), address_(std::move(address)) {}
  ~SimListener() override { world_.bound_.erase(address_.to_string()); }
  env::Address local() const override { return address_; }

 private:
  World& world_;
  const env::Address address_;
};

Result<std::unique_ptr<env::Listener>> SimNetwork::listen(const std::vector<env::Loop*>& loops,
                                                          const env::Address& address,
                                                          const env::StreamOptions& options, env::AcceptFn on_accept) {
  const auto& loop = static_cast<SimLoop&>(*loops.front());
  auto bound = std::make_shared<World::Bound>(
      World::Bound{.loop = loop.slot(), .options = options, .on_accept = std::move(on_accept)});
  if (!world_.bound_.emplace(address.to_string(), std::move(bound)).second) {
    return Status(ErrorCode::kPrecondition, address.to_string() + " is in use");
  }
  world_.host_of_[address.to_string()] = loop.host();
  return std::unique_ptr<env::Listener>(std::make_unique<SimListener>(world_, address));
}

void SimNetwork::connect(env::Loop& from, const env::Address& address, const env::StreamOptions& options,
                         Micros timeout, env::ConnectFn done) {
  const auto& loop = static_cast<SimLoop&>(from);
  const std::string name = address.to_string();
  const auto host = world_.host_of_.find(name);
  const uint64_t to = host == world_.host_of_.end() ? 0 : host->second;
  world_.after(world_.draw_latency(loop.host(), to),
               [this, slot = loop.slot(), name, options, deadline = world_.now() + timeout,
                call = std::make_shared<env::ConnectFn>(std::move(done))]() mutable {
                 world_.establish(slot, name, options, deadline, std::move(call));
               });
}

void World::establish(size_t from_slot, const std::string& address, const env::StreamOptions& options,
                      MonoTime deadline, std::shared_ptr<env::ConnectFn> call) {
  SimLoop* const from = loop(from_slot);
  if (from == nullptr) return;
  const auto fail = [&](MonoTime when, Status why) { at(when, *from, [call, why = std::move(why)] { (*call)(why); }); };
  const auto known = host_of_.find(address);
  const uint64_t to = known == host_of_.end() ? 0 : known->second;
  if (known != host_of_.end() && (!has_power(to) || is_cut(from->host(), to) || is_cut(to, from->host()))) {
    return fail(deadline, Status(ErrorCode::kUnavailable, address + ": no answer in time"));
  }
  const auto found = bound_.find(address);
  const MonoTime back = now_ + draw_latency(to, from->host());
  if (found == bound_.end()) return fail(back, Status(ErrorCode::kNotFound, address + ": connection refused"));
  const std::shared_ptr<Bound> bound = found->second;
  say("connection from host {} to {}", from->host(), address);
  SimLoop& there = *loop(bound->loop);
  auto ours = std::make_shared<SimStream>(*from, to, options);
  auto theirs = std::make_shared<SimStream>(there, from->host(), bound->options);
  ours->pair_with(theirs);
  theirs->pair_with(ours);
  streams_.push_back(ours);
  streams_.push_back(theirs);
  at(now_, there, [bound, &there, facade = std::make_unique<StreamFacade>(theirs, address, "client")]() mutable {
    bound->on_accept(there, std::move(facade));
  });
  at(back, *from, [call, facade = std::make_unique<StreamFacade>(ours, "client", address)]() mutable {
    (*call)(std::unique_ptr<env::Stream>(std::move(facade)));
  });
}

void World::mend(uint64_t from, uint64_t to) {
  const auto found = cuts_.find({from, to});
  if (found != cuts_.end() && --found->second <= 0) cuts_.erase(found);
}

void World::reset_connections(uint64_t one, uint64_t other) {
  std::erase_if(streams_, [](const auto& stream) { return stream.expired(); });
  for (const auto& each : streams_) {
    const std::shared_ptr<SimStream> stream = each.lock();
    if (stream->between(one, other)) stream->arm_reset();
  }
}

Micros World::draw_latency(uint64_t from, uint64_t to) {
  // Mostly fast, with a tail.
  const uint64_t max = rng_.chance(0.01) ? 40'000 : 800;
  Micros latency(static_cast<int64_t>(rng_.between(50, max)));
  if (!slow_.empty()) {
    if (const auto found = slow_.find({from, to}); found != slow_.end()) latency += found->second;
  }
  return latency;
}

// --- The scheduler ---------------------------------------------------------------------------------------------------

World::World(uint64_t seed) : rng_(seed), network_(*this) {}

World::~World() {
  // Tasks hold streams, whose ends look at the world while they go.
  for (Event& event : events_store_) event.task = nullptr;
}

void World::push(MonoTime when, size_t loop, uint64_t timer, env::Task task) {
  size_t at = events_store_.size();
  if (free_events_.empty()) {
    events_store_.emplace_back();
  } else {
    at = free_events_.back();
    free_events_.pop_back();
  }
  events_store_[at] = {.loop = loop, .timer = timer, .task = std::move(task)};
  push_due({.when = std::max(when, now_), .sequence = ++sequence_, .event = at});
}

void World::push_due(Due due) {
  due_.push_back(due);
  std::push_heap(due_.begin(), due_.end());
}

bool World::step(MonoTime until) {
  while (!due_.empty() && due_.front().when <= until) {
    std::pop_heap(due_.begin(), due_.end());
    const Due due = due_.back();
    due_.pop_back();
    now_ = due.when;
    Event event = std::exchange(events_store_[due.event], {});
    SimLoop* const owner = event.loop == kNoLoop ? nullptr : loops_[event.loop];
    const bool dead = event.task == nullptr || (event.loop != kNoLoop && owner == nullptr);
    if (dead || (event.timer != 0 && !owner->timers_.contains(event.timer))) {
      free_events_.push_back(due.event);
      continue;
    }
    if (owner != nullptr && !paused_.empty()) {
      if (const auto paused = paused_.find(owner->host()); paused != paused_.end() && paused->second > now_) {
        events_store_[due.event] = std::move(event);
        push_due({.when = paused->second, .sequence = due.sequence, .event = due.event});
        continue;
      }
    }
    // A clock that was slowed down has not come so far.
    if (event.timer != 0) {
      if (const MonoTime when = owner->timers_.find(event.timer)->second; owner->now() < when) {
        events_store_[due.event] = std::move(event);
        push_due(
            {.when = std::max(owner->true_at(when), now_ + Micros(1)), .sequence = due.sequence, .event = due.event});
        continue;
      }
    }
    free_events_.push_back(due.event);
    ++events_;
    tell(static_cast<uint64_t>(now_.since_start().count()));
    if (owner == nullptr) {
      event.task();
    } else {
      if (event.timer != 0) owner->timers_.erase(event.timer);
      tell(owner->host());
      current_host_ = owner->host();
      owner->run_turn(event.task);
      current_host_ = 0;
    }
    return true;
  }
  now_ = std::max(now_, until);
  return false;
}

void World::forget_tasks(const SimLoop& loop) {
  // A task may hold the last reference to something that schedules more.
  for (size_t i = 0; i < events_store_.size(); ++i) {
    if (events_store_[i].loop != loop.slot()) continue;
    const env::Task gone = std::exchange(events_store_[i].task, nullptr);
  }
}

}  // namespace flux::sim
