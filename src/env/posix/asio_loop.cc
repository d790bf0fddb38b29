#include "env/posix/asio_loop.h"

#include <boost/asio/post.hpp>
#include <chrono>

namespace flux::env {
namespace {

// Handlers of one turn; a turn must end for its output to leave, however much input there is.
constexpr int kHandlersPerTurnMax = 1024;

}  // namespace

AsioLoop::AsioLoop()
    : work_(boost::asio::make_work_guard(context_)), timer_(context_), scratch_(new char[kScratchBytes]) {}

AsioLoop::~AsioLoop() = default;

MonoTime AsioLoop::now() const {
  if (!now_) now_ = precise_now();
  return *now_;
}

MonoTime AsioLoop::precise_now() const {
  return MonoTime(std::chrono::duration_cast<Micros>(std::chrono::steady_clock::now().time_since_epoch()));
}

WallMillis AsioLoop::wall_now() const {
  if (!wall_now_) {
    wall_now_ = WallMillis(static_cast<uint64_t>(
        std::chrono::duration_cast<Millis>(std::chrono::system_clock::now().time_since_epoch()).count()));
  }
  return *wall_now_;
}

void AsioLoop::post(Task task) {
  {
    const std::lock_guard lock(mutex_);
    posted_.push_back(std::move(task));
  }
  if (!woken_.exchange(true)) boost::asio::post(context_, [] {});
}

TimerId AsioLoop::call_at(MonoTime when, Task task) { return timers_.add(when, std::move(task)); }

void AsioLoop::cancel(TimerId timer) { timers_.cancel(timer); }

void AsioLoop::stop() {
  stopping_ = true;
  post([] {});
}

void AsioLoop::run() {
  while (!stopping_) {
    arm_timer();
    now_.reset();
    wall_now_.reset();
    context_.run_one();
    for (int i = 1; i < kHandlersPerTurnMax && context_.poll_one() != 0; ++i) {
    }
    run_posted();
    run_due_timers();
    if (turn_end_) turn_end_();
    std::vector<std::shared_ptr<Flushable>> to_flush;
    to_flush.swap(to_flush_);
    for (const auto& stream : to_flush) stream->flush();
  }
}

void AsioLoop::run_posted() {
  woken_ = false;
  std::vector<Task> tasks;
  {
    const std::lock_guard lock(mutex_);
    tasks.swap(posted_);
  }
  for (Task& task : tasks) task();
}

void AsioLoop::run_due_timers() {
  const MonoTime due = now();
  while (Task task = timers_.take_due(due)) task();
}

void AsioLoop::arm_timer() {
  const MonoTime earliest = timers_.earliest();
  if (earliest == armed_for_) return;
  armed_for_ = earliest;
  if (earliest == MonoTime::infinite()) {
    timer_.cancel();
    return;
  }
  timer_.expires_at(std::chrono::steady_clock::time_point(earliest.since_start()));
  // The handler only wakes the loop; run_due_timers() does the work.
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) armed_for_ = MonoTime::infinite();
  });
}

}  // namespace flux::env
