#include "node/chart.h"

namespace flux::node {

bool Chart::has_replica(GroupId group, NodeId node) const {
  const ctrl::Group* found = config->group(group);
  if (found == nullptr || !found->alive()) return false;
  if (found->has(node)) return true;
  // One that is to be added is not in the configuration before it is a member.
  const auto adds = [&](const ctrl::Step& step) {
    const auto* change = std::get_if<ctrl::ChangeReplica>(&step.task);
    return change != nullptr && change->group == group && change->add == node &&
           step.phase != ctrl::StepPhase::kPending;
  };
  if (open_step(adds).step != nullptr) return true;
  for (const ctrl::Action& action : actions) {
    const auto* change = std::get_if<ctrl::ChangeMembers>(&action);
    if (change != nullptr && change->change.group == group && change->change.add == node) return true;
  }
  return false;
}

ChartPtr make_chart(const ctrl::State& state, Index at, const Chart& before) {
  auto chart = std::make_shared<Chart>();
  chart->at = at;
  if (state.config().num == before.config->num) {
    chart->config = before.config;
    chart->routes = before.routes;
  } else {
    chart->config = std::make_shared<const ctrl::Config>(state.config());
    chart->routes = std::make_shared<const client::RoutingMap>(state.config());
  }
  chart->progress = state.progress;
  chart->plans = state.plans;
  chart->pins = state.pins;
  chart->balance = state.balance;
  chart->groups_by_cores = state.groups_by_cores;
  chart->limits = state.limits;
  chart->silent = state.silent;
  chart->lost = state.lost;
  chart->actions = ctrl::next_actions(state);
  return chart;
}

}  // namespace flux::node
