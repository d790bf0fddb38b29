// One family in memory: an ordered space of keys in many small hash tables.
//
//   root -> 256 pages -> 256 buckets each: by the first two bytes of the key (in a hash keyspace: the slot)
//   bucket -> leaves in key order, normally one; a full leaf splits in two
//
// Point operations hash within one leaf; ordered walks go through leaves in order and sort one at a time. Nothing ever
// grows as a whole. All nodes are copy-on-write, so that a copy of the root is a snapshot.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/memory/cow.h"
#include "engine/memory/leaf.h"

namespace flux::engine {

// Leaves in key order, at least one; normally exactly one.
class Bucket final : public CowNode {
 public:
  explicit Bucket(MemoryMeter& meter) : first_(new Leaf(meter)), metered_(meter, sizeof(Bucket)) {}

  size_t size() const { return 1 + more_.size(); }
  const Cow<Leaf>& leaf(size_t i) const { return i == 0 ? first_ : more_[i - 1].leaf; }
  Leaf& mutate(size_t i) { return (i == 0 ? first_ : more_[i - 1].leaf).mutate(); }
  // No key in leaf i is smaller; empty for the first.
  std::string_view low(size_t i) const { return i == 0 ? std::string_view() : std::string_view(more_[i - 1].low); }
  // The leaf that may hold the key.
  size_t leaf_of(std::string_view key) const;

  // Adds a leaf after leaf i.
  void insert_after(size_t i, std::string low, Leaf* leaf);
  // REQUIRES: size() > 1.
  void remove(size_t i);

 private:
  struct Branch {
    std::string low;
    Cow<Leaf> leaf;
  };
  Cow<Leaf> first_;
  std::vector<Branch> more_;  // ascending
  Metered metered_;
};

struct Page final : public CowNode {
  explicit Page(MemoryMeter& meter) : metered(meter, sizeof(Page)) {}

  std::array<Cow<Bucket>, 256> buckets;
  Metered metered;
};

struct Root final : public CowNode {
  std::array<Cow<Page>, 256> pages;
  uint64_t count = 0;

  const Bucket* bucket(uint32_t number) const {
    const Cow<Page>& page = pages[number >> 8];
    return page ? page->buckets[number & 0xFF].get() : nullptr;
  }
  void prefetch_bucket(uint32_t number) const {
    const Cow<Page>& page = pages[number >> 8];
    if (page) __builtin_prefetch(&page->buckets[number & 0xFF]);
  }
};

// The bucket that a key belongs to; ascends with keys.
inline uint32_t bucket_number(std::string_view key) {
  const auto byte = [&](size_t i) { return i < key.size() ? uint32_t{static_cast<unsigned char>(key[i])} : 0; };
  return byte(0) << 8 | byte(1);
}
inline constexpr uint32_t kBucketCount = 1 << 16;

// Reads of a root, whoever holds it.
bool find(const Root& root, uint64_t seed, std::string_view key, std::string_view& value);

// One of many finds.
struct Probe {
  const Root* root = nullptr;
  std::string_view key;
  bool found = false;
  std::string_view value;
  // Where it has got to.
  uint64_t hash = 0;
  const Bucket* bucket = nullptr;
  const Leaf* leaf = nullptr;
};
// Goes down all the ways at once, a step at a time, so that their cache misses overlap: up to the records, and to
// their end.
void approach_all(uint64_t seed, std::span<Probe> probes);
void find_all(uint64_t seed, std::span<Probe> probes);

struct RangeSize {
  uint64_t count = 0;
  uint64_t bytes = 0;
};
// Exact. Reads leaves at the ends of the range, counts those between.
RangeSize range_size(const Root& root, std::string_view low, std::string_view high);

// Owned by one thread; the roots it hands out may be read on others.
class Table {
 public:
  Table(uint64_t seed, MemoryMeter& meter) : seed_(seed), meter_(&meter), root_(new Root) {}

  const Cow<Root>& root() const { return root_; }
  uint64_t count() const { return root_->count; }

  // Whether the key was there before.
  bool put(std::string_view key, std::string_view value);
  bool erase(std::string_view key);
  void erase_range(std::string_view low, std::string_view high);

 private:
  Bucket* bucket_to_change(uint32_t number);
  void erase_from_bucket(uint32_t number, std::string_view low, std::string_view high);
  void drop_leaf(uint32_t number, Bucket& bucket, size_t i);
  void make_room(Bucket& bucket, size_t i, std::string_view key);

  uint64_t seed_;
  MemoryMeter* meter_;
  Cow<Root> root_;
};

}  // namespace flux::engine
