#include "client/routing_map.h"

#include <algorithm>

namespace flux::client {

RoutingMap::RoutingMap(const ctrl::Config& config) : num_(config.num) {
  const ctrl::Keyspace* keyspace = config.keyspace(kDefaultKeyspace);
  if (keyspace == nullptr) return;
  for (size_t at = 0; at < keyspace->shards.size(); ++at) {
    const ctrl::Shard& shard = keyspace->shards[at];
    const std::string end(keyspace->end_of(at));
    if (!runs_.empty() && runs_.back().group == shard.group) {
      runs_.back().end = end;
    } else {
      runs_.push_back({.start = shard.start, .end = end, .group = shard.group});
    }
    groups_.push_back(shard.group);
  }
  std::sort(groups_.begin(), groups_.end());
  groups_.erase(std::unique(groups_.begin(), groups_.end()), groups_.end());
  // A hash keyspace is cut between slots.
  by_slot_.resize(api::kSlotCount);
  for (const Run& run : runs_) {
    const uint16_t first = run.start.empty() ? uint16_t{0} : api::slot_of_encoded(run.start).value();
    const uint16_t last = run.end.empty() ? api::kSlotCount : api::slot_of_encoded(run.end).value();
    std::fill(by_slot_.begin() + first, by_slot_.begin() + last, run.group);
  }
}

const RoutingMap::Run& RoutingMap::run_at(std::string_view encoded_key) const {
  const auto after = std::upper_bound(runs_.begin(), runs_.end(), encoded_key,
                                      [](std::string_view key, const Run& run) { return key < run.start; });
  FLUX_CHECK(after != runs_.begin());
  return *(after - 1);
}

}  // namespace flux::client
