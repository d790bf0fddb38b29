#include "ctrl/balance.h"

#include <fmt/core.h>

#include "ctrl/ring.h"

namespace flux::ctrl {
namespace {

std::vector<Bin> bins_for(const State& state, const Keyspace& keyspace, const Destinations& destinations,
                          const std::set<GroupId>& without, std::map<GroupId, uint64_t>& totals) {
  std::map<GroupId, uint64_t> here = destinations.loads(keyspace);
  std::vector<Bin> bins;
  for (const GroupId id : receivers(state, state.config(), keyspace.replication)) {
    if (without.contains(id)) continue;
    const uint32_t weight = state.config().group(id)->weight;
    bins.push_back({.id = id, .weight = weight, .load = here[id], .tie = totals[id]});
  }
  return bins;
}

void note(std::vector<MoveShard>& moves, std::map<GroupId, uint64_t>& totals, const std::vector<Relocation>& found) {
  for (const Relocation& each : found) {
    moves.push_back({.shard = each.shard, .from = each.from, .to = each.to});
    ++totals[each.to];
  }
}

}  // namespace

Destinations::Destinations(const State& state) {
  for (const auto& [id, plan] : state.plans) {
    if (!plan.active()) continue;
    for (const Step& step : plan.steps) {
      const auto* move = std::get_if<MoveShard>(&step.task);
      if (move && State::is_open(plan, step)) promised_[move->shard] = move->to;
    }
  }
}

GroupId Destinations::of(const Shard& shard) const {
  const auto found = promised_.find(shard.id);
  return found == promised_.end() ? shard.group : found->second;
}

std::map<GroupId, uint64_t> Destinations::loads(const Keyspace& keyspace) const {
  std::map<GroupId, uint64_t> loads;
  for (size_t at = 0; at < keyspace.shards.size(); ++at) loads[of(keyspace.shards[at])] += keyspace.measure(at);
  return loads;
}

std::map<GroupId, uint64_t> Destinations::loads(const Config& config) const {
  std::map<GroupId, uint64_t> sums;
  for (const auto& [id, keyspace] : config.keyspaces) {
    for (const auto& [group, load] : loads(keyspace)) sums[group] += load;
  }
  return sums;
}

Status may_receive(const State& state, const Config& config, GroupId id, uint32_t replication) {
  const Group* group = config.group(id);
  if (!group || !group->alive()) return Status(ErrorCode::kNotFound, fmt::format("there is no group {}", id));
  if (group->state == GroupState::kCreating) {
    return Status(ErrorCode::kPrecondition, fmt::format("group {} does not serve yet", id));
  }
  if (group->state == GroupState::kDraining) {
    return Status(ErrorCode::kPrecondition, fmt::format("group {} is being drained", id));
  }
  if (!state.has_quorum(*group)) {
    return Status(ErrorCode::kPrecondition,
                  fmt::format("group {} has no quorum: too many of its nodes are silent", id));
  }
  if (group->voters.size() < replication) {
    return Status(ErrorCode::kPrecondition,
                  fmt::format("group {} has {} voters, the keyspace wants {}", id, group->voters.size(), replication));
  }
  return {};
}

std::vector<GroupId> receivers(const State& state, const Config& config, uint32_t replication) {
  std::vector<GroupId> found;
  for (const auto& [id, group] : config.groups) {
    if (may_receive(state, config, id, replication).ok()) found.push_back(id);
  }
  return found;
}

Result<std::vector<GroupId>> first_owners(const State& state, const Keyspace& keyspace) {
  std::map<GroupId, uint32_t> weights;
  for (const GroupId id : receivers(state, state.config(), keyspace.replication)) {
    weights[id] = state.config().group(id)->weight;
  }
  if (weights.empty()) {
    return Status(ErrorCode::kPrecondition,
                  fmt::format("no group serves with a quorum of {} voters", keyspace.replication));
  }
  std::vector<uint64_t> hashes;
  for (size_t at = 0; at < keyspace.shards.size(); ++at) {
    hashes.push_back(Ring::mix(Ring::mix(keyspace.id.value()) ^ at));
  }
  return Ring(weights).assign(hashes);
}

std::vector<MoveShard> balancing_moves(const State& state, size_t moves_max) {
  const Destinations destinations(state);
  std::map<GroupId, uint64_t> totals = destinations.loads(state.config());
  std::vector<MoveShard> moves;
  for (const auto& [id, keyspace] : state.config().keyspaces) {
    const std::vector<Bin> bins = bins_for(state, keyspace, destinations, {}, totals);
    std::vector<Item> items;
    for (size_t at = 0; at < keyspace.shards.size(); ++at) {
      const Shard& shard = keyspace.shards[at];
      if (state.pins.contains(shard.id) || destinations.is_promised(shard.id)) continue;
      items.push_back({.id = shard.id, .size = keyspace.measure(at), .at = shard.group});
    }
    note(moves, totals, even_out(bins, items, moves_max - moves.size()));
  }
  return moves;
}

Result<std::vector<MoveShard>> leaving_moves(const State& state, const std::set<GroupId>& leaving) {
  const Destinations destinations(state);
  std::map<GroupId, uint64_t> totals = destinations.loads(state.config());
  std::vector<MoveShard> moves;
  for (const auto& [id, keyspace] : state.config().keyspaces) {
    std::vector<Item> items;
    for (size_t at = 0; at < keyspace.shards.size(); ++at) {
      const Shard& shard = keyspace.shards[at];
      if (leaving.contains(shard.group)) {
        items.push_back({.id = shard.id, .size = keyspace.measure(at), .at = shard.group});
      }
    }
    if (items.empty()) continue;
    const std::vector<Bin> bins = bins_for(state, keyspace, destinations, leaving, totals);
    if (bins.empty()) {
      return Status(ErrorCode::kPrecondition, fmt::format("no other group can take the shards of {}", keyspace.name));
    }
    note(moves, totals, hand_out(bins, std::move(items)));
  }
  return moves;
}

}  // namespace flux::ctrl
