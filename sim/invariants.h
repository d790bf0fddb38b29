// What must hold between the nodes of a cluster at every moment. Each core checks itself (src/raft/invariants.h); this
// looks at all of them together, after every turn in which a group did something, and at what they say to each other.
#pragma once

#include <fmt/core.h>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "ctrl/config.h"
#include "log_oracle.h"
#include "node/group.h"
#include "node/observer.h"
#include "promises.h"
#include "raft/update.h"
#include "replay.h"

namespace flux::sim {

// Of one group.
class GroupInvariants {
 public:
  using Report = std::function<void(std::string)>;
  // A replica has stopped although its process goes on.
  using Halted = std::function<void(NodeId, const Status&)>;
  // What the clock of a node that runs would show now, whether or not the node looks.
  using ClockOf = std::function<MonoTime(NodeId)>;
  GroupInvariants(GroupId id, const api::StateLimits& limits, const Report& report, const Halted& halted,
                  const ClockOf& clock)
      : id_(id),
        limits_(limits),
        report_([id, report](std::string problem) { report(fmt::format("group {}: {}", id, problem)); }),
        halted_(halted),
        clock_(clock),
        replay_(id, limits),
        oracle_(report_),
        promises_(report_) {}

  void applied(node::Group& group, const Entry& entry);
  void stepped(node::Group& group);
  void sending(node::Group& group, const raft::Message& message);

  void ended(NodeId node) { seen_[node].running = false; }
  void closed(NodeId node) {
    ended(node);
    promises_.left(node);
  }
  void damaged(NodeId node) { seen_[node].damaged = true; }
  node::Group* group_of(NodeId node) { return seen_[node].running ? seen_[node].group : nullptr; }
  // One more replica, which the log alone has made.
  Replay& replay() { return replay_; }
  Index newest() const { return oracle_.newest(); }
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

  const GroupId id_;
  const api::StateLimits limits_;
  const Report report_;
  const Halted halted_;
  const ClockOf clock_;
  Replay replay_;
  LogOracle oracle_;
  Promises promises_;
  std::map<NodeId, Seen> seen_;  // of a node that is down: when it was last seen
  std::map<Term, NodeId> leaders_;
  uint64_t role_changes_ = 0;
};

// Of all groups, and of the shards between them.
class Invariants final : public node::Observer {
 public:
  using Report = GroupInvariants::Report;
  using Halted = GroupInvariants::Halted;
  using ClockOf = GroupInvariants::ClockOf;
  Invariants(const api::StateLimits& limits, Report report, Halted halted, ClockOf clock)
      : limits_(limits), report_(std::move(report)), halted_(std::move(halted)), clock_(std::move(clock)) {}

  void applied(node::Group& group, const Entry& entry) override;
  void stepped(node::Group& group) override { of(group.id()).stepped(group); }
  void sending(node::Group& group, const raft::Message& message) override { of(group.id()).sending(group, message); }
  void closed(node::Group& group) override { of(group.id()).closed(group.core().id()); }

  // The process of a node has ended: its next one may begin further back.
  void ended(NodeId node) {
    for (auto& [id, group] : groups_) group->ended(node);
  }
  // The disk of a node has lost what it had: what the node once held durably counts, although it does no longer.
  void damaged(NodeId node) {
    damaged_.insert(node);
    for (auto& [id, group] : groups_) group->damaged(node);
  }
  GroupInvariants& of(GroupId group);
  // Groups that have done anything.
  std::vector<GroupId> groups() const;
  // Every slot is served by one group at most, as the logs have it so far (I14); asked now and then.
  void check_owners();
  void check_versions();
  // At the end: by exactly one, and nobody who lives holds keys of a shard that it does not own. A group that is gone
  // may have had something left to erase.
  void check_conservation(const std::vector<GroupId>& alive, const ctrl::Config& config);

  uint64_t entries() const;
  uint64_t role_changes() const;

 private:
  const api::StateLimits limits_;
  const Report report_;
  const Halted halted_;
  const ClockOf clock_;
  std::set<NodeId> damaged_;
  std::map<GroupId, std::unique_ptr<GroupInvariants>> groups_;
  // Who served a shard last, and the newest version that it may have given a key of it.
  struct Served {
    GroupId group;
    Version version;
    bool given = false;  // what its group writes from then on is no key's of it
  };
  std::map<ShardId, Served> served_;
};

}  // namespace flux::sim
