#include "node/controller.h"

#include <algorithm>

#include "api/request_codec.h"
#include "base/log.h"
#include "base/probe.h"
#include "ctrl/spread.h"

namespace flux::node {
namespace {

// How often the node looks whether something is left to do that no event tells of.
constexpr Micros kLook = Millis(100);
// Pause after a command that was refused: what it needs may come without an event.
constexpr Micros kRest = Millis(300);
// The controller's voters; all other nodes learn. More would make its decisions slower, not safer.
constexpr size_t kVotersMax = 7;
constexpr size_t kVotersFewest = 3;

// Measurements of a new configuration before anything is balanced by them.
constexpr int kMeasuresAwaited = 3;
// Election timeouts after which a node that is not heard counts as silent.
constexpr int kSilentAfter = 5;

bool takes_part(const ctrl::Node& node) { return node.state != ctrl::NodeState::kRemoved; }
bool stays(const ctrl::Node& node) { return node.state == ctrl::NodeState::kActive; }

// For whoever reads the logs of any node.
void tell_who_is_away(const Chart& before, const Chart& now) {
  for (const NodeId id : now.silent) {
    if (!before.silent.contains(id)) log::warn("node {} is silent: the controller has not heard it for a while", id);
    if (now.lost.contains(id) && !before.lost.contains(id)) {
      log::warn("node {} is lost: it was not heard for so long that its replicas go to others, if balance is on", id);
    }
  }
  for (const NodeId id : before.silent) {
    if (!now.silent.contains(id)) log::info("node {} is heard again, or was removed", id);
  }
}

ctrl::Join join_of(uint32_t groups, uint32_t replicas) {
  return {std::vector<ctrl::GroupSpec>(groups, {.id = ctrl::kAnyGroup, .replicas = replicas})};
}

}  // namespace

bool can_do_without(const Group& group, NodeId gone, MonoTime now, NodeId joins) {
  raft::NodeSet left = group.core().membership().voters;
  if (joins != kNobody) left.insert(joins);
  const std::vector<raft::PeerStatus> peers = group.core().peers(now);
  size_t voters = 0;
  size_t heard = 0;
  for (const NodeId voter : left) {
    if (voter == gone) continue;
    ++voters;
    const bool active = voter == group.core().id() || std::any_of(peers.begin(), peers.end(), [&](const auto& peer) {
                          return peer.id == voter && peer.recently_active;
                        });
    heard += active ? 1 : 0;
  }
  return voters > 0 && heard >= voters / 2 + 1;
}

Controller::Controller(const Identity& identity, const NodeOptions& options, env::Loop& loop, Group& group,
                       ControlMachine& machine, std::function<void(ChartPtr)> published)
    : identity_(identity),
      options_(options),
      loop_(loop),
      group_(group),
      machine_(machine),
      published_(std::move(published)) {}

Controller::~Controller() {
  *alive_ = false;
  loop_.cancel(timer_);
}

void Controller::start() {
  on_changed();
  timer_ = loop_.call_after(kLook, [this] { look(); });
}

void Controller::look() {
  timer_ = loop_.call_after(kLook, [this] { look(); });
  answer_who_waits();
  announce();
  listen();
  lead();
}

// Keeps who was heard when, as long as we lead.
void Controller::listen() {
  if (!group_.halt_reason().ok() || !group_.leads()) {
    heard_.clear();
    silent_since_.clear();
    return forget_loads();
  }
  const MonoTime now = loop_.now();
  for (const raft::PeerStatus& peer : group_.core().peers(now)) {
    // Who was silent under the last leader stays so until heard; the others get their time.
    const auto [since, fresh] = heard_.emplace(peer.id, chart_->silent.contains(peer.id) ? MonoTime() : now);
    if (peer.recently_active) since->second = now;
  }
}

void Controller::on_changed() {
  if (machine_.take_changed()) {
    const ChartPtr before = chart_;
    chart_ = make_chart(machine_.state(), group_.state_machine().applied().index, *chart_);
    published_(chart_);
    rest_until_ = MonoTime();
    tell_who_is_away(*before, *chart_);
    if (chart_->config->num != before->config->num || chart_->balance != before->balance) forget_loads();
    answer_who_waits();
  }
  announce();
  lead();
}

void Controller::propose(const ctrl::Command& command, Placed done) {
  const std::string bytes = ctrl::encode_command(command);
  const api::Command commands[] = {api::Control{.bytes = bytes}};
  auto answered = std::make_shared<Placed>(std::move(done));
  group_.write({.commands = commands}, [answered](api::WriteReply reply) {
    if (!reply.status.ok()) return (*answered)({.status = std::move(reply.status)}, Index());
    Result<ctrl::Outcome> outcome = ctrl::decode_outcome(reply.results.at(0).value);
    if (!outcome.ok()) return (*answered)({.status = outcome.status()}, Index());
    (*answered)(std::move(*outcome), reply.position.index);
  });
}

void Controller::submit(const ctrl::Command& command, Submitted done) {
  propose(command, [done = std::move(done)](ctrl::Outcome outcome, Index) mutable { done(std::move(outcome)); });
}

void Controller::submit_and_see(const ctrl::Command& command, Submitted done) {
  propose(command, [this, alive = alive_, done = std::move(done)](ctrl::Outcome outcome, Index at) mutable {
    if (!*alive || !outcome.status.ok()) return done(std::move(outcome));
    unseen_.emplace(at, Unseen{.until = loop_.now() + options_.request_timeout,
                               .outcome = std::move(outcome),
                               .done = std::move(done)});
    answer_who_waits();
  });
}

void Controller::answer_who_waits() {
  const MonoTime now = loop_.now();
  std::vector<Unseen> ready;
  for (auto it = unseen_.begin(); it != unseen_.end();) {
    const bool over = it->first <= chart_->at || it->second.until <= now;
    if (over) ready.push_back(std::move(it->second));
    it = over ? unseen_.erase(it) : std::next(it);
  }
  for (Unseen& each : ready) each.done(std::move(each.outcome));
}

void Controller::announce() {
  if (announcing_ || quiet_ || !group_.halt_reason().ok() || group_.core().leader() == kNobody) return;
  const ctrl::Node* known = chart_->config->node(identity_.node);
  if (known == nullptr || !takes_part(*known)) return;
  const ctrl::AnnounceNode words{.record = {.id = identity_.node,
                                            .name = identity_.name,
                                            .peer_address = options_.advertise_peer.to_string(),
                                            .resp_address = options_.advertise_resp,
                                            .http_address = options_.advertise_http,
                                            .wire_address = options_.advertise_wire},
                                 .cores = options_.cores};
  if (known->announced && words.record == known->record && words.cores == known->cores) return;
  announcing_ = true;
  submit({.expected = {}, .body = words}, [this, alive = alive_](const ctrl::Outcome& outcome) {
    if (!*alive) return;
    announcing_ = false;
    if (!outcome.status.ok()) log::debug("this node could not announce itself: {}", outcome.status.to_string());
  });
}

void Controller::lead() {
  if (!group_.halt_reason().ok() || !group_.leads() || loop_.now() < rest_until_) return;
  // A new leader that has not applied an entry of its own term does not know the newest state.
  const raft::Core& core = group_.core();
  if (core.term_at(core.applied_index()) != core.term() || core.transfer_target() != kNobody) return;
  if (!changing_) change_members();
  if (submitting_) return;
  std::optional<ctrl::CommandBody> body = next_command();
  if (!body) return;
  submitting_ = true;
  const ctrl::Command command{.expected = {}, .body = std::move(*body)};
  log::info("controller: proposes {}", ctrl::name_of(command));
  submit(command, [this, alive = alive_, name = std::string(ctrl::name_of(command))](const ctrl::Outcome& outcome) {
    if (!*alive) return;
    submitting_ = false;
    if (outcome.status.ok()) return;  // the chart that follows says what is next
    log::info("controller: {} was refused: {}", name, outcome.status.to_string());
    advice_.clear();
    rest_until_ = loop_.now() + kRest;
  });
}

std::optional<ctrl::CommandBody> Controller::next_command() {
  if (auto command = found()) return command;
  const ctrl::ReportSilent silent = who_is_silent();
  if (silent.nodes != chart_->silent || silent.lost != chart_->lost) return silent;
  for (const ctrl::Action& action : chart_->actions) {
    if (const auto* over = std::get_if<ctrl::ProposeHandOver>(&action)) {
      return ctrl::HandOver{.plan = over->plan, .step = over->step};
    }
    if (const auto* groups = std::get_if<ctrl::ProposeGroups>(&action)) {
      return join_of(groups->count, groups->replicas);
    }
    if (const auto* uneven = std::get_if<ctrl::ProposeRebalance>(&action)) {
      return ctrl::Rebalance{.shards = uneven->shards, .replicas = uneven->replicas};
    }
  }
  return next_advice();
}

ctrl::ReportSilent Controller::who_is_silent() {
  const MonoTime now = loop_.now();
  ctrl::ReportSilent silent;
  for (const auto& [id, node] : chart_->config->nodes) {
    if (!takes_part(node)) continue;
    const auto heard = heard_.find(id);
    const bool over = heard == heard_.end() ? chart_->silent.contains(id)
                                            : now >= heard->second + kSilentAfter * options_.election_timeout_max;
    if (!over) {
      silent_since_.erase(id);
      continue;
    }
    silent.nodes.insert(id);
    // How long it has been silent under earlier leaders is not known; that one was lost is.
    const MonoTime since = silent_since_.emplace(id, now).first->second;
    const bool too_long = options_.lost_after > Micros() && now >= since + options_.lost_after;
    if (too_long || chart_->lost.contains(id)) silent.lost.insert(id);
  }
  return silent;
}

// --- Balance by load ---

void Controller::on_load(const LoadReport& report) {
  if (!group_.halt_reason().ok() || !group_.leads() || chart_->balance != ctrl::BalanceMode::kLoad) return;
  if (owners_.empty()) {
    for (const auto& [id, keyspace] : chart_->config->keyspaces) {
      for (const ctrl::Shard& shard : keyspace.shards) owners_[shard.id] = shard.group;
    }
  }
  for (const auto& [shard, measured] : report.shards) {
    const auto owner = owners_.find(shard);
    if (owner == owners_.end() || owner->second != report.group) continue;
    const auto [load, fresh] = loads_.emplace(shard, measured);
    if (fresh) continue;
    // A burst of a second or two is no reason to move anything.
    const uint64_t before = load->second.operations_per_second;
    load->second = measured;
    load->second.operations_per_second = (3 * before + measured.operations_per_second) / 4;
  }
}

void Controller::forget_loads() {
  loads_.clear();
  owners_.clear();
  advice_.clear();
  advice_not_before_ = loop_.now() + kMeasuresAwaited * options_.measure_interval;
}

std::optional<ctrl::CommandBody> Controller::next_advice() {
  if (chart_->balance != ctrl::BalanceMode::kLoad) return std::nullopt;
  const MonoTime now = loop_.now();
  if (advice_.empty() && now >= advice_not_before_) {
    advice_not_before_ = now + options_.measure_interval;
    const std::vector<ctrl::Command> advice = ctrl::advise(machine_.state(), loads_,
                                                           {.split_bytes = options_.split_bytes,
                                                            .split_operations = options_.split_operations,
                                                            .merge_bytes = options_.split_bytes / 10,
                                                            .merge_operations = options_.split_operations / 50,
                                                            .cost_min = options_.balance_cost_min});
    advice_.assign(advice.begin(), advice.end());
  }
  if (advice_.empty()) return std::nullopt;
  FLUX_PROBE("shards are balanced by load");
  ctrl::CommandBody body = std::move(advice_.front().body);
  advice_.pop_front();
  return body;
}

// A new cluster: its nodes, its groups, and the keyspace that requests go to which name none.
std::optional<ctrl::CommandBody> Controller::found() const {
  const ctrl::Config& config = *chart_->config;
  for (const FounderRecord& founder : identity_.founders) {
    if (identity_.joined || config.node(founder.id) != nullptr) continue;
    return ctrl::AddNode{.record = {.id = founder.id, .name = founder.name, .peer_address = founder.address}};
  }
  if (config.keyspace(api::kDefaultKeyspaceName) != nullptr) return std::nullopt;
  const auto nodes = static_cast<uint32_t>(std::count_if(config.nodes.begin(), config.nodes.end(),
                                                         [](const auto& node) { return takes_part(node.second); }));
  const uint32_t replication =
      std::min(nodes, options_.replication != 0 ? options_.replication : kReplicationMostByDefault);
  const bool by_cores = options_.groups == 0;
  const uint32_t groups = by_cores ? ctrl::groups_for(nodes * options_.cores, replication) : options_.groups;
  if (config.groups.empty()) {
    if (by_cores != chart_->groups_by_cores) return ctrl::SetGroups{.by_cores = by_cores};
    return join_of(groups, replication);
  }
  const bool all_serve = std::all_of(config.groups.begin(), config.groups.end(), [](const auto& group) {
    return group.second.state == ctrl::GroupState::kServing;
  });
  if (!all_serve) return std::nullopt;
  return ctrl::CreateKeyspace{.name = std::string(api::kDefaultKeyspaceName),
                              .replication = replication,
                              .slot_ranges = options_.shards != 0 ? options_.shards : kShardsPerGroup * groups};
}

// --- The controller's own members ---

void Controller::change_members() {
  const raft::Core& core = group_.core();
  if (core.membership().joint() || core.membership_index() > core.commit_index()) return;
  const std::optional<raft::ConfigStep> step = next_member_change();
  if (!step) return;
  const bool loses_vote = step->kind == raft::ConfigStepKind::kRemove ||
                          (step->kind == raft::ConfigStepKind::kAddLearner && core.membership().is_voter(step->node));
  if (loses_vote && step->node == core.id()) {  // whoever leads next removes us
    changing_ = true;
    return group_.transfer(kNobody, [this, alive = alive_](const Status&) {
      if (*alive) changing_ = false;
    });
  }
  // Whoever is removed should hear of it, and is sent nothing once it is no member.
  if (step->kind == raft::ConfigStepKind::kRemove) {
    const MonoTime since = leaving_.emplace(step->node, loop_.now()).first->second;
    if (loop_.now() < since + 4 * options_.heartbeat_interval) return;
  }
  if (loses_vote && !can_do_without(group_, step->node, loop_.now())) return;
  changing_ = true;
  group_.change_config({.steps = {*step}, .context = {}}, [this, alive = alive_](const Status& status) {
    if (!*alive) return;
    changing_ = false;
    if (!status.ok()) log::info("controller: a change of its members was refused: {}", status.to_string());
  });
}

std::optional<raft::ConfigStep> Controller::next_member_change() const {
  using Kind = raft::ConfigStepKind;
  const raft::Membership& membership = group_.core().membership();
  const ctrl::Config& config = *chart_->config;
  const auto decides = [&](NodeId id) {
    // Who is not in the configuration yet is a founder that is about to be.
    const ctrl::Node* node = config.node(id);
    return node == nullptr || (stays(*node) && !chart_->lost.contains(id));
  };
  const auto deciding = static_cast<size_t>(std::count_if(membership.voters.begin(), membership.voters.end(), decides));
  const size_t voters = deciding + membership.promote_when_ready.size();
  for (const auto& [id, node] : config.nodes) {
    if (!stays(node) || membership.is_voter(id) || membership.promote_when_ready.contains(id)) continue;
    if (voters < kVotersMax && decides(id)) return raft::ConfigStep{.kind = Kind::kAddVoter, .node = id};
    if (!membership.contains(id)) return raft::ConfigStep{.kind = Kind::kAddLearner, .node = id};
  }
  for (const NodeId member : membership.members()) {
    if (decides(member)) continue;
    const ctrl::Node& node = *config.node(member);
    if (!takes_part(node)) return raft::ConfigStep{.kind = Kind::kRemove, .node = member};
    // One that is about to leave votes no more as soon as others can decide; one that is lost, once they stand another
    // loss without it.
    if (membership.is_voter(member) && deciding >= (stays(node) ? kVotersFewest : 1)) {
      return raft::ConfigStep{.kind = Kind::kAddLearner, .node = member};
    }
  }
  return std::nullopt;
}

}  // namespace flux::node
