// What a node knows of its cluster: the newest configuration that its replica of group 0 has applied, and what is under
// way. Immutable; each worker has the newest one, and keeps those it works with alive.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <vector>

#include "client/routing_map.h"
#include "ctrl/actions.h"
#include "ctrl/state.h"

namespace flux::node {

struct Chart {
  Index at;  // of group 0's log
  std::shared_ptr<const ctrl::Config> config = std::make_shared<const ctrl::Config>();
  std::shared_ptr<const client::RoutingMap> routes = std::make_shared<const client::RoutingMap>();
  std::map<GroupId, ctrl::GroupProgress> progress;
  std::map<ctrl::PlanId, ctrl::Plan> plans;
  std::map<ShardId, GroupId> pins;
  ctrl::BalanceMode balance = ctrl::BalanceMode::kOff;
  bool groups_by_cores = false;
  ctrl::PlanLimits limits;
  std::set<NodeId> silent;            // whoever leads the controller has not heard them for a while
  std::set<NodeId> lost;              // of those: for so long that their replicas go to others
  std::vector<ctrl::Action> actions;  // what should be done now, by whoever leads the groups they concern

  // The open steps of active plans.
  template <typename Visit>
  void for_each_open_step(Visit visit) const {
    for (const auto& [id, plan] : plans) {
      if (!plan.active()) continue;
      for (const ctrl::Step& step : plan.steps) {
        if (ctrl::State::is_open(plan, step)) visit(plan, step);
      }
    }
  }
  // The first of them that meets the condition, and its plan; nulls if there is none.
  struct Found {
    const ctrl::Plan* plan = nullptr;
    const ctrl::Step* step = nullptr;
  };
  template <typename Condition>
  Found open_step(Condition condition) const {
    Found found;
    for_each_open_step([&](const ctrl::Plan& plan, const ctrl::Step& step) {
      if (found.step == nullptr && condition(step)) found = {.plan = &plan, .step = &step};
    });
    return found;
  }
  // Whether a node has, or is about to have, a replica of a group.
  bool has_replica(GroupId group, NodeId node) const;
};

using ChartPtr = std::shared_ptr<const Chart>;

// The chart of a state. Parts that have not changed are shared with the one before.
ChartPtr make_chart(const ctrl::State& state, Index at, const Chart& before);

}  // namespace flux::node
