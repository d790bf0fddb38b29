// Whether a history can be explained by one copy of the data that takes one operation at a time.
//
// The algorithm is Wing and Gong's search ("Testing and Verifying Concurrent Objects", 1993) with Lowe's memory of
// configurations ("Testing for Linearizability", 2017), key by key: linearizability is local (Herlihy and Wing, 1990).
//
// Operations of unknown outcome make it hard: each may take effect at any later time or never. These rules leave out
// only orders that have a twin which is tried (compare the partial-order reductions of Lowe's section 5 and of
// Horn and Kroening, "Faster linearizability checking via P-compositionality", 2015):
//   - A read that may come next comes next, and is no choice: whoever explains the rest before it explains it after it.
//     So does whatever else has said that it changed nothing.
//   - An unknown operation that would change nothing is not tried: it may as well never take effect. Nor is one whose
//     effect the next operation overwrites unseen.
//   - Of unknown operations that do the same, the one that was called first is tried first. Values that nobody was ever
//     shown are all the same.
//   - Where a key only grows (sums of positive numbers, appended bytes), every answer says how large it was before. The
//     answers come in that order, and nothing unknown may grow beyond the next of them.
//   - Known operations are tried before unknown ones.
// Still exponential in the worst case; the work is bounded, and a search that was cut short says so.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "history/operation.h"

namespace flux::history {

struct Verdict {
  enum class Answer : uint8_t { kYes, kNo, kUndecided };
  Answer answer = Answer::kYes;
  std::string key;         // the first that has no explanation, or was not decided
  History counterexample;  // a smallest part of that key's history that has none, by call time
  uint64_t steps = 0;      // of all searches together
};

struct CheckOptions {
  uint64_t steps_max_per_key = 5'000'000;
  // What every key holds before the history begins; nothing: no value.
  std::optional<std::string> initial;
};

Verdict check_linearizable(const History& history, const CheckOptions& options = {});

// The state of one key after an operation, if that operation can give its result in `before`. The sequential
// specification all checkers share.
struct Transition {
  bool possible = false;
  std::optional<std::string> after;
};
Transition effect_of(const Operation& operation, const std::optional<std::string>& before);

}  // namespace flux::history
