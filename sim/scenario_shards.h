// What scenarios of shards ask and look at, and clients that write meanwhile and know what must be there afterwards.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "scenario.h"

namespace flux::sim {

inline constexpr GroupId kOne{1};
inline constexpr GroupId kTwo{2};

Nodes::Adjust with(uint32_t groups, uint32_t replication, uint32_t shards);
// Two groups of three with two shards, which are measured often; from these limits on shards are split and moved.
struct LoadLimits {
  uint64_t split_bytes = 1'000'000'000;
  uint64_t split_operations = 1'000'000;
  uint64_t cost_min = 1'000'000;
};
Nodes::Adjust with_limits(const LoadLimits& limits);
bool is(const Passing& passing, node::PeerMessage type);

// --- What there is ---------------------------------------------------------------------------------------------------

const ctrl::Keyspace& keyspace(Nodes& nodes, size_t asked);
GroupId owner_of(Nodes& nodes, size_t asked, ShardId shard);
std::vector<ShardId> shards_of(Nodes& nodes, size_t asked, GroupId group);
// Some node that is up.
size_t somebody(Nodes& nodes);
// The shard as the replica of a group has it; none: it has no such shard, or is not there.
std::optional<kv::ShardState> state_at(Nodes& nodes, size_t i, GroupId group, ShardId shard);
std::optional<kv::ShardState> state_at_leader(Nodes& nodes, GroupId group, ShardId shard);
// Whether everything is where the newest configuration says, and nothing is on its way.
bool is_quiet(Nodes& nodes);
void wait_quiet(Nodes& nodes, Micros at_most = Millis(60'000));

// --- What is asked ---------------------------------------------------------------------------------------------------

// "off": rebalancing would take back what a test moves.
void balance(Nodes& nodes, const std::string& mode);
// Returns the plan.
uint64_t begin_move(Nodes& nodes, ShardId shard, GroupId to);

// --- Clients ---------------------------------------------------------------------------------------------------------

// Writes and reads through every node, one request after the other for each client, on keys of its own. A key holds a
// number that rises with every write, so that what is read tells which writes there were.
class Clients {
 public:
  explicit Clients(Nodes& nodes, size_t count = 6, size_t value_bytes = 20) : nodes_(nodes), value_bytes_(value_bytes) {
    for (size_t i = 0; i < count; ++i)
      clients_.push_back({.name = "c" + std::to_string(i), .through = i % nodes.size()});
  }

  // Runs the world with the clients until something has happened.
  bool until(const std::function<bool()>& done, Micros at_most = Millis(60'000));
  void run(Micros time);
  // No new requests; those that were made are answered or given up.
  void rest();
  // Every key through every node: what was acknowledged is there, once, in the group that owns it, and nothing else is.
  void check();

  uint64_t answered() const { return answered_; }
  uint64_t errors() const { return errors_; }
  const std::string& first_error() const { return first_error_; }
  Micros slowest() const { return slowest_; }

 private:
  // What a key may hold.
  struct Known {
    uint64_t last = 0;            // the newest number that was acknowledged
    std::set<uint64_t> possible;  // those of writes whose outcome is not known
    bool operator==(const Known&) const = default;
  };
  struct Client {
    std::string name;
    size_t through = 0;
    uint64_t number = 0;
    std::map<std::string, Known> keys;
    MonoTime since;
    Pending<api::WriteReply> write;
    std::vector<std::string> written;
    Pending<Seen> read;
    std::string asked;
  };

  void step();

  void begin(Client& client);

  void collect(Client& client);
  // Whoever was asked has died: nobody will answer.
  static void give_up(Client& client) { client.write = nullptr, client.read = nullptr; }

  void note(const Status& status, const Client& client);
  void check_value(const std::string& key, const Known& known, const std::optional<std::string>& value) const;
  // Each replica holds the keys of its group's shards and no other; together they hold all.
  void check_engines(const std::set<std::string>& keys);

  Nodes& nodes_;
  const size_t value_bytes_;
  std::vector<Client> clients_;
  uint64_t answered_ = 0;
  uint64_t errors_ = 0;
  std::string first_error_;
  Micros slowest_{0};
};

}  // namespace flux::sim
