#include "trial.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "base/log.h"
#include "history/linearizability.h"

namespace flux::sim {
namespace {

// How long a cluster in peace may take to agree: elections, a snapshot or two, waits of requests and connections.
constexpr Micros kSettle = Millis(30'000);
// How long an operator may need to replace damaged hosts in peace, one after the other.
constexpr Micros kReplace = Millis(90'000);

struct Draws {
  Knobs knobs;
  WorkloadOptions workload;
  FaultPlan plan;
  uint64_t world;
  uint64_t clients;
  uint64_t faults;
  uint64_t minority;
};

Draws draw(uint64_t seed) {
  Rng rng(seed);
  Draws draws;
  draws.knobs = Knobs::draw(rng.fork());
  draws.workload = WorkloadOptions::draw(rng.fork());
  draws.plan = FaultPlan::draw(rng.fork());
  draws.world = rng.next();
  draws.clients = rng.next();
  draws.faults = rng.next();
  draws.minority = rng.next();
  if (draws.plan.every[static_cast<size_t>(FaultKind::kClockStep)].count() > 0) {
    draws.workload.wall_error_max = Millis(2 * draws.plan.clock_step_ms_max);
  }
  return draws;
}

class Trial {
 public:
  Trial(const TrialOptions& options, Draws draws)
      : options_(options),
        minority_(draws.minority),
        world_(draws.world),
        invariants_(
            draws.knobs.node.limits, [this](std::string problem) { cluster_.report(std::move(problem)); },
            [this](NodeId node, const Status& why) { on_halted(node, why); },
            [this](NodeId node) { return cluster_.loop(cluster_.host_of(node).value()).clock_now(); }),
        cluster_(narrated(world_), std::move(draws.knobs), invariants_),
        workload_(world_, cluster_, draws.workload, Rng(draws.clients)),
        faults_(world_, cluster_, without(draws.plan), Rng(draws.faults)) {
    world_.set_chop(cluster_.knobs().chop);
  }
  ~Trial() { log::set_writer(nullptr); }
  Trial(const Trial&) = delete;
  Trial& operator=(const Trial&) = delete;

  Outcome go() {
    const auto safety = Micros(options_.seconds * 800'000);
    // A cluster is founded in peace: what goes wrong from then on is nobody's excuse for having no groups.
    if (!world_.run(world_.now() + kSettle, [this] { return failed() || cluster_.founded(); })) {
      cluster_.report("the cluster is not founded: " + describe());
      return outcome();
    }
    if (workload_.in_order() && !create_ordered()) return outcome();
    workload_.start();
    faults_.start();
    world_.run(world_.now() + safety, [this] { return failed(); });
    faults_.stop();
    workload_.peace();
    if (!failed()) make_peace();
    if (!failed()) check_history();
    return outcome();
  }

 private:
  // What the nodes log is part of the story that is told.
  World& narrated(World& world) const {
    world.set_narrator(options_.narrator);
    if (options_.narrator) log::set_writer([&world](log::Level, std::string_view line) { world.say("{}", line); });
    return world;
  }
  bool failed() const { return !cluster_.problem().empty(); }

  FaultPlan without(FaultPlan plan) const {
    for (const FaultKind kind : options_.without) plan.every[static_cast<size_t>(kind)] = Micros(0);
    return plan;
  }

  void on_halted(NodeId node, const Status& why) {
    if (const std::optional<size_t> host = cluster_.host_of(node)) cluster_.failed(*host, why.with("a replica halted"));
  }

  // While groups still settle it is refused.
  bool create_ordered() {
    const api::CreateKeyspace request{.name = std::string(kOrdered), .kind = "range", .split_at = {"d", "p"}};
    const auto created = std::make_shared<bool>(false);
    for (int tries = 0; tries < 100 && !*created && !failed(); ++tries) {
      const std::optional<size_t> leader = cluster_.leader(node::kControlGroup);
      if (leader) {
        world_.at(world_.now(), cluster_.loop(*leader), [this, created, request, at = *leader] {
          cluster_.node(at).admin(0).change_cluster(
              {.request = request, .expected = {}}, [created](const api::ClusterReply& reply) {
                *created = *created || reply.status.ok() || reply.status.code() == ErrorCode::kAlreadyExists;
              });
        });
      }
      world_.run(world_.now() + Millis(1000), [&] { return failed() || *created; });
    }
    if (!*created) cluster_.report("a keyspace is not created: " + describe());
    return !failed();
  }

  // Without faults a quorum must go on, and then all must agree, about the log and about the state.
  void make_peace() {
    // A change of membership that is still on its way may move the quorum to those that stay down.
    const bool fixed = faults_.counts()[static_cast<size_t>(FaultKind::kAddNode)] == 0 &&
                       faults_.counts()[static_cast<size_t>(FaultKind::kRemoveNode)] == 0 && !faults_.hands().busy() &&
                       faults_.hands().replaced() == 0;
    const bool some_stay_down = fixed && minority_.chance(0.4) && leave_minority_down();
    if (some_stay_down && !settle(false)) return;
    for (size_t i = 0; i < cluster_.hosts(); ++i) cluster_.start(i);
    end_plans();
    if (failed() || !replace_damaged()) return;
    world_.run(world_.now() + Micros(options_.seconds * 100'000), [this] { return failed(); });
    if (!failed()) end_plans();
    workload_.stop();
    if (failed() || !settle(true)) return;
    for (size_t i = 0; i < cluster_.hosts() && !failed(); ++i) {
      if (is_member(i)) audit(i);
    }
    if (failed() || !settle(true)) return;
    compare_states();
  }

  // A group that has lost voters since a plan was made receives no shards: the step waits for somebody to give it more.
  static bool waits_for_voters(const ctrl::Config& config, const ctrl::Plan& plan) {
    return std::any_of(plan.steps.begin(), plan.steps.end(), [&](const ctrl::Step& step) {
      const auto* move = std::get_if<ctrl::MoveShard>(&step.task);
      if (move == nullptr || step.final()) return false;
      const ctrl::Group* receiver = config.group(move->to);
      const ctrl::Keyspace* keyspace = config.place(move->shard).keyspace;
      return receiver != nullptr && keyspace != nullptr && receiver->voters.size() < keyspace->replication;
    });
  }

  // What somebody has begun and left paused, what has failed, and what cannot go on, is given up.
  void end_plans() {
    const auto open = [this]() -> std::optional<ctrl::PlanId> {
      const std::optional<size_t> leader = cluster_.leader(node::kControlGroup);
      if (!leader) return std::nullopt;
      const node::ChartPtr chart = cluster_.chart(*leader);
      for (const auto& [id, plan] : chart->plans) {
        if (plan.state == ctrl::PlanState::kPaused || plan.state == ctrl::PlanState::kFailed) return id;
        if (plan.state == ctrl::PlanState::kRunning && waits_for_voters(*chart->config, plan)) return id;
      }
      return std::nullopt;
    };
    for (int tries = 0; tries < 100 && !failed(); ++tries) {
      const std::optional<size_t> leader = cluster_.leader(node::kControlGroup);
      const std::optional<ctrl::PlanId> plan = open();
      if (leader && !plan) return;
      if (plan) {
        world_.at(world_.now(), cluster_.loop(*leader), [this, at = *leader, plan = *plan] {
          cluster_.node(at).admin(0).change_cluster(
              {.request = api::ControlPlan{.plan = plan.value(), .verb = "cancel"}, .expected = {}},
              [](const api::ClusterReply&) {});
        });
      }
      world_.run(world_.now() + Millis(500), [this] { return failed(); });
    }
  }

  bool replace_damaged() {
    if (faults_.hands().busy()) {
      world_.run(world_.now() + kReplace, [this] { return failed() || !faults_.hands().busy(); });
    }
    if (faults_.hands().busy()) {
      cluster_.report(fmt::format("damaged hosts cannot be replaced: {}{}", faults_.hands().to_text(), describe()));
    }
    return !failed();
  }

  // One that was removed while it was down may not know.
  bool is_member(size_t i) { return is_member(i, node::kControlGroup); }
  bool is_member(size_t i, GroupId id) {
    const std::optional<size_t> leader = cluster_.leader(id);
    if (!leader || !cluster_.up(i)) return false;
    const api::GroupStatus group = *cluster_.group(*leader, id);
    const NodeId node = cluster_.node_id(i);
    return std::count(group.voters.begin(), group.voters.end(), node) +
               std::count(group.learners.begin(), group.learners.end(), node) >
           0;
  }

  bool leave_minority_down() {
    if (!world_.run(world_.now() + kSettle, [this] { return failed() || cluster_.converged(); })) return false;
    if (failed()) return false;
    // A minority of every group: that of the smallest one.
    std::vector<NodeId> voters;
    for (const GroupId id : cluster_.all_groups()) {
      const std::optional<size_t> leader = cluster_.leader(id);
      if (!leader) return false;
      const std::vector<NodeId> members = cluster_.group(*leader, id)->voters;
      if (voters.empty() || members.size() < voters.size()) voters = members;
    }
    for (size_t down = (voters.size() - 1) / 2; down > 0; --down) {
      const size_t pick = minority_.below(voters.size());
      if (const std::optional<size_t> host = cluster_.host_of(voters[pick])) {
        world_.say("n{} stays down", *host + 1);
        cluster_.power_cut(*host, env::testing::CrashPolicy::random(minority_.next()));
      }
      voters.erase(voters.begin() + static_cast<ptrdiff_t>(pick));
    }
    return true;
  }

  bool settle(bool all) {
    std::map<GroupId, Cluster::Mark> marks;
    // As long as some are down there is always something on its way, if only from clients that ask again.
    const auto settled = [&] { return all ? cluster_.converged() && workload_.idle() : cluster_.goes_on(marks); };
    uint64_t asked = 0;
    // Looking costs more than most events do.
    const bool done = world_.run(world_.now() + kSettle, [&] { return failed() || (++asked % 64 == 0 && settled()); });
    if (!done && !settled()) cluster_.report("the cluster does not settle: " + describe());
    return !failed();
  }

  void audit(size_t i) {
    bool done = false;
    bool complete = false;
    workload_.audit(i, [&](bool all) { done = true, complete = all; });
    world_.run(world_.now() + Millis(15'000), [&] { return done || failed(); });
    if (!failed() && !complete) cluster_.report(fmt::format("n{} does not answer reads in peace", i + 1));
  }

  void compare_states() {
    const std::vector<GroupId> groups = cluster_.all_groups();
    const std::optional<size_t> leader = cluster_.leader(node::kControlGroup);
    if (!leader) return cluster_.report("the controller has no leader in the end");
    invariants_.check_conservation(groups, *cluster_.chart(*leader)->config);
    for (const GroupId id : groups) {
      if (!failed()) compare_states(id);
    }
  }

  void compare_states(GroupId id) {
    Replay& replay = invariants_.of(id).replay();
    if (Status status = replay.check_deadlines(); !status.ok()) return cluster_.report(status.to_string());
    if (Status status = replay.check_snapshot(); !status.ok()) return cluster_.report(status.to_string());
    const Result<uint64_t> expected = replay.state_hash();
    if (!expected.ok()) return cluster_.report(expected.status().to_string());
    for (size_t i = 0; i < cluster_.hosts(); ++i) {
      if (!is_member(i, id)) continue;
      node::Group* const group = invariants_.of(id).group_of(cluster_.node_id(i));
      if (group == nullptr) continue;
      const Result<uint64_t> hash = group->engine().state_hash();
      if (!hash.ok()) return cluster_.report(hash.status().to_string());
      world_.say("n{} group {}: state {:016x} at {}", i + 1, id, *hash, group->core().applied_index());
      if (*expected != *hash) {
        return cluster_.report(
            fmt::format("n{} holds another state of group {} than the log makes: {}", i + 1, id, describe()));
      }
    }
    if (id != node::kControlGroup) workload_.check_sessions(replay.machine());
  }

  void check_history() {
    history::History history = workload_.history();
    if (options_.canary && !leave_one_out(history)) in_vain_ = true;
    const history::Verdict verdict = history::check_linearizable(history, {.steps_max_per_key = 1'000'000});
    steps_ = verdict.steps;
    undecided_ = verdict.answer == history::Verdict::Answer::kUndecided;
    if (verdict.answer != history::Verdict::Answer::kNo) return;
    std::string text = fmt::format("not linearizable: key {}", verdict.key);
    for (const history::Operation& each : verdict.counterexample) text += "\n  " + history::to_text(each);
    cluster_.report(std::move(text));
  }

  // An acknowledged write whose value somebody has read, and no other write can explain.
  static bool leave_one_out(history::History& history) {
    std::set<std::string> seen;
    std::map<std::pair<std::string, std::string>, int> writers;
    for (const history::Operation& each : history) {
      if (each.kind == history::Kind::kGet && each.outcome == history::Outcome::kOk && each.result) {
        seen.insert(*each.result);
      }
    }
    for (const history::Operation& each : history) ++writers[{each.key, each.argument}];
    for (auto each = history.begin(); each != history.end(); ++each) {
      if (each->kind != history::Kind::kSet || each->outcome != history::Outcome::kOk) continue;
      if (writers[{each->key, each->argument}] > 1) continue;
      if (!seen.contains(each->argument)) continue;
      history.erase(each);
      return true;
    }
    return false;
  }

  static std::string ids(const std::vector<NodeId>& nodes) {
    std::string text;
    for (const NodeId node : nodes) text += fmt::format("{}{}", text.empty() ? "" : ",", node);
    return text.empty() ? "-" : text;
  }

  std::string describe() {
    std::string text;
    for (size_t i = 0; i < cluster_.hosts(); ++i) {
      text += fmt::format("\n  n{} (node {}): ", i + 1, cluster_.node_id(i));
      if (!cluster_.up(i)) {
        text += cluster_.retired(i) ? "retired" : "down";
        continue;
      }
      for (const api::GroupStatus& g : cluster_.groups(i)) {
        text += fmt::format(
            "\n    group {}: {} t{} leader {} commit {} applied {} last {} snapshot {} voters {} "
            "learners {}{} shards {} {}",
            g.id, g.role, g.term, g.leader, g.commit_index, g.applied_index, g.last_index, g.snapshot_index,
            ids(g.voters), ids(g.learners), g.joint ? " joint" : "", g.shards, g.halted);
        for (const api::PeerProgress& peer : g.peers) {
          text += fmt::format("\n      to node {}: {} match {}{}", peer.id, peer.state, peer.match,
                              peer.recently_active ? "" : ", not heard");
        }
      }
      const node::ChartPtr chart = cluster_.chart(i);
      text +=
          fmt::format("\n    configuration {} at {}, {} actions", chart->config->num, chart->at, chart->actions.size());
      for (const auto& [id, progress] : chart->progress) {
        if (progress.busy())
          text += fmt::format(", group {} has settled {} of {}", id, progress.settled, progress.changed);
      }
    }
    for (const GroupId id : invariants_.groups()) {
      for (const kv::ShardInfo& shard : invariants_.of(id).replay().machine().shards()) {
        if (shard.state == kv::ShardState::kServing && !shard.feed) continue;
        text += fmt::format("\n  group {}: shard {} is {} since {}, peer {}, plan {}.{}{}", id, shard.shard,
                            kv::to_string(shard.state), shard.since, shard.peer, shard.plan, shard.step,
                            shard.feed ? fmt::format(", feed of {}.{}", shard.feed_plan, shard.feed_step) : "");
      }
    }
    if (!workload_.idle()) text += "\n  clients still wait";
    return text;
  }

  Outcome outcome() {
    Outcome outcome;
    outcome.problem = cluster_.problem();
    outcome.story = world_.story();
    outcome.events = world_.events();
    outcome.simulated_us = world_.now().since_start().count();
    outcome.operations = workload_.counts();
    outcome.faults = faults_.counts();
    outcome.role_changes = invariants_.role_changes();
    outcome.entries = invariants_.entries();
    outcome.search_steps = steps_;
    outcome.undecided = undecided_;
    outcome.in_vain = in_vain_;
    return outcome;
  }

  const TrialOptions& options_;
  Rng minority_;
  World world_;
  Invariants invariants_;
  Cluster cluster_;
  Workload workload_;
  Faults faults_;
  uint64_t steps_ = 0;
  bool undecided_ = false;
  bool in_vain_ = false;
};

}  // namespace

Outcome run_trial(const TrialOptions& options) {
  log::set_level(options.narrator ? log::Level::kDebug : log::Level::kOff);
  Trial trial(options, draw(options.seed));
  return trial.go();
}

std::string describe_seed(uint64_t seed) {
  const Draws draws = draw(seed);
  const node::NodeOptions& node = draws.knobs.node;
  return fmt::format(
      "{} nodes, {} groups of {}, {} clients, {} sessions (at most {}, window {}), {}, segments of {} KiB, snapshots "
      "after {} bytes, "
      "election timeout {} ms; faults: {}",
      draws.knobs.size, node.groups, node.replication, draws.workload.clients, draws.workload.session_clients,
      node.limits.sessions_max, node.limits.session_window,
      node.read_consistency == api::Consistency::kLease ? fmt::format("leases (drift {} ppm)", node.clock_drift_ppm_max)
                                                        : std::string("linearizable reads"),
      node.wal_segment_bytes / 1024, node.snapshot_log_bytes, node.election_timeout_min.count() / 1000,
      draws.plan.to_text());
}

}  // namespace flux::sim
