// One change to the data, and what it did. Commands are decided when they are applied, by the log alone.
//
// Keys are users' keys, of the keyspace that the request names. All views must outlive the call they are passed to, no
// longer.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "base/hlc.h"
#include "base/status.h"

namespace flux::api {

// What must hold of a key for a command to take effect.
enum class Condition : uint8_t {
  kAlways = 0,
  kIfAbsent = 1,
  kIfPresent = 2,
  kIfVersion = 3,  // the key exists and has exactly Command's if_version
};

// What becomes of a key's expiry. Deadlines are judged by the log's clock.
struct Expiry {
  enum class Kind : uint8_t {
    kClear = 0,  // none from now on
    kKeep = 1,   // as it was
    kIn = 2,     // `millis` after the command's place in the log
    kAt = 3,     // `millis` since 1970-01-01 UTC
  };
  Kind kind = Kind::kClear;
  int64_t millis = 0;  // zero or less, or a moment in the past: the key is gone at once
  bool operator==(const Expiry&) const = default;
};

// Sets a value. SET, SETNX, GETSET, MSET.
struct Put {
  std::string_view key;
  std::string_view value;
  Expiry expiry;
  Condition condition = Condition::kAlways;
  Version if_version;
  bool return_old = false;  // the old value comes back, also where the condition fails
};

// DEL, GETDEL.
struct Delete {
  std::string_view key;
  Condition condition = Condition::kAlways;  // kIfVersion or kAlways
  Version if_version;
  bool return_old = false;
};

// INCR and its kin: absent counts as 0. kNotInteger if the value is none or the sum does not fit 64 bits.
struct Increment {
  std::string_view key;
  int64_t delta = 0;
};

// INCRBYFLOAT. kNotFloat if the value is no number or the sum is not finite.
struct IncrementFloat {
  std::string_view key;
  std::string_view delta;  // decimal text, checked at the door and again at apply
};

// APPEND. kTooLarge if the value would be over its limit.
struct Append {
  std::string_view key;
  std::string_view value;
};

// SETRANGE: overwrites from `offset` on, padding with zero bytes. kTooLarge as above.
struct SetRange {
  std::string_view key;
  uint64_t offset = 0;
  std::string_view value;
};

// EXPIRE and its kin, PERSIST, GETEX. Takes effect on keys that exist.
struct SetExpiry {
  // Bits of `only`: takes effect only if the key
  static constexpr uint8_t kIfNone = 1;     // NX: has no expiry
  static constexpr uint8_t kIfSome = 2;     // XX: has one
  static constexpr uint8_t kIfLater = 4;    // GT: would expire later than it does (no expiry counts as never)
  static constexpr uint8_t kIfEarlier = 8;  // LT: would expire earlier than it does
  std::string_view key;
  Expiry expiry;  // kKeep: only looks
  uint8_t only = 0;
  bool return_value = false;
};

// COPY, and RENAME when `remove_source`. kNotFound if there is no source.
struct Copy {
  std::string_view source;
  std::string_view destination;
  bool replace = false;  // otherwise an existing destination leaves all as it is
  bool remove_source = false;
};

// FLUSHALL, in all keyspaces: the group of each shard is brought the ranges that it should serve, and refuses what it
// does not, so that what has moved unnoticed goes too.
struct DeleteAll {};

// Erases the keys in a range of encoded keys, which the group must serve as a whole.
struct DeleteRange {
  std::string_view start;  // encoded key
  std::string_view end;    // encoded key, excluded; empty is the end of all
};

// Erases a key whose deadline has passed; proposed by the leader's own sweep.
struct ExpireDue {
  std::string_view encoded_key;
  WallMillis deadline;
};

// For the state machine that rides on the group's log (kv/rider.h): the controller, in group 0. The result's value is
// its answer.
struct Control {
  std::string_view bytes;
};

// What becomes of the shards of a group: which it owns, what it gives away and receives (kv/shard_command.h).
struct ShardChange {
  std::string_view bytes;
};

// Begins or ends an exactly-once session. `client` is 64 random bits of the client's choosing; a session must be open
// before requests name it, and one that has expired must be opened again, so that no forgotten request runs twice.
// `opened` is set by the node that takes the request: all groups know the session by one time, wherever it goes.
struct OpenSession {
  uint64_t client = 0;
  WallMillis opened;
};
struct CloseSession {
  uint64_t client = 0;
};

using Command = std::variant<Put, Delete, Increment, IncrementFloat, Append, SetRange, SetExpiry, Copy, DeleteAll,
                             ExpireDue, OpenSession, CloseSession, Control, ShardChange, DeleteRange>;

// What one command did.
struct CommandResult {
  ErrorCode code = ErrorCode::kOk;  // an error means this command changed nothing
  bool applied = false;             // the condition held and something was changed
  bool had_value = false;           // `value` is there: the old value, or the one asked for
  int64_t integer = 0;              // the new integer, length or count
  std::string value;
  bool operator==(const CommandResult&) const = default;
};

}  // namespace flux::api
