// Makes the log durable for all workers of a node: one write and one sync for what all their groups have appended since
// the last one. There is no timer: what is appended during a sync is the next batch.
//
// Thread-safe.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <vector>

#include "base/histogram.h"
#include "env/loop.h"
#include "node/options.h"
#include "wal/wal.h"

namespace flux::node {

// What the log's writes and syncs cost, since the start.
struct SyncStats {
  uint64_t cycles = 0;
  Histogram write_us;
  Histogram sync_us;
};

class Persister {
 public:
  // `log_full` is told when the disk has no room for the log, and when it has again.
  Persister(wal::Wal& wal, env::Executor& log_executor, env::Executor& background, FsyncMode mode,
            std::function<void(const Status&)> fatal, std::function<void(bool)> log_full);

  // `on_durable` runs on `loop` whenever durable() has advanced. All listeners are added before the first kick().
  void add_listener(env::Loop& loop, std::function<void()> on_durable);

  // Something was appended: see to it that it becomes durable.
  void kick(env::Loop& loop);

  // What may be promised. With FsyncMode::kAlways, what was synced.
  wal::Ticket durable() const;

  SyncStats stats() const;

  // Starts no more cycles. Those under way must be awaited by destroying the executor.
  void stop() { stopping_ = true; }

 private:
  struct Listener {
    env::Loop* loop;
    std::function<void()> on_durable;
  };
  void start_cycle(env::Loop& loop);
  void cycle_done(env::Loop& loop);
  void sync_every_second(env::Loop& loop);

  wal::Wal& wal_;
  env::Executor& log_executor_;
  env::Executor& background_;
  const FsyncMode mode_;
  const std::function<void(const Status&)> fatal_;
  const std::function<void(bool)> log_full_;
  std::vector<Listener> listeners_;
  std::atomic<bool> stopping_ = false;

  mutable std::mutex mutex_;
  SyncStats stats_;           // guarded by mutex_
  bool running_ = false;      // guarded by mutex_: a cycle is under way
  bool again_ = false;        // guarded by mutex_: something was appended since it began
  bool maintaining_ = false;  // guarded by mutex_
  bool full_ = false;         // guarded by mutex_
  bool ticking_ = false;      // guarded by mutex_: kEverySecond's timer runs

  // The outcome of the cycle under way; written by the executor, read when it is done.
  Status write_status_;
  Status sync_status_;
  Status maintain_status_;
  MonoTime write_began_;
  MonoTime sync_began_;
  MonoTime sync_ended_;
};

}  // namespace flux::node
