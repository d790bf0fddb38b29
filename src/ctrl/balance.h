// Which shards should be in which group, from the controller's state. Pure.
#pragma once

#include <map>
#include <vector>

#include "ctrl/placement.h"
#include "ctrl/state.h"

namespace flux::ctrl {

// Where shards are, or will be once the plans there are have come to their end.
class Destinations {
 public:
  explicit Destinations(const State& state);
  bool is_promised(ShardId shard) const { return promised_.contains(shard); }
  GroupId of(const Shard& shard) const;
  // What each group has of a keyspace.
  std::map<GroupId, uint64_t> loads(const Keyspace& keyspace) const;
  // What each group has of all keyspaces: where two groups are equal in one keyspace, the other ones decide.
  std::map<GroupId, uint64_t> loads(const Config& config) const;

 private:
  std::map<ShardId, GroupId> promised_;
};

// OK if the group may be given shards of a keyspace that wants so many voters; otherwise kNotFound or kPrecondition.
Status may_receive(const State& state, const Config& config, GroupId group, uint32_t replication);
// The groups that may, ascending.
std::vector<GroupId> receivers(const State& state, const Config& config, uint32_t replication);

// Owners for the shards of a new keyspace, in order; kPrecondition if no group may have them.
Result<std::vector<GroupId>> first_owners(const State& state, const Keyspace& keyspace);
// The moves that even out every keyspace for itself, `moves_max` at most, beside the moves that are planned already.
// Pins stay.
std::vector<MoveShard> balancing_moves(const State& state, size_t moves_max = kShardsMax);
// Moves of everything that the groups own to others; kPrecondition if somebody's shards have nowhere to go.
Result<std::vector<MoveShard>> leaving_moves(const State& state, const std::set<GroupId>& leaving);

}  // namespace flux::ctrl
