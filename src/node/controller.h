// The controller as a node takes part in it: makes a chart of what its replica of group 0 has applied, tells the
// controller of this node, and, while group 0 is led here, does what nobody else can: founds the cluster, hands shards
// over, keeps the controller's own members up to date.
//
// Everything it does follows from the state, so that whoever leads next goes on with it.
//
// Owned by the loop of group 0's worker.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>

#include "ctrl/command.h"
#include "node/chart.h"
#include "node/control_machine.h"
#include "node/group.h"
#include "node/identity.h"
#include "node/shard_load.h"

namespace flux::node {

inline constexpr GroupId kControlGroup{0};

class Controller {
 public:
  // `published` is given each new chart.
  Controller(const Identity& identity, const NodeOptions& options, env::Loop& loop, Group& group,
             ControlMachine& machine, std::function<void(ChartPtr)> published);
  ~Controller();
  Controller(const Controller&) = delete;
  Controller& operator=(const Controller&) = delete;

  // What is known at the start; afterwards looks around from time to time.
  void start();
  // Group 0 has applied something, or has another role.
  void on_changed();

  // Any node: proposes a command, wherever the controller leads. An error in the outcome is the controller's refusal,
  // or says that it could not be reached or that the outcome is not known.
  using Submitted = absl::AnyInvocable<void(ctrl::Outcome)>;
  void submit(const ctrl::Command& command, Submitted done);
  // The same; answers once this node's chart shows what was done, so that who asked sees it here from then on. Waits no
  // longer than a request may take: what is done stays done.
  void submit_and_see(const ctrl::Command& command, Submitted done);

  const ChartPtr& chart() const { return chart_; }
  const ctrl::State& state() const { return machine_.state(); }
  // How busy the shards of a group are, as its leader says. Counts only where we lead.
  void on_load(const LoadReport& report);
  // No more words about this node: it is about to leave.
  void be_quiet() { quiet_ = true; }

 private:
  // Where a command stands in the log of group 0 is told along.
  using Placed = absl::AnyInvocable<void(ctrl::Outcome, Index)>;
  void propose(const ctrl::Command& command, Placed done);
  void answer_who_waits();
  void look();
  void announce();
  void lead();
  std::optional<ctrl::CommandBody> next_command();
  std::optional<ctrl::CommandBody> next_advice();
  void forget_loads();
  std::optional<ctrl::CommandBody> found() const;
  void listen();
  ctrl::ReportSilent who_is_silent();
  std::optional<raft::ConfigStep> next_member_change() const;
  void change_members();

  const Identity& identity_;
  const NodeOptions& options_;
  env::Loop& loop_;
  Group& group_;
  ControlMachine& machine_;
  const std::function<void(ChartPtr)> published_;
  ChartPtr chart_ = std::make_shared<const Chart>();
  struct Unseen {
    MonoTime until;
    ctrl::Outcome outcome;
    Submitted done;
  };
  std::multimap<Index, Unseen> unseen_;  // by where the command stands
  bool submitting_ = false;              // a command of lead()
  bool changing_ = false;                // members of group 0
  bool announcing_ = false;
  bool quiet_ = false;
  MonoTime rest_until_;                      // after a refusal
  std::map<NodeId, MonoTime> leaving_;       // members that are to be removed, and since when
  std::map<NodeId, MonoTime> heard_;         // as leader: when each node was heard last, or expected to be from then on
  std::map<NodeId, MonoTime> silent_since_;  // as leader: who is silent, and since when we have seen it
  // Balancing by load, as leader. Measured since the newest configuration: what moved or was cut is measured anew.
  std::map<ShardId, ctrl::ShardReport> loads_;
  std::map<ShardId, GroupId> owners_;  // of the newest configuration; empty: not looked up yet
  std::deque<ctrl::Command> advice_;
  MonoTime advice_not_before_;
  env::TimerId timer_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

// Whether a group can decide without one of its voters, as far as its leader has heard of the others lately. `joins`
// becomes a voter as the other goes; kNobody if nobody does.
bool can_do_without(const Group& group, NodeId voter, MonoTime now, NodeId joins = kNobody);

}  // namespace flux::node
