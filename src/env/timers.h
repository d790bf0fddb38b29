// The timers of one loop, in order of their time and then of their making. Not thread-safe.
#pragma once

#include <map>
#include <unordered_map>
#include <utility>

#include "env/loop.h"

namespace flux::env {

class Timers {
 public:
  TimerId add(MonoTime when, Task task) {
    const TimerId id(++last_id_);
    by_time_.emplace(Key(when, id), std::move(task));
    times_.emplace(id, when);
    return id;
  }
  void cancel(TimerId id) {
    const auto it = times_.find(id);
    if (it == times_.end()) return;
    by_time_.erase(Key(it->second, id));
    times_.erase(it);
  }
  // MonoTime::infinite() when there is none.
  MonoTime earliest() const { return by_time_.empty() ? MonoTime::infinite() : by_time_.begin()->first.first; }
  // Takes the earliest timer if it is due at `now`; an empty task otherwise.
  Task take_due(MonoTime now) {
    if (by_time_.empty() || by_time_.begin()->first.first > now) return nullptr;
    auto node = by_time_.extract(by_time_.begin());
    times_.erase(node.key().second);
    return std::move(node.mapped());
  }

 private:
  using Key = std::pair<MonoTime, TimerId>;
  std::map<Key, Task> by_time_;
  std::unordered_map<TimerId, MonoTime> times_;  // for cancel; never iterated
  uint64_t last_id_ = 0;
};

}  // namespace flux::env
