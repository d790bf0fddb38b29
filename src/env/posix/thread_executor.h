// Executors of production: a thread of its own, or the caller's.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <thread>

#include "env/loop.h"

namespace flux::env {

// Runs submissions on one thread, in order. Destruction finishes what was submitted.
class ThreadExecutor final : public Executor {
 public:
  // kLow: for long work that nobody waits for, which must not keep loops from the processors.
  enum class Priority : uint8_t { kNormal, kLow };
  explicit ThreadExecutor(const char* name, Priority priority = Priority::kNormal);
  ~ThreadExecutor() override;

  void submit(Loop& reply_to, Task write, Task sync, Task done) override;

 private:
  struct Job {
    Loop* reply_to;
    Task write;
    Task sync;
    Task done;
  };
  void run(Priority priority);

  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<Job> jobs_;   // guarded by mutex_
  bool stopping_ = false;  // guarded by mutex_
  std::thread thread_;
};

// Runs submissions at once on the caller's thread: fewer hand-offs, for disks whose sync costs less than a wake-up.
class InlineExecutor final : public Executor {
 public:
  void submit(Loop& reply_to, Task write, Task sync, Task done) override {
    write();
    sync();
    reply_to.post(std::move(done));
  }
};

}  // namespace flux::env
