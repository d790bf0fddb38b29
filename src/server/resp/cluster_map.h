// The cluster as clients of Redis Cluster see one: masters that own slots, and replicas of them.
//
// A Redis node is a master or a replica, and a replica has one master; here a node leads some groups and follows in
// others. So a node that leads a group with slots is a master of them; one that leads none but holds a replica of such
// a group is a replica of its leader, spread evenly over the leaders; what is left is a master without slots.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "api/cluster.h"

namespace flux::server::resp {

struct SlotRange {
  uint16_t first;
  uint16_t last;  // inclusive
  bool operator==(const SlotRange&) const = default;
};

struct ClusterMember {
  NodeId id;
  std::string host;
  uint16_t port = 0;
  uint16_t peer_port = 0;
  NodeId master;                 // whose replica it is; kNobody: a master itself
  std::vector<SlotRange> slots;  // a master's, ascending, as few as possible
  std::vector<NodeId> replicas;  // a master's
};

struct ClusterMap {
  std::vector<ClusterMember> members;  // those that take RESP clients, by id
  uint64_t epoch = 0;                  // the number of the configuration
  uint32_t slots_assigned = 0;
  uint32_t slots_leaderless = 0;  // of those; whoever is named for them passes requests on

  const ClusterMember* find(NodeId id) const;
};

// Only the keyspace "default" counts, and only if it is hashed: it is the one that RESP clients use.
ClusterMap cluster_map(const api::ClusterView& view);

// A node's id in 40 hexadecimal digits.
std::string member_name(NodeId id);

// The lines of CLUSTER NODES and CLUSTER INFO.
std::string cluster_nodes_text(const ClusterMap& map, NodeId self);
std::string cluster_info_text(const ClusterMap& map);

}  // namespace flux::server::resp
