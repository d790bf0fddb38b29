// One round of changes to an engine: gathered in a batch, read through while it grows, written in one go. Every change
// to a user's key passes store() or erase(), which keep the expiry index true and tell the shards, whose feeds record
// it.
//
// Owned by one worker; not thread-safe.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "engine/batch.h"
#include "engine/engine.h"
#include "kv/record_format.h"

namespace flux::kv {

class Shards;

class Draft {
 public:
  // `shards`: null, or told of every change; both must outlive it.
  explicit Draft(engine::Engine& engine, Shards* shards = nullptr) : engine_(engine), shards_(shards) {}

  // The record of an encoded key as the round leaves it so far, expired or not. Valid until the next call of any
  // member.
  Result<std::optional<Record>> find(std::string_view encoded_key);

  // Replaces the record; `old` is what find() said, and may be invalid afterwards.
  void store(std::string_view encoded_key, const Record& record, const std::optional<Record>& old);
  void erase(std::string_view encoded_key, const Record& old);
  // These two do not tell the shards.
  void erase_all_data();
  // Erases [low, high); the value is how many keys that were.
  Result<uint64_t> erase_data(std::string_view low, std::string_view high);
  // How many keys there will be.
  uint64_t count() const;
  // The earliest deadline that a store() of this round has named.
  WallMillis earliest_deadline() const { return earliest_deadline_; }

  void put_raw(engine::Family family, std::string_view key, std::string_view value) { batch_.put(family, key, value); }
  void erase_raw(engine::Family family, std::string_view key) { batch_.erase(family, key); }
  // Not for kData and kExpiry.
  void erase_raw_range(engine::Family family, std::string_view low, std::string_view high) {
    batch_.erase_range(family, low, high);
  }
  // Reads through the round; empty optional if there is no such key.
  Result<std::optional<std::string>> get_raw(engine::Family family, std::string_view key);

  // Walks the keys in [low, high) as the round leaves them when the walk begins, in order; those it has come by may be
  // changed. Costs a pass over the round's changes at its beginning.
  class Walk {
   public:
    Walk(Draft& draft, std::string_view low, std::string_view high);
    // False at the end. The record is valid until the next call of any member of the draft.
    Result<bool> next(std::string& encoded_key, Record& record);

   private:
    Draft& draft_;
    std::unique_ptr<engine::Iterator> stored_;
    std::set<std::string> fresh_;  // keys that the round has put
  };

  // Brings the counts of keyspaces up to date. Of the default one none is kept: it has what the others leave.
  Status write_counts();

  // Ends the round: carries it out, or drops it.
  Status write();
  void drop();

 private:
  engine::Engine& engine_;
  Shards* const shards_;
  engine::Batch batch_;
  engine::PinnedValue pinned_;
  std::string scratch_;
  void count(std::string_view encoded_key, int64_t change);
  void begin();

  int64_t count_delta_ = 0;
  bool all_erased_ = false;
  std::map<KeyspaceId, int64_t> keyspace_deltas_;  // since write_counts()
  WallMillis earliest_deadline_{UINT64_MAX};
};

}  // namespace flux::kv
