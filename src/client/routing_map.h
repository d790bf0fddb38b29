// Which group owns a key: the default keyspace of a configuration, made for fast lookup. A value type; immutable.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/slot.h"
#include "ctrl/config.h"

namespace flux::client {

// The keyspace of requests that name none.
inline constexpr std::string_view kDefaultKeyspace = "default";

class RoutingMap {
 public:
  // Nothing is known yet: no key has an owner.
  RoutingMap() = default;
  explicit RoutingMap(const ctrl::Config& config);

  ConfigNum num() const { return num_; }
  bool empty() const { return runs_.empty(); }
  // ctrl::kNoGroup if nobody is known to own it.
  GroupId group_of(Slot slot) const { return runs_.empty() ? ctrl::kNoGroup : by_slot_[slot.value()]; }
  // Of a user's key.
  GroupId group_of(std::string_view key) const {
    if (groups_.size() == 1) return groups_.front();
    return group_of(api::slot_of(key));
  }
  // Groups that own something, ascending.
  const std::vector<GroupId>& groups() const { return groups_; }

  // Encoded keys that follow each other and have one owner.
  struct Run {
    std::string start;
    std::string end;  // excluded; empty: the end of all
    GroupId group;
  };
  // The one that holds an encoded key. REQUIRES: !empty().
  const Run& run_at(std::string_view encoded_key) const;

 private:
  ConfigNum num_;
  std::vector<Run> runs_;         // in order; together they hold every key
  std::vector<GroupId> by_slot_;  // one for each slot, unless empty()
  std::vector<GroupId> groups_;
};

}  // namespace flux::client
