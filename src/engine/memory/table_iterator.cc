#include "engine/memory/table_iterator.h"

#include <algorithm>

namespace flux::engine {
namespace {

bool after(const Leaf::Record& a, const Leaf::Record& b) { return a.key > b.key; }

}  // namespace

void TableWalk::seek(std::string_view key) {
  heap_.clear();
  bucket_ = bucket_number(key);
  leaf_ = 0;
  if (const Bucket* const bucket = root_->bucket(bucket_)) {
    leaf_ = bucket->leaf_of(key);
    load(key);
  }
  if (heap_.empty()) load_next_leaf();
}

void TableWalk::next() {
  std::pop_heap(heap_.begin(), heap_.end(), after);
  heap_.pop_back();
  if (heap_.empty()) load_next_leaf();
}

// Takes up the present leaf's records from `from` on.
void TableWalk::load(std::string_view from) {
  heap_ = root_->bucket(bucket_)->leaf(leaf_)->records();
  std::erase_if(heap_, [&](const Leaf::Record& record) { return record.key < from; });
  std::make_heap(heap_.begin(), heap_.end(), after);
}

void TableWalk::load_next_leaf() {
  const Bucket* bucket = bucket_ < kBucketCount ? root_->bucket(bucket_) : nullptr;
  if (bucket != nullptr && leaf_ + 1 < bucket->size()) {
    leaf_ += 1;
    load("");
    return;
  }
  leaf_ = 0;
  for (bucket_ += 1; bucket_ < kBucketCount; ++bucket_) {
    if (!root_->pages[bucket_ >> 8]) {
      bucket_ |= 0xFF;
    } else if (root_->bucket(bucket_) != nullptr) {
      load("");
      return;
    }
  }
}

}  // namespace flux::engine
