// A small ordered set of nodes: the voters or learners of a group. Iterates in ascending order, so that everything
// derived from it is the same on every run. A value type; not thread-safe.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <vector>

#include "base/types.h"

namespace flux::raft {

class NodeSet {
 public:
  NodeSet() = default;
  NodeSet(std::initializer_list<NodeId> nodes) {
    for (const NodeId node : nodes) insert(node);
  }

  bool contains(NodeId node) const { return std::binary_search(nodes_.begin(), nodes_.end(), node); }
  bool empty() const { return nodes_.empty(); }
  size_t size() const { return nodes_.size(); }
  auto begin() const { return nodes_.begin(); }
  auto end() const { return nodes_.end(); }
  NodeId front() const { return nodes_.front(); }

  // Both return whether the set changed.
  bool insert(NodeId node) {
    const auto at = std::lower_bound(nodes_.begin(), nodes_.end(), node);
    if (at != nodes_.end() && *at == node) return false;
    nodes_.insert(at, node);
    return true;
  }
  bool erase(NodeId node) {
    const auto at = std::lower_bound(nodes_.begin(), nodes_.end(), node);
    if (at == nodes_.end() || *at != node) return false;
    nodes_.erase(at);
    return true;
  }
  void clear() { nodes_.clear(); }

  bool operator==(const NodeSet&) const = default;

 private:
  std::vector<NodeId> nodes_;  // Invariant: strictly ascending.
};

}  // namespace flux::raft
