// Goal: whatever it is told, in whatever order, the controller keeps its promises; and every replica, every replay and
// every restored snapshot is the same.
#include <gtest/gtest.h>

#include <algorithm>

#include "api/slot.h"
#include "base/rng.h"
#include "ctrl/testing/controller.h"

namespace flux::ctrl {
namespace {

using namespace testing;

std::map<GroupId, std::set<std::string>> ranges_by_group(const Config& config) {
  std::map<GroupId, std::set<std::string>> owned;
  for (const auto& [id, keyspace] : config.keyspaces) {
    for (const Shard& shard : keyspace.shards) {
      owned[shard.group].insert(fmt::format("{}/{}/{}", id, shard.id, shard.start));
    }
  }
  return owned;
}

class Model {
 public:
  explicit Model(uint64_t seed) : rng_(seed) {
    for (uint64_t num = 0; num <= a_.config().num.value(); ++num) {
      configs_.push_back(encode_config(a_.state().history.query(ConfigNum(num)).value()));
    }
  }

  void step() {
    const Command command{
        .expected = rng_.chance(0.05) ? ConfigNum(rng_.below(a_.config().num.value() + 2)) : ConfigNum(),
        .body = rng_.chance(0.6) ? sensible() : anything()};
    const std::string encoded = encode_command(command);
    log_.push_back(encoded);
    const Config before = a_.config();
    const auto progress = a_.state().progress;
    const std::string bytes = a_.bytes();
    const Outcome outcome = apply(a_.state(), decode_command(encoded).value());
    accepted_ += outcome.status.ok() ? 1U : 0U;
    if (!outcome.status.ok()) {
      ASSERT_EQ(a_.bytes(), bytes) << name_of(command);
    }
    ASSERT_EQ(outcome.config, a_.config().num);
    const Outcome other = apply(b_, command);
    ASSERT_EQ(other.status.code(), outcome.status.code());
    ASSERT_EQ(encode_state(b_), a_.bytes()) << name_of(command);
    if (rng_.chance(0.02)) b_ = decode_state(a_.bytes()).value();
    check(before, progress);
  }

  void replay() const {
    State state;
    for (uint64_t id = 1; id <= 5; ++id) {
      apply(state, {.body = node(id)});
      apply(state, {.body = announce(id)});
    }
    for (const std::string& command : log_) apply(state, decode_command(command).value());
    ASSERT_EQ(encode_state(state), a_.bytes());
  }

  // Everybody is heard and does what is asked for, nobody asks for more: it comes to rest, evenly.
  void settle() {
    a_.ok(ReportSilent{});
    a_.ok(SetBalance{BalanceMode::kShards});
    for (const auto& [id, group] : Config(a_.config()).groups) {
      if (!group.alive()) continue;
      a_.ok(ReportGroup{
          .group = id, .entry = a_.state().progress_of(id).entry, .voters = group.voters, .learners = group.learners});
    }
    for (const auto& [id, plan] : std::map(a_.state().plans)) {
      if (plan.state == PlanState::kPaused || plan.state == PlanState::kFailed) {
        a_.ok(ControlPlan{id, PlanVerb::kResume});
      }
    }
    a_.run();
    // What is left waits for voters that the nodes are too few for, or that an operator did not want.
    for (const auto& [id, plan] : std::map(a_.state().plans)) {
      if (!plan.active()) continue;
      ASSERT_TRUE(wants_voters(plan)) << describe(plan);
      a_.ok(ControlPlan{id, PlanVerb::kCancel});
    }
    a_.run();
    for (const auto& [id, plan] : a_.state().plans) ASSERT_FALSE(plan.active()) << describe(plan);
    for (const auto& [id, progress] : a_.state().progress) ASSERT_FALSE(progress.busy());
    for (const auto& [shard, group] : a_.state().pins) ASSERT_EQ(a_.config().place(shard).shard->group, group);
    for (const auto& [id, group] : a_.config().groups) ASSERT_NE(group.state, GroupState::kDraining);
  }

  Controller& controller() { return a_; }
  size_t accepted() const { return accepted_; }

 private:
  std::string describe(const Plan& plan) const {
    std::string text = fmt::format("plan {}, {} {}", plan.id, to_string(plan.kind), to_string(plan.state));
    for (const Step& step : plan.steps) {
      text += fmt::format("\n  {} ", to_string(step.phase));
      if (const auto* move = std::get_if<MoveShard>(&step.task)) {
        const Keyspace* keyspace = a_.config().place(move->shard).keyspace;
        const Group& to = *a_.config().group(move->to);
        text += fmt::format("shard {} from group {} to {}, which has {} voters, {} are wanted", move->shard, move->from,
                            move->to, to.voters.size(), keyspace ? keyspace->replication : 0);
      } else {
        const auto& change = std::get<ChangeReplica>(step.task);
        text += fmt::format("group {} plus {} minus {}", change.group, change.add, change.remove);
      }
    }
    return text;
  }

  bool wants_voters(const Plan& plan) const {
    return std::all_of(plan.steps.begin(), plan.steps.end(), [&](const Step& step) {
      const auto* move = std::get_if<MoveShard>(&step.task);
      return step.final() || (move && a_.config().group(move->to)->voters.size() <
                                          a_.config().place(move->shard).keyspace->replication);
    });
  }

  GroupId any_group() { return GroupId(rng_.below(8)); }
  NodeId any_node() { return NodeId(rng_.below(10)); }
  ShardId any_shard() {
    std::vector<ShardId> shards{ShardId(rng_.below(100))};
    for (const auto& [id, keyspace] : a_.config().keyspaces) {
      for (const Shard& shard : keyspace.shards) shards.push_back(shard.id);
    }
    return shards[rng_.below(shards.size())];
  }
  PlanId any_plan() {
    return PlanId(a_.state().last_plan.value() - std::min(rng_.below(4), a_.state().last_plan.value()));
  }
  std::string any_name() { return std::string(1, static_cast<char>('a' + rng_.below(3))); }

  // What somebody would say who does what is asked for.
  CommandBody sensible() {
    const std::vector<Settled> reports = a_.reports();
    if (!reports.empty() && rng_.chance(0.5)) return reports[rng_.below(reports.size())];
    const std::vector<Action> actions = next_actions(a_.state());
    if (actions.empty()) return anything();
    return a_.answer(actions[rng_.below(actions.size())]);
  }

  CommandBody anything() {
    switch (rng_.below(21)) {
      case 0:
        return Join{{{.id = any_group(),
                      .replicas = static_cast<uint32_t>(rng_.below(5)),
                      .weight = static_cast<uint32_t>(rng_.between(1, 2))}}};
      case 1:
        return leave({rng_.below(8)});
      case 2:
        return Move{.shard = any_shard(), .to = any_group(), .pin = rng_.chance(0.2)};
      case 3:
        return Split{.shard = any_shard(), .at = api::slot_start(static_cast<uint16_t>(rng_.below(17'000)))};
      case 4:
        return merge();
      case 5:
        return CreateKeyspace{.name = any_name(),
                              .replication = static_cast<uint32_t>(rng_.below(5)),
                              .slot_ranges = static_cast<uint32_t>(rng_.below(24))};
      case 6:
        return CreateKeyspace{
            .name = any_name(), .kind = KeyspaceKind::kRange, .split_at = {"m", rng_.chance(0.9) ? "z" : "c"}};
      case 7:
        return DropKeyspace{any_name()};
      case 8: {
        const uint64_t id = rng_.below(10);
        const auto cores = static_cast<uint32_t>(rng_.below(4));
        if (rng_.chance(0.5)) return announce(id, cores);
        return node(id, cores);
      }
      case 9:
        return DrainNode{any_node()};
      case 10:
        return RemoveNode{any_node()};
      case 11:
        return ReplaceNode{.node = any_node(), .by = any_node()};
      case 12:
        return SetReplication{any_name(), static_cast<uint32_t>(rng_.below(6))};
      case 13:
        return Rebalance{.shards = rng_.chance(0.5), .replicas = rng_.chance(0.5)};
      case 14:
        return SetBalance{static_cast<BalanceMode>(rng_.between(1, 3))};
      case 15:
        return ControlPlan{any_plan(), static_cast<PlanVerb>(rng_.between(1, 3))};
      case 16:
        return ReportProgress{.plan = any_plan(),
                              .step = static_cast<uint32_t>(rng_.below(3)),
                              .phase = static_cast<StepPhase>(rng_.between(1, 8))};
      case 17:
        return Settled{.group = any_group(), .num = ConfigNum(rng_.below(a_.config().num.value() + 2))};
      case 18:
        return HandOver{.plan = any_plan(), .step = static_cast<uint32_t>(rng_.below(3))};
      case 19:
        if (rng_.chance(0.3)) {
          return SetLimits{{.moves_max = static_cast<uint32_t>(rng_.below(9)),
                            .moves_per_group_max = static_cast<uint32_t>(rng_.below(4)),
                            .changes_max = static_cast<uint32_t>(rng_.below(4))}};
        }
        if (rng_.chance(0.2)) return SetGroups{rng_.chance(0.5)};
        return silent();
      default:
        return report();
    }
  }

  CommandBody silent() {
    ReportSilent words;
    if (rng_.chance(0.3)) words.nodes = {any_node(), any_node()};
    if (rng_.chance(0.5) && !words.nodes.empty()) words.lost.insert(*words.nodes.begin());
    return words;
  }

  CommandBody merge() {
    const auto [keyspace, shard] = a_.config().place(any_shard());
    if (!shard) return Merge{.left = any_shard(), .right = any_shard()};
    const auto at = static_cast<size_t>(shard - keyspace->shards.data());
    return Merge{.left = shard->id,
                 .right = at + 1 < keyspace->shards.size() ? keyspace->shards[at + 1].id : any_shard()};
  }

  CommandBody report() {
    ReportGroup report{.group = any_group(), .entry = Index(rng_.below(20))};
    if (const Group* group = a_.config().group(report.group); group && group->alive()) {
      report.voters = group->voters, report.learners = group->learners;
      report.entry = a_.state().progress_of(report.group).entry + rng_.below(2);
    }
    if (rng_.chance(0.2)) report.learners.insert(any_node());
    return report;
  }

  void check(const Config& before, const std::map<GroupId, GroupProgress>& progress) {
    const Config& config = a_.config();
    ASSERT_TRUE(config.validate().ok()) << config.validate().to_string();
    const uint64_t risen = config.num - before.num;
    ASSERT_LE(risen, 1U);
    if (risen == 0) {
      ASSERT_EQ(config, before);
    } else {
      configs_.push_back(encode_config(config));
    }
    const uint64_t num = rng_.below(config.num.value() + 1);
    ASSERT_EQ(encode_config(a_.state().history.query(ConfigNum(num)).value()), configs_[num]);
    check_coverage(config);
    check_gate(before, progress);
    check_plans();
    ASSERT_TRUE(decode_state(a_.bytes()).ok()) << decode_state(a_.bytes()).status().to_string();
  }

  void check_coverage(const Config& config) {
    for (const auto& [id, keyspace] : config.keyspaces) {
      if (keyspace.kind != KeyspaceKind::kHash) continue;
      uint64_t slots = 0;
      for (size_t at = 0; at < keyspace.shards.size(); ++at) slots += keyspace.measure(at);
      ASSERT_EQ(slots, api::kSlotCount);
    }
  }

  // No group gets a change of its shards before it has settled the one before.
  void check_gate(const Config& before, const std::map<GroupId, GroupProgress>& progress) {
    const auto then = ranges_by_group(before), now = ranges_by_group(a_.config());
    for (const auto& [id, was] : progress) {
      const auto old = then.find(id), fresh = now.find(id);
      const bool same = (old == then.end() && fresh == now.end()) ||
                        (old != then.end() && fresh != now.end() && old->second == fresh->second);
      if (!same) {
        ASSERT_FALSE(was.busy()) << "group " << id.value();
        ASSERT_TRUE(a_.state().progress_of(id).busy());
      }
    }
  }

  void check_plans() {
    std::set<ShardId> moving;
    for (const auto& [id, plan] : a_.state().plans) {
      if (!plan.active()) continue;
      for (const Step& step : plan.steps) {
        const auto* move = std::get_if<MoveShard>(&step.task);
        if (!move || !State::is_open(plan, step)) continue;
        ASSERT_TRUE(moving.insert(move->shard).second) << "two plans for one shard";
        const Shard* shard = a_.config().place(move->shard).shard;
        ASSERT_NE(shard, nullptr);
        ASSERT_EQ(shard->group, step.phase == StepPhase::kSettling ? move->to : move->from);
      }
    }
    for (const auto& [shard, group] : a_.state().pins) {
      const Shard* pinned = a_.config().place(shard).shard;
      ASSERT_NE(pinned, nullptr);
      ASSERT_TRUE(pinned->group == group || moving.contains(shard)) << "shard " << shard.value();
    }
  }

  Rng rng_;
  Controller a_;
  State b_ = a_.state();
  std::vector<std::string> log_;
  std::vector<std::string> configs_;  // by number
  size_t accepted_ = 0;
};

TEST(Model, random_commands_on_two_replicas) {
  size_t accepted = 0;
  for (uint64_t seed = 1; seed <= 24; ++seed) {
    SCOPED_TRACE(seed);
    Model model(seed);
    for (int step = 0; step < 500; ++step) {
      ASSERT_NO_FATAL_FAILURE(model.step());
    }
    ASSERT_NO_FATAL_FAILURE(model.replay());
    ASSERT_NO_FATAL_FAILURE(model.settle());
    accepted += model.accepted();
  }
  EXPECT_GT(accepted, 24U * 500 / 4);
}

TEST(Model, M20_join_leave_storm) {
  Controller controller(9);
  controller.ok(join({1}));
  controller.run();
  controller.ok(hash_keyspace("default", 128));
  controller.run();
  Rng rng(20);
  std::set<GroupId> here{GroupId(1)};
  for (int round = 0; round < 60; ++round) {
    const GroupId group(rng.between(1, 8));
    const Config before = controller.config();
    const bool comes = !here.contains(group);
    if (!comes && here.size() == 1) {
      EXPECT_EQ(controller.refused(leave({group.value()})), ErrorCode::kPrecondition);
      continue;
    }
    if (comes) {
      controller.ok(join({group.value()}));
      here.insert(group);
    } else {
      controller.ok(leave({group.value()}));
      here.erase(group);
    }

    controller.run();
    EXPECT_LE(controller.unevenness("default"), 1U);
    const size_t moved = Controller::moved(before, controller.config());
    EXPECT_LE(moved, comes ? 128 / here.size() : before.owned_by(group));
  }
  EXPECT_EQ(decode_state(controller.bytes()).value().config(), controller.config());
}

}  // namespace
}  // namespace flux::ctrl
