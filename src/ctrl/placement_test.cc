// Goal: even, with the fewest moves, and the same on every machine.
#include "ctrl/placement.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "base/rng.h"
#include "ctrl/ring.h"

namespace flux::ctrl {
namespace {

std::vector<uint64_t> hashes(uint64_t count) {
  std::vector<uint64_t> hashes(count);
  std::iota(hashes.begin(), hashes.end(), 0U);
  for (uint64_t& hash : hashes) hash = Ring::mix(hash);
  return hashes;
}

std::map<GroupId, size_t> count(const std::vector<GroupId>& owners) {
  std::map<GroupId, size_t> counts;
  for (const GroupId owner : owners) ++counts[owner];
  return counts;
}

TEST(Ring, bounds_every_group) {
  for (uint32_t groups = 1; groups <= 20; ++groups) {
    std::map<GroupId, uint32_t> weights;
    for (uint64_t id = 1; id <= groups; ++id) weights[GroupId(id)] = 1;
    const auto counts = count(Ring(weights).assign(hashes(256)));
    for (const auto& [group, shards] : counts) {
      EXPECT_GE(shards, 256 / groups);
      EXPECT_LE(shards, (256 + groups - 1) / groups);
    }
  }
}

TEST(Ring, bounds_by_weight) {
  const auto counts = count(Ring({{GroupId(1), 1}, {GroupId(2), 3}, {GroupId(3), 4}}).assign(hashes(800)));
  EXPECT_EQ(counts.at(GroupId(1)), 100U);
  EXPECT_EQ(counts.at(GroupId(2)), 300U);
  EXPECT_EQ(counts.at(GroupId(3)), 400U);
}

TEST(Ring, has_the_same_answer_everywhere) {
  const Ring ring({{GroupId(1), 1}, {GroupId(2), 1}, {GroupId(3), 1}});
  std::string owners;
  for (const GroupId owner : ring.assign(hashes(24))) owners += static_cast<char>('0' + owner.value());
  EXPECT_EQ(owners, "322113322231213212131313");
}

TEST(Ring, keeps_most_places_when_a_group_comes) {
  std::map<GroupId, uint32_t> weights{{GroupId(1), 1}, {GroupId(2), 1}, {GroupId(3), 1}};
  const auto before = Ring(weights).assign(hashes(4096));
  weights[GroupId(4)] = 1;
  const auto after = Ring(weights).assign(hashes(4096));
  size_t changed = 0;
  for (size_t i = 0; i < before.size(); ++i) changed += before[i] == after[i] ? 0U : 1U;
  EXPECT_LT(changed, 4096U / 2);  // modulo would change three quarters
}

struct Placed {
  std::vector<Bin> bins;
  std::vector<Item> items;
};

// Each bin's number of items of one size.
Placed placed(const std::vector<uint64_t>& loads, uint64_t size = 1) {
  Placed placed;
  uint64_t shard = 0;
  for (size_t i = 0; i < loads.size(); ++i) {
    const GroupId id(i + 1);
    placed.bins.push_back({.id = id, .load = loads[i] * size});
    for (uint64_t n = 0; n < loads[i]; ++n) placed.items.push_back({.id = ShardId(++shard), .size = size, .at = id});
  }
  return placed;
}

std::vector<uint64_t> after(const Placed& before, const std::vector<Relocation>& moves) {
  std::vector<uint64_t> loads;
  for (const Bin& bin : before.bins) loads.push_back(bin.load);
  for (const Relocation& move : moves) {
    const auto item =
        std::find_if(before.items.begin(), before.items.end(), [&](const Item& each) { return each.id == move.shard; });
    loads[move.from.value() - 1] -= item->size, loads[move.to.value() - 1] += item->size;
  }
  return loads;
}

TEST(EvenOut, equal_items_end_within_one_by_the_fewest_moves) {
  Rng rng(7);
  for (int round = 0; round < 500; ++round) {
    std::vector<uint64_t> loads(rng.between(1, 9));
    for (uint64_t& load : loads) load = rng.below(40);
    const Placed before = placed(loads, rng.chance(0.5) ? 1 : 64);
    const uint64_t size = before.items.empty() ? 1 : before.items[0].size;
    const std::vector<Relocation> moves = even_out(before.bins, before.items, SIZE_MAX);
    const std::vector<uint64_t> now = after(before, moves);
    EXPECT_LE(*std::max_element(now.begin(), now.end()) - *std::min_element(now.begin(), now.end()), size);
    // Whatever is over the rounded-up mean must go, whatever is below the rounded-down one must come.
    const uint64_t sum = std::accumulate(loads.begin(), loads.end(), uint64_t{0});
    const uint64_t low = sum / loads.size(), high = (sum + loads.size() - 1) / loads.size();
    uint64_t surplus = 0, lack = 0;
    for (const uint64_t load : loads) {
      surplus += load > high ? load - high : 0, lack += load < low ? low - load : 0;
    }
    EXPECT_EQ(moves.size(), std::max(surplus, lack));
    EXPECT_TRUE(even_out(before.bins, before.items, 0).empty());
  }
}

TEST(EvenOut, a_new_bin_gets_its_share_and_nothing_else_moves) {
  for (uint64_t bins = 1; bins <= 12; ++bins) {
    std::vector<uint64_t> loads(bins, 256 / bins);
    loads.push_back(0);
    const Placed before = placed(loads);
    const auto moves = even_out(before.bins, before.items, SIZE_MAX);
    const double share = static_cast<double>(before.items.size()) / static_cast<double>(bins + 1);
    EXPECT_LE(static_cast<double>(moves.size()), 1.1 * share);
    for (const Relocation& move : moves) EXPECT_EQ(move.to, GroupId(bins + 1));
  }
}

TEST(EvenOut, unequal_items_never_make_it_worse) {
  Rng rng(11);
  for (int round = 0; round < 500; ++round) {
    Placed before = placed(std::vector<uint64_t>(rng.between(2, 6), 12));
    for (Bin& bin : before.bins) bin.load = 0;
    for (Item& item : before.items) {
      item.size = rng.between(1, 100);
      before.bins[item.at.value() - 1].load += item.size;
    }
    const auto now = after(before, even_out(before.bins, before.items, SIZE_MAX));
    const auto most = [](const std::vector<uint64_t>& loads) { return *std::max_element(loads.begin(), loads.end()); };
    const auto least = [](const std::vector<uint64_t>& loads) { return *std::min_element(loads.begin(), loads.end()); };
    const auto then = after(before, {});
    EXPECT_LE(most(now), most(then));
    EXPECT_GE(least(now), least(then));
  }
}

TEST(HandOut, fills_the_emptiest_first) {
  const Placed before = placed({6, 0, 2, 3});
  std::vector<Item> items(before.items.begin(), before.items.begin() + 6);
  std::vector<Bin> bins(before.bins.begin() + 1, before.bins.end());
  const auto now = after(before, hand_out(bins, items));
  EXPECT_EQ(now, (std::vector<uint64_t>{0, 3, 4, 4}));
}

}  // namespace
}  // namespace flux::ctrl
