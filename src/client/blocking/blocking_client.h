// FluxKV for programs: plain calls that wait for their answer, from any thread. One object serves a whole program: it
// has a thread of its own, one connection to each node, and sends what several threads ask at once in one piece.
//
// Writes whose keys are in one slot (or are one key) are made in sessions of its own: however often they are sent until
// an answer comes, they take effect once (docs/GUARANTEES.md). Of others an answer that is lost is kOutcomeUnknown.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "client/client.h"
#include "env/posix/asio_loop.h"
#include "env/posix/asio_network.h"

namespace flux::client {

class BlockingClient {
 public:
  // Returns when a node has told what the cluster looks like. kUnavailable: none did within the time of a request.
  static Result<std::unique_ptr<BlockingClient>> connect(ClientOptions options);
  // REQUIRES: no call is under way.
  ~BlockingClient();
  BlockingClient(const BlockingClient&) = delete;
  BlockingClient& operator=(const BlockingClient&) = delete;

  // nullopt: there is no such key.
  Result<std::optional<std::string>> get(std::string_view key);
  Status put(std::string_view key, std::string_view value, api::Expiry expiry = {});
  // Whether there was one.
  Result<bool> erase(std::string_view key);
  // The new value.
  Result<int64_t> increment(std::string_view key, int64_t delta = 1);

  // Everything else that a cluster can do. A request that names a session is sent as it is.
  api::WriteReply write(const api::WriteRequest& request);
  std::unique_ptr<api::OwnedReadReply> read(const api::ReadRequest& request);
  // nullopt: there is no keyspace of that name, as far as is known.
  std::optional<api::KeyspaceRef> keyspace(std::string_view name);

 private:
  struct Session {
    uint64_t client = 0;
    uint64_t next = 1;  // sequence number
    MonoTime used;
  };

  explicit BlockingClient(ClientOptions options);
  void stop();
  api::WriteReply send(const api::WriteRequest& request);
  api::CommandResult run(const api::Command& command, Status& status);
  // One that is nobody's, or a new one.
  Result<Session> take_session();
  void give_back(Session session);

  env::AsioLoop loop_;
  env::AsioNetwork network_;
  std::mutex mutex_;
  std::vector<Session> idle_;  // guarded by mutex_
  Rng rng_;                    // guarded by mutex_
  std::unique_ptr<Client> client_;
  std::thread thread_;
};

}  // namespace flux::client
