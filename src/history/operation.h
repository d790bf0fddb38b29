// What a client did and what it was told: the raw material of every consistency check.
//
// A history is what one observer with one clock wrote down: when each operation was sent, when its answer came, and
// what the answer said. It holds nothing that only a server knows.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace flux::history {

enum class Kind : uint8_t {
  kGet,     // result: the value, or nothing
  kSet,     // argument: the new value
  kSetNx,   // argument: the value if there is none; result: whether it was set
  kGetSet,  // argument: the new value; result: the value before, or nothing
  kDelete,  // result: whether there was a value
  kAdd,     // argument: a decimal number; result: the sum
  kAppend,  // argument: bytes; result: the length after
  kExpire,  // argument: a value whose time is over; it goes if it is there. Never known: nobody is told
};
inline constexpr size_t kKinds = 8;
std::string_view to_string(Kind kind);

enum class Outcome : uint8_t {
  kOk,       // took effect once, between call and return, with this result
  kFailed,   // definitely took no effect
  kUnknown,  // took effect at most once, at any time after the call, even long after the client gave up
};
std::string_view to_string(Outcome outcome);

struct Operation {
  uint64_t client = 0;
  uint64_t number = 0;  // of the client: 1, 2, 3 ...
  std::string key;
  Kind kind = Kind::kGet;
  std::string argument;
  Outcome outcome = Outcome::kUnknown;
  // kGet, kGetSet: the value. kSetNx, kDelete: "1" or "0". kAdd, kAppend: a number. Of a kDelete that said no more than
  // that it was done: nothing.
  std::optional<std::string> result;
  int64_t called_us = 0;
  int64_t returned_us = 0;  // meaningless for kUnknown
};

using History = std::vector<Operation>;

// One line of JSON for an operation, without the line's end; bytes that are no printable ASCII are written \u00XX.
std::string to_json(const Operation& operation);
Result<Operation> operation_from_json(std::string_view line);

// The same for people: "client 3 #17  1.204512..1.205001  GET k1 -> 'a'".
std::string to_text(const Operation& operation);

}  // namespace flux::history
