#include "scenario.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <set>

#include "raft/message_codec.h"

namespace flux::sim {

std::optional<raft::Message> raft_message(const Passing& passing, GroupId& group) {
  if (passing.type != static_cast<uint8_t>(node::PeerMessage::kRaft)) return std::nullopt;
  Decoder decoder(passing.body);
  group = decoder.id<GroupId>();
  return raft::decode(decoder.raw(decoder.remaining())).value();
}

Fate drop_append_results(Passing& passing) {
  GroupId group;
  const std::optional<raft::Message> message = raft_message(passing, group);
  return message && std::holds_alternative<raft::AppendResult>(message->body) ? Fate::kDrop : Fate::kPass;
}

Nodes::Nodes(uint64_t seed, size_t founders, Adjust adjust)
    : world_(seed), founders_(founders), adjust_(std::move(adjust)) {
  for (size_t i = 0; i < founders; ++i) {
    add_host(fmt::format("n{}", i + 1), {.host = fmt::format("10.0.0.{}", i + 1), .port = 7380});
  }
  for (size_t i = 0; i < founders; ++i) EXPECT_TRUE(start(i).ok());
  until([this] {
    for (size_t i = 0; i < size(); ++i) {
      if (!is_founded(i)) return false;
    }
    return true;
  });
}

bool Nodes::is_founded(size_t i) {
  const node::ChartPtr known = chart(i);
  if (known->routes->empty()) return false;
  for (const auto& [number, about] : known->config->groups) {
    if (about.state != ctrl::GroupState::kServing || known->progress.at(number).busy()) return false;
    if (!about.has(id(i))) continue;
    if (!has_group(i, number) || group(i, number).state_machine().config_num() < known->progress.at(number).changed) {
      return false;
    }
  }
  return true;
}

Nodes::~Nodes() {
  for (size_t i = 0; i < size(); ++i) {
    if (up(i)) crash(i);
  }
}

size_t Nodes::add_host(std::string name, env::Address address) {
  hosts_.push_back(std::make_unique<Host>());
  hosts_.back()->name = std::move(name);
  hosts_.back()->address = std::move(address);
  return hosts_.size() - 1;
}

node::NodeOptions Nodes::options_of(size_t i) const {
  node::NodeOptions options;
  options.name = hosts_[i]->name;
  options.data_dir = "/data";
  options.listen_peer = options.advertise_peer = hosts_[i]->address;
  options.advertise_wire = wire_address(i).to_string();
  for (size_t each = 0; each < founders_ && i < founders_; ++each) {
    options.initial_cluster.push_back({.name = hosts_[each]->name, .address = hosts_[each]->address});
  }
  options.wal_prefill = false;
  options.wal_spare_segments = 1;
  options.wal_segments_max = 8;
  options.wal_segment_bytes = 1_MiB;
  options.log_entries_kept = 5;
  options.check_invariants = true;
  if (adjust_) adjust_(i, options);
  return options;
}

Status Nodes::start(size_t i, const node::JoinTicket* ticket) {
  Host& host = *hosts_[i];
  host.fatal = Status();
  host.loop = std::make_unique<SimLoop>(world_, host_id(i), host.clock);
  host.log_executor = std::make_unique<SimExecutor>(world_, *host.loop, Micros(200), Micros(2000));
  host.background = std::make_unique<SimExecutor>(world_, *host.loop, Micros(20'000), Micros(20'000));
  Result<std::unique_ptr<node::Node>> started = node::Node::start({.fs = *host.fs,
                                                                   .network = network_,
                                                                   .loops = {host.loop.get()},
                                                                   .log_executor = *host.log_executor,
                                                                   .background = *host.background,
                                                                   .entropy = world_.rng().next(),
                                                                   .memory_used = nullptr,
                                                                   .fatal =
                                                                       [&host](const Status& why) {
                                                                         if (host.fatal.ok()) host.fatal = why;
                                                                       }},
                                                                  options_of(i), ticket);
  if (!started.ok()) return started.status();
  host.node = std::move(started).value();
  const node::Identity& identity = host.node->identity();
  FLUX_TRY(host.wire, server::wire::Door::open(network_, {{.loop = host.loop.get(), .kv = &host.node->kv(0)}},
                                               host.node->cluster_map(),
                                               {.listen = wire_address(i),
                                                .self = {.cluster = identity.cluster,
                                                         .node = identity.node,
                                                         .name = identity.name,
                                                         .peer_address = {},
                                                         .starts = {}}}));
  return {};
}

void Nodes::crash(size_t i, const env::testing::CrashPolicy& policy) {
  hosts_[i]->fs->crash(policy);
  end_process(i);
}

void Nodes::kill(size_t i) {
  hosts_[i]->fs->kill();
  end_process(i);
}

void Nodes::end_process(size_t i) {
  Host& host = *hosts_[i];
  host.wire.reset();
  host.node.reset();
  host.log_executor.reset();
  host.background.reset();
  host.loop.reset();
}

node::JoinTicket Nodes::ticket_for(size_t asked, const std::string& name) {
  node::JoinTicket ticket{.cluster = node(asked).identity().cluster, .node = kNobody, .nodes = {}, .met = {}};
  node(asked).admin(0).status([&](const api::NodeStatus& status) {
    for (const api::NodeRecord& record : status.nodes) {
      if (record.name == name) ticket.node = record.id;
      ticket.nodes.push_back({.id = record.id, .name = record.name, .address = record.peer_address});
    }
  });
  EXPECT_NE(ticket.node, kNobody) << name << " has not been added";
  return ticket;
}

size_t Nodes::join(size_t through) {
  const std::string name = fmt::format("n{}", size() + 1);
  const env::Address address{.host = fmt::format("10.0.0.{}", size() + 1), .port = 7380};
  const api::ClusterReply added = change(through, api::AddNode{.name = name, .peer_address = address.to_string()});
  EXPECT_TRUE(added.status.ok()) << added.status.to_string();
  until([&] { return chart(through)->config->node(added.node) != nullptr; });
  const size_t joined = add_host(name, address);
  const node::JoinTicket ticket = ticket_for(through, name);
  EXPECT_TRUE(start(joined, &ticket).ok());
  until([&] { return chart(joined)->config->node(added.node) != nullptr; });
  return joined;
}

node::Group& Nodes::group(size_t i, GroupId id) {
  node::Group* group = static_cast<node::NodeImpl&>(node(i)).owner(id).find(id);
  FLUX_CHECK(group != nullptr, "n{} has no replica of group {}", i + 1, id);
  return *group;
}

bool Nodes::has_group(size_t i, GroupId id) {
  return static_cast<node::NodeImpl&>(node(i)).owner(id).find(id) != nullptr;
}

node::ChartPtr Nodes::chart(size_t i) { return static_cast<node::NodeImpl&>(node(i)).worker(0).chart(); }

void Nodes::set_wall_offset(size_t i, int64_t millis) { hosts_[i]->clock.wall_offset_ms = millis; }

std::string Nodes::snapshot_dir(GroupId id) { return fmt::format("/data/snapshots/group-{}", id); }

std::vector<std::string> Nodes::snapshots(size_t i, GroupId id) {
  std::vector<std::string> names;
  const std::vector<std::string> all = fs(i).list(snapshot_dir(id)).value();
  for (const std::string& name : all) {
    if (name.ends_with(".snap")) names.push_back(name);
  }
  return names;
}

bool Nodes::until(const std::function<bool()>& done, Micros at_most) {
  const bool came = done() || world_.run(world_.now() + at_most, [&] {
    if (watcher_) watcher_();
    return done();
  });
  EXPECT_TRUE(came) << "did not happen in " << at_most.count() << " us";
  return came;
}

void Nodes::pass(Micros time) {
  world_.run(world_.now() + time, [this] {
    if (watcher_) watcher_();
    return false;
  });
}

size_t Nodes::leader(GroupId id) {
  size_t found = SIZE_MAX;
  Term highest;
  for (size_t i = 0; i < size(); ++i) {
    if (!up(i) || !has_group(i, id) || !group(i, id).leads() || group(i, id).core().term() < highest) continue;
    found = i, highest = group(i, id).core().term();
  }
  return found;
}

size_t Nodes::wait_leader(GroupId id) {
  const auto known_to_all = [this, id] {
    const size_t found = leader(id);
    if (found == SIZE_MAX) return false;
    for (size_t i = 0; i < size(); ++i) {
      if (!up(i) || !has_group(i, id) || !group(i, id).halt_reason().ok()) continue;
      if (group(i, id).core().leader() != this->id(found)) return false;
    }
    return group(found, id).core().commit_index() == group(found, id).core().last_index();
  };
  until(known_to_all);
  return leader(id);
}

void Nodes::make_leader(size_t i, GroupId id) {
  const auto ask = [this, i, id] {
    if (group(i, id).leads()) return true;
    const size_t now = leader(id);
    if (now != SIZE_MAX && group(now, id).core().transfer_target() == kNobody) {
      in_turn(now, [this, now, i, id] { group(now, id).transfer(this->id(i), [](const Status&) {}); });
    }
    return group(i, id).leads();
  };
  for (int attempt = 0; attempt < 200 && !ask(); ++attempt) pass(Millis(50));
  EXPECT_TRUE(group(i, id).leads());
}

bool Nodes::converged(GroupId id) {
  std::set<Index> indexes;
  for (size_t i = 0; i < size(); ++i) {
    if (!up(i) || !has_group(i, id)) continue;
    if (group(i, id).core().leader() == kNobody || applied(i, id) != group(i, id).core().commit_index()) return false;
    indexes.insert(applied(i, id));
  }
  return indexes.size() == 1;
}

void Nodes::settle(GroupId id) {
  until([this, id] { return converged(id); });
}

void Nodes::isolate(size_t i) {
  for (size_t other = 0; other < size(); ++other) {
    if (other == i) continue;
    world_.cut(host_id(i), host_id(other));
    world_.cut(host_id(other), host_id(i));
  }
}

void Nodes::in_turn(size_t i, env::Task task) {
  bool ran = false;
  world_.at(world_.now(), loop(i), [&ran, task = std::move(task)]() mutable {
    task();
    ran = true;
  });
  until([&ran] { return ran; });
}

Pending<api::WriteReply> Nodes::begin_write(size_t through, const std::vector<api::Command>& commands,
                                            api::SessionRef session) {
  auto pending = std::make_shared<std::optional<api::WriteReply>>();
  in_turn(through, [&] {
    node(through).kv(0).write({.commands = commands, .session = session}, [pending](api::WriteReply reply) {
      EXPECT_FALSE(pending->has_value()) << "answered twice";
      *pending = std::move(reply);
    });
  });
  return pending;
}

Pending<Seen> Nodes::begin_get(size_t through, std::string_view key, api::Consistency consistency) {
  auto pending = std::make_shared<std::optional<Seen>>();
  in_turn(through, [&] {
    const std::string_view keys[] = {key};
    node(through).kv(0).read({.what = api::GetRequest{.keys = keys}, .consistency = consistency},
                             [pending](const api::ReadReply& reply) {
                               EXPECT_FALSE(pending->has_value()) << "answered twice";
                               Seen seen{.status = reply.status, .value = std::nullopt, .deadline = std::nullopt};
                               if (reply.status.ok() && reply.items[0].found) {
                                 seen.value = reply.items[0].value;
                                 seen.deadline = reply.items[0].deadline;
                               }
                               *pending = std::move(seen);
                             });
  });
  return pending;
}

api::WriteReply Nodes::write(size_t through, const std::vector<api::Command>& commands, api::SessionRef session) {
  const auto pending = begin_write(through, commands, session);
  until([&] { return pending->has_value(); });
  return pending->value_or(api::WriteReply{.status = Status(ErrorCode::kCancelled, "no answer")});
}

Status Nodes::put(size_t through, std::string_view key, std::string_view value, api::Expiry expiry) {
  return write(through, {api::Put{.key = key, .value = value, .expiry = expiry}}).status;
}

Seen Nodes::get(size_t through, std::string_view key, api::Consistency consistency) {
  const auto pending = begin_get(through, key, consistency);
  until([&] { return pending->has_value(); });
  return pending->value_or(Seen{.status = Status(ErrorCode::kCancelled, "no answer"), .value = {}, .deadline = {}});
}

Pending<api::ClusterReply> Nodes::begin_change(size_t through, const api::ClusterRequest& request) {
  auto pending = std::make_shared<std::optional<api::ClusterReply>>();
  in_turn(through, [&] {
    node(through).admin(0).change_cluster({.request = request, .expected = {}}, [pending](api::ClusterReply reply) {
      EXPECT_FALSE(pending->has_value()) << "answered twice";
      *pending = std::move(reply);
    });
  });
  return pending;
}

api::ClusterReply Nodes::change(size_t through, const api::ClusterRequest& request) {
  const auto pending = begin_change(through, request);
  until([&] { return pending->has_value(); });
  return pending->value_or(api::ClusterReply{.status = Status(ErrorCode::kCancelled, "no answer")});
}

std::optional<ctrl::PlanState> Nodes::plan_state(size_t through, uint64_t plan) {
  const node::ChartPtr known = chart(through);
  const auto found = known->plans.find(ctrl::PlanId(plan));
  return found == known->plans.end() ? std::nullopt : std::optional(found->second.state);
}

void Nodes::wait_plan_done(size_t through, uint64_t plan, Micros at_most) {
  until([&] { return plan_state(through, plan) == ctrl::PlanState::kDone; }, at_most);
}

}  // namespace flux::sim
