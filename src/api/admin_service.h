// What operators ask of a node. Belongs to one loop, as KvService does.
#pragma once

#include <absl/functional/any_invocable.h>

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/cluster.h"
#include "api/keyspace.h"
#include "base/status.h"
#include "base/types.h"

namespace flux::api {

struct PeerProgress {
  NodeId id;
  std::string state;  // probe, replicate, snapshot
  Index match;
  bool recently_active = false;
};

struct GroupStatus {
  GroupId id;
  std::string role;  // leader, follower, candidate, pre_candidate, learner
  Term term;
  NodeId leader;
  Index commit_index;
  Index applied_index;
  Index first_index;  // the oldest entry the log holds
  Index last_index;
  Index snapshot_index;
  std::vector<NodeId> voters;
  std::vector<NodeId> learners;
  bool joint = false;
  bool idle = false;  // nothing has been asked of it for a while, and its members speak rarely
  uint64_t keys = 0;
  uint64_t shards = 0;
  std::vector<PeerProgress> peers;  // leader only
  std::string halted;               // why the replica has stopped; empty: it has not
};

struct Check {
  std::string name;
  bool ok = true;
  std::string detail;
};

struct NodeStatus {
  std::string name;
  std::string cluster_id;
  NodeId node_id;
  std::string version;
  std::string engine;
  std::string fsync;
  std::vector<std::string> warnings;  // unsafe settings and alarms
  ConfigNum config_num;
  std::vector<GroupStatus> groups;
  std::vector<NodeRecord> nodes;  // as this node knows them
  uint64_t memory_used_bytes = 0;
  uint64_t memory_max_bytes = 0;
  uint64_t uptime_seconds = 0;
  uint64_t process_id = 0;
  bool draining = false;
  std::map<std::string, uint64_t> keyspaces;  // keys that this node's replicas hold of each
};

using StatusDone = absl::AnyInvocable<void(NodeStatus)>;
using ChecksDone = absl::AnyInvocable<void(std::vector<Check>)>;
using AdminDone = absl::AnyInvocable<void(Status)>;
using ClusterDone = absl::AnyInvocable<void(Result<ClusterView>)>;
using ClusterReplyDone = absl::AnyInvocable<void(ClusterReply)>;

class AdminService {
 public:
  virtual ~AdminService() = default;
  virtual void status(StatusDone done) = 0;
  // A keyspace by its name, as this node knows it now. nullopt: it knows of none.
  virtual std::optional<KeyspaceRef> keyspace(std::string_view name) const = 0;
  // Whether this node can serve: a leader is known, a linearizable read passes, nothing is halted, not draining.
  virtual void readiness(ChecksDone done) = 0;
  // The cluster as this node knows it, which may be a little behind. `num` 0: the newest configuration; an older one
  // has no plans and no measurements. kNotFound: one that is not kept any more, or is yet to come.
  virtual void cluster(ConfigNum num, ClusterDone done) = 0;
  // Any node takes it and passes it to the controller. OK: the controller has committed it; what it plans goes on by
  // itself, and cluster() shows how far it is.
  virtual void change_cluster(ClusterChange change, ClusterReplyDone done) = 0;
  // `target` kNobody: the follower that is furthest along.
  virtual void transfer_leader(GroupId group, NodeId target, AdminDone done) = 0;
};

}  // namespace flux::api
