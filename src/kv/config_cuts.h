// What a configuration makes of a group's shards: a pure function of the table and the configuration.
#pragma once

#include <span>
#include <vector>

#include "base/status.h"
#include "kv/shards.h"

namespace flux::kv {

// The table after `config`. A shard that stays as it is keeps its record and its feed; one that is split or merged
// moves no data. kInvalidArgument: the cuts contradict each other. kPrecondition: they do not fit what is here:
// something that is served is in none of them, say, for a mistake of whoever made them must not lose data. REQUIRES:
// the table is settled.
Result<std::vector<ShardInfo>> cut_table(std::span<const ShardInfo> table, GroupId own, const ApplyConfig& config);

}  // namespace flux::kv
