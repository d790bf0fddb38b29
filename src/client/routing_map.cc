#include "client/routing_map.h"

#include <algorithm>

namespace flux::client {
namespace {

void sort_out(std::vector<GroupId>& groups) {
  std::sort(groups.begin(), groups.end());
  groups.erase(std::unique(groups.begin(), groups.end()), groups.end());
}

}  // namespace

RoutingMap::RoutingMap(const ctrl::Config& config) : num_(config.num) {
  // It is the first that there is; before it there is nothing to route.
  if (config.keyspace(api::kDefaultKeyspaceId) == nullptr) return;
  for (const auto& [id, keyspace] : config.keyspaces) add(keyspace);
  std::sort(runs_.begin(), runs_.end(), [](const Run& a, const Run& b) { return a.start < b.start; });
  for (const Run& run : runs_) groups_.push_back(run.group);
  sort_out(groups_);
  by_slot_.resize(api::kSlotCount);
  const api::KeyRange all = api::keyspace_range({});
  for (const Run& run : runs_in(all.start, all.end)) {
    std::fill(by_slot_.begin() + api::slot_of_encoded(run.start).value(),
              by_slot_.begin() + api::slot_of_encoded(run.end).value(), run.group);
  }
}

void RoutingMap::add(const ctrl::Keyspace& keyspace) {
  keyspaces_.emplace(keyspace.id, keyspace.kind);
  for (size_t at = 0; at < keyspace.shards.size(); ++at) {
    api::KeyRange range = keyspace.encoded_range(at);
    const GroupId group = keyspace.shards[at].group;
    if (at > 0 && runs_.back().group == group) {
      runs_.back().end = std::move(range.end);
    } else {
      runs_.push_back({.start = std::move(range.start), .end = std::move(range.end), .group = group});
    }
  }
}

bool RoutingMap::has(api::KeyspaceRef keyspace) const {
  const auto found = keyspaces_.find(keyspace.id);
  return found != keyspaces_.end() && found->second == keyspace.kind;
}

GroupId RoutingMap::group_of(api::KeyspaceRef keyspace, std::string_view key) const {
  if (keyspace.is_default() || groups_.size() == 1) return group_of(key);
  const Run* const run = run_at(api::encoded_key(keyspace, key));
  return run != nullptr ? run->group : ctrl::kNoGroup;
}

const RoutingMap::Run* RoutingMap::run_at(std::string_view encoded_key) const {
  const auto after = std::upper_bound(runs_.begin(), runs_.end(), encoded_key,
                                      [](std::string_view key, const Run& run) { return key < run.start; });
  if (after == runs_.begin()) return nullptr;
  const Run& run = *(after - 1);
  return encoded_key < run.end ? &run : nullptr;
}

std::span<const RoutingMap::Run> RoutingMap::runs_in(std::string_view low, std::string_view high) const {
  const auto first = std::upper_bound(runs_.begin(), runs_.end(), low,
                                      [](std::string_view key, const Run& run) { return key < run.end; });
  const auto last =
      high.empty() ? runs_.end() : std::lower_bound(first, runs_.end(), high, [](const Run& run, std::string_view key) {
        return run.start < key;
      });
  return {first, last};
}

std::vector<GroupId> RoutingMap::groups_of(api::KeyspaceRef keyspace) const {
  const api::KeyRange range = api::keyspace_range(keyspace);
  std::vector<GroupId> groups;
  for (const Run& run : runs_in(range.start, range.end)) groups.push_back(run.group);
  sort_out(groups);
  return groups;
}

}  // namespace flux::client
