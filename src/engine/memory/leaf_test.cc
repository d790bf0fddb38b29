// Goal: a leaf is a map, however it is filled, emptied, split and copied.
#include "engine/memory/leaf.h"

#include <gtest/gtest.h>

#include <map>

#include "base/rng.h"
#include "engine/hash.h"

namespace flux::engine {
namespace {

using Map = std::map<std::string, std::string>;

Map contents(const Leaf& leaf) {
  Map out;
  for (const Leaf::Record& record : leaf.records()) out[std::string(record.key)] = record.value;
  return out;
}

uint64_t hash_of(std::string_view key) { return hash_bytes(1, key); }

TEST(Leaf, random_operations) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    MemoryMeter meter;
    {
      Rng rng(seed);
      Cow<Leaf> leaf(new Leaf(meter));
      Map model;
      const uint64_t keys = rng.between(1, 1500);
      for (int step = 0; step < 6000; ++step) {
        const std::string key = fmt::format("{}", rng.below(keys));
        if (rng.chance(0.6)) {
          const std::string value(rng.chance(0.05) ? rng.below(3000) : rng.below(60),
                                  static_cast<char>('a' + rng.below(26)));
          const Leaf::Put put = leaf.mutate().put(hash_of(key), key, value);
          if (put == Leaf::Put::kFull) {
            const Map before = contents(*leaf);
            ASSERT_EQ(before, model);
            Cow<Leaf> upper(leaf.mutate().split());
            ASSERT_LT(contents(*leaf).rbegin()->first, contents(*upper).begin()->first);
            ASSERT_EQ(upper->smallest_key(), contents(*upper).begin()->first);
            ASSERT_EQ(leaf->largest_key(), contents(*leaf).rbegin()->first);
            Map both = contents(*leaf);
            both.merge(contents(*upper));
            ASSERT_EQ(both, before);
            if (rng.chance(0.5)) std::swap(leaf, upper);
            model = contents(*leaf);
          } else {
            ASSERT_EQ(put == Leaf::Put::kReplaced, model.contains(key));
            model[key] = value;
          }
        } else {
          ASSERT_EQ(leaf.mutate().erase(hash_of(key), key), model.erase(key) == 1);
        }
        std::string_view value;
        const std::string wanted = fmt::format("{}", rng.below(keys));
        ASSERT_EQ(leaf->find(hash_of(wanted), wanted, value), model.contains(wanted));
        if (model.contains(wanted)) {
          ASSERT_EQ(value, model[wanted]);
        }
        if (step % 500 == 0) {
          const Cow<Leaf> copy = leaf;
          leaf.mutate().put(hash_of("new"), "new", "x");
          ASSERT_EQ(contents(*copy), model);
          leaf = copy;
        }
      }
      ASSERT_EQ(contents(*leaf), model);
      size_t bytes = 0;
      for (const auto& [key, value] : model) bytes += key.size() + value.size();
      ASSERT_EQ(leaf->content_bytes(), bytes);
    }
    ASSERT_EQ(meter.bytes(), 0u);
  }
}

// Whatever the hash, only slower: all keys share a home slot.
TEST(Leaf, colliding_keys) {
  MemoryMeter meter;
  Leaf leaf(meter);
  for (int i = 0; i < 300; ++i) ASSERT_EQ(leaf.put(0, fmt::format("{}", i), "v"), Leaf::Put::kInserted);
  for (int i = 0; i < 300; i += 2) ASSERT_TRUE(leaf.erase(0, fmt::format("{}", i)));
  std::string_view value;
  for (int i = 0; i < 300; ++i) ASSERT_EQ(leaf.find(0, fmt::format("{}", i), value), i % 2 == 1);
}

TEST(Leaf, keys_of_the_largest_size) {
  MemoryMeter meter;
  Leaf leaf(meter);
  int inserted = 0;
  for (; leaf.put(hash_of(fmt::format("{}", inserted)),
                  fmt::format("{}", inserted) + std::string(kKeyBytesMax - 1, 'k'), "v") == Leaf::Put::kInserted;) {
    ++inserted;
  }
  EXPECT_GE(inserted, 3);
}

TEST(Leaf, space_that_was_erased_is_given_back) {
  MemoryMeter meter;
  Leaf leaf(meter);
  for (int i = 0; i < 1000; ++i) leaf.put(hash_of(fmt::format("{}", i)), fmt::format("{}", i), std::string(200, 'v'));
  const uint64_t full = meter.bytes();
  for (int i = 0; i < 990; ++i) leaf.erase(hash_of(fmt::format("{}", i)), fmt::format("{}", i));
  EXPECT_LT(meter.bytes(), full / 10);
}

}  // namespace
}  // namespace flux::engine
