// Whether a history can be explained by one copy of the data that takes one operation at a time.
//
// The algorithm is Wing and Gong's search ("Testing and Verifying Concurrent Objects", 1993) with Lowe's memory of
// configurations ("Testing for Linearizability", 2017), key by key: linearizability is local (Herlihy and Wing, 1990).
// Exponential in the worst case; the work is bounded, and a search that was cut short says so.
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
