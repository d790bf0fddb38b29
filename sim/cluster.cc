#include "cluster.h"

#include <fmt/core.h>

#include <algorithm>
#include <set>

#include "node/node_impl.h"

namespace flux::sim {
namespace {

constexpr size_t kImagesKept = 3;
constexpr size_t kSectorsKept = 400;

}  // namespace

Knobs Knobs::draw(Rng rng) {
  const auto micros = [&](uint64_t low, uint64_t high) { return Micros(static_cast<int64_t>(rng.between(low, high))); };
  Knobs knobs;
  constexpr size_t kSizes[] = {1, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4, 4, 5, 5, 5, 5, 5, 6, 7};
  knobs.size = kSizes[rng.below(std::size(kSizes))];
  node::NodeOptions& node = knobs.node;
  // Small, so that rotation, snapshots and catching up by snapshot happen within seconds.
  node.wal_segment_bytes = rng.between(8, 24) * 4096;  // it must hold the largest entry that clients make together
  node.wal_prefill = rng.chance(0.3);
  node.wal_spare_segments = static_cast<uint32_t>(rng.between(0, 3));
  node.wal_segments_max = static_cast<uint32_t>(rng.between(3, 12));
  node.snapshot_log_bytes = rng.chance(0.2) ? 1u << 20 : rng.between(4'000, 60'000);
  node.log_entries_kept = rng.chance(0.3) ? 0 : rng.between(1, 200);
  const uint64_t scale = rng.between(1, 4);
  node.heartbeat_interval = Millis(25 * scale);
  node.election_timeout_min = Millis(150 * scale);
  node.election_timeout_max = node.election_timeout_min + micros(100'000, 400'000);
  node.request_timeout = micros(500'000, 5'000'000);
  if (rng.chance(0.4)) {
    node.read_consistency = api::Consistency::kLease;
    node.clock_drift_ppm_max = static_cast<uint32_t>(rng.between(100, 50'000));
  }
  // Limits so low that what they are for happens all the time.
  if (rng.chance(0.25)) node.appends_under_way_max = rng.between(1, 3);
  if (rng.chance(0.2)) node.append_bytes_max = rng.between(1, 400);
  if (rng.chance(0.4)) node.snapshot_chunk_bytes = rng.between(256, 4096);
  if (rng.chance(0.1)) node.snapshot_log_bytes = rng.between(200, 2'000);
  node.shard_chunk_bytes = rng.chance(0.5) ? rng.between(100, 6'000) : rng.between(60, 300);
  if (rng.chance(0.2)) node.move_bytes_per_second = rng.between(4'000, 40'000);
  node.check_invariants = true;
  knobs.drift_ppm_max = node.clock_drift_ppm_max;
  knobs.chop = rng.chance(0.5) ? 0 : 0.1 * rng.unit();
  knobs.write_max = micros(50, 500);
  knobs.sync_max = micros(200, 8'000);
  knobs.background_max = micros(1'000, 60'000);
  // From a single group, as a small cluster has, to several with fewer voters than there are nodes.
  node.groups = rng.chance(0.5) ? 1 : static_cast<uint32_t>(rng.between(2, 3));
  node.replication =
      static_cast<uint32_t>(rng.chance(0.5) ? knobs.size : rng.between((knobs.size + 1) / 2, knobs.size));
  node.shards = static_cast<uint32_t>(rng.between(1, 3)) * node.groups;
  if (rng.chance(0.7)) {
    node.limits.sessions_max = rng.between(2, 12);
    node.limits.session_window = rng.between(1, 8);
    node.limits.session_idle_max = Millis(static_cast<int64_t>(rng.between(2'000, 20'000)));
  }
  if (rng.chance(0.4)) node.limits.feed_records_max = rng.between(10, 60);
  if (rng.chance(0.4)) node.limits.control_log_bytes_max = rng.between(0, 3'000);
  if (rng.chance(0.4)) node.shard_erase_keys = static_cast<uint32_t>(rng.between(1, 4));
  node.idle_groups_min = rng.chance(0.5) ? 0 : static_cast<uint32_t>(rng.between(1, 4));
  node.idle_heartbeat_interval = node.heartbeat_interval * static_cast<int64_t>(rng.between(2, 12));
  node.idle_after = micros(50'000, 1'500'000);
  node.measure_interval = micros(200'000, 2'000'000);
  node.split_bytes = rng.between(1'000, 20'000);
  node.split_operations = rng.between(20, 200);
  node.balance_cost_min = rng.between(5, 50);
  if (rng.chance(0.1)) {
    node.groups = 0;
    node.cores = static_cast<uint32_t>(rng.between(1, 2));
  }
  node.lost_after = rng.chance(0.5) ? Micros() : micros(1'000'000, 15'000'000);
  return knobs;
}

env::Address Cluster::peer_address(size_t i) { return {.host = fmt::format("10.0.0.{}", i + 1), .port = 7380}; }
env::Address Cluster::resp_address(size_t i) { return {.host = fmt::format("10.0.0.{}", i + 1), .port = 6379}; }

Cluster::Cluster(World& world, Knobs knobs, Invariants& invariants)
    : world_(world), knobs_(std::move(knobs)), invariants_(invariants) {
  for (size_t i = 0; i < knobs_.size; ++i) add_host();
  for (size_t i = 0; i < knobs_.size; ++i) start(i);
}

Cluster::~Cluster() {
  for (size_t i = 0; i < hosts(); ++i) {
    if (hosts_[i]->loop != nullptr) power_cut(i, env::testing::CrashPolicy::drop_all());
  }
}

size_t Cluster::add_host() {
  hosts_.push_back(std::make_unique<Host>());
  if (keep_sectors_) hosts_.back()->fs->keep_replaced(kSectorsKept);
  const auto bound = static_cast<uint64_t>(knobs_.drift_ppm_max);
  hosts_.back()->clock.drift_ppm = static_cast<int64_t>(world_.rng().between(0, 2 * bound)) - knobs_.drift_ppm_max;
  return hosts() - 1;
}

size_t Cluster::count_in_use() const {
  return static_cast<size_t>(std::count_if(hosts_.begin(), hosts_.end(), [](const auto& h) { return !h->retired; }));
}

void Cluster::damage(size_t i) {
  hosts_[i]->damaged = true;
  invariants_.damaged(hosts_[i]->id);
}

void Cluster::watch_disks(bool images, bool sectors) {
  keep_images_ = images;
  keep_sectors_ = sectors;
  for (const auto& host : hosts_) host->fs->keep_replaced(sectors ? kSectorsKept : 0);
}

void Cluster::set_disk(size_t i, std::unique_ptr<env::testing::FakeFs> fs) {
  FLUX_CHECK(hosts_[i]->loop == nullptr);
  hosts_[i]->fs = std::move(fs);
}

size_t Cluster::count_up() const {
  return static_cast<size_t>(
      std::count_if(hosts_.begin(), hosts_.end(), [](const auto& h) { return h->node != nullptr; }));
}

std::optional<size_t> Cluster::host_of(NodeId node) const {
  for (size_t i = 0; i < hosts(); ++i) {
    if (hosts_[i]->id == node) return i;
  }
  return std::nullopt;
}

node::NodeOptions Cluster::options_of(size_t i) const {
  node::NodeOptions options = knobs_.node;
  options.name = fmt::format("n{}", i + 1);
  options.data_dir = "/data";
  options.listen_peer = options.advertise_peer = peer_address(i);
  if (i >= knobs_.size) return options;
  for (size_t each = 0; each < knobs_.size; ++each) {
    options.initial_cluster.push_back({.name = fmt::format("n{}", each + 1), .address = peer_address(each)});
  }
  return options;
}

void Cluster::make_process(size_t i) {
  Host& host = *hosts_[i];
  world_.set_power(host_id(i), true);
  host.loop = std::make_unique<SimLoop>(world_, host_id(i), host.clock);
  host.log_executor = std::make_unique<SimExecutor>(world_, *host.loop, knobs_.write_max, knobs_.sync_max);
  host.background = std::make_unique<SimExecutor>(world_, *host.loop, knobs_.background_max, knobs_.background_max);
}

void Cluster::start(size_t i) {
  Host& host = *hosts_[i];
  if (host.loop != nullptr || retired(i)) return;
  if (keep_images_ && !damaged(i)) {
    host.images.push_back(host.fs->clone());
    host.images.back()->crash(env::testing::CrashPolicy::drop_all());
    if (host.images.size() > kImagesKept) host.images.pop_front();
  }
  const Result<bool> known = i < knobs_.size ? Result<bool>(true) : node::has_identity(*hosts_[i]->fs, "/data");
  if (known.ok() && !*known) return join(i);
  world_.say("start n{}", i + 1);
  make_process(i);
  launch(i, nullptr);
}

void Cluster::join(size_t i) {
  Host& host = *hosts_[i];
  if (host.loop != nullptr || retired(i)) return;
  world_.say("n{} asks to join", i + 1);
  make_process(i);
  std::vector<env::Address> nodes;
  for (size_t each = 0; each < hosts(); ++each) {
    if (each != i && !retired(each)) nodes.push_back(peer_address(each));
  }
  const auto ask = [this, i, nodes] {
    hosts_[i]->asking = node::ask_to_join(
        loop(i), world_.network(), nodes, fmt::format("n{}", i + 1), [this, i](Result<node::JoinTicket> ticket) {
          if (ticket.ok()) return launch(i, &*ticket);
          world_.say("n{} was not told who it is: {}", i + 1, ticket.status().to_string());
          world_.after(Millis(100), [this, i] {
            if (up(i)) return;
            kill(i);
            world_.after(Millis(500), [this, i] { start(i); });
          });
        });
  };
  world_.at(world_.now(), *host.loop, ask);
}

void Cluster::launch(size_t i, const node::JoinTicket* ticket) {
  Host& host = *hosts_[i];
  host.ending = false;
  Result<std::unique_ptr<node::Node>> node =
      node::Node::start({.fs = *host.fs,
                         .network = network_,
                         .loops = {host.loop.get()},
                         .log_executor = *host.log_executor,
                         .background = *host.background,
                         .entropy = world_.rng().next(),
                         .memory_used = nullptr,
                         .fatal = [this, i](const Status& why) { failed(i, why); },
                         .observer = &invariants_},
                        options_of(i), ticket);
  if (!node.ok()) return failed(i, node.status().with("the node does not start"));
  host.node = std::move(node).value();
  host.id = host.node->identity().node;
  auto door = server::resp::Door::open(
      world_.network(), {{.loop = host.loop.get(), .kv = &host.node->kv(0), .admin = &host.node->admin(0)}},
      {.listen = resp_address(i), .settings = {}});
  FLUX_CHECK(door.ok(), "{}", door.status().to_string());
  host.door = std::move(door).value();
}

void Cluster::failed(size_t i, const Status& why) {
  Host& host = *hosts_[i];
  world_.say("n{} cannot go on: {}", i + 1, why.to_string());
  if (host.failures == 0 && !host.damaged) report(fmt::format("n{}: {}", i + 1, why.to_string()));
  if (std::exchange(host.ending, true)) return;
  const SimLoop* const process = host.loop.get();
  world_.after(Micros(0), [this, i, process] {
    if (hosts_[i]->loop.get() == process) kill(i);
  });
}

void Cluster::end_process(size_t i) {
  Host& host = *hosts_[i];
  if (host.loop == nullptr) return;
  // As a process ends: what was handed to executors first, then the streams, then what they belong to.
  world_.forget_tasks(*host.loop);
  host.asking.reset();
  host.door.reset();
  host.node.reset();
  host.log_executor.reset();
  host.background.reset();
  host.loop.reset();
  host.ending = false;
  invariants_.ended(host.id);
}

void Cluster::power_cut(size_t i, const env::testing::CrashPolicy& policy) {
  hosts_[i]->fs->crash(policy);
  world_.set_power(host_id(i), false);
  end_process(i);
}

void Cluster::kill(size_t i) {
  hosts_[i]->fs->kill();
  end_process(i);
}

void Cluster::retire(size_t i) {
  hosts_[i]->retired = true;
  power_cut(i, env::testing::CrashPolicy::drop_all());
}

void Cluster::slow_disk(size_t i, int64_t factor) {
  Host& host = *hosts_[i];
  if (host.loop == nullptr) return;
  host.log_executor->slow_down(factor);
  host.background->slow_down(factor);
}

MonoTime Cluster::disk_done_at(size_t i) const {
  const Host& host = *hosts_[i];
  if (host.loop == nullptr) return world_.now();
  return std::max({world_.now(), host.log_executor->free_at(), host.background->free_at()});
}

std::vector<api::GroupStatus> Cluster::groups(size_t i) {
  std::vector<api::GroupStatus> groups;
  // With one worker the answer comes at once.
  node(i).admin(0).status([&](const api::NodeStatus& status) { groups = status.groups; });
  return groups;
}

std::optional<api::GroupStatus> Cluster::group(size_t i, GroupId id) {
  for (api::GroupStatus& each : groups(i)) {
    if (each.id == id) return std::move(each);
  }
  return std::nullopt;
}

node::ChartPtr Cluster::chart(size_t i) { return static_cast<node::NodeImpl&>(node(i)).worker(0).chart(); }

bool Cluster::founded() {
  for (size_t i = 0; i < hosts(); ++i) {
    if (up(i) && !chart(i)->routes->empty()) return true;
  }
  return false;
}

std::optional<size_t> Cluster::leader(GroupId id) {
  std::optional<size_t> found;
  Term highest;
  for (size_t i = 0; i < hosts(); ++i) {
    if (!up(i)) continue;
    const std::optional<api::GroupStatus> status = group(i, id);
    if (status && status->role == "leader" && status->term >= highest) found = i, highest = status->term;
  }
  return found;
}

std::vector<GroupId> Cluster::all_groups() {
  node::ChartPtr newest;
  for (size_t i = 0; i < hosts(); ++i) {
    if (up(i) && (!newest || chart(i)->at > newest->at)) newest = chart(i);
  }
  std::vector<GroupId> ids = {node::kControlGroup};
  for (const auto& [id, group] : newest ? newest->config->groups : std::map<GroupId, ctrl::Group>()) {
    if (group.alive()) ids.push_back(id);
  }
  return ids;
}

bool Cluster::converged() {
  if (!founded()) return false;
  const std::optional<size_t> control = leader(node::kControlGroup);
  if (!control) return false;
  const node::ChartPtr now = chart(*control);
  if (!now->actions.empty() ||
      std::any_of(now->progress.begin(), now->progress.end(), [](const auto& each) { return each.second.busy(); })) {
    return false;
  }
  const std::vector<GroupId> ids = all_groups();
  return std::all_of(ids.begin(), ids.end(), [&](GroupId id) { return converged(id); });
}

bool Cluster::goes_on(std::map<GroupId, Mark>& marks) {
  if (!founded() || !leader(node::kControlGroup)) return false;
  const std::vector<GroupId> ids = all_groups();
  return std::all_of(ids.begin(), ids.end(), [&](GroupId id) { return goes_on(id, marks); });
}

bool Cluster::goes_on(GroupId id, std::map<GroupId, Mark>& marks) {
  const std::optional<size_t> led = leader(id);
  if (!led) return false;
  const api::GroupStatus leads = *group(*led, id);
  const Mark& mark = marks.emplace(id, Mark{.term = leads.term, .last = leads.last_index}).first->second;
  if (mark.term != leads.term) {
    marks.erase(id);
    return false;
  }
  return std::all_of(leads.voters.begin(), leads.voters.end(), [&](NodeId member) {
    const std::optional<size_t> i = host_of(member);
    if (!i || !up(*i)) return true;
    const std::optional<api::GroupStatus> status = group(*i, id);
    return status && status->applied_index >= mark.last && status->leader == node_id(*led);
  });
}

// Nothing of the group is on its way any more, and nothing is left of what has gone.
bool Cluster::settled_shards(size_t i, GroupId id) {
  const auto shards = static_cast<node::NodeImpl&>(node(i)).worker(0).find(id)->state_machine().shards();
  return std::all_of(shards.begin(), shards.end(),
                     [](const kv::ShardInfo& shard) { return shard.state == kv::ShardState::kServing && !shard.feed; });
}

bool Cluster::converged(GroupId id) {
  const std::optional<size_t> led = leader(id);
  if (!led || !settled_shards(*led, id)) return false;
  const api::GroupStatus leads = *group(*led, id);
  if (leads.joint || leads.applied_index != leads.commit_index || leads.commit_index != leads.last_index) return false;
  std::vector<NodeId> members = leads.voters;
  members.insert(members.end(), leads.learners.begin(), leads.learners.end());
  return std::all_of(members.begin(), members.end(), [&](NodeId member) {
    const std::optional<size_t> i = host_of(member);
    if (!i || !up(*i)) return false;
    const std::optional<api::GroupStatus> status = group(*i, id);
    return status && status->applied_index == leads.applied_index && status->leader == node_id(*led);
  });
}

void Cluster::report(std::string problem) {
  world_.say("PROBLEM: {}", problem);
  if (problem_.empty()) problem_ = std::move(problem);
}

}  // namespace flux::sim
