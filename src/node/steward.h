// Does for one group what the controller's state asks of it, while this node leads the group: reports its members and
// that it is settled, applies configurations, changes members, hands leadership to who should have it. Moves of shards
// are its ShardMover's.
//
// Everything follows from the chart and the group's own state, so that the next leader goes on with it; doing something
// twice does no harm. Owned by the group's worker.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>

#include "ctrl/command.h"
#include "kv/shard_command.h"
#include "node/chart.h"
#include "node/group.h"

namespace flux::node {

class ShardMover;
class Worker;

class Steward {
 public:
  Steward(Worker& worker, Group& group);
  ~Steward();
  Steward(const Steward&) = delete;
  Steward& operator=(const Steward&) = delete;

  // Sees to what is to be done now. At every change of chart or group, and from time to time.
  void look();

  // So much of a snapshot of the group has reached a peer.
  void snapshot_sent(NodeId to, uint64_t bytes, uint64_t bytes_total);

  // --- For the mover
  Worker& worker() { return worker_; }
  Group& group() { return group_; }
  // Whether this replica leads and knows all that its predecessors have committed.
  bool leads() const;
  // Proposes a change of shards. `done` is given whether it was applied.
  using Proposed = absl::AnyInvocable<void(const Status&, bool applied)>;
  void propose(const kv::ShardCommand& command, Proposed done);
  // Tells the controller, unless it is being told the like already. Whether it is told.
  bool tell(ctrl::CommandBody body);

 private:
  void report_members(const ctrl::Group& known);
  void follow_configuration();
  kv::ApplyConfig next_configuration(ConfigNum num) const;
  void change_members();
  void undo_members(const ctrl::UndoMembers& action);
  // As the chart has it; null if the plan has been forgotten.
  const ctrl::Step* step_of(const ctrl::ChangeMembers& wanted) const;
  ctrl::ReportProgress progress_of(const ctrl::ChangeMembers& wanted) const;
  void change_replica(const ctrl::ChangeMembers& wanted);
  void report_copied(const ctrl::ChangeMembers& wanted);
  void change(std::vector<raft::ConfigStep> steps);
  void lead_where_wanted(const ctrl::Group& known);
  void report_load();

  Worker& worker_;
  Group& group_;
  std::unique_ptr<ShardMover> mover_;
  std::set<size_t> telling_;  // kinds of commands that are on their way to the controller
  bool applying_ = false;
  bool changing_ = false;
  bool transferring_ = false;
  struct Sent {
    uint64_t bytes = 0;
    uint64_t bytes_total = 0;
  };
  std::map<NodeId, Sent> sent_;  // snapshots, by who gets them: what newcomers have of the group
  MonoTime report_not_before_;
  MonoTime rest_until_;  // after a refusal by the controller
  MonoTime transfer_not_before_;
  MonoTime measure_not_before_;
  ShardId measured_last_;  // a report is about so many shards; the next one is about those that follow
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace flux::node
