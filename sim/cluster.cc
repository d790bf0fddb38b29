#include "cluster.h"

#include <fmt/core.h>

namespace flux::sim {
namespace {

constexpr Micros kGiveUp = Millis(8000);

env::Address peer_address(size_t i) { return {.host = fmt::format("10.0.0.{}", i + 1), .port = 7380}; }

node::NodeOptions options_of(size_t i, size_t size) {
  node::NodeOptions options;
  options.name = fmt::format("n{}", i + 1);
  options.data_dir = "/data";
  options.listen_peer = options.advertise_peer = peer_address(i);
  for (size_t each = 0; each < size; ++each) {
    options.initial_cluster.push_back({.name = fmt::format("n{}", each + 1), .address = peer_address(each)});
  }
  // Small, so that rotation, snapshots and catching up by snapshot happen within seconds.
  options.wal_prefill = false;
  options.wal_spare_segments = 1;
  options.snapshot_log_bytes = 24'000;
  options.log_entries_kept = 20;
  options.wal_segments_max = 4;
  options.check_invariants = true;
  return options;
}

}  // namespace

Cluster::Cluster(World& world, size_t size) : world_(world) {
  for (size_t i = 0; i < size; ++i) hosts_.push_back(std::make_unique<Host>());
  for (size_t i = 0; i < size; ++i) start(i);
}

Cluster::~Cluster() {
  for (size_t i = 0; i < size(); ++i) {
    if (up(i)) crash(i, env::testing::CrashPolicy::drop_all());
  }
}

void Cluster::start(size_t i) {
  Host& host = *hosts_[i];
  host.loop = std::make_unique<SimLoop>(world_, host_id(i));
  host.log_executor = std::make_unique<SimExecutor>(world_, *host.loop, Micros(200), Micros(2000));
  host.background = std::make_unique<SimExecutor>(world_, *host.loop, Micros(20'000), Micros(20'000));
  Result<std::unique_ptr<node::Node>> node =
      node::Node::start({.fs = host.fs,
                         .network = world_.network(),
                         .loops = {host.loop.get()},
                         .log_executor = *host.log_executor,
                         .background = *host.background,
                         .entropy = world_.rng().next(),
                         .memory_used = nullptr,
                         .fatal =
                             [this, i](const Status& why) {
                               if (fatal_.empty()) fatal_ = fmt::format("n{}: {}", i + 1, why.to_string());
                             }},
                        options_of(i, size()), nullptr);
  if (!node.ok()) {
    if (fatal_.empty()) fatal_ = fmt::format("n{} does not start: {}", i + 1, node.status().to_string());
    return;
  }
  host.node = std::move(node).value();
}

void Cluster::crash(size_t i, const env::testing::CrashPolicy& policy) {
  Host& host = *hosts_[i];
  host.fs.crash(policy);
  host.node.reset();
  host.log_executor.reset();
  host.background.reset();
  host.loop.reset();
}

api::GroupStatus Cluster::group(size_t i) {
  api::GroupStatus group;
  // With one worker the answer comes at once.
  node(i).admin(0).status([&](const api::NodeStatus& status) { group = status.groups.front(); });
  return group;
}

size_t Cluster::leader() {
  size_t found = SIZE_MAX;
  Term highest;
  for (size_t i = 0; i < size(); ++i) {
    if (!up(i)) continue;
    const api::GroupStatus status = group(i);
    if (status.role == "leader" && status.term >= highest) found = i, highest = status.term;
  }
  return found;
}

bool Cluster::converged() {
  std::set<Index> applied;
  for (size_t i = 0; i < size(); ++i) {
    if (!up(i)) continue;
    const api::GroupStatus status = group(i);
    if (status.applied_index != status.commit_index || status.leader == kNobody) return false;
    applied.insert(status.applied_index);
  }
  return applied.size() == 1;
}

Client::Client(World& world, Cluster& cluster, uint64_t number) : world_(world), cluster_(cluster), number_(number) {
  for (uint64_t i = 0; i < kRegisters; ++i) registers_[i];
}

std::string Client::key(uint64_t number) const { return fmt::format("client{}:{}", number_, number); }

void Client::next() {
  if (stopped_) return;
  const Micros pause(static_cast<int64_t>(world_.rng().between(1'000, 20'000)));
  world_.at(world_.now() + pause, [this] {
    const size_t through = world_.rng().below(cluster_.size());
    if (stopped_ || !cluster_.up(through)) return next();
    busy_ = true;
    const uint64_t operation = ++operation_;
    // A node that crashes never answers.
    world_.at(world_.now() + kGiveUp, [this, operation] {
      if (operation != operation_ || !busy_) return;
      ++operation_;
      busy_ = false;
      next();
    });
    if (world_.rng().chance(0.4)) {
      return read(through, world_.rng().below(kRegisters), [this] {
        busy_ = false;
        next();
      });
    }
    const uint64_t number = world_.rng().below(kRegisters);
    const std::string value = fmt::format("{}.{}", number_, ++step_);
    Register& target = registers_[number];
    target.possible.insert(value);
    world_.at(world_.now(), cluster_.loop(through), [this, through, number, value, operation] {
      const std::string name = key(number);
      const api::Command commands[] = {api::Put{.key = name, .value = value}};
      cluster_.node(through).kv(0).write({.commands = commands},
                                         [this, number, value, operation](const api::WriteReply& reply) {
                                           if (operation != operation_) return;
                                           Register& written = registers_[number];
                                           if (reply.status.ok()) {
                                             // Earlier writes of unknown outcome stay possible: one may still be on its
                                             // way to a leader.
                                             written.value = value;
                                             written.possible.erase(value);
                                             ++acknowledged_;
                                           } else if (!is_indeterminate(reply.status.code())) {
                                             written.possible.erase(value);
                                           }
                                           busy_ = false;
                                           next();
                                         });
    });
  });
}

void Client::read(size_t through, uint64_t number, std::function<void()> done) {
  const uint64_t operation = operation_;
  world_.at(world_.now(), cluster_.loop(through), [this, through, number, operation, done = std::move(done)] {
    const std::string name = key(number);
    const std::string_view keys[] = {name};
    cluster_.node(through).kv(0).read({.what = api::GetRequest{.keys = keys}},
                                      [this, number, operation, done](const api::ReadReply& reply) {
                                        if (operation != operation_) return;
                                        if (reply.status.ok()) saw(number, reply.items[0].found, reply.items[0].value);
                                        done();
                                      });
  });
}

void Client::saw(uint64_t number, bool found, std::string_view value) {
  Register& target = registers_[number];
  const std::string seen(found ? value : std::string_view());
  if (seen == target.value) return;
  if (target.possible.erase(seen) == 0) {
    if (problem_.empty()) {
      problem_ = fmt::format("{} is '{}' at {} us; acknowledged was '{}', possible are {} others", key(number), seen,
                             world_.now().since_start().count(), target.value, target.possible.size());
    }
    return;
  }
  // It happened, and cannot happen again.
  target.value = seen;
}

void Client::check_all(size_t through, std::function<void()> done) {
  auto left = std::make_shared<uint64_t>(kRegisters);
  for (uint64_t i = 0; i < kRegisters; ++i) {
    read(through, i, [left, done] {
      if (--*left == 0) done();
    });
  }
}

}  // namespace flux::sim
