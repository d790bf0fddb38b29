#include "node/cluster_view.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/overloaded.h"
#include "node/options.h"

namespace flux::node {
namespace {

template <typename Enum>
struct Word {
  Enum value;
  std::string_view word;
};

template <typename Enum, size_t N>
Result<Enum> parse(const Word<Enum> (&words)[N], std::string_view what, const std::string& text) {
  std::string allowed;
  for (const Word<Enum>& each : words) {
    if (each.word == text) return each.value;
    allowed += fmt::format("{}{}", allowed.empty() ? "" : ", ", each.word);
  }
  return Status(ErrorCode::kInvalidArgument, fmt::format("'{}' is no {}; one of {}", text, what, allowed));
}

template <typename Enum, size_t N>
std::string spell(const Word<Enum> (&words)[N], Enum value) {
  for (const Word<Enum>& each : words) {
    if (each.value == value) return std::string(each.word);
  }
  return "unknown";
}

constexpr Word<ctrl::NodeState> kNodeStates[] = {{ctrl::NodeState::kActive, "active"},
                                                 {ctrl::NodeState::kDraining, "draining"},
                                                 {ctrl::NodeState::kRemoved, "removed"}};
constexpr Word<ctrl::GroupState> kGroupStates[] = {{ctrl::GroupState::kCreating, "creating"},
                                                   {ctrl::GroupState::kServing, "serving"},
                                                   {ctrl::GroupState::kDraining, "draining"},
                                                   {ctrl::GroupState::kGone, "gone"}};
constexpr Word<ctrl::KeyspaceKind> kKinds[] = {{ctrl::KeyspaceKind::kHash, "hash"},
                                               {ctrl::KeyspaceKind::kRange, "range"}};
constexpr Word<ctrl::BalanceMode> kModes[] = {
    {ctrl::BalanceMode::kOff, "off"}, {ctrl::BalanceMode::kShards, "shards"}, {ctrl::BalanceMode::kLoad, "load"}};
constexpr Word<ctrl::PlanVerb> kVerbs[] = {
    {ctrl::PlanVerb::kPause, "pause"}, {ctrl::PlanVerb::kResume, "resume"}, {ctrl::PlanVerb::kCancel, "cancel"}};

uint32_t default_replication(const Chart& chart) {
  const ctrl::Keyspace* keyspace = chart.config->keyspace(api::kDefaultKeyspaceName);
  return keyspace != nullptr ? keyspace->replication : 1;
}

// As many for each group as the default keyspace begins with.
uint32_t shards_of(const api::CreateKeyspace& create, const Chart& chart) {
  if (create.shards != 0) return create.shards;
  const auto groups = std::count_if(chart.config->groups.begin(), chart.config->groups.end(),
                                    [](const auto& each) { return each.second.alive(); });
  return std::min<uint32_t>(kShardsPerGroup * static_cast<uint32_t>(groups), api::kSlotCount);
}

std::string describe_task(const ctrl::Task& task) {
  return std::visit(Overloaded{
                        [](const ctrl::MoveShard& move) {
                          return fmt::format("shard {}: group {} -> {}", move.shard, move.from, move.to);
                        },
                        [](const ctrl::ChangeReplica& change) {
                          std::string text = fmt::format("group {}:", change.group);
                          if (change.add != kNobody) text += fmt::format(" +node {}", change.add);
                          if (change.remove != kNobody) text += fmt::format(" -node {}", change.remove);
                          return text;
                        },
                    },
                    task);
}

api::PlanView describe_plan(const ctrl::Plan& plan) {
  api::PlanView view{.id = plan.id.value(),
                     .kind = std::string(ctrl::to_string(plan.kind)),
                     .state = std::string(ctrl::to_string(plan.state)),
                     .steps = {}};
  for (const ctrl::Step& step : plan.steps) {
    const auto* move = std::get_if<ctrl::MoveShard>(&step.task);
    const auto* change = std::get_if<ctrl::ChangeReplica>(&step.task);
    view.steps.push_back({.what = describe_task(step.task),
                          .shard = move != nullptr ? move->shard : ShardId(),
                          .group = change != nullptr && change->add != kNobody ? change->group : GroupId(),
                          .phase = std::string(ctrl::to_string(step.phase)),
                          .bytes_done = step.bytes_done,
                          .bytes_total = step.bytes_total,
                          .keys_done = step.keys_done,
                          .reason = step.reason});
  }
  return view;
}

}  // namespace

Result<ctrl::Command> to_command(const api::ClusterChange& change, const Chart& chart) {
  using Body = Result<ctrl::CommandBody>;
  Body body = std::visit(
      Overloaded{
          [](const api::AddNode& c) -> Body {
            return ctrl::CommandBody(ctrl::AddNode{
                .record = {.id = kNobody, .name = c.name, .peer_address = c.peer_address}, .cores = c.cores});
          },
          [](const api::DrainNode& c) -> Body { return ctrl::CommandBody(ctrl::DrainNode{c.node}); },
          [](const api::RemoveNode& c) -> Body { return ctrl::CommandBody(ctrl::RemoveNode{c.node}); },
          [](const api::ReplaceNode& c) -> Body {
            return ctrl::CommandBody(ctrl::ReplaceNode{.node = c.node, .by = c.by});
          },
          [&](const api::AddGroup& c) -> Body {
            ctrl::GroupSpec spec{.id = c.id == GroupId(0) ? ctrl::kAnyGroup : c.id, .weight = c.weight};
            spec.voters.insert(c.voters.begin(), c.voters.end());
            if (spec.voters.empty()) spec.replicas = c.replicas != 0 ? c.replicas : default_replication(chart);
            return ctrl::CommandBody(ctrl::Join{{spec}});
          },
          [](const api::RemoveGroup& c) -> Body { return ctrl::CommandBody(ctrl::Leave{{c.group}}); },
          [](const api::MoveShard& c) -> Body {
            return ctrl::CommandBody(ctrl::Move{.shard = c.shard, .to = c.to, .pin = c.pin});
          },
          [](const api::SplitShard& c) -> Body { return ctrl::CommandBody(ctrl::Split{.shard = c.shard, .at = c.at}); },
          [](const api::MergeShards& c) -> Body {
            return ctrl::CommandBody(ctrl::Merge{.left = c.left, .right = c.right});
          },
          [&](const api::CreateKeyspace& c) -> Body {
            // Its id is the first one, which the keyspace has that requests go to which name none.
            if (chart.config->keyspace(api::kDefaultKeyspaceId) == nullptr && c.name != api::kDefaultKeyspaceName) {
              return Status(ErrorCode::kUnavailable, "the cluster is being set up: its first keyspace is to come");
            }
            if (c.name == "0") {
              return Status(ErrorCode::kInvalidArgument, "0 is another name of the default keyspace");
            }
            FLUX_TRY(const ctrl::KeyspaceKind kind, parse(kKinds, "kind of keyspace", c.kind));
            const bool hash = kind == ctrl::KeyspaceKind::kHash;
            return ctrl::CommandBody(
                ctrl::CreateKeyspace{.name = c.name,
                                     .kind = kind,
                                     .replication = c.replication != 0 ? c.replication : default_replication(chart),
                                     .slot_ranges = hash ? shards_of(c, chart) : 0,
                                     .split_at = c.split_at});
          },
          [](const api::DropKeyspace& c) -> Body {
            if (c.name == api::kDefaultKeyspaceName) {
              return Status(ErrorCode::kPrecondition,
                            "the keyspace that requests go to which name none stays; FLUSHALL "
                            "empties it");
            }
            return ctrl::CommandBody(ctrl::DropKeyspace{c.name});
          },
          [](const api::SetReplication& c) -> Body {
            return ctrl::CommandBody(ctrl::SetReplication{.keyspace = c.keyspace, .replication = c.replication});
          },
          [](const api::Rebalance&) -> Body { return ctrl::CommandBody(ctrl::Rebalance{}); },
          [](const api::SetBalance& c) -> Body {
            FLUX_TRY(const ctrl::BalanceMode mode, parse(kModes, "mode of balance", c.mode));
            return ctrl::CommandBody(ctrl::SetBalance{mode});
          },
          [](const api::SetGroups& c) -> Body { return ctrl::CommandBody(ctrl::SetGroups{.by_cores = c.by_cores}); },
          [](const api::SetLimits& c) -> Body {
            return ctrl::CommandBody(ctrl::SetLimits{{.moves_max = c.limits.moves,
                                                      .moves_per_group_max = c.limits.moves_per_group,
                                                      .changes_max = c.limits.member_changes}});
          },
          [](const api::ControlPlan& c) -> Body {
            FLUX_TRY(const ctrl::PlanVerb verb, parse(kVerbs, "verb for a plan", c.verb));
            return ctrl::CommandBody(ctrl::ControlPlan{.plan = ctrl::PlanId(c.plan), .verb = verb});
          },
      },
      change.request);
  if (!body.ok()) return body.status();
  return ctrl::Command{.expected = change.expected, .body = std::move(body).value()};
}

api::ClusterReply to_reply(ctrl::Outcome outcome) {
  return {.status = std::move(outcome.status),
          .config = outcome.config,
          .plan = outcome.plan.value(),
          .node = outcome.node,
          .group = outcome.group,
          .note = std::move(outcome.note)};
}

api::ClusterView describe(const ctrl::Config& config, const Chart& chart) {
  api::ClusterView view;
  view.config = config.num;
  view.balance = spell(kModes, chart.balance);
  view.groups_by_cores = chart.groups_by_cores;
  view.limits = {.moves = chart.limits.moves_max,
                 .moves_per_group = chart.limits.moves_per_group_max,
                 .member_changes = chart.limits.changes_max};
  for (const auto& [id, node] : config.nodes) {
    api::NodeView& each = view.nodes.emplace_back();
    each = {.record = node.record, .state = spell(kNodeStates, node.state), .cores = node.cores};
    each.silent = chart.silent.contains(id);
    each.lost = chart.lost.contains(id);
    for (const auto& [number, group] : config.groups) {
      each.replicas += group.has(id) ? 1U : 0U;
      each.leaders += group.leader == id ? 1U : 0U;
    }
  }
  for (const auto& [id, group] : config.groups) {
    api::GroupView& each = view.groups.emplace_back();
    each = {.id = id, .state = spell(kGroupStates, group.state), .weight = group.weight, .leader = group.leader};
    each.voters.assign(group.voters.begin(), group.voters.end());
    each.learners.assign(group.learners.begin(), group.learners.end());
    each.shards = config.owned_by(id);
    if (const auto progress = chart.progress.find(id); progress != chart.progress.end()) {
      each.settled = progress->second.settled;
      each.changed = progress->second.changed;
    }
  }
  for (const auto& [id, keyspace] : config.keyspaces) {
    view.keyspaces.push_back({.id = id,
                              .name = keyspace.name,
                              .kind = spell(kKinds, keyspace.kind),
                              .replication = keyspace.replication,
                              .shards = keyspace.shards.size()});
    for (size_t at = 0; at < keyspace.shards.size(); ++at) {
      const ctrl::Shard& shard = keyspace.shards[at];
      view.shards.push_back({.id = shard.id,
                             .keyspace = keyspace.name,
                             .start = shard.start,
                             .end = std::string(keyspace.end_of(at)),
                             .group = shard.group,
                             .pinned = chart.pins.contains(shard.id)});
    }
  }
  if (config.num == chart.config->num) {
    for (const auto& [id, plan] : chart.plans) view.plans.push_back(describe_plan(plan));
  }
  return view;
}

void add_waits(api::ClusterView& view, const ctrl::State& state) {
  for (api::PlanView& each : view.plans) {
    const ctrl::Plan* plan = state.plan(ctrl::PlanId(each.id));
    if (plan == nullptr || !plan->active() || plan->steps.size() != each.steps.size()) continue;
    for (size_t at = 0; at < plan->steps.size(); ++at) {
      if (plan->steps[at].final()) continue;
      const Status waits = ctrl::awaits(state, plan->steps[at]);
      if (!waits.ok()) each.steps[at].reason = "waits: " + waits.message();
    }
  }
}

}  // namespace flux::node
