// One command at work: handlers check first, then change the draft of the next configuration and the rest of the state.
// Internal to apply.
#pragma once

#include <fmt/core.h>

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "ctrl/apply.h"
#include "ctrl/balance.h"
#include "ctrl/placement.h"

namespace flux::ctrl {

template <typename... Args>
Status refuse(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  return {code, fmt::format(format, std::forward<Args>(args)...)};
}

class Turn {
 public:
  explicit Turn(State& state) : state_(state) {}

  // What handlers may change directly: all but the history, and only once they can no longer refuse.
  State& state() { return state_; }
  const State& state() const { return state_; }
  const Config& config() const { return draft_ ? *draft_ : state_.config(); }
  // The next configuration. Begun with the first call; a handler that refuses after it leaves no trace.
  Config& draft();
  // The number that the draft has, or will have.
  ConfigNum next_num() const { return state_.config().num + 1; }

  // kUnavailable if the group has not settled its last change.
  Status check_settled(GroupId group) const;
  // OK if no open step of a plan meets the condition; otherwise an error that names the plan. A rebalance gives way:
  // what it has not begun is undone once the command is accepted, and what it is at is waited for (kUnavailable).
  template <typename Condition>
  Status check_unplanned(std::string_view what, Condition condition) {
    for (auto& [id, plan] : state_.plans) {
      if (!plan.active()) continue;
      for (Step& step : plan.steps) {
        if (!State::is_open(plan, step) || !condition(step)) continue;
        FLUX_RETURN_IF_ERROR(check_gives_way(plan, step, what));
        giving_way_.push_back({.plan = id, .step = static_cast<size_t>(&step - plan.steps.data())});
      }
    }
    return {};
  }
  // The group's shards change in the draft. REQUIRES: the group is settled, or is born in the draft.
  void changes(GroupId group);

  // Begins a plan; REQUIRES: check_room_for_plan() is OK. One without steps is done at once.
  Status check_room_for_plan() const;
  PlanId begin(PlanKind kind, const std::vector<Task>& tasks, std::set<GroupId> groups = {}, NodeId node = kNobody);
  // To be called after a step has changed: ends the plan if nothing is left to do, with what its end brings about.
  void advance(Plan& plan);

  // Who could take a replica of the group in the stead of a receiver that is lost; nobody if there is no such node.
  NodeId other_receiver(GroupId group);
  // The step ends undone. Of a plan that goes on regardless, another step follows with another receiver.
  void undo(Plan& plan, size_t step);
  // Nobody waits for a receiver that is lost: a rebalance gives the step up, others choose anew if there is a choice.
  // A replacement does not, for its receiver was named.
  void leave_lost_receivers();

  // Nothing counts on the node any more, and it is forgotten but for its id.
  void remove(NodeId node);

  // Makes the draft, if there is one, the newest configuration.
  void commit();

  PlanId begun;
  NodeId added;    // AddNode: the node
  GroupId joined;  // Join: the last of the new groups
  std::string note;

 private:
  Status check_gives_way(const Plan& plan, const Step& step, std::string_view what) const;
  void give_way();
  void finish(Plan& plan);
  // Changes of members that were to come end with the group: nobody has a replica of it any more.
  void release_members(GroupId gone);
  void forget_oldest_plans();

  const Config& planned();

  State& state_;
  std::optional<Config> draft_;
  std::optional<Config> planned_;  // as it will be once what is planned has happened: who has which replicas
  struct Place {
    PlanId plan;
    size_t step = 0;
  };
  std::vector<Place> giving_way_;
};

// One handler per command; beside each other by what they are about.
Status on(Turn& turn, const Join& command);
Status on(Turn& turn, const Leave& command);
Status on(Turn& turn, const Settled& command);
Status on(Turn& turn, const ReportGroup& command);
Status on(Turn& turn, const Split& command);
Status on(Turn& turn, const Merge& command);
Status on(Turn& turn, const CreateKeyspace& command);
Status on(Turn& turn, const DropKeyspace& command);
Status on(Turn& turn, const SetReplication& command);
Status on(Turn& turn, const AddNode& command);
Status on(Turn& turn, const AnnounceNode& command);
Status on(Turn& turn, const ReportSilent& command);
Status on(Turn& turn, const DrainNode& command);
Status on(Turn& turn, const RemoveNode& command);
Status on(Turn& turn, const ReplaceNode& command);
Status on(Turn& turn, const Move& command);
Status on(Turn& turn, const Rebalance& command);
Status on(Turn& turn, const SetBalance& command);
Status on(Turn& turn, const SetLimits& command);
Status on(Turn& turn, const SetGroups& command);
Status on(Turn& turn, const ControlPlan& command);
Status on(Turn& turn, const ReportProgress& command);
Status on(Turn& turn, const HandOver& command);

}  // namespace flux::ctrl
