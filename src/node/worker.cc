#include "node/worker.h"

#include <fmt/core.h>

#include "api/limits.h"
#include "base/log.h"
#include "node/controller.h"
#include "node/router.h"
#include "node/steward.h"
#include "raft/message_codec.h"

namespace flux::node {
namespace {

// How often requests that wait too long, memory and log space are looked at.
constexpr Micros kTick = Millis(50);

}  // namespace

Worker::Worker(NodeShared& shared, env::Loop& loop, uint64_t number)
    : shared_(shared), loop_(loop), rng_(shared.world.entropy + number * 0x9E3779B9) {}

Worker::~Worker() {
  *alive_ = false;
  loop_.set_turn_end(nullptr);
  loop_.cancel(tick_timer_);
  // Nobody may be answered any more: doors and services are gone.
  for (auto& [peer, links] : links_) links.for_each([](net::PeerLink& link) { link.forget_calls(); });
  links_.clear();
  stewards_.clear();
  groups_.clear();
}

Status Worker::add_group(GroupId id, Opening opening) {
  auto group = std::make_unique<Group>(*this, id, shared_.wal, std::move(opening.engine), rng_.fork(), opening.control);
  Group& added = *group;
  FLUX_RETURN_IF_ERROR(shared_.snapshots.restore(id, added.engine()));
  raft::Membership first = std::move(opening.founding);
  if (first.voters.empty()) {
    // A replica that was added later learned its first membership from a snapshot. The state alone does not hold it
    // unless it has changed since the group was founded.
    FLUX_TRY(const std::optional<SavedSnapshot> newest, shared_.snapshots.newest(id));
    if (newest) first = newest->meta.membership;
  }
  FLUX_RETURN_IF_ERROR(added.start(shared_.identity.node, first, opening.promised));
  added.be_frugal(is_crowded_ && id != kControlGroup);
  by_id_.emplace(id, &added);
  groups_.emplace(id, std::move(group));
  if (opening.control == nullptr) stewards_.emplace(id, std::make_unique<Steward>(*this, added));
  return {};
}

HardState Worker::silence(GroupId id) {
  Group* group = find(id);
  if (group == nullptr) return {};
  if (Observer* watcher = observer()) watcher->closed(*group);
  group->end();
  return group->core().hard_state();
}

Status Worker::remove_group(GroupId id) {
  const auto it = groups_.find(id);
  if (it == groups_.end()) return {};
  log::info("group {}: this node's replica goes", id);
  stewards_.erase(id);
  std::erase(awake_, it->second.get());
  std::erase(round_, it->second.get());
  std::erase(waiting_for_disk_, it->second.get());
  std::erase(asked_, it->second.get());
  by_id_.erase(id);
  groups_.erase(it);
  FLUX_RETURN_IF_ERROR(shared_.snapshots.remove(id));
  if (shared_.wal.has_group(id)) FLUX_RETURN_IF_ERROR(shared_.wal.remove(id));
  shared_.persister.kick(loop_);
  return {};
}

void Worker::set_chart(ChartPtr chart) {
  chart_ = std::move(chart);
  refresh_addresses();
  for (const auto& [id, steward] : stewards_) steward->look();
  if (router_ != nullptr) router_->look_again();
}

Group* Worker::find(GroupId id) {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : it->second;
}

void Worker::start() {
  shared_.persister.add_listener(loop_, [this] { wake_durable(); });
  loop_.set_turn_end([this] { run_once(); });
  // Opening a group may have written to its log.
  loop_.post([this, alive = alive_] {
    if (*alive) shared_.persister.kick(loop_);
  });
  refresh_addresses();
  on_tick();
}

// --- The seven steps ---

void Worker::run_once() {
  collect();
  step();
  send_now();
  persist();
  send_after_persist();
  apply();
  answer();
}

void Worker::collect() {
  round_.clear();
  round_.swap(awake_);
  for (Group* group : round_) group->awake = false;
}

void Worker::step() {
  for (Group* group : round_) group->step_inputs();
}

void Worker::send_now() {
  for (Group* group : round_) group->send_now();
  flush_links();
}

void Worker::persist() {
  bool appended = false;
  for (Group* group : round_) appended = group->persist() || appended;
  if (appended) shared_.persister.kick(loop_);
}

void Worker::send_after_persist() {
  const wal::Ticket durable = shared_.persister.durable();
  for (Group* group : round_) {
    group->send_after_persist(durable);
    if (group->wants_install()) install_snapshot(*group);
    if (group->waits_for_disk() && !std::exchange(group->in_disk_queue, true)) waiting_for_disk_.push_back(group);
  }
}

void Worker::wake_durable() {
  const wal::Ticket durable = shared_.persister.durable();
  std::erase_if(waiting_for_disk_, [&](Group* group) {
    if (!group->is_durable(durable)) return false;
    group->in_disk_queue = false;
    wake(*group);
    return true;
  });
}

void Worker::apply() {
  for (Group* group : round_) group->apply();
}

void Worker::answer() {
  for (Group* group : round_) {
    group->answer();
    rearm(*group);
    if (group->more_to_do()) wake(*group);
    maybe_snapshot(*group);
    if (Observer* watcher = observer(); watcher != nullptr && !group->ended()) watcher->stepped(*group);
  }
  flush_links();
  // What was touched during the round has its own next one; ask for it, as nothing else may.
  if (!awake_.empty() && !turn_requested_) {
    turn_requested_ = true;
    loop_.post([this, alive = alive_] {
      if (*alive) turn_requested_ = false;
    });
  }
}

void Worker::flush_links() {
  for (auto& [peer, links] : links_) links.for_each([](net::PeerLink& link) { link.flush(); });
}

void Worker::wake(Group& group) {
  if (group.awake) return;
  group.awake = true;
  awake_.push_back(&group);
}

void Worker::holds_requests(Group& group) {
  if (!std::exchange(group.in_asked, true)) asked_.push_back(&group);
}

void Worker::rearm(Group& group) {
  const MonoTime when = group.halt_reason().ok() ? group.next_deadline() : MonoTime::infinite();
  // A timer that fires early only looks and sets itself anew; that is cheaper than moving it at every message. What is
  // far off is looked at even earlier, when others are.
  if (when >= group.timer_at) return;
  loop_.cancel(group.timer);
  group.timer_at = when - loop_.now() > 2 * kTick ? MonoTime(when.since_start() / kTick * kTick) : when;
  group.timer = loop_.call_at(group.timer_at, [this, &group] {
    group.timer_at = MonoTime::infinite();
    group.next_deadline() <= loop_.now() ? wake(group) : rearm(group);
  });
}

// --- What groups ask for ---

void Worker::send(GroupId group, const raft::Message& message) {
  if (Observer* watcher = observer()) watcher->sending(*find(group), message);
  Links* links = links_to(message.to);
  if (links == nullptr) return;
  net::PeerLink& link = std::holds_alternative<raft::Append>(message.body) ? *links->entries : *links->messages;
  if (!link.up()) return;
  scratch_.clear();
  Encoder(scratch_).id(group);
  raft::encode(message, scratch_);
  link.send(static_cast<uint8_t>(PeerMessage::kRaft), scratch_);
}

void Worker::forward_write(NodeId leader, GroupId group, std::string_view request, PeerReply reply) {
  std::string body;
  body.reserve(request.size() + 10);
  Encoder encoder(body);
  encoder.id(group);
  encoder.raw(request);
  call(leader, PeerMessage::kWrite, body, std::move(reply));
}

void Worker::call(NodeId peer, PeerMessage type, std::string_view body, net::CallDone done) {
  Links* links = links_to(peer);
  if (links == nullptr) return done(Status(ErrorCode::kUnavailable, fmt::format("node {} is not known", peer)));
  const bool bulk =
      type == PeerMessage::kSnapshotOpen || type == PeerMessage::kSnapshotChunk || type == PeerMessage::kShardPull;
  const bool carries_data =
      type == PeerMessage::kWrite || type == PeerMessage::kRoutedWrite || type == PeerMessage::kRoutedRead;
  net::PeerLink* link = carries_data ? links->entries.get() : links->messages.get();
  if (bulk) {
    if (!links->bulk) links->bulk = make_link(peer, links->messages->address(), net::Channel::kBulk);
    link = links->bulk.get();
  }
  link->call(static_cast<uint8_t>(type), body, std::move(done));
}

void Worker::state_changed(Group& group) {
  shared_.state_changed(group);
  if (const auto steward = stewards_.find(group.id()); steward != stewards_.end()) {
    steward->second->look();
    router_->look_again();
  }
}

void Worker::reroute(ParkedWrite write) { router_->reroute(std::move(write)); }
void Worker::reroute(WaitingRead read) { router_->reroute(std::move(read)); }

void Worker::halted(Group& group, const Status&) { wake(group); }

void Worker::count_copied(uint64_t bytes) {
  if (options().move_bytes_per_second == 0) return;
  const uint64_t share = std::max<uint64_t>(options().move_bytes_per_second / shared_.workers, 1);
  const uint64_t micros = bytes * 1'000'000 / share;
  copies_from_ = std::max(copies_from_, loop_.now()) + Micros(static_cast<int64_t>(micros));
}

void Worker::on_raft(GroupId id, raft::Message message) {
  Group* group = find(id);
  if (group != nullptr) group->receive(std::move(message));
}

// --- Peers -----------------------------------------------------------------------------------------------------------

Worker::Links* Worker::links_to(NodeId peer) {
  const auto it = links_.find(peer);
  if (it != links_.end()) return &it->second;
  const std::optional<api::NodeRecord> record = shared_.directory.find(peer);
  if (!record || peer == shared_.identity.node) return nullptr;
  const Result<env::Address> address = env::Address::parse(record->peer_address);
  if (!address.ok()) return nullptr;
  return &links_
              .emplace(peer, Links{.messages = make_link(peer, *address, net::Channel::kMessages),
                                   .entries = make_link(peer, *address, net::Channel::kEntries),
                                   .bulk = nullptr})
              .first->second;
}

std::unique_ptr<net::PeerLink> Worker::make_link(NodeId peer, const env::Address& address, net::Channel channel) {
  net::PeerLinkEvents events;
  events.admit = [this](const net::Hello& theirs) { return shared_.known_peers.admit(theirs); };
  events.up = [this, peer, channel] {
    if (channel == net::Channel::kBulk) return;
    if (channel == net::Channel::kMessages) {
      log::info("link to node {} is up", peer);
      shared_.directory.set_refusal(peer, {});
    }
    for (auto& [id, group] : groups_) group->step(raft::PeerReachable{.node = peer});
  };
  events.down = [this, peer, channel](bool gone) {
    if (channel != net::Channel::kBulk) peer_down(peer, gone && channel == net::Channel::kMessages);
  };
  events.refused = [this, peer, channel](const Status& why) {
    if (channel == net::Channel::kMessages) log::warn("node {} does not talk to us: {}", peer, why.message());
    shared_.directory.set_refusal(peer, why.message());
  };
  return std::make_unique<net::PeerLink>(
      loop_, shared_.world.network, address, peer, hello_of(shared_.identity, shared_.options, channel),
      net::PeerLinkOptions{.frame_bytes_max = api::kPeerFrameBytesMax}, rng_.fork(), std::move(events));
}

void Worker::peer_down(NodeId peer, bool gone) {
  for (auto& [id, group] : groups_) {
    group->step(raft::PeerUnreachable{.node = peer});
    if (gone) group->step(raft::LeaderGone{.node = peer});
  }
}

void Worker::refresh_addresses() {
  const uint64_t generation = shared_.directory.generation();
  if (generation == directory_generation_) return;
  directory_generation_ = generation;
  for (const api::NodeRecord& record : shared_.directory.all()) {
    const Result<env::Address> address = env::Address::parse(record.peer_address);
    Links* links = links_to(record.id);
    if (links == nullptr || !address.ok()) continue;
    links->for_each([&](net::PeerLink& link) { link.set_address(*address); });
  }
  std::erase_if(links_, [this](const auto& entry) { return !shared_.directory.find(entry.first).has_value(); });
}

void Worker::on_tick() {
  const MonoTime now = loop_.now();
  const bool many = groups_.size() > shared_.options.idle_groups_min;
  if (std::exchange(is_crowded_, many) != many) {
    // By the controller's heartbeats it is known who is silent.
    for (auto& [id, group] : groups_) group->be_frugal(many && id != kControlGroup);
  }
  ++ticks_;
  for (Group* group : std::exchange(asked_, {})) {
    group->in_asked = false;
    if (group->requests() == 0) continue;
    group->expire_requests(now);
    if (group->requests() != 0) holds_requests(*group);
  }
  refresh_addresses();
  if (ticks_ % 4 == 0) {
    if (shared_.world.memory_used) shared_.admission.set_memory_used(shared_.world.memory_used());
    uint64_t turn = ticks_ / 4;
    for (const auto& [id, steward] : stewards_) {
      const Group& group = steward->group();
      const bool has_nothing_to_do = !group.leads() || group.core().idles();
      if (++turn % 5 != 0 && many && has_nothing_to_do) continue;
      steward->look();
      steward->group().count_operations(now);
    }
    for (const GroupId pinning : shared_.wal.pinning_groups()) {
      if (Group* group = find(pinning); group != nullptr) shorten_log(*group);
    }
  }
  tick_timer_ = loop_.call_after(kTick, [this] { on_tick(); });
}

}  // namespace flux::node
