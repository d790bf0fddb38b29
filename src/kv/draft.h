// One round of changes to an engine: gathered in a batch, read through while it grows, written in one go. Every change
// to a user's key passes store() or erase(), which keep the expiry index true; change records for readers of the feed
// are made there too.
//
// Owned by one worker; not thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "engine/batch.h"
#include "engine/engine.h"
#include "kv/record_format.h"

namespace flux::kv {

class Draft {
 public:
  explicit Draft(engine::Engine& engine) : engine_(engine) {}

  // The record of an encoded key as the round leaves it so far, expired or not. Valid until the next call of any
  // member.
  Result<std::optional<Record>> find(std::string_view encoded_key);

  // Replaces the record; `old` is what find() said, and may be invalid afterwards.
  void store(std::string_view encoded_key, const Record& record, const std::optional<Record>& old);
  void erase(std::string_view encoded_key, const Record& old);
  void erase_all_data();
  // How many keys there will be.
  uint64_t count() const;
  // The earliest deadline that a store() of this round has named.
  WallMillis earliest_deadline() const { return earliest_deadline_; }

  void put_raw(engine::Family family, std::string_view key, std::string_view value) { batch_.put(family, key, value); }
  void erase_raw(engine::Family family, std::string_view key) { batch_.erase(family, key); }
  // Reads through the round; empty optional if there is no such key.
  Result<std::optional<std::string>> get_raw(engine::Family family, std::string_view key);

  // Ends the round: carries it out, or drops it.
  Status write();
  void drop();

 private:
  engine::Engine& engine_;
  engine::Batch batch_;
  engine::PinnedValue pinned_;
  std::string scratch_;
  int64_t count_delta_ = 0;
  bool all_erased_ = false;
  WallMillis earliest_deadline_{UINT64_MAX};
};

}  // namespace flux::kv
