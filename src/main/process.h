// A node with its threads, executors and doors: what `fluxkv server` runs one of, and `fluxkv dev` several.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "env/posix/asio_loop.h"
#include "env/posix/asio_network.h"
#include "env/posix/posix_fs.h"
#include "env/posix/thread_executor.h"
#include "node/node.h"
#include "server/http/door.h"
#include "server/resp/door.h"
#include "server/wire/door.h"

namespace flux::main {

struct ProcessOptions {
  node::NodeOptions node;
  env::Address listen_resp;
  env::Address listen_http;
  std::optional<env::Address> listen_wire;
  size_t workers = 1;
  // Nodes to ask for an identity, for a node that was added to a running cluster.
  std::vector<env::Address> join;
  size_t connections_max = 10'000;
  bool resp_cluster = false;  // RESP clients are sent to leaders
  bool sync_inline = false;
};

class NodeProcess {
 public:
  // Builds everything and begins to listen. `failed` is called, on any thread, when the node cannot go on.
  static Result<std::unique_ptr<NodeProcess>> start(const ProcessOptions& options,
                                                    std::function<void(const Status&)> failed);
  ~NodeProcess();

  env::Address resp_address() const { return resp_->local(); }
  env::Address http_address() const { return http_->local(); }
  std::optional<env::Address> wire_address() const {
    return wire_ != nullptr ? std::optional(wire_->local()) : std::nullopt;
  }
  env::Address peer_address() const { return node_->peer_address(); }

  // Stops accepting, hands leaderships over, then stops. Blocks.
  Status shut_down();

 private:
  NodeProcess() = default;
  Status open(const ProcessOptions& options, std::function<void(const Status&)> failed);
  Status open_doors(const ProcessOptions& options);
  void run_threads();
  void stop_threads();

  env::PosixFs fs_;
  env::AsioNetwork network_;
  std::vector<std::unique_ptr<env::AsioLoop>> loops_;
  std::unique_ptr<env::Executor> log_executor_;
  std::unique_ptr<env::Executor> background_;
  std::unique_ptr<node::Node> node_;
  std::unique_ptr<server::resp::Door> resp_;
  std::unique_ptr<server::http::Door> http_;
  std::unique_ptr<server::wire::Door> wire_;  // null: nobody asked for it
  std::vector<std::thread> threads_;
};

}  // namespace flux::main
