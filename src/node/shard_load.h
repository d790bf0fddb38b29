// How much there is of a shard and how busy it is, as the leader of its group sees it: what balancing by load goes by.
#pragma once

#include <map>

#include "base/status.h"
#include "ctrl/advice.h"
#include "node/group.h"

namespace flux::node {

// What the leader of a group says of its shards, or of some of them.
struct LoadReport {
  GroupId group;
  std::map<ShardId, ctrl::ShardReport> shards;
  static void fields(auto& self, auto& io) { io(self.group, self.shards); }
};
// Shards that one report may be about.
inline constexpr size_t kLoadReportShardsMax = 1024;

std::string encode_load_report(const LoadReport& report);
Result<LoadReport> decode_load_report(std::string_view body);

// Limits from which on a shard is to be split: a middle is looked for only then.
struct SplitLimits {
  uint64_t bytes;
  uint64_t operations;  // a second
};

// REQUIRES: the group serves the shard. The middle is a place within its keyspace, as the controller has them; in a
// hash keyspace the start of a slot.
ctrl::ShardReport measure(const Group& group, const kv::ShardInfo& shard, const SplitLimits& limits);

}  // namespace flux::node
