// Walks a root's keys in order. A leaf's records are made a heap and taken from it one by one, so that a short walk
// does not pay for sorting all of a leaf.
#pragma once

#include <string>
#include <vector>

#include "engine/memory/table.h"

namespace flux::engine {

// Not thread-safe. The root must neither change nor go away while it is used.
class TableWalk {
 public:
  explicit TableWalk(const Root& root) : root_(&root) {}

  // To the first key at or after `key`.
  void seek(std::string_view key);
  bool valid() const { return !heap_.empty(); }
  void next();
  const Leaf::Record& record() const { return heap_.front(); }

 private:
  void load(std::string_view from);
  void load_next_leaf();

  const Root* root_;
  uint32_t bucket_ = 0;
  size_t leaf_ = 0;
  std::vector<Leaf::Record> heap_;  // the smallest key in front; points into the leaf
};

}  // namespace flux::engine
