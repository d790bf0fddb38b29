// What must hold between the nodes of a cluster at every moment. Each core checks itself (src/raft/invariants.h); this
// looks at all of them together, after every turn in which a group did something.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "node/group.h"
#include "node/observer.h"
#include "raft/update.h"
#include "replay.h"

namespace flux::sim {

class Invariants final : public node::Observer {
 public:
  using Report = std::function<void(std::string)>;
  // A replica has stopped although its process goes on.
  using Halted = std::function<void(NodeId, const Status&)>;
  // `replay` is given every entry once.
  Invariants(Replay& replay, Report report, Halted halted)
      : replay_(replay), report_(std::move(report)), halted_(std::move(halted)) {}

  void applied(node::Group& group, const Entry& entry) override;
  void stepped(node::Group& group) override;

  // The process of a node has ended: its next one may begin further back.
  void ended(NodeId node) { seen_[node].running = false; }
  // Of a node that runs, once it has done something; else null.
  node::Group* group_of(NodeId node) { return seen_[node].running ? seen_[node].group : nullptr; }

  // The newest index that any node has applied.
  Index newest() const { return Index(entries_.empty() ? 0 : entries_.size() - 1); }
  uint64_t leaders() const { return leaders_.size(); }
  uint64_t role_changes() const { return role_changes_; }

 private:
  struct Applied {
    Term term;
    uint64_t hash = 0;
    NodeId first;  // who applied it first
  };
  struct Seen {
    node::Group* group = nullptr;
    bool running = false;
    Term term;
    Index commit;
    Index applied;
    Index persisted;
    Index membership;
    raft::Role role = raft::Role::kFollower;
  };
  void check_leader(const raft::Core& core, const Seen& before);

  void check_state(node::Group& group);

  Replay& replay_;
  const Report report_;
  const Halted halted_;
  std::vector<Applied> entries_;  // by index
  std::map<NodeId, Seen> seen_;   // of a node that is down: when it was last seen
  std::map<Term, NodeId> leaders_;
  uint64_t role_changes_ = 0;
};

}  // namespace flux::sim
