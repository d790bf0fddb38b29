// Every configuration there was: a whole one, and what changed from each to the next. A value type; not thread-safe.
//
// Bounded: over kHistoryConfigsMax changes, or kHistoryBytesMax of them, the oldest are folded into the whole one and
// cannot be asked for any more. A group that finds the one it wants next folded takes the oldest that is kept: of its
// shards nothing changed between but what it has not settled yet, because nothing more may (ctrl/state.h).
#pragma once

#include <deque>

#include "ctrl/config_delta.h"

namespace flux::ctrl {

inline constexpr size_t kHistoryConfigsMax = 10'000;
inline constexpr size_t kHistoryBytesMax = 4_MiB;

class History {
 public:
  struct Limits {
    size_t configs = kHistoryConfigsMax;
    size_t bytes = kHistoryBytesMax;
  };

  const Config& newest() const { return newest_; }
  ConfigNum oldest() const { return base_.num; }
  // kNotFound for a number that was folded away or is yet to come.
  Result<Config> query(ConfigNum num) const;
  // What leads from num - 1 to num, as docs/formats/ctrl.md spells it: a cache goes forward by these.
  // kNotFound as query(), and for the oldest.
  Result<std::string_view> delta(ConfigNum num) const;

  // REQUIRES: next.num == newest().num + 1, and next is valid.
  void push(Config next, Limits limits);
  void push(Config next) { push(std::move(next), Limits()); }

  static void fields(auto& self, auto& io) { io(self.base_bytes_, self.deltas_); }
  // Builds the rest from what was read by fields().
  Status restore();

 private:
  void fold_oldest();

  Config base_;
  std::string base_bytes_ = encode_config(Config());  // Invariant: base_, encoded.
  std::deque<std::string> deltas_;                    // Invariant: the n-th (from 0) leads to base_.num + n + 1.
  size_t bytes_ = 0;                                  // of all deltas
  Config newest_;
};

}  // namespace flux::ctrl
