// One thread's event loop: what a worker, its groups and its connections run on.
//
// A turn is: all events that are ready now (posted tasks, timers that are due, bytes that arrived), then the turn-end
// hook, then the output of every stream that was written to. Work that arrives during a turn is the next turn's batch;
// that is where all batching in FluxKV comes from, and there is no batching timer.
#pragma once

#include <cstdint>

#include "base/types.h"
#include "env/task.h"

namespace flux::env {

// 0 is never handed out.
using TimerId = StrongId<struct TimerIdTag>;

// Owned by one thread; only post() may be called from others.
class Loop {
 public:
  virtual ~Loop() = default;

  // The time at the start of this turn.
  virtual MonoTime now() const = 0;
  virtual WallMillis wall_now() const = 0;
  // The time at this very moment.
  virtual MonoTime precise_now() const = 0;

  // Runs the task in a coming turn. Thread-safe; tasks of one thread keep their order. Dropped if the loop has stopped.
  virtual void post(Task task) = 0;

  // Runs the task in the first turn that starts at or after `when`.
  virtual TimerId call_at(MonoTime when, Task task) = 0;
  // Does nothing when the timer has run or was cancelled.
  virtual void cancel(TimerId timer) = 0;

  // Called at the end of every turn, before streams are flushed. At most one hook.
  virtual void set_turn_end(Task hook) = 0;

  TimerId call_after(Micros delay, Task task) { return call_at(now() + delay, std::move(task)); }
};

// Runs slow file work away from the loop: on a thread of its own in production, at a later simulated time in the
// simulator (one event per step, so that a crash can fall between a write and its sync).
class Executor {
 public:
  virtual ~Executor() = default;
  // Runs both steps in order, then posts `done` to `reply_to`. Submissions run one at a time, in order. Thread-safe.
  // What the steps touch must stay alive until `done` has run or the executor is destroyed.
  virtual void submit(Loop& reply_to, Task write, Task sync, Task done) = 0;
};

}  // namespace flux::env
