#include "main/process.h"

#include <fmt/core.h>
#ifdef FLUX_JEMALLOC
#include <jemalloc/jemalloc.h>
#else
#include <sanitizer/allocator_interface.h>
#endif
#include <pthread.h>

#include <future>
#include <random>

#include "base/log.h"
#include "main/live_settings.h"
#include "node/join.h"
#include "server/http/metrics.h"

namespace flux::main {
namespace {

uint64_t system_entropy() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

// Bytes that the program has allocated, by the allocator's own account.
uint64_t allocated_bytes() {
#ifdef FLUX_JEMALLOC
  uint64_t epoch = 1;
  size_t size = sizeof(epoch);
  mallctl("epoch", &epoch, &size, &epoch, size);
  size_t allocated = 0;
  size = sizeof(allocated);
  return mallctl("stats.allocated", &allocated, &size, nullptr, 0) == 0 ? allocated : 0;
#else
  return __sanitizer_get_current_allocated_bytes();
#endif
}

void add_process_metrics(std::vector<prometheus::MetricFamily>& families, const node::NodeStats& node,
                         const server::resp::DoorStats& resp) {
  server::http::MetricsBuilder builder;
  const auto number = [](uint64_t value) { return static_cast<double>(value); };
  builder.counter("fluxkv_wal_written_bytes_total", "Bytes written to the log, padding included.",
                  number(node.wal.bytes_written));
  builder.counter("fluxkv_wal_appended_bytes_total", "Bytes of records appended to the log.",
                  number(node.wal.bytes_appended));
  builder.counter("fluxkv_wal_batches_total", "Batches written to the log; each is one write.",
                  number(node.wal.batches));
  builder.counter("fluxkv_wal_syncs_total", "Syncs of the log.", number(node.wal.syncs));
  builder.gauge("fluxkv_wal_segments", "Segments that hold entries somebody needs.", number(node.wal.segments_live));
  builder.gauge("fluxkv_wal_full", "1 while the log's disk has no space and writes are refused.",
                node.log_full ? 1 : 0);
  builder.summary_seconds("fluxkv_wal_write_seconds", "Time to write one batch to the log.", node.sync.write_us);
  builder.summary_seconds("fluxkv_wal_sync_seconds", "Time to sync the log.", node.sync.sync_us);
  builder.gauge("fluxkv_resp_connections", "Open RESP connections.", number(resp.connections));
  builder.counter("fluxkv_resp_connections_total", "RESP connections accepted.", number(resp.connections_accepted));
  builder.counter("fluxkv_resp_connections_refused_total", "RESP connections over the limit.",
                  number(resp.connections_refused));
  builder.counter("fluxkv_resp_commands_total", "RESP commands received.", number(resp.commands));
  builder.counter("fluxkv_resp_errors_total", "RESP commands answered with an error.", number(resp.errors));
  builder.counter("fluxkv_resp_protocol_errors_total", "RESP connections closed for bytes that are no request.",
                  number(resp.protocol_errors));
  for (prometheus::MetricFamily& family : builder.take()) families.push_back(std::move(family));
}

void add_wire_metrics(std::vector<prometheus::MetricFamily>& families, const server::wire::DoorStats& wire) {
  server::http::MetricsBuilder builder;
  const auto number = [](uint64_t value) { return static_cast<double>(value); };
  builder.gauge("fluxkv_wire_connections", "Open connections of the wire protocol.", number(wire.connections));
  builder.counter("fluxkv_wire_requests_total", "Requests of the wire protocol received.", number(wire.requests));
  builder.counter("fluxkv_wire_errors_total", "Requests of the wire protocol answered with an error.",
                  number(wire.errors));
  for (prometheus::MetricFamily& family : builder.take()) families.push_back(std::move(family));
}

}  // namespace

Result<std::unique_ptr<NodeProcess>> NodeProcess::start(const ProcessOptions& options,
                                                        std::function<void(const Status&)> failed) {
  std::unique_ptr<NodeProcess> process(new NodeProcess);
  FLUX_RETURN_IF_ERROR(process->open(options, std::move(failed)));
  return process;
}

NodeProcess::~NodeProcess() {
  stop_threads();
  // Streams belong to doors and node, and all of them to the loops.
  resp_.reset();
  http_.reset();
  wire_.reset();
  log_executor_.reset();
  background_.reset();
  node_.reset();
}

Status NodeProcess::open(const ProcessOptions& options, std::function<void(const Status&)> failed) {
  for (size_t i = 0; i < options.workers; ++i) loops_.push_back(std::make_unique<env::AsioLoop>());
  if (options.sync_inline) {
    log_executor_ = std::make_unique<env::InlineExecutor>();
  } else {
    log_executor_ = std::make_unique<env::ThreadExecutor>("flux-log");
  }
  background_ = std::make_unique<env::ThreadExecutor>("flux-background", env::ThreadExecutor::Priority::kLow);
  std::optional<node::JoinTicket> ticket;
  if (!options.join.empty()) {
    FLUX_TRY(const bool known, node::has_identity(fs_, options.node.data_dir));
    if (!known) {
      env::AsioLoop loop;
      Result<node::JoinTicket> answer = Status(ErrorCode::kUnavailable, "nobody was asked");
      const auto asking =
          node::ask_to_join(loop, network_, options.join, options.node.name, [&](Result<node::JoinTicket> result) {
            answer = std::move(result);
            loop.stop();
          });
      loop.run();
      if (!answer.ok()) return answer.status().with("cannot join");
      ticket = *answer;
    }
  }
  std::vector<env::Loop*> loops;
  for (const auto& loop : loops_) loops.push_back(loop.get());
  FLUX_TRY(node_, node::Node::start({.fs = fs_,
                                     .network = network_,
                                     .loops = std::move(loops),
                                     .log_executor = *log_executor_,
                                     .background = *background_,
                                     .entropy = system_entropy(),
                                     .memory_used = allocated_bytes,
                                     .fatal = std::move(failed)},
                                    options.node, ticket ? &*ticket : nullptr));
  FLUX_RETURN_IF_ERROR(open_doors(options));
  run_threads();
  return {};
}

Status NodeProcess::open_doors(const ProcessOptions& options) {
  std::vector<server::resp::LoopServices> services;
  for (size_t i = 0; i < loops_.size(); ++i) {
    services.push_back({.loop = loops_[i].get(), .kv = &node_->kv(i), .admin = &node_->admin(i)});
  }
  FLUX_TRY(resp_, server::resp::Door::open(network_, services,
                                           {.listen = options.listen_resp,
                                            .connections_max = options.connections_max,
                                            .settings = visible_settings(
                                                options, *node_, [this]() -> server::resp::Door& { return *resp_; }),
                                            .owners = options.resp_cluster ? &node_->slot_owners() : nullptr}));
  FLUX_TRY(http_, server::http::Door::open(network_, *loops_.front(), node_->admin(0),
                                           {.listen = options.listen_http,
                                            .extra_metrics = [this](std::vector<prometheus::MetricFamily>& families) {
                                              add_process_metrics(families, node_->stats(), resp_->stats());
                                              if (wire_ != nullptr) add_wire_metrics(families, wire_->stats());
                                            }}));
  if (!options.listen_wire) return {};
  std::vector<server::wire::LoopServices> wire;
  for (size_t i = 0; i < loops_.size(); ++i) wire.push_back({.loop = loops_[i].get(), .kv = &node_->kv(i)});
  const node::Identity& identity = node_->identity();
  FLUX_TRY(wire_, server::wire::Door::open(network_, wire, node_->cluster_map(),
                                           {.listen = *options.listen_wire,
                                            .connections_max = options.connections_max,
                                            .self = {.cluster = identity.cluster,
                                                     .node = identity.node,
                                                     .name = identity.name,
                                                     .peer_address = {},
                                                     .starts = {}}}));
  return {};
}

void NodeProcess::run_threads() {
  for (size_t i = 0; i < loops_.size(); ++i) {
    threads_.emplace_back([loop = loops_[i].get()] { loop->run(); });
    pthread_setname_np(threads_.back().native_handle(), fmt::format("flux-worker-{}", i).c_str());
  }
}

void NodeProcess::stop_threads() {
  for (const auto& loop : loops_) loop->stop();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

Status NodeProcess::shut_down() {
  std::promise<void> drained;
  loops_.front()->post([this, &drained] {
    resp_->stop_accepting();
    if (wire_ != nullptr) wire_->stop_accepting();
    node_->drain([&drained] { drained.set_value(); });
  });
  drained.get_future().wait();
  stop_threads();
  resp_.reset();
  http_.reset();
  wire_.reset();
  log_executor_.reset();  // finishes what it was given
  background_.reset();
  return node_->close();
}

}  // namespace flux::main
