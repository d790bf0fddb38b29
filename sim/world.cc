#include "world.h"

#include <algorithm>
#include <deque>
#include <utility>

namespace flux::sim {
namespace {

// How often bytes that a cut holds up try again.
constexpr Micros kRetransmit = Millis(20);
// True time at the start of every world, in milliseconds since 1970.
constexpr uint64_t kEpochMs = 1'800'000'000'000;

}  // namespace

// --- Streams ---------------------------------------------------------------------------------------------------------

// One end of a connection. The ends know each other only through shared_ptrs that delivery events hold.
class SimStream final : public std::enable_shared_from_this<SimStream> {
 public:
  SimStream(SimLoop& loop, const env::StreamOptions& options)
      : loop_(&loop), alive_(loop.alive()), host_(loop.host()), options_(options) {}

  void pair_with(const std::shared_ptr<SimStream>& other, env::Stream* facade) {
    other_ = other;
    facade_ = facade;
  }
  void set_facade(env::Stream* facade) { facade_ = facade; }
  void set_handler(env::StreamHandler* handler) {
    handler_ = handler;
    if (!unconsumed_.empty()) schedule_delivery();
  }
  std::string& outbox() { return outbox_; }
  void wrote() {
    if (closed_ || queued_) return;
    queued_ = true;
    loop_->flush_at_turn_end(shared_from_this());
  }
  void flush() {
    queued_ = false;
    if (closed_) return;
    if (!outbox_.empty()) send(std::exchange(outbox_, {}), false);
    if (closing_) close_both(Status());
  }
  void pause() { paused_ = true; }
  void resume() {
    paused_ = false;
    if (!unconsumed_.empty()) schedule_delivery();
  }
  void close_after_flush() {
    closing_ = true;
    wrote();
  }
  // The facade is gone.
  void detach() {
    handler_ = nullptr;
    if (!closed_) close_both(Status());
  }

 private:
  void send(std::string bytes, bool end) {
    const std::shared_ptr<SimStream> other = other_.lock();
    if (other == nullptr) return;
    World& world = loop_->world();
    // Bytes of one connection never overtake each other.
    last_arrival_ = std::max(last_arrival_, world.now() + world.draw_latency());
    arrive(world, host_, other, std::move(bytes), end, last_arrival_);
  }

  // Delivers at `when`, later if the way is cut then; earlier segments go first because they were scheduled first.
  static void arrive(World& world, uint64_t from, std::shared_ptr<SimStream> to, std::string bytes, bool end,
                     MonoTime when) {
    to->in_flight_.push_back({.bytes = std::move(bytes), .end = end});
    world.at(when, [&world, from, to] { to->take_one(world, from); });
  }

  void take_one(World& world, uint64_t from) {
    if (closed_ || !*alive_) return;
    if (world.is_cut(from, host_)) {
      world.at(world.now() + kRetransmit, [&world, from, self = shared_from_this()] { self->take_one(world, from); });
      return;
    }
    Segment segment = std::move(in_flight_.front());
    in_flight_.pop_front();
    world.at(world.now(), *loop_, [self = shared_from_this(), segment = std::move(segment)]() mutable {
      self->take(std::move(segment.bytes), segment.end);
    });
  }

  void take(std::string bytes, bool end) {
    if (closed_) return;
    loop_->world().tell(bytes.size());
    unconsumed_ += bytes;
    deliver();
    if (end && !closed_) finish(Status());
  }

  void deliver() {
    if (handler_ == nullptr || paused_ || closed_ || unconsumed_.empty()) return;
    const size_t consumed = handler_->on_data(*facade_, unconsumed_);
    if (closed_ && handler_ == nullptr) return;
    unconsumed_.erase(0, consumed);
    if (unconsumed_.size() > options_.unconsumed_bytes_max) {
      finish(Status(ErrorCode::kTooLarge, "input grew over the limit before it was complete"));
    }
  }
  void schedule_delivery() {
    loop_->post([self = shared_from_this()] { self->deliver(); });
  }

  void close_both(Status reason) {
    send({}, true);
    finish(std::move(reason));
  }

  void finish(Status reason) {
    if (std::exchange(closed_, true)) return;
    if (handler_ == nullptr || !*alive_) return;
    loop_->post([self = shared_from_this(), reason = std::move(reason)] {
      env::StreamHandler* const handler = std::exchange(self->handler_, nullptr);
      if (handler != nullptr) handler->on_closed(*self->facade_, reason);
    });
  }

  struct Segment {
    std::string bytes;
    bool end;
  };
  SimLoop* loop_;
  std::shared_ptr<bool> alive_;  // of the loop
  const uint64_t host_;
  const env::StreamOptions options_;
  env::Stream* facade_ = nullptr;
  env::StreamHandler* handler_ = nullptr;
  std::weak_ptr<SimStream> other_;
  std::deque<Segment> in_flight_;  // towards us
  MonoTime last_arrival_;          // of what we sent
  std::string unconsumed_;
  std::string outbox_;
  bool queued_ = false;
  bool paused_ = false;
  bool closing_ = false;
  bool closed_ = false;
};

namespace {

// What a process holds; destroying it closes the connection.
class StreamFacade final : public env::Stream {
 public:
  StreamFacade(std::shared_ptr<SimStream> end, std::string local, std::string peer)
      : end_(std::move(end)), local_(std::move(local)), peer_(std::move(peer)) {
    end_->set_facade(this);
  }
  ~StreamFacade() override { end_->detach(); }
  void set_handler(env::StreamHandler* handler) override { end_->set_handler(handler); }
  std::string& outbox() override { return end_->outbox(); }
  void wrote() override { end_->wrote(); }
  size_t unsent_bytes() const override { return end_->outbox().size(); }
  void pause_reading() override { end_->pause(); }
  void resume_reading() override { end_->resume(); }
  void close_after_flush() override { end_->close_after_flush(); }
  std::string peer_address() const override { return peer_; }
  std::string local_address() const override { return local_; }

 private:
  std::shared_ptr<SimStream> end_;
  std::string local_;
  std::string peer_;
};

}  // namespace

// --- Loops and executors ---

MonoTime SimLoop::now() const { return world_.now(); }

WallMillis SimLoop::wall_now() const {
  return WallMillis(kEpochMs + static_cast<uint64_t>(world_.now().since_start().count() / 1000 + wall_offset_ms));
}

void SimLoop::post(env::Task task) { world_.at(world_.now(), *this, std::move(task)); }

env::TimerId SimLoop::call_at(MonoTime when, env::Task task) {
  const env::TimerId id(++last_timer_);
  world_.at(std::max(when, world_.now()), *this, [this, id, task = std::move(task)]() mutable {
    if (cancelled_.erase(id) == 0) task();
  });
  return id;
}

void SimLoop::run_turn(env::Task& task) {
  task();
  if (turn_end_) turn_end_();
  for (const auto& stream : std::exchange(to_flush_, {})) stream->flush();
}

void SimExecutor::submit(env::Loop& reply_to, env::Task write, env::Task sync, env::Task done) {
  const auto draw = [this](Micros max) {
    return Micros(static_cast<int64_t>(world_.rng().between(1, static_cast<uint64_t>(max.count()))));
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

// --- The network ---

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
  auto& loop = static_cast<SimLoop&>(*loops.front());
  auto bound = std::make_shared<World::Bound>(
      World::Bound{.loop = &loop, .alive = loop.alive(), .options = options, .on_accept = std::move(on_accept)});
  if (!world_.bound_.emplace(address.to_string(), std::move(bound)).second) {
    return Status(ErrorCode::kPrecondition, address.to_string() + " is in use");
  }
  return std::unique_ptr<env::Listener>(std::make_unique<SimListener>(world_, address));
}

void SimNetwork::connect(env::Loop& from, const env::Address& address, const env::StreamOptions& options,
                         Micros timeout, env::ConnectFn done) {
  auto& loop = static_cast<SimLoop&>(from);
  const std::string name = address.to_string();
  auto call = std::make_shared<env::ConnectFn>(std::move(done));
  const auto fail = [&loop, call](MonoTime when, Status why) {
    loop.world().at(when, loop, [call, why = std::move(why)] { (*call)(why); });
  };
  const auto found = world_.bound_.find(name);
  const MonoTime there = world_.now() + world_.draw_latency();
  if (found == world_.bound_.end()) {
    return fail(there + world_.draw_latency(), Status(ErrorCode::kNotFound, name + ": connection refused"));
  }
  const std::shared_ptr<World::Bound> bound = found->second;
  const uint64_t to = bound->loop->host();
  if (world_.is_cut(loop.host(), to) || world_.is_cut(to, loop.host())) {
    return fail(world_.now() + timeout, Status(ErrorCode::kUnavailable, name + ": no answer in time"));
  }
  auto ours = std::make_shared<SimStream>(loop, options);
  auto theirs = std::make_shared<SimStream>(*bound->loop, bound->options);
  ours->pair_with(theirs, nullptr);
  theirs->pair_with(ours, nullptr);
  world_.at(there, *bound->loop, [bound, theirs, name] {
    bound->on_accept(*bound->loop, std::make_unique<StreamFacade>(theirs, name, "client"));
  });
  world_.at(there + world_.draw_latency(), loop, [call, ours, name] {
    (*call)(std::unique_ptr<env::Stream>(std::make_unique<StreamFacade>(ours, "client", name)));
  });
}

// --- The scheduler ---

World::World(uint64_t seed) : rng_(seed), network_(*this) {}

void World::at(MonoTime when, SimLoop& loop, env::Task task) {
  events_queue_.emplace(std::pair(std::max(when, now_), ++sequence_),
                        Event{.loop = &loop, .alive = loop.alive(), .task = std::move(task)});
}

void World::at(MonoTime when, env::Task task) {
  events_queue_.emplace(std::pair(std::max(when, now_), ++sequence_),
                        Event{.loop = nullptr, .alive = nullptr, .task = std::move(task)});
}

bool World::run(MonoTime until, const std::function<bool()>& done) {
  while (!events_queue_.empty() && events_queue_.begin()->first.first <= until) {
    auto node = events_queue_.extract(events_queue_.begin());
    now_ = node.key().first;
    Event& event = node.mapped();
    ++events_;
    tell(static_cast<uint64_t>(now_.since_start().count()));
    if (event.loop == nullptr) {
      event.task();
    } else if (*event.alive) {
      tell(event.loop->host());
      event.loop->run_turn(event.task);
    }
    if (done()) return true;
  }
  now_ = std::max(now_, until);
  return false;
}

Micros World::draw_latency() {
  // Mostly fast, with a tail.
  const uint64_t max = rng_.chance(0.01) ? 40'000 : 800;
  return Micros(static_cast<int64_t>(rng_.between(50, max)));
}

}  // namespace flux::sim
