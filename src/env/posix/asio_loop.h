// The event loop of production: Boost.Asio underneath, turns on top (see env/loop.h).
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "env/loop.h"
#include "env/timers.h"

namespace flux::env {

class AsioLoop final : public Loop {
 public:
  // Something with output to write at the end of the turn.
  class Flushable {
   public:
    virtual ~Flushable() = default;
    virtual void flush() = 0;
  };

  AsioLoop();
  ~AsioLoop() override;
  AsioLoop(const AsioLoop&) = delete;
  AsioLoop& operator=(const AsioLoop&) = delete;

  MonoTime now() const override;
  WallMillis wall_now() const override;
  MonoTime precise_now() const override;
  void post(Task task) override;
  TimerId call_at(MonoTime when, Task task) override;
  void cancel(TimerId timer) override;
  void set_turn_end(Task hook) override { turn_end_ = std::move(hook); }

  // Runs turns on the calling thread until stop().
  void run();
  // Ends run() after the current turn. Thread-safe.
  void stop();

  boost::asio::io_context& context() { return context_; }
  void flush_at_turn_end(std::shared_ptr<Flushable> stream) { to_flush_.push_back(std::move(stream)); }
  // 64 KiB to read into; what is in it belongs to the caller until it returns to the loop.
  char* scratch() { return scratch_.get(); }
  static constexpr size_t kScratchBytes = 64_KiB;
  // Streams that live on this loop, for placing new ones.
  std::atomic<size_t>& streams() { return streams_; }

 private:
  void run_posted();
  void run_due_timers();
  void arm_timer();

  boost::asio::io_context context_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  boost::asio::steady_timer timer_;
  MonoTime armed_for_ = MonoTime::infinite();

  mutable std::optional<MonoTime> now_;         // read from the clock at most once a turn
  mutable std::optional<WallMillis> wall_now_;  // likewise
  Timers timers_;
  Task turn_end_;
  std::vector<std::shared_ptr<Flushable>> to_flush_;
  std::unique_ptr<char[]> scratch_;
  std::atomic<size_t> streams_ = 0;

  std::mutex mutex_;
  std::vector<Task> posted_;  // guarded by mutex_
  std::atomic<bool> woken_ = false;
  std::atomic<bool> stopping_ = false;
};

}  // namespace flux::env
