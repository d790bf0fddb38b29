#include "node/steward.h"

#include <algorithm>

#include "base/log.h"
#include "base/probe.h"
#include "node/controller.h"
#include "node/shard_mover.h"
#include "node/worker.h"

namespace flux::node {
namespace {

// Pause after the controller has refused something.
constexpr Micros kRest = Millis(200);
// How often leadership may be handed to who should have it: moving it costs a short pause of writes.
constexpr Micros kTransferPause = Millis(5'000);
// How often the controller is told how much of the group a newcomer has.
constexpr Micros kReportEvery = Millis(500);

std::string_view name_of(raft::ConfigStepKind kind) {
  switch (kind) {
    case raft::ConfigStepKind::kAddVoter:
      return "adds";
    case raft::ConfigStepKind::kAddLearner:
      return "adds as a learner";
    case raft::ConfigStepKind::kRemove:
      return "removes";
    case raft::ConfigStepKind::kPromote:
      return "promotes";
  }
  return "changes";
}

}  // namespace

Steward::Steward(Worker& worker, Group& group)
    : worker_(worker), group_(group), mover_(std::make_unique<ShardMover>(*this)) {
  transfer_not_before_ = worker.loop().now() + kTransferPause;
}

Steward::~Steward() { *alive_ = false; }

bool Steward::leads() const {
  if (!group_.halt_reason().ok() || !group_.leads()) return false;
  const raft::Core& core = group_.core();
  return core.term_at(core.applied_index()) == core.term() && core.transfer_target() == kNobody;
}

void Steward::look() {
  if (!leads()) {
    transfer_not_before_ = worker_.loop().now() + kTransferPause;
    sent_.clear();
    return mover_->rest();
  }
  const ctrl::Group* known = worker_.chart()->config->group(group_.id());
  if (known == nullptr || !known->alive()) return;
  follow_configuration();
  mover_->look();
  if (worker_.loop().now() < rest_until_) return;
  report_members(*known);
  change_members();
  lead_where_wanted(*known);
  report_load();
}

void Steward::propose(const kv::ShardCommand& command, Proposed done) {
  const std::string bytes = kv::encode(command);
  const api::Command commands[] = {api::ShardChange{.bytes = bytes}};
  auto proposed = std::make_shared<Proposed>(std::move(done));
  group_.write({.commands = commands}, [alive = alive_, proposed](const api::WriteReply& reply) {
    if (!*alive) return;
    if (!reply.status.ok()) return (*proposed)(reply.status, false);
    const api::CommandResult& result = reply.results.at(0);
    if (result.code != ErrorCode::kOk) return (*proposed)(Status(result.code, result.value), false);
    (*proposed)({}, result.applied);
  });
}

bool Steward::tell(ctrl::CommandBody body) {
  const size_t kind = body.index();
  if (worker_.loop().now() < rest_until_ || !telling_.insert(kind).second) return false;
  const ctrl::Command command{.expected = {}, .body = std::move(body)};
  worker_.shared().submit(worker_.loop(), command,
                          [this, alive = alive_, kind, name = ctrl::name_of(command)](const ctrl::Outcome& outcome) {
                            if (!*alive) return;
                            telling_.erase(kind);
                            if (outcome.status.ok()) return;
                            log::debug("group {}: {}: {}", group_.id(), name, outcome.status.to_string());
                            rest_until_ = worker_.loop().now() + kRest;
                          });
  return true;
}

// --- Configurations --------------------------------------------------------------------------------------------------

void Steward::follow_configuration() {
  const Chart& chart = *worker_.chart();
  const auto progress = chart.progress.find(group_.id());
  if (progress == chart.progress.end()) return;
  const ConfigNum wanted = progress->second.changed;
  const kv::StateMachine& machine = group_.state_machine();
  if (machine.config_num() < wanted) {
    if (applying_ || !machine.settled()) return;
    applying_ = true;
    const kv::ApplyConfig next = next_configuration(wanted);
    log::info("group {}: follows configuration {}", group_.id(), wanted);
    propose(next, [this, wanted](const Status& status, bool) {
      applying_ = false;
      if (!status.ok()) log::warn("group {}: configuration {}: {}", group_.id(), wanted, status.to_string());
    });
    return;
  }
  if (progress->second.busy() && machine.settled()) tell(ctrl::Settled{.group = group_.id(), .num = wanted});
}

// What the group owns by the newest configuration, and what it gives away. No other change of its shards can have
// followed: the controller waits for this one to be settled.
kv::ApplyConfig Steward::next_configuration(ConfigNum num) const {
  const Chart& chart = *worker_.chart();
  const GroupId self = group_.id();
  kv::ApplyConfig next{.num = num, .cuts = {}};
  // What this configuration hands over to the group, and what the group gives with it. Of an earlier one the other
  // group may not have settled yet.
  std::map<ShardId, const ctrl::MoveShard*> moves;
  chart.for_each_open_step([&](const ctrl::Plan&, const ctrl::Step& step) {
    const auto* move = std::get_if<ctrl::MoveShard>(&step.task);
    const bool ours = move != nullptr && (move->from == self || move->to == self);
    if (ours && step.phase == ctrl::StepPhase::kSettling && step.handed_over == num) moves.emplace(move->shard, move);
  });
  const auto handed_over = [&](ShardId shard, GroupId ctrl::MoveShard::* side) {
    const auto found = moves.find(shard);
    return found != moves.end() && found->second->*side == self ? found->second : nullptr;
  };
  std::set<ShardId> owned;
  for (const auto& [id, keyspace] : chart.config->keyspaces) {
    for (size_t at = 0; at < keyspace.shards.size(); ++at) {
      const ctrl::Shard& shard = keyspace.shards[at];
      if (shard.group != self) continue;
      owned.insert(shard.id);
      const ctrl::MoveShard* move = handed_over(shard.id, &ctrl::MoveShard::to);
      api::KeyRange range = keyspace.encoded_range(at);
      next.cuts.push_back({.kind = kv::ShardCut::Kind::kOwn,
                           .shard = shard.id,
                           .start = std::move(range.start),
                           .end = std::move(range.end),
                           .peer = move != nullptr ? move->from : ctrl::kNoGroup});
    }
  }
  for (const kv::ShardInfo& info : group_.state_machine().shards()) {
    if (owned.contains(info.shard) || info.state != kv::ShardState::kServing) continue;
    const ctrl::MoveShard* move = handed_over(info.shard, &ctrl::MoveShard::from);
    // A shard that is in no keyspace any more was merged into its neighbour, which then covers it, or dropped.
    const bool merged = move == nullptr && std::any_of(next.cuts.begin(), next.cuts.end(), [&](const auto& cut) {
                          return cut.start <= info.start && (cut.end.empty() || cut.end > info.start);
                        });
    if (merged) continue;
    next.cuts.push_back({.kind = move != nullptr ? kv::ShardCut::Kind::kGive : kv::ShardCut::Kind::kDrop,
                         .shard = info.shard,
                         .start = info.start,
                         .end = info.end,
                         .peer = move != nullptr ? move->to : ctrl::kNoGroup});
  }
  std::sort(next.cuts.begin(), next.cuts.end(), [](const auto& a, const auto& b) { return a.start < b.start; });
  return next;
}

// --- Members ---------------------------------------------------------------------------------------------------------

void Steward::report_members(const ctrl::Group& known) {
  const raft::Core& core = group_.core();
  const raft::Membership& membership = core.membership();
  if (membership.joint() || core.membership_index() > core.commit_index()) return;
  ctrl::ReportGroup report{.group = group_.id(), .entry = core.membership_index(), .voters = {}, .learners = {}};
  report.voters.insert(membership.voters.begin(), membership.voters.end());
  report.learners.insert(membership.learners.begin(), membership.learners.end());
  if (report.voters == known.voters && report.learners == known.learners) return;
  tell(report);
}

void Steward::change_members() {
  const raft::Core& core = group_.core();
  if (changing_ || core.membership().joint() || core.membership_index() > core.commit_index()) return;
  using Kind = raft::ConfigStepKind;
  // A leader with an old chart may have added a node that has been removed since. That a node is removed stays true.
  for (const NodeId member : core.membership().members()) {
    const ctrl::Node* node = worker_.chart()->config->node(member);
    if (node == nullptr || node->state != ctrl::NodeState::kRemoved || member == core.id()) continue;
    if (core.membership().is_voter(member) && !can_do_without(group_, member, worker_.loop().now())) continue;
    FLUX_PROBE("a group has a member that is no node any more");
    return change({{.kind = Kind::kRemove, .node = member}});
  }
  for (const ctrl::Action& action : worker_.chart()->actions) {
    if (const auto* undo = std::get_if<ctrl::UndoMembers>(&action); undo && undo->change.group == group_.id()) {
      return undo_members(*undo);
    }
    const auto* wanted = std::get_if<ctrl::ChangeMembers>(&action);
    if (wanted == nullptr || wanted->change.group != group_.id()) continue;
    return change_replica(*wanted);
  }
}

// A voter that goes and one that comes change places in one joint change: a group of three never needs three of four,
// so that it stands the same losses all the while. Who comes learns first.
void Steward::change_replica(const ctrl::ChangeMembers& wanted) {
  using Kind = raft::ConfigStepKind;
  const raft::Core& core = group_.core();
  const raft::Membership& membership = core.membership();
  const MonoTime now = worker_.loop().now();
  const NodeId add = wanted.change.add;
  const NodeId remove = wanted.change.remove;
  const bool joins = add != kNobody && !membership.is_voter(add);
  const bool swaps = joins && remove != kNobody && membership.is_voter(remove);
  if (joins && membership.contains(add)) report_copied(wanted);
  if (joins && membership.promote_when_ready.contains(add)) return;  // it catches up
  if (joins && !(swaps && membership.contains(add))) {
    sent_.erase(add);
    tell(progress_of(wanted));
    return change({{.kind = swaps ? Kind::kAddLearner : Kind::kAddVoter, .node = add}});
  }
  if (remove == kNobody || !membership.contains(remove)) return;  // report_members() tells
  if (swaps && !core.ready_to_promote(add, now).ok()) return;     // it catches up
  // Whoever leads next removes us, unless we are alone and who comes leads next.
  if (remove == core.id() && membership.voters.size() > 1) {
    changing_ = true;
    return group_.transfer(kNobody, [this, alive = alive_](const Status&) {
      if (*alive) changing_ = false;
    });
  }
  if (membership.is_voter(remove) && !can_do_without(group_, remove, now, swaps ? add : kNobody)) return;
  tell(progress_of(wanted));
  if (swaps) return change({{.kind = Kind::kPromote, .node = add}, {.kind = Kind::kRemove, .node = remove}});
  change({{.kind = Kind::kRemove, .node = remove}});
}

void Steward::snapshot_sent(NodeId to, uint64_t bytes, uint64_t bytes_total) {
  Sent& sent = sent_[to];
  sent.bytes = bytes;
  sent.bytes_total = bytes_total;
}

const ctrl::Step* Steward::step_of(const ctrl::ChangeMembers& wanted) const {
  const auto plan = worker_.chart()->plans.find(wanted.plan);
  const bool known = plan != worker_.chart()->plans.end() && wanted.step < plan->second.steps.size();
  return known ? &plan->second.steps[wanted.step] : nullptr;
}

// What is known of the step, with what this leader has sent. What follows a snapshot comes from the log, and is little
// beside it.
ctrl::ReportProgress Steward::progress_of(const ctrl::ChangeMembers& wanted) const {
  ctrl::ReportProgress report{.plan = wanted.plan, .step = wanted.step, .phase = ctrl::StepPhase::kCopying};
  if (const ctrl::Step* known = step_of(wanted); known != nullptr) {
    report.bytes_done = known->bytes_done;
    report.bytes_total = known->bytes_total;
  }
  if (const auto sent = sent_.find(wanted.change.add); sent != sent_.end()) {
    report.bytes_done = sent->second.bytes;
    report.bytes_total = sent->second.bytes_total;
  }
  return report;
}

void Steward::report_copied(const ctrl::ChangeMembers& wanted) {
  const ctrl::ReportProgress report = progress_of(wanted);
  const ctrl::Step* known = step_of(wanted);
  if (known == nullptr || report.bytes_done == known->bytes_done) return;
  const MonoTime now = worker_.loop().now();
  if (report.bytes_done < report.bytes_total && now < report_not_before_) return;
  if (tell(report)) report_not_before_ = now + kReportEvery;
}

void Steward::undo_members(const ctrl::UndoMembers& action) {
  const NodeId added = action.change.add;
  const NodeId removed = action.change.remove;
  const raft::Membership& membership = group_.core().membership();
  // They have changed places already: it is done, which report_members() tells.
  if (removed != kNobody && !membership.contains(removed) && membership.is_voter(added)) return;
  if (added != kNobody && membership.contains(added)) {
    return change({{.kind = raft::ConfigStepKind::kRemove, .node = added}});
  }
  tell(ctrl::ReportProgress{.plan = action.plan, .step = action.step, .phase = ctrl::StepPhase::kUndone});
}

void Steward::change(std::vector<raft::ConfigStep> steps) {
  changing_ = true;
  for (const raft::ConfigStep& step : steps) {
    log::info("group {}: {} node {}", group_.id(), name_of(step.kind), step.node);
  }
  group_.change_config({.steps = std::move(steps), .context = {}}, [this, alive = alive_](const Status& status) {
    if (!*alive) return;
    changing_ = false;
    if (!status.ok()) log::info("group {}: a change of members was refused: {}", group_.id(), status.to_string());
  });
}

// Leaders are spread by the controller's wish. Whoever should lead must be as far as we are, or writes would wait.
void Steward::lead_where_wanted(const ctrl::Group& known) {
  const NodeId wanted = known.leader;
  const raft::Core& core = group_.core();
  const MonoTime now = worker_.loop().now();
  if (transferring_ || wanted == core.id() || now < transfer_not_before_ || !core.membership().is_voter(wanted)) return;
  const std::vector<raft::PeerStatus> peers = core.peers(now);
  const bool ready = std::any_of(peers.begin(), peers.end(), [&](const raft::PeerStatus& peer) {
    return peer.id == wanted && peer.recently_active && peer.match + 64 >= core.last_index();
  });
  if (!ready) return;
  transferring_ = true;
  transfer_not_before_ = now + kTransferPause;
  log::info("group {}: hands leadership to node {}, which should have it", group_.id(), wanted);
  group_.transfer(wanted, [this, alive = alive_](const Status&) {
    if (*alive) transferring_ = false;
  });
}

void Steward::report_load() {
  const MonoTime now = worker_.loop().now();
  if (worker_.chart()->balance != ctrl::BalanceMode::kLoad || now < measure_not_before_) return;
  const NodeOptions& options = worker_.shared().options;
  measure_not_before_ = now + options.measure_interval;
  std::map<ShardId, const kv::ShardInfo*> served;
  for (const kv::ShardInfo& shard : group_.state_machine().shards()) {
    if (shard.state == kv::ShardState::kServing) served[shard.shard] = &shard;
  }
  if (served.empty()) return;
  LoadReport report{.group = group_.id(), .shards = {}};
  auto next = served.upper_bound(measured_last_);
  for (size_t i = 0; i < std::min(served.size(), kLoadReportShardsMax); ++i, ++next) {
    if (next == served.end()) next = served.begin();
    report.shards[next->first] =
        measure(group_, *next->second, {.bytes = options.split_bytes, .operations = options.split_operations});
    measured_last_ = next->first;
  }
  worker_.shared().report_load(std::move(report));
}

}  // namespace flux::node
