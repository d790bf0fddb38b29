// Changes that take effect together, in the order they were added. One buffer holds all keys and values.
//
// A batch can be read through: find() tells what it would make of a key, so that a state machine that gathers several
// commands into one batch sees its own writes. Not thread-safe.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/family.h"

namespace flux::engine {

// Whether a key of kData exists before the change (earlier changes of the same batch included). Engines keep an exact
// count by it; kUnknown makes RocksDB look.
enum class Existed : uint8_t { kUnknown, kNo, kYes };

class Batch {
 public:
  enum class Kind : uint8_t { kPut, kErase, kEraseRange };
  // Points into the batch.
  struct Change {
    Kind kind;
    Family family;
    Existed existed;
    std::string_view key;    // kEraseRange: the low end
    std::string_view value;  // kEraseRange: the high end, excluded; empty is no bound
  };

  void put(Family family, std::string_view key, std::string_view value, Existed existed = Existed::kUnknown);
  // Erasing what does not exist is allowed.
  void erase(Family family, std::string_view key, Existed existed = Existed::kUnknown);
  // Erases [low, high); an empty `high` is no bound.
  void erase_range(Family family, std::string_view low, std::string_view high);

  enum class Found : uint8_t { kNothing, kPut, kErased };
  // What the batch does to the key; kPut sets `value`, which points into the batch until the next change to it.
  // The first call costs a pass over the batch, later ones O(1) plus the number of erased ranges.
  Found find(Family family, std::string_view key, std::string_view& value) const;

  bool empty() const { return changes_.empty(); }
  size_t size() const { return changes_.size(); }
  // Bytes of keys and values.
  size_t bytes() const { return buffer_.size(); }
  Change change(size_t i) const;
  void clear();

 private:
  struct Packed {
    Kind kind;
    Family family;
    Existed existed;
    size_t key_offset;  // the value follows the key
    uint32_t key_size;
    uint32_t value_size;
  };
  void add(Kind kind, Family family, Existed existed, std::string_view key, std::string_view value);
  void bring_index_up_to_date() const;

  std::string buffer_;
  std::vector<Packed> changes_;
  // Built by find(): family and key -> the last change that names the key.
  mutable absl::flat_hash_map<std::string, size_t> last_change_;
  mutable std::vector<size_t> ranges_;  // changes that are kEraseRange
  mutable size_t indexed_ = 0;          // how many changes the two above cover
};

}  // namespace flux::engine
