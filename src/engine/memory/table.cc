#include "engine/memory/table.h"

#include <algorithm>

#include "base/check.h"
#include "engine/hash.h"

namespace flux::engine {
namespace {

bool within(std::string_view key, std::string_view low, std::string_view high) {
  return key >= low && (high.empty() || key < high);
}

// Whether every key that leaf `i` may hold is in [low, high).
bool covered(const Bucket& bucket, size_t i, uint32_t number, std::string_view low, std::string_view high) {
  const bool low_fits = bucket_number(low) < number || low.empty() || (i > 0 && bucket.low(i) >= low);
  const bool high_fits =
      high.empty() || bucket_number(high) > number || (i + 1 < bucket.size() && bucket.low(i + 1) <= high);
  return low_fits && high_fits;
}

// Calls `visit` with the number of each bucket that exists and may hold keys of [low, high).
template <typename Visit>
void for_each_bucket(const Root& root, std::string_view low, std::string_view high, Visit visit) {
  const uint32_t last = high.empty() ? kBucketCount - 1 : bucket_number(high);
  for (uint32_t number = bucket_number(low); number <= last; ++number) {
    if (!root.pages[number >> 8]) {
      number |= 0xFF;  // on to the next page
      continue;
    }
    if (root.bucket(number) != nullptr) visit(number);
  }
}

}  // namespace

size_t Bucket::leaf_of(std::string_view key) const {
  const auto after = std::upper_bound(more_.begin(), more_.end(), key,
                                      [](std::string_view k, const Branch& branch) { return k < branch.low; });
  return static_cast<size_t>(after - more_.begin());
}

void Bucket::insert_after(size_t i, std::string low, Leaf* leaf) {
  more_.insert(more_.begin() + static_cast<ptrdiff_t>(i), Branch{.low = std::move(low), .leaf = Cow<Leaf>(leaf)});
}

void Bucket::remove(size_t i) {
  FLUX_CHECK(size() > 1);
  if (i == 0) {
    first_ = std::move(more_.front().leaf);
    i = 1;
  }
  more_.erase(more_.begin() + static_cast<ptrdiff_t>(i) - 1);
}

bool find(const Root& root, uint64_t seed, std::string_view key, std::string_view& value) {
  const Bucket* const bucket = root.bucket(bucket_number(key));
  if (bucket == nullptr) return false;
  return bucket->leaf(bucket->leaf_of(key))->find(hash_bytes(seed, key), key, value);
}

void approach_all(uint64_t seed, std::span<Probe> probes) {
  for (Probe& probe : probes) {
    probe.hash = hash_bytes(seed, probe.key);
    probe.root->prefetch_bucket(bucket_number(probe.key));
  }
  for (Probe& probe : probes) {
    probe.bucket = probe.root->bucket(bucket_number(probe.key));
    __builtin_prefetch(probe.bucket);
  }
  for (Probe& probe : probes) {
    if (probe.bucket == nullptr) continue;
    probe.leaf = probe.bucket->leaf(probe.bucket->leaf_of(probe.key)).get();
    __builtin_prefetch(probe.leaf);
  }
  for (const Probe& probe : probes) {
    if (probe.leaf != nullptr) probe.leaf->prefetch_slot(probe.hash);
  }
  for (const Probe& probe : probes) {
    if (probe.leaf != nullptr) probe.leaf->prefetch(probe.hash);
  }
}

void find_all(uint64_t seed, std::span<Probe> probes) {
  approach_all(seed, probes);
  for (Probe& probe : probes) {
    probe.found = probe.leaf != nullptr && probe.leaf->find(probe.hash, probe.key, probe.value);
  }
}

RangeSize range_size(const Root& root, std::string_view low, std::string_view high) {
  RangeSize size;
  if (!high.empty() && high <= low) return size;
  for_each_bucket(root, low, high, [&](uint32_t number) {
    const Bucket& bucket = *root.bucket(number);
    for (size_t i = 0; i < bucket.size(); ++i) {
      const Leaf& leaf = *bucket.leaf(i);
      if (covered(bucket, i, number, low, high)) {
        size.count += leaf.count();
        size.bytes += leaf.content_bytes();
        continue;
      }
      for (const Leaf::Record& record : leaf.records()) {
        if (!within(record.key, low, high)) continue;
        size.count += 1;
        size.bytes += record.key.size() + record.value.size();
      }
    }
  });
  return size;
}

bool Table::put(std::string_view key, std::string_view value) {
  Root& root = root_.mutate();
  const uint32_t number = bucket_number(key);
  Cow<Page>& page = root.pages[number >> 8];
  if (!page) page = Cow<Page>(new Page(*meter_));
  Cow<Bucket>& bucket = page.mutate().buckets[number & 0xFF];
  if (!bucket) bucket = Cow<Bucket>(new Bucket(*meter_));
  Bucket& changed = bucket.mutate();
  const uint64_t hash = hash_bytes(seed_, key);
  for (;;) {
    const size_t i = changed.leaf_of(key);
    const Leaf::Put put = changed.mutate(i).put(hash, key, value);
    if (put == Leaf::Put::kFull) {
      make_room(changed, i, key);
      continue;
    }
    root.count += put == Leaf::Put::kInserted;
    return put == Leaf::Put::kReplaced;
  }
}

// Splits a full leaf; keys that only ever ascend begin a new one instead, so that they leave full leaves behind.
void Table::make_room(Bucket& bucket, size_t i, std::string_view key) {
  Leaf& leaf = bucket.mutate(i);
  const bool at_end = i + 1 == bucket.size() && key > leaf.largest_key();
  Leaf* const upper = at_end ? new Leaf(*meter_) : leaf.split();
  bucket.insert_after(i, at_end ? std::string(key) : upper->smallest_key(), upper);
}

bool Table::erase(std::string_view key) {
  std::string_view value;
  if (!find(*root_, seed_, key, value)) return false;  // nothing is copied for nothing
  const uint32_t number = bucket_number(key);
  Bucket& bucket = *bucket_to_change(number);
  const size_t i = bucket.leaf_of(key);
  Leaf& leaf = bucket.mutate(i);
  FLUX_CHECK(leaf.erase(hash_bytes(seed_, key), key));
  root_.mutate().count -= 1;
  if (leaf.empty()) drop_leaf(number, bucket, i);
  return true;
}

void Table::drop_leaf(uint32_t number, Bucket& bucket, size_t i) {
  if (bucket.size() > 1) return bucket.remove(i);
  root_.mutate().pages[number >> 8].mutate().buckets[number & 0xFF] = Cow<Bucket>();
}

void Table::erase_range(std::string_view low, std::string_view high) {
  if (!high.empty() && high <= low) return;
  std::vector<uint32_t> numbers;
  for_each_bucket(*root_, low, high, [&](uint32_t number) { numbers.push_back(number); });
  for (const uint32_t number : numbers) erase_from_bucket(number, low, high);
}

void Table::erase_from_bucket(uint32_t number, std::string_view low, std::string_view high) {
  Bucket& bucket = *bucket_to_change(number);
  for (size_t left = bucket.size(); left > 0; --left) {
    const size_t i = left - 1;  // from the back, so that what is dropped moves nothing that is to come
    if (covered(bucket, i, number, low, high)) {
      root_.mutate().count -= bucket.leaf(i)->count();
      drop_leaf(number, bucket, i);
      continue;
    }
    std::vector<std::string> keys;
    for (const Leaf::Record& record : bucket.leaf(i)->records()) {
      if (within(record.key, low, high)) keys.emplace_back(record.key);
    }
    if (keys.empty()) continue;
    Leaf& leaf = bucket.mutate(i);
    for (const std::string& key : keys) leaf.erase(hash_bytes(seed_, key), key);
    root_.mutate().count -= keys.size();
    if (leaf.empty()) drop_leaf(number, bucket, i);
  }
}

// REQUIRES: it exists.
Bucket* Table::bucket_to_change(uint32_t number) {
  return &root_.mutate().pages[number >> 8].mutate().buckets[number & 0xFF].mutate();
}

}  // namespace flux::engine
