// Which group owns a key: the shards of a configuration, made for fast lookup. A value type; immutable.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/keyspace.h"
#include "api/slot.h"
#include "ctrl/config.h"

namespace flux::client {

class RoutingMap {
 public:
  // Nothing is known yet: no key has an owner.
  RoutingMap() = default;
  explicit RoutingMap(const ctrl::Config& config);

  ConfigNum num() const { return num_; }
  bool empty() const { return runs_.empty(); }
  // Whether there is such a keyspace. What is not empty knows the default one.
  bool has(api::KeyspaceRef keyspace) const;
  // Of the default keyspace. ctrl::kNoGroup if nobody is known to own it; of the other two, too.
  GroupId group_of(Slot slot) const { return runs_.empty() ? ctrl::kNoGroup : by_slot_[slot.value()]; }
  // Of a user's key in the default keyspace.
  GroupId group_of(std::string_view key) const {
    if (groups_.size() == 1) return groups_.front();
    return group_of(api::slot_of(key));
  }
  GroupId group_of(api::KeyspaceRef keyspace, std::string_view key) const;
  // Groups that own something, ascending.
  const std::vector<GroupId>& groups() const { return groups_; }

  // Encoded keys of one keyspace that follow each other and have one owner.
  struct Run {
    std::string start;
    std::string end;  // excluded
    GroupId group;
  };
  // The one that holds an encoded key. Null: no keyspace has it.
  const Run* run_at(std::string_view encoded_key) const;
  // Those that hold some of [low, high), in order; an empty `high` is no bound. Together they hold every key.
  std::span<const Run> runs_in(std::string_view low, std::string_view high) const;
  // Groups that own some of the keyspace, ascending.
  std::vector<GroupId> groups_of(api::KeyspaceRef keyspace) const;

 private:
  void add(const ctrl::Keyspace& keyspace);

  ConfigNum num_;
  std::map<KeyspaceId, api::KeyspaceKind> keyspaces_;
  std::vector<Run> runs_;         // in order
  std::vector<GroupId> by_slot_;  // of the default keyspace; one for each slot, unless empty()
  std::vector<GroupId> groups_;
};

}  // namespace flux::client
