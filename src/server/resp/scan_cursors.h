// SCAN's cursors: numbers that stand for "from this key on".
//
//   cursor   1 (1 bit) | slot (14 bits) | hash of the encoded key (48 bits);   0 is the beginning and the end
//
// A door remembers the keys of the cursors it handed out lately. A cursor it does not remember (another node's, or an
// old one) goes on at the beginning of its slot: some keys may come twice, as SCAN allows, and none is missed. Where
// keys are in order there is no slot, and such a cursor is refused: FLUX.SCAN has places that any node knows.
//
// Thread-safe: all loops of a door share one, as a client may come back on another connection.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "api/keyspace.h"

namespace flux::server::resp {

class ScanCursors {
 public:
  // The cursor that goes on at an encoded key.
  uint64_t remember(api::KeyspaceRef keyspace, std::string_view encoded_key);

  // The encoded key to go on at; empty: the beginning. nullopt: not a cursor that we ever hand out, or one that nothing
  // is known of any more.
  std::optional<std::string> find(api::KeyspaceRef keyspace, uint64_t cursor) const;

 private:
  static constexpr size_t kRememberedMax = 16'384;
  mutable std::mutex mutex_;
  std::unordered_map<uint64_t, std::string> keys_;  // guarded by mutex_
  std::deque<uint64_t> oldest_first_;               // guarded by mutex_
};

}  // namespace flux::server::resp
