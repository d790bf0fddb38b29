// What to split, merge and move because of load and size as measured. Advice is commands: whoever leads the controller
// measures, asks and proposes them; nothing of the measurement is replicated. Pure.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "ctrl/command.h"

namespace flux::ctrl {

struct ShardReport {
  uint64_t bytes = 0;
  uint64_t operations_per_second = 0;
  // An encoded key that halves the load or the size; empty: not known, or there is none.
  std::string middle;
  static void fields(auto& self, auto& io) { io(self.bytes, self.operations_per_second, self.middle); }
};

// Each pair of limits is a hysteresis: what the upper one begins is not undone before the lower one.
struct AdviceOptions {
  uint64_t split_bytes = 10_GiB;
  uint64_t split_operations = 50'000;
  // A pair is merged when it is small and idle together. At most half of the limits for a split.
  uint64_t merge_bytes = 1_GiB;
  uint64_t merge_operations = 1'000;
  // A group keeps so many shards of a keyspace, however small: with too few of them nothing can be evened out.
  size_t group_shards_min = 4;
  // A group this far over its share gives shards away, until it is less than `balanced_percent` over it.
  uint32_t unbalanced_percent = 25;
  uint32_t balanced_percent = 10;
  // What is less than this on the fullest group is not worth a move: operations a second, and 64 KiB of data each.
  uint64_t cost_min = 1'000;
  size_t commands_max = 16;
};

// Commands that the state would accept one after the other as it stands. Empty unless the balance is by load.
// Shards without a report are neither split nor merged, and nothing of their keyspace moves: what is not measured may
// be large.
std::vector<Command> advise(const State& state, const std::map<ShardId, ShardReport>& reports,
                            const AdviceOptions& options);

}  // namespace flux::ctrl
