#include "scenario_shards.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "api/keyspace.h"
#include "api/slot.h"

namespace flux::sim {

using kv::ShardState;
using node::kControlGroup;
using node::PeerMessage;

Nodes::Adjust with(uint32_t groups, uint32_t replication, uint32_t shards) {
  return [=](size_t, node::NodeOptions& options) {
    options.groups = groups;
    options.replication = replication;
    options.shards = shards;
  };
}

Nodes::Adjust with_limits(const LoadLimits& limits) {
  return [=](size_t node, node::NodeOptions& options) {
    with(2, 3, 2)(node, options);
    options.measure_interval = Millis(300);
    options.split_bytes = limits.split_bytes;
    options.split_operations = limits.split_operations;
    options.balance_cost_min = limits.cost_min;
  };
}

bool is(const Passing& passing, PeerMessage type) { return passing.type == static_cast<uint8_t>(type); }

// --- What there is ---------------------------------------------------------------------------------------------------

const ctrl::Keyspace& keyspace(Nodes& nodes, size_t asked) {
  return *nodes.chart(asked)->config->keyspace(api::kDefaultKeyspaceName);
}
GroupId owner_of(Nodes& nodes, size_t asked, ShardId shard) { return keyspace(nodes, asked).find(shard)->group; }
std::vector<ShardId> shards_of(Nodes& nodes, size_t asked, GroupId group) {
  std::vector<ShardId> found;
  for (const ctrl::Shard& shard : keyspace(nodes, asked).shards) {
    if (shard.group == group) found.push_back(shard.id);
  }
  return found;
}
size_t somebody(Nodes& nodes) {
  size_t i = 0;
  while (!nodes.up(i)) ++i;
  return i;
}
std::optional<ShardState> state_at(Nodes& nodes, size_t i, GroupId group, ShardId shard) {
  if (!nodes.up(i) || !nodes.has_group(i, group)) return std::nullopt;
  const auto table = nodes.group(i, group).state_machine().shards();
  const auto found = std::find_if(table.begin(), table.end(), [&](const auto& info) { return info.shard == shard; });
  return found == table.end() ? std::nullopt : std::optional(found->state);
}
std::optional<ShardState> state_at_leader(Nodes& nodes, GroupId group, ShardId shard) {
  const size_t leader = nodes.leader(group);
  return leader == SIZE_MAX ? std::nullopt : state_at(nodes, leader, group, shard);
}

bool is_quiet(Nodes& nodes) {
  const size_t asked = nodes.leader(kControlGroup);
  if (asked == SIZE_MAX) return false;
  const node::ChartPtr chart = nodes.chart(asked);
  const bool planned =
      std::any_of(chart->plans.begin(), chart->plans.end(), [](const auto& plan) { return plan.second.active(); });
  if (planned || !chart->actions.empty()) return false;
  for (const auto& [id, group] : chart->config->groups) {
    if (!group.alive()) continue;
    if (group.state != ctrl::GroupState::kServing || chart->progress.at(id).busy()) return false;
    const size_t leader = nodes.leader(id);
    if (leader == SIZE_MAX || !nodes.converged(id)) return false;
    const auto table = nodes.group(leader, id).state_machine().shards();
    if (table.size() != chart->config->owned_by(id)) return false;
    const bool serves = std::all_of(table.begin(), table.end(), [](const kv::ShardInfo& shard) {
      return shard.state == ShardState::kServing && !shard.feed;
    });
    if (!serves) return false;
  }
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (nodes.up(i) && nodes.chart(i)->config->num != chart->config->num) return false;
  }
  return true;
}
void wait_quiet(Nodes& nodes, Micros at_most) {
  if (nodes.until([&] { return is_quiet(nodes); }, at_most)) return;
  const size_t asked = somebody(nodes);
  for (const auto& [id, plan] : nodes.chart(asked)->plans) {
    for (const ctrl::Step& step : plan.steps) {
      ADD_FAILURE() << "plan " << id.value() << " is " << ctrl::to_string(plan.state) << ", a step of it "
                    << ctrl::to_string(step.phase) << " " << step.reason;
    }
  }
  for (const auto& [id, group] : nodes.chart(asked)->config->groups) {
    const size_t leader = nodes.leader(id);
    if (leader == SIZE_MAX) {
      ADD_FAILURE() << "group " << id.value() << " has no leader";
      continue;
    }
    for (const kv::ShardInfo& shard : nodes.group(leader, id).state_machine().shards()) {
      if (shard.state == ShardState::kServing && !shard.feed) continue;
      ADD_FAILURE() << "group " << id.value() << " has shard " << shard.shard.value() << " "
                    << kv::to_string(shard.state);
    }
  }
}

void balance(Nodes& nodes, const std::string& mode) {
  const api::ClusterReply reply = nodes.change(somebody(nodes), api::SetBalance{.mode = mode});
  ASSERT_TRUE(reply.status.ok()) << reply.status.to_string();
}
uint64_t begin_move(Nodes& nodes, ShardId shard, GroupId to) {
  nodes.wait_leader(kControlGroup);
  const api::ClusterReply reply = nodes.change(somebody(nodes), api::MoveShard{.shard = shard, .to = to});
  EXPECT_TRUE(reply.status.ok()) << reply.status.to_string();
  return reply.plan;
}

// --- Clients ---------------------------------------------------------------------------------------------------------

bool Clients::until(const std::function<bool()>& done, Micros at_most) {
  const MonoTime end = nodes_.world().now() + at_most;
  while (!done() && nodes_.world().now() < end) step();
  EXPECT_TRUE(done()) << "did not happen in " << at_most.count() << " us";
  return done();
}

void Clients::run(Micros time) {
  const MonoTime end = nodes_.world().now() + time;
  while (nodes_.world().now() < end) step();
}

void Clients::rest() {
  const MonoTime end = nodes_.world().now() + Millis(10'000);
  const auto busy = [](const Client& client) { return client.write || client.read; };
  while (std::any_of(clients_.begin(), clients_.end(), busy) && nodes_.world().now() < end) {
    for (Client& client : clients_) collect(client);
    nodes_.pass(Millis(1));
  }
  for (Client& client : clients_) {
    EXPECT_FALSE(busy(client)) << client.name << " got no answer";
    give_up(client);
  }
}

void Clients::check() {
  rest();
  wait_quiet(nodes_);
  size_t through = 0;
  std::set<std::string> found;
  for (const Client& client : clients_) {
    for (const auto& [key, known] : client.keys) {
      while (!nodes_.up(++through % nodes_.size())) continue;
      const Seen seen = nodes_.get(through % nodes_.size(), key);
      ASSERT_TRUE(seen.status.ok()) << key << ": " << seen.status.to_string();
      check_value(key, known, seen.value);
      if (seen.value) found.insert(api::encoded_key({}, key));
    }
  }
  check_engines(found);
}

void Clients::step() {
  for (Client& client : clients_) {
    collect(client);
    if (!client.write && !client.read) begin(client);
  }
  nodes_.pass(Micros(700));
}

void Clients::begin(Client& client) {
  do client.through = (client.through + 1) % nodes_.size();
  while (!nodes_.up(client.through));
  client.since = nodes_.world().now();
  Rng& rng = nodes_.world().rng();
  if (!client.keys.empty() && rng.below(4) == 0) {
    auto key = client.keys.begin();
    std::advance(key, static_cast<ptrdiff_t>(rng.below(client.keys.size())));
    client.asked = key->first;
    client.read = nodes_.begin_get(client.through, client.asked);
    return;
  }
  ++client.number;
  client.written.clear();
  // Often one key, sometimes several, which may be of several groups.
  for (uint64_t left = rng.below(5) == 0 ? 3 : 1; left > 0; --left) {
    const std::string key = client.name + "/" + std::to_string(rng.below(25));
    if (std::find(client.written.begin(), client.written.end(), key) == client.written.end()) {
      client.written.push_back(key);
    }
  }
  const std::string value = std::to_string(client.number) + std::string(value_bytes_, ' ');
  std::vector<api::Command> commands;
  for (const std::string& key : client.written) {
    client.keys[key].possible.insert(client.number);
    commands.push_back(api::Put{.key = key, .value = value});
  }
  client.write = nodes_.begin_write(client.through, commands);
}

void Clients::collect(Client& client) {
  if (client.write && client.write->has_value()) {
    note((**client.write).status, client);
    const ErrorCode code = (**client.write).status.code();
    for (const std::string& key : client.written) {
      Known& known = client.keys[key];
      if (code == ErrorCode::kOk) known.last = client.number;
      // One part of several may have been done although the whole was refused.
      const bool definite = code == ErrorCode::kOk || (!is_indeterminate(code) && client.written.size() == 1);
      if (definite) known.possible.erase(client.number);
    }
    client.write = nullptr;
  }
  if (client.read && client.read->has_value()) {
    note((**client.read).status, client);
    if ((**client.read).status.ok()) check_value(client.asked, client.keys[client.asked], (**client.read).value);
    client.read = nullptr;
  }
  if (!nodes_.up(client.through)) give_up(client);
}

void Clients::note(const Status& status, const Client& client) {
  ++answered_;
  slowest_ = std::max(slowest_, nodes_.world().now() - client.since);
  if (status.ok()) return;
  if (errors_++ == 0) {
    first_error_ = client.name + " through n" + std::to_string(client.through + 1) + " at " +
                   std::to_string(nodes_.world().now().since_start().count()) + ": " + status.to_string();
  }
}

void Clients::check_value(const std::string& key, const Known& known, const std::optional<std::string>& value) const {
  const uint64_t number = value ? std::stoull(*value) : 0;
  EXPECT_TRUE(number == known.last || known.possible.contains(number))
      << key << " is " << number << ", acknowledged was " << known.last;
}

void Clients::check_engines(const std::set<std::string>& keys) {
  const node::ChartPtr chart = nodes_.chart(nodes_.leader(kControlGroup));
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (!nodes_.up(i)) continue;
    for (const auto& [id, group] : chart->config->groups) {
      if (!group.has(nodes_.id(i)) || !nodes_.has_group(i, id)) continue;
      std::set<std::string> here;
      auto it = nodes_.group(i, id).engine().iterate(engine::Family::kData, {}, {});
      for (; it->valid(); it->next()) here.emplace(it->key());
      std::set<std::string> expected;
      for (const std::string& key : keys) {
        if (chart->routes->run_at(key)->group == id) expected.insert(key);
      }
      EXPECT_EQ(here.size(), expected.size()) << "group " << id.value() << " at n" << i + 1;
      EXPECT_TRUE(here == expected) << "group " << id.value() << " at n" << i + 1;
    }
  }
}

}  // namespace flux::sim
