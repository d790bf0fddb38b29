// A configuration: what exists, and what is where, under one number. Value types; not thread-safe.
//
// It says where things belong. How far the groups have got with it is in ctrl/state.h.
#pragma once

#include <map>
#include <set>
#include <string>

#include "api/admin_service.h"
#include "ctrl/shard_map.h"

namespace flux::ctrl {

// They bound the state, its snapshot and what a decoder accepts. Removed nodes and gone groups count.
inline constexpr size_t kNodesMax = 4'096;
inline constexpr size_t kGroupsMax = 4'096;
inline constexpr size_t kKeyspacesMax = 1'024;
inline constexpr size_t kShardsMax = 65'536;  // of all keyspaces
inline constexpr size_t kNameBytesMax = 255;  // names and addresses
inline constexpr uint32_t kReplicasMax = 9;
inline constexpr uint32_t kWeightMax = 1'000'000;

enum class NodeState : uint8_t {
  kActive = 1,
  kDraining = 2,  // gets no replica
  kRemoved = 3,   // for ever: its id never comes back
};
template <>
inline constexpr NodeState kLast<NodeState> = NodeState::kRemoved;

struct Node {
  api::NodeRecord record;
  NodeState state = NodeState::kActive;
  uint32_t cores = 1;      // its share of replicas and leaders
  bool announced = false;  // it has run: what it says of itself is known

  static void fields(auto& self, auto& io) { io(self.record, self.state, self.cores, self.announced); }
  bool operator==(const Node&) const = default;
};

enum class GroupState : uint8_t {
  kCreating = 1,  // its members have not said yet that it runs
  kServing = 2,
  kDraining = 3,  // gets no shard and gives its own away
  kGone = 4,      // its members delete what they have of it
};
template <>
inline constexpr GroupState kLast<GroupState> = GroupState::kGone;

struct Group {
  GroupId id;
  GroupState state = GroupState::kCreating;
  uint32_t weight = 1;  // its share of shards
  // The configuration in which this life of the id began: what a disk holds of an earlier one is not this group.
  ConfigNum born;
  // Its voters when it was born: the membership before the first entry of its log. Empty if and only if it is gone.
  std::set<NodeId> founders;
  // Invariants: disjoint; voters empty if and only if the group is gone; leader among the voters.
  std::set<NodeId> voters;
  std::set<NodeId> learners;
  NodeId leader;  // who should lead, so that leaders are spread; not who does

  bool alive() const { return state != GroupState::kGone; }
  bool has(NodeId node) const { return voters.contains(node) || learners.contains(node); }
  static void fields(auto& self, auto& io) {
    io(self.id, self.state, self.weight, self.born, self.founders, self.voters, self.learners, self.leader);
  }
  bool operator==(const Group&) const = default;
};

struct Config {
  ConfigNum num;  // 0: the empty one, before the first command
  std::map<NodeId, Node> nodes;
  std::map<GroupId, Group> groups;
  std::map<KeyspaceId, Keyspace> keyspaces;

  const Node* node(NodeId id) const;
  const Group* group(GroupId id) const;
  const Keyspace* keyspace(KeyspaceId id) const;
  const Keyspace* keyspace(std::string_view name) const;
  // The shard and its keyspace; nulls if there is none.
  struct Place {
    const Keyspace* keyspace = nullptr;
    const Shard* shard = nullptr;
  };
  Place place(ShardId shard) const;
  size_t shard_count() const;
  // Shards that a group owns.
  size_t owned_by(GroupId group) const;

  // OK if the invariants of all parts hold and each refers to what exists.
  Status validate() const;
  bool operator==(const Config&) const = default;
};

}  // namespace flux::ctrl
