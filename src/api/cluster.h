// The cluster as its controller has it, and what operators may ask of it. Value types.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/status.h"
#include "base/types.h"

namespace flux::api {

struct NodeRecord {
  NodeId id;
  std::string name;
  std::string peer_address;
  std::string resp_address;
  std::string http_address;
  std::string wire_address;  // empty: it has no such door
  bool operator==(const NodeRecord&) const = default;
};

// --- What there is, under the number of one configuration ------------------------------------------------------------

struct NodeView {
  NodeRecord record;
  std::string state;  // active, draining, removed
  uint32_t cores = 1;
  uint64_t replicas = 0;  // of groups, the controller's not counted
  uint64_t leaders = 0;   // groups that it should lead
  bool silent = false;    // not heard for a while by whoever leads the controller
  bool lost = false;      // for so long that its replicas go to other nodes
};

struct GroupView {
  GroupId id;
  std::string state;  // creating, serving, draining, gone
  uint32_t weight = 1;
  std::vector<NodeId> voters;
  std::vector<NodeId> learners;
  NodeId leader;  // as far as the answering node knows; kNobody: it knows of none
  uint64_t shards = 0;
  ConfigNum settled;  // the newest configuration that the group has carried out
  ConfigNum changed;  // the newest that concerns it: more than `settled` while a shard is being handed over
};

struct ShardView {
  ShardId id;
  std::string keyspace;
  std::string start;  // encoded key, inclusive
  std::string end;    // exclusive; empty: the end of the keyspace
  GroupId group;
  bool pinned = false;
  // As the answering node's replica of the group sees it: serving, pulling, be_pulling, gcing, staged; "" if it has no
  // replica. `keys` and `bytes` are estimates from there, 0 without one.
  std::string state;
  uint64_t keys = 0;
  uint64_t bytes = 0;
  uint64_t operations_per_second = 0;
};

struct KeyspaceView {
  KeyspaceId id;
  std::string name;
  std::string kind;  // hash, range
  uint32_t replication = 1;
  uint64_t shards = 0;
};

struct StepView {
  std::string what;  // "shard 3: group 1 -> 2", "group 1: +node 4 -node 2"
  ShardId shard;     // that moves; 0: members change
  GroupId group;     // a replica of which is copied; 0: of none
  std::string phase;
  uint64_t bytes_done = 0;
  uint64_t bytes_total = 0;
  uint64_t keys_done = 0;
  std::string reason;  // why it failed or was undone, or what it waits for
};

struct PlanView {
  uint64_t id = 0;
  std::string kind;
  std::string state;
  std::vector<StepView> steps;
};

// What plans may do at once.
struct PlanLimits {
  uint32_t moves = 0;            // shards that change groups
  uint32_t moves_per_group = 0;  // of which one group gives or takes
  uint32_t member_changes = 0;   // groups that change their members
};

struct ClusterView {
  ConfigNum config;
  std::string balance;           // off, shards, load
  bool groups_by_cores = false;  // groups are added as the cluster gets more cores
  PlanLimits limits;
  std::vector<NodeView> nodes;
  std::vector<GroupView> groups;  // the controller's own, group 0, comes first
  std::vector<KeyspaceView> keyspaces;
  std::vector<ShardView> shards;  // in the order of keyspaces and keys
  std::vector<PlanView> plans;
};

// --- What may be asked -----------------------------------------------------------------------------------------------

struct AddNode {
  std::string name;
  std::string peer_address;
  uint32_t cores = 1;
};
// Moves every replica of the node elsewhere, as a plan.
struct DrainNode {
  NodeId node;
};
// kPrecondition as long as a group counts on it.
struct RemoveNode {
  NodeId node;
};
// Moves every replica of `node`, which may be dead, to `by`, then removes `node`; a plan.
struct ReplaceNode {
  NodeId node;
  NodeId by;
};
// A new group. id 0: the next free one. voters empty: `replicas` nodes are chosen; replicas 0: as many as the default
// keyspace wants.
struct AddGroup {
  GroupId id;
  std::vector<NodeId> voters;
  uint32_t replicas = 0;
  uint32_t weight = 1;
};
// Gives all shards of the group to others, then ends it; a plan.
struct RemoveGroup {
  GroupId group;
};
// pin: rebalancing leaves the shard there.
struct MoveShard {
  ShardId shard;
  GroupId to;
  bool pin = false;
};
// The shard keeps what is before the encoded key `at`; a new one begins there.
struct SplitShard {
  ShardId shard;
  std::string at;
};
struct MergeShards {
  ShardId left;
  ShardId right;
};
struct CreateKeyspace {
  std::string name;
  std::string kind = "hash";
  uint32_t replication = 0;           // 0: as the default keyspace
  uint32_t shards = 0;                // hash; 0: as many for each group as the default keyspace begins with
  std::vector<std::string> split_at;  // range
};
struct DropKeyspace {
  std::string name;
};
struct SetReplication {
  std::string keyspace;
  uint32_t replication = 1;
};
// Plans the moves that even out the shards, and the changes of members that even out the replicas.
struct Rebalance {};
struct SetBalance {
  std::string mode;  // off, shards, load
};
// Whether groups are added as the cluster gets more cores; RemoveGroup ends it.
struct SetGroups {
  bool by_cores = true;
};
// 0 leaves a limit as it is.
struct SetLimits {
  PlanLimits limits;
};
struct ControlPlan {
  uint64_t plan = 0;
  std::string verb;  // pause, resume, cancel
};

using ClusterRequest = std::variant<AddNode, DrainNode, RemoveNode, ReplaceNode, AddGroup, RemoveGroup, MoveShard,
                                    SplitShard, MergeShards, CreateKeyspace, DropKeyspace, SetReplication, Rebalance,
                                    SetBalance, SetGroups, SetLimits, ControlPlan>;

struct ClusterChange {
  ClusterRequest request;
  // The number of the configuration that whoever asks has looked at: refused if there is a newer one. 0: any.
  ConfigNum expected;
};

struct ClusterReply {
  Status status;
  ConfigNum config;   // the newest configuration, after the change
  uint64_t plan = 0;  // that the change began; 0: none
  NodeId node;        // AddNode: the id it got
  GroupId group;      // AddGroup: the id it got
  std::string note;   // for people
};

}  // namespace flux::api
