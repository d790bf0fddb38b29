#include "main/dev.h"

#include <fmt/core.h>

#include <cstdio>
#include <cstdlib>

#include "base/log.h"
#include "main/process.h"
#include "main/server_options.h"
#include "main/signals.h"

namespace flux::main {
namespace {

std::string node_name(size_t i) { return fmt::format("n{}", i + 1); }

std::string local(uint16_t port, size_t i) { return fmt::format("127.0.0.1:{}", port + i); }

Result<ServerOptions> options_of(const DevOptions& dev, size_t i, const std::string& initial_cluster) {
  Settings settings(server_settings());
  settings.set_flag("name", node_name(i));
  settings.set_flag("data-dir", fmt::format("{}/{}", dev.data_dir, node_name(i)));
  settings.set_flag("engine", dev.engine);
  settings.set_flag("listen-resp", local(dev.resp_port, i));
  settings.set_flag("listen-http", local(dev.http_port, i));
  settings.set_flag("listen-peer", local(dev.peer_port, i));
  settings.set_flag("listen-wire", local(dev.wire_port, i));
  settings.set_flag("initial-cluster", initial_cluster);
  settings.set_flag("groups", std::to_string(dev.groups));
  settings.set_flag("log-level", dev.log_level);
  return server_options(settings);
}

}  // namespace

void add_dev_flags(CLI::App& command, DevOptions& options) {
  command.add_option("--nodes", options.nodes, "How many nodes")->check(CLI::Range(1, 9))->capture_default_str();
  command.add_option("--data-dir", options.data_dir, "Where they keep their data; kept when they stop")
      ->capture_default_str();
  command.add_option("--groups", options.groups, "Raft groups that share the keys; 0: one for each node and copy")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  command.add_option("--engine", options.engine, "memory or rocksdb")->capture_default_str();
  command.add_option("--resp-port", options.resp_port, "RESP port of the first node; the others follow")
      ->capture_default_str();
  command.add_option("--http-port", options.http_port, "HTTP port of the first node")->capture_default_str();
  command.add_option("--peer-port", options.peer_port, "Peer port of the first node")->capture_default_str();
  command.add_option("--wire-port", options.wire_port, "Port of the first node for the wire protocol")
      ->capture_default_str();
  command.add_option("--log-level", options.log_level, "debug, info, warn or error")->capture_default_str();
}

Status run_dev(const DevOptions& dev) {
  Signals signals;
  std::string initial_cluster;
  for (size_t i = 0; i < dev.nodes; ++i) {
    initial_cluster += fmt::format("{}{}={}", i == 0 ? "" : ",", node_name(i), local(dev.peer_port, i));
  }
  std::vector<std::unique_ptr<NodeProcess>> nodes;
  for (size_t i = 0; i < dev.nodes; ++i) {
    FLUX_TRY(const ServerOptions options, options_of(dev, i, initial_cluster));
    if (i == 0) log::configure(options.log_level, options.log_format, "");
    Result<std::unique_ptr<NodeProcess>> node = NodeProcess::start(options.process, [i](const Status& why) {
      log::error("{}: {} -> the cluster stops", node_name(i), why.to_string());
      std::_Exit(1);
    });
    if (!node.ok()) return node.status().with(node_name(i));
    nodes.push_back(std::move(node).value());
  }
  fmt::print(
      "A FluxKV cluster of {} is running; its data is in {}.\n\n  node  RESP              wire              HTTP\n",
      nodes.size(), dev.data_dir);
  for (size_t i = 0; i < nodes.size(); ++i) {
    fmt::print("  {:<5} {:<17} {:<17} http://{}/status\n", node_name(i), nodes[i]->resp_address().to_string(),
               nodes[i]->wire_address()->to_string(), nodes[i]->http_address().to_string());
  }
  fmt::print("\nTry: redis-cli -p {} set hello world\nCtrl-C stops it.\n", nodes.front()->resp_address().port);
  std::fflush(stdout);
  signals.wait();
  fmt::print("\nStopping.\n");
  Status first;
  for (auto& node : nodes) {
    Status status = node->shut_down();
    if (first.ok()) first = std::move(status);
    node.reset();
  }
  return first;
}

}  // namespace flux::main
