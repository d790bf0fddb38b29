// By how much a batch changes the number of keys in kData. Costs a lookup for each key whose change does not say
// whether the key exists, and a walk over each erased range.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <rocksdb/db.h>

#include <string_view>
#include <utility>
#include <vector>

#include "engine/batch.h"
#include "engine/rocksdb/rocks_keys.h"

namespace flux::engine {

// For one batch.
class KeyCounter {
 public:
  KeyCounter(rocksdb::DB& db, GroupId group) : db_(db), group_(group), key_(group) {}

  Result<int64_t> change_by(const Batch& batch);

 private:
  Status change_key(const Batch::Change& change);
  Status erase_range(std::string_view low, std::string_view high);
  Result<bool> stored(std::string_view key);
  bool erased_by_range(std::string_view key) const;

  rocksdb::DB& db_;
  const GroupId group_;
  RocksKey key_;
  int64_t change_ = 0;
  // Keys that the batch has named so far, and whether each exists now. Views point into the batch.
  absl::flat_hash_map<std::string_view, bool> named_;
  std::vector<std::pair<std::string_view, std::string_view>> erased_;  // ranges; an empty end is no bound
};

}  // namespace flux::engine
