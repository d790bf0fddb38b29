// What must hold between the nodes of a cluster at every moment. Each core checks itself (src/raft/invariants.h); this
// looks at all of them together, after every turn in which a group did something, and at what they say to each other.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "log_oracle.h"
#include "node/group.h"
#include "node/observer.h"
#include "promises.h"
#include "raft/update.h"
#include "replay.h"

namespace flux::sim {

class Invariants final : public node::Observer {
 public:
  using Report = std::function<void(std::string)>;
  // A replica has stopped although its process goes on.
  using Halted = std::function<void(NodeId, const Status&)>;
  // What the clock of a node that runs would show now, whether or not the node looks.
  using ClockOf = std::function<MonoTime(NodeId)>;
  // `replay` is given every entry once.
  Invariants(Replay& replay, const api::SessionLimits& sessions, const Report& report, Halted halted, ClockOf clock)
      : replay_(replay),
        sessions_(sessions),
        report_(report),
        halted_(std::move(halted)),
        clock_(std::move(clock)),
        oracle_(report),
        promises_(report) {}

  void applied(node::Group& group, const Entry& entry) override;
  void stepped(node::Group& group) override;
  void sending(node::Group& group, const raft::Message& message) override;

  // The process of a node has ended: its next one may begin further back.
  void ended(NodeId node) { seen_[node].running = false; }
  // The disk of a node has lost what it had: what the node once held durably counts, although it does no longer.
  void damaged(NodeId node) { seen_[node].damaged = true; }
  // Of a node that runs, once it has done something; else null.
  node::Group* group_of(NodeId node) { return seen_[node].running ? seen_[node].group : nullptr; }

  // The newest index that any node has applied.
  Index newest() const { return oracle_.newest(); }
  uint64_t leaders() const { return leaders_.size(); }
  uint64_t role_changes() const { return role_changes_; }

 private:
  struct Seen {
    node::Group* group = nullptr;
    bool running = false;
    bool damaged = false;
    Term term;
    Index commit;
    Index applied;
    Index persisted;
    Index membership;
    EntryId base;
    EntryId last;
    raft::Role role = raft::Role::kFollower;
  };
  void check_leader(const raft::Core& core, const Seen& before);
  void check_leases(const raft::Core& leader);
  void check_state(node::Group& group);

  Replay& replay_;
  const api::SessionLimits sessions_;
  const Report report_;
  const Halted halted_;
  const ClockOf clock_;
  LogOracle oracle_;
  Promises promises_;
  std::map<NodeId, Seen> seen_;  // of a node that is down: when it was last seen
  std::map<Term, NodeId> leaders_;
  uint64_t role_changes_ = 0;
};

}  // namespace flux::sim
