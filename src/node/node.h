// A node: everything of one process between the doors and the world.
//
// start() builds it while its loops do not run yet; the loops then run on threads of their own (or in a simulator). The
// services of each loop belong to that loop. Everything is destroyed after the loops have stopped.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "api/admin_service.h"
#include "api/cluster_map.h"
#include "api/kv_service.h"
#include "api/slot_owners.h"
#include "node/identity.h"
#include "node/options.h"
#include "node/persister.h"
#include "wal/wal.h"

namespace flux::node {

// Figures of a node that are kept outside its groups; any thread.
struct NodeStats {
  wal::Stats wal;
  SyncStats sync;
  bool log_full = false;
  uint64_t memory_used_bytes = 0;
};

class Node {
 public:
  // `ticket`: for a node that joins a cluster; null for a founder, and for a directory that has a node already.
  static Result<std::unique_ptr<Node>> start(World world, NodeOptions options, const JoinTicket* ticket);
  virtual ~Node() = default;

  // Of loop i of the world.
  virtual api::KvService& kv(size_t loop) = 0;
  virtual api::AdminService& admin(size_t loop) = 0;
  // Any thread.
  virtual const api::SlotOwners& slot_owners() const = 0;
  virtual const api::ClusterMap& cluster_map() const = 0;
  virtual env::Address peer_address() const = 0;
  virtual const Identity& identity() const = 0;
  virtual NodeStats stats() const = 0;
  // The ceiling above which writes are refused; 0 is none. Any thread.
  virtual uint64_t memory_bytes_max() const = 0;
  virtual void set_memory_bytes_max(uint64_t bytes) = 0;

  // Hands leaderships over, then calls `done` on loop 0; at most a few seconds. Requests are served meanwhile.
  virtual void drain(env::Task done) = 0;
  // Makes the log durable and closes it. After the loops have stopped; nothing may be asked of the node any more.
  virtual Status close() = 0;
};

}  // namespace flux::node
