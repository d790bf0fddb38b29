// FluxKV for programs: an api::KvService that speaks the wire protocol to a cluster (docs/protocols/wire.md).
//
// Requests of one group go straight to its leader, as the newest map of the cluster and the answers before tell; all
// others, and all as long as no map is known, to any node: every node serves every request. What surely has not
// happened is tried again, somewhere else, until its time is over; so is what may have happened, if that is safe:
// reads, and writes in a session, which take effect once. Any other write whose answer is lost is kOutcomeUnknown.
//
// Owned by one loop, whose turn-end hook it takes. For plain calls from any thread there is client/blocking_client.h.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "api/kv_service.h"
#include "api/read_codec.h"
#include "api/request_codec.h"
#include "base/rng.h"
#include "client/answerers.h"
#include "client/routing_map.h"
#include "ctrl/config.h"
#include "env/net.h"
#include "net/peer_link.h"
#include "net/wire.h"

namespace flux::client {

struct ClientOptions {
  // Where some of the cluster's nodes take clients (fluxkv server --listen-wire); the others are learnt from them.
  std::vector<env::Address> endpoints;
  std::string name = "client";  // for the logs of nodes
  // How long a request may take, with all attempts.
  Micros request_timeout = Millis(10'000);
  // More requests at once are refused with kOverloaded.
  size_t requests_max = 100'000;
};

class Client final : public api::KvService {
 public:
  // REQUIRES: endpoints is not empty.
  Client(env::Loop& loop, env::Network& network, ClientOptions options, Rng rng);
  // Requests that are open stay unanswered.
  ~Client() override;
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void write(const api::WriteRequest& request, api::WriteDone done) override;
  void read(const api::ReadRequest& request, api::ReadDone done) override;

  // A keyspace by its name, as the newest map has it; nullopt: there is none of that name, or no map yet.
  std::optional<api::KeyspaceRef> keyspace(std::string_view name) const;
  // The number of the newest map; 0: none yet.
  ConfigNum config_num() const { return config_->num; }
  // Why the last node that would not have us did so; OK: none has refused.
  const Status& refusal() const { return refusal_; }
  // Called once, when a map is known.
  void on_first_map(env::Task task);

 private:
  struct Write {
    std::string bytes;
    api::WriteDone done;
    size_t commands = 0;
    bool in_session = false;
  };
  struct Read {
    api::OwnedRead read;
    std::string bytes;
    api::ReadDone done;
  };
  // A request that has not been answered yet.
  struct Open {
    std::variant<Write, Read> what;
    env::TimerId deadline;
    env::TimerId retry;
    uint32_t attempts = 0;
    bool is_out = false;             // with a node
    bool may_have_happened = false;  // an attempt's outcome is not known
    Status refused;                  // why the last attempt was turned away
  };
  void begin(std::variant<Write, Read> what, Status status);
  void attempt(uint64_t number);
  void attempt_waiting();
  void on_answer(uint64_t number, GroupId group, const std::string& node, Result<std::string_view> answer);
  void try_again(uint64_t number, Open& open, Status why);
  void finish(uint64_t number, Status why);
  void out_of_time(uint64_t number);

  GroupId group_of(const Open& open);
  // The address of a node that is connected: who should answer for the group, if that one is, else any. Null: none is.
  const std::string* choose(GroupId group);
  void dial(const env::Address& address);
  void connected(const std::string& node);
  void ask_map(const std::string& node);
  Status take_map(std::string_view bytes);
  void forget_strangers();

  env::Loop& loop_;
  env::Network& network_;
  const ClientOptions options_;
  Rng rng_;
  std::map<std::string, std::unique_ptr<net::PeerLink>> nodes_;  // by address
  std::shared_ptr<const ctrl::Config> config_ = std::make_shared<const ctrl::Config>();
  RoutingMap routes_;
  Answerers answerers_;
  bool asking_map_ = false;
  ConfigNum looked_at_;  // the newest configuration that was read, or cannot be
  env::Task on_first_map_;
  Status refusal_;
  std::map<uint64_t, Open> open_;
  uint64_t next_number_ = 1;
  api::DecodedRequest decoded_;
  std::vector<std::string_view> keys_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace flux::client
