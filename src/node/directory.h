// The nodes this node knows: where they are reached and what they are called. Thread-safe.
//
// Fed by the founders' list and by the controller's configurations.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "api/admin_service.h"

namespace flux::node {

// As it travels between nodes.
std::string encode_node_record(const api::NodeRecord& record);
Result<api::NodeRecord> decode_node_record(std::string_view bytes);

class Directory {
 public:
  // Adds or replaces a record. A record without client addresses does not erase those that are known.
  void put(const api::NodeRecord& record);
  // Of a node that was removed from the cluster.
  void erase(NodeId node);
  bool removed(NodeId node) const;
  std::optional<api::NodeRecord> find(NodeId node) const;
  std::vector<api::NodeRecord> all() const;
  // Rises with every change.
  uint64_t generation() const;

  // A node refuses to talk to us and says why; empty: it talks to us.
  void set_refusal(NodeId node, std::string why);
  // Why a node that refuses us does so; empty if none does.
  std::string refusal() const;

 private:
  mutable std::mutex mutex_;
  std::map<NodeId, api::NodeRecord> records_;  // guarded by mutex_
  std::set<NodeId> removed_;                   // guarded by mutex_
  std::map<NodeId, std::string> refusals_;     // guarded by mutex_
  uint64_t generation_ = 1;                    // guarded by mutex_
};

}  // namespace flux::node
