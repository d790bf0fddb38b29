#include "node/persister.h"

#include "base/log.h"
#include "base/probe.h"

namespace flux::node {
namespace {

// How often a log that met a full disk tries again.
constexpr Micros kFullRetry = Millis(200);

}  // namespace

Persister::Persister(wal::Wal& wal, env::Executor& log_executor, env::Executor& background, FsyncMode mode,
                     std::function<void(const Status&)> fatal, std::function<void(bool)> log_full)
    : wal_(wal),
      log_executor_(log_executor),
      background_(background),
      mode_(mode),
      fatal_(std::move(fatal)),
      log_full_(std::move(log_full)) {}

void Persister::add_listener(env::Loop& loop, std::function<void()> on_durable) {
  listeners_.push_back({.loop = &loop, .on_durable = std::move(on_durable)});
}

wal::Ticket Persister::durable() const {
  return mode_ == FsyncMode::kAlways ? wal_.durable_through() : wal_.written_through();
}

SyncStats Persister::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

void Persister::kick(env::Loop& loop) {
  bool tick = false;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    if (mode_ == FsyncMode::kEverySecond && !ticking_) tick = ticking_ = true;
    if (running_) {
      again_ = true;
      return;
    }
    running_ = true;
  }
  if (tick) sync_every_second(loop);
  start_cycle(loop);
}

void Persister::start_cycle(env::Loop& loop) {
  wal_.seal();
  log_executor_.submit(
      loop,
      [this, &loop] {
        write_began_ = loop.precise_now();
        write_status_ = wal_.write();
      },
      [this, &loop] {
        sync_began_ = loop.precise_now();
        sync_status_ = write_status_.ok() && mode_ == FsyncMode::kAlways ? wal_.sync() : Status();
        sync_ended_ = loop.precise_now();
      },
      [this, &loop] { cycle_done(loop); });
}

void Persister::cycle_done(env::Loop& loop) {
  if (stopping_) return;
  const bool full = write_status_.code() == ErrorCode::kNoSpace;
  if (!write_status_.ok() && !full) return fatal_(write_status_.with("the log cannot be written"));
  if (!sync_status_.ok()) return fatal_(sync_status_.with("the log cannot be synced"));
  bool go_on = false;
  bool maintain = false;
  bool full_changed = false;
  {
    const std::lock_guard lock(mutex_);
    ++stats_.cycles;
    stats_.write_us.record(static_cast<uint64_t>((sync_began_ - write_began_).count()));
    stats_.sync_us.record(static_cast<uint64_t>((sync_ended_ - sync_began_).count()));
    full_changed = full != full_;
    full_ = full;
    go_on = again_ && !full;
    again_ = false;
    running_ = go_on || full;
    maintain = !full && !maintaining_ && wal_.wants_maintenance();
    maintaining_ = maintaining_ || maintain;
  }
  if (full_changed) {
    if (full) FLUX_PROBE("the log's disk is full");
    if (full)
      log::error("no space left for the log ({}) -> writes are refused until there is", write_status_.message());
    if (!full) log::info("there is space for the log again -> writes are taken");
    log_full_(full);
  }
  if (full) {
    loop.call_after(kFullRetry, [this, &loop] { start_cycle(loop); });
    return;
  }
  for (const Listener& listener : listeners_) {
    if (listener.loop == &loop) {
      listener.on_durable();
    } else {
      listener.loop->post([&listener] { listener.on_durable(); });
    }
  }
  if (go_on) start_cycle(loop);
  if (maintain) {
    background_.submit(
        loop, [this] { maintain_status_ = wal_.maintain(); }, [] {},
        [this] {
          if (!maintain_status_.ok() && maintain_status_.code() != ErrorCode::kNoSpace) {
            fatal_(maintain_status_.with("the log's segments cannot be prepared"));
          }
          const std::lock_guard lock(mutex_);
          maintaining_ = false;
        });
  }
}

void Persister::sync_every_second(env::Loop& loop) {
  loop.call_after(Millis(1000), [this, &loop] {
    if (stopping_) return;
    log_executor_.submit(
        loop, [] {}, [this] { sync_status_ = wal_.sync(); },
        [this, &loop] {
          if (!sync_status_.ok()) return fatal_(sync_status_.with("the log cannot be synced"));
          sync_every_second(loop);
        });
  });
}

}  // namespace flux::node
