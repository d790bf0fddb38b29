// Clients that speak RESP to the nodes' production doors, and clients with sessions at the narrow waist behind them.
// All write down what they did and were told.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "cluster.h"
#include "exactly_once.h"
#include "history/operation.h"

namespace flux::sim {

class Client;
class SessionClient;

struct WorkloadOptions {
  size_t clients = 4;
  Micros pause_max = Millis(200);  // between the batches of a client
  size_t pipeline_max = 1;         // requests sent at once
  size_t keys = 2;                 // of each kind, at a time
  Micros give_up_max = Millis(5000);
  double reads = 0.4;
  double retry = 0.5;     // of what ended with an unknown outcome
  bool in_order = false;  // half of the clients work in a range keyspace
  double flushes = 0;     // of the writes; none where sessions keep count of what they wrote
  size_t session_clients = 0;
  // How far wall clocks may be from each other; expiry is as exact as they are.
  Micros wall_error_max{0};

  static WorkloadOptions draw(Rng rng);
};

struct WorkloadCounts {
  uint64_t ok = 0;
  uint64_t failed = 0;
  uint64_t unknown = 0;
  uint64_t connections = 0;
  uint64_t retries = 0;
};

class Workload {
 public:
  Workload(World& world, Cluster& cluster, const WorkloadOptions& options, Rng rng);
  ~Workload();

  void start();
  // No new requests; what is under way is still waited for.
  void stop() { stopped_ = true; }
  bool in_order() const { return options_.in_order; }
  // From now on there is always a leader soon, which sees to it that what has expired goes.
  void peace() { peace_since_us_ = now_us(); }
  bool stopped() const { return stopped_; }
  bool idle() const;
  // Reads the newest keys through a node, then calls `done` with whether all were answered.
  void audit(size_t node, std::function<void(bool)> done);

  // The keys that are written through sessions only hold what the clients were promised.
  void check_sessions(kv::StateMachine& machine);

  const history::History& history() const { return history_; }
  const WorkloadCounts& counts() const { return counts_; }

 private:
  friend class Client;
  friend class SessionClient;
  enum class Form : uint8_t { kOk, kValue, kFlag, kNumber, kValues };
  // One request: its bytes, how to read the answer, and the operations it stands for in the history.
  struct Request {
    std::string bytes;
    Form form = Form::kOk;
    std::vector<size_t> operations;
    Micros lives{0};     // the value goes by itself after this long; 0: it stays
    bool pair = false;   // both values must be the same
    uint64_t flush = 0;  // of flushes_, which has its operations; 0: none
  };
  // A FLUSHALL deletes every key there is: also those that are first used while it may still take effect.
  struct Flush {
    uint64_t client = 0;
    int64_t called_us = 0;
    std::vector<size_t> operations;
  };
  Request draw_request(uint64_t client, Rng& rng);
  Request flush_all(uint64_t client);
  // A request that is sent once more is another operation that may take effect beside the first.
  void renew(Request& request, uint64_t client);
  // The request leaves for a node.
  void sent(const Request& request);
  const std::vector<size_t>& operations_of(const Request& request) const {
    return request.flush == 0 ? request.operations : flushes_.at(request.flush).operations;
  }
  // Whether a client works in the range keyspace, whose keys are others than those of the same names elsewhere.
  bool in_order(uint64_t client) const { return options_.in_order && client % 2 == 0; }
  std::string known_as(uint64_t client, const std::string& key) const;
  void audit(size_t node, bool ordered, std::function<void(bool)> done);
  Request get(uint64_t client, std::string key);
  Request get_several(uint64_t client, Rng& rng);
  size_t add_operation(uint64_t client, history::Kind kind, std::string key, std::string argument = {});
  std::string draw_key(char type, Rng& rng) const;
  std::string key_name(char type, uint64_t slot) const;
  std::string fresh_value(uint64_t client) { return std::to_string(client) + "." + std::to_string(++values_); }
  void finish(const Request& request, history::Outcome outcome, const std::vector<std::optional<std::string>>& values);
  void expires(const history::Operation& set, Micros lives);
  void check_expired(const history::Operation& get);
  int64_t now_us() const { return world_.now().since_start().count(); }

  World& world_;
  Cluster& cluster_;
  const WorkloadOptions options_;
  Rng rng_;
  history::History history_;
  std::set<std::string> keys_used_;
  std::map<uint64_t, Flush> flushes_;  // those that may still take effect
  uint64_t flushes_drawn_ = 0;
  std::map<std::string, int64_t> gone_by_;  // values that nobody may see after then
  std::vector<std::unique_ptr<Client>> clients_;
  ExactlyOnce exactly_once_;
  std::vector<std::unique_ptr<SessionClient>> session_clients_;
  WorkloadCounts counts_;
  uint64_t values_ = 0;
  int64_t peace_since_us_ = INT64_MAX;
  bool stopped_ = false;
};

}  // namespace flux::sim
