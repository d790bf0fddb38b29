// The arithmetic of evening out, apart from what is evened out. Pure; the same input gives the same answer everywhere.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "ctrl/config.h"

namespace flux::ctrl {

// What bears load: a group.
struct Bin {
  GroupId id;
  uint64_t weight = 1;
  uint64_t load = 0;  // of all items in it, also of those that stay
  uint64_t tie = 0;   // of two that are equal otherwise the lower one gets an item
};

struct Item {
  ShardId id;
  uint64_t size = 1;
  GroupId at;
};

struct Relocation {
  ShardId shard;
  GroupId from;
  GroupId to;
};

// The fewest moves of items after which no move helps: the fullest bin gives to the emptiest, as long as that leaves
// the two nearer to each other by at least half an item. With items of one size and equal weights any two bins differ
// by one item at most, and a new bin gets no more than its share.
// `items` are those that may move; each is in one of the bins.
std::vector<Relocation> even_out(std::vector<Bin> bins, const std::vector<Item>& items, size_t moves_max);

// A new bin for each item, the largest first, each to the bin that is the emptiest with it. REQUIRES: bins not empty.
std::vector<Relocation> hand_out(std::vector<Bin> bins, std::vector<Item> items);

// The active nodes with the fewest replicas by cores, none of `exclude` and none that is silent; those that have not
// run yet only where the others are too few. While a cluster is founded, before its first keyspace, its nodes announce
// themselves in any order, and all are alike. Fewer than `count` if there are not so many.
std::vector<NodeId> choose_nodes(const Config& config, size_t count, const std::set<NodeId>& exclude,
                                 const std::set<NodeId>& silent);
// The voter on whose node the fewest groups should have their leader, by cores. REQUIRES: voters not empty.
NodeId choose_leader(const Config& config, GroupId group, const std::set<NodeId>& voters);

}  // namespace flux::ctrl
