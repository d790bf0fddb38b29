#include "main/server_options.h"

#include <fmt/core.h>

namespace flux::main {
namespace {

// Where clients and peers reach a listener: what was said, else where it listens.
Result<env::Address> advertised(const Settings& settings, const std::string& door) {
  const std::string name = settings.given("advertise-" + door) ? "advertise-" + door : "listen-" + door;
  Result<env::Address> address = env::Address::parse(settings.get(name));
  if (!address.ok()) return address.status().with("--" + name);
  if (address->host == "0.0.0.0" || address->host == "::") {
    return Status(ErrorCode::kInvalidArgument,
                  fmt::format("--listen-{} is every address of this machine; say with --advertise-{} HOST:PORT where "
                              "others reach it",
                              door, door));
  }
  return address;
}

Result<env::Address> listen_address(const Settings& settings, const std::string& name) {
  Result<env::Address> address = env::Address::parse(settings.get(name));
  if (!address.ok()) return address.status().with("--" + name);
  return address;
}

std::vector<std::string> split_commas(const std::string& text) {
  std::vector<std::string> parts;
  size_t start = 0;
  while (start <= text.size() && !text.empty()) {
    const size_t end = std::min(text.find(',', start), text.size());
    parts.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return parts;
}

Result<std::vector<node::Founder>> founders(const std::string& text) {
  std::vector<node::Founder> out;
  for (const std::string& part : split_commas(text)) {
    const size_t equals = part.find('=');
    if (equals == std::string::npos || equals == 0) {
      return Status(ErrorCode::kInvalidArgument,
                    fmt::format("--initial-cluster has '{}'; expected NAME=HOST:PORT,NAME=HOST:PORT,...", part));
    }
    Result<env::Address> address = env::Address::parse(part.substr(equals + 1));
    if (!address.ok()) return address.status().with("--initial-cluster");
    out.push_back({.name = part.substr(0, equals), .address = std::move(address).value()});
  }
  return out;
}

template <typename T>
Result<T> choice(const Settings& settings, const std::string& name,
                 const std::vector<std::pair<std::string, T>>& choices) {
  const std::string text = settings.get(name);
  std::string allowed;
  for (const auto& [word, value] : choices) {
    if (word == text) return value;
    allowed += (allowed.empty() ? "" : ", ") + word;
  }
  return Status(ErrorCode::kInvalidArgument, fmt::format("--{} is '{}'; expected one of {}", name, text, allowed));
}

}  // namespace

std::vector<Setting> server_settings() {
  return {
      {"name", "NAME", "Name of this node, unique in the cluster", "n1"},
      {"data-dir", "DIR", "Directory for all of the node's data; made if it does not exist", "fluxkv-data"},
      {"listen-peer", "HOST:PORT", "Where other nodes connect", "127.0.0.1:7380"},
      {"listen-resp", "HOST:PORT", "Where Redis clients connect", "127.0.0.1:6379"},
      {"listen-http", "HOST:PORT", "Status, metrics and administration", "127.0.0.1:8379"},
      {"listen-wire", "HOST:PORT", "Where clients of the wire protocol connect, such as 127.0.0.1:7378; empty: nowhere",
       ""},
      {"advertise-peer", "HOST:PORT", "Where other nodes reach this one, if not at --listen-peer", ""},
      {"advertise-resp", "HOST:PORT", "Where clients reach this node, if not at --listen-resp", ""},
      {"advertise-http", "HOST:PORT", "Where operators reach this node, if not at --listen-http", ""},
      {"advertise-wire", "HOST:PORT", "Where wire clients reach this node, if not at --listen-wire", ""},
      {"initial-cluster", "N1=H:P,N2=H:P,...",
       "Names and peer addresses of a new cluster's nodes, the same on all of them; without it a cluster of one", ""},
      {"join", "HOST:PORT,...", "Peer addresses of a running cluster this node was added to with 'fluxctl node add'",
       ""},
      {"groups", "N",
       "A new cluster's Raft groups, among which its keys are spread; 0 is as many as keep every worker of every node "
       "busy, and more as nodes join",
       "0"},
      {"replication", "N", "Copies of each key in a new cluster; 0 is one on every node, 5 at most", "0"},
      {"shards", "N", "Shards that a new cluster's keys are cut into; 0 is 16 for each group", "0"},
      {"engine", "memory|rocksdb", "Where data lives: in memory, or on disk in RocksDB", "memory"},
      {"fsync", "always|everysec|no",
       "When a write counts as kept; everysec and no may lose acknowledged writes in a power cut", "always"},
      {"read-consistency", "linearizable|lease",
       "How reads are confirmed; lease is faster and needs clocks that run at nearly the same rate", "linearizable"},
      {"clock-drift-ppm", "N", "Lease reads: how far a node's clock may run from true time, in parts per million",
       "1000"},
      {"workers", "N", "Threads that serve connections and groups", "1"},
      {"sync-thread", "yes|no", "Sync the log on a thread of its own, so that reads never wait for the disk", "yes"},
      {"max-memory", "SIZE", "Refuse writes above this much memory; 0 is no ceiling", "0"},
      {"max-clients", "N", "Open RESP connections, and as many of the wire protocol", "10000"},
      {"resp-cluster", "yes|no",
       "Act as a node of Redis Cluster: send clients to the leader of a key's group (MOVED) instead of passing on",
       "no"},
      {"request-timeout", "TIME", "How long a request waits for a leader or an answer", "5s"},
      {"heartbeat-interval", "TIME", "How often a leader speaks to its followers", "50ms"},
      {"election-timeout", "TIME", "Silence after which followers elect a new leader, at least; at most twice this",
       "300ms"},
      {"snapshot-log-bytes", "SIZE", "Log written since the last snapshot before the next is taken", "256MiB"},
      {"wal-segment-bytes", "SIZE", "Size of a log file", "64MiB"},
      {"rocksdb-cache", "SIZE", "RocksDB block cache", "256MiB"},
      {"move-rate", "SIZE", "Bytes a second that a node takes in of shards which move to it; 0: as fast as it can",
       "16MiB"},
      {"split-size", "SIZE", "'fluxctl balance load': how large a shard becomes before it is split in two", "10GiB"},
      {"split-rate", "N", "'fluxctl balance load': operations a second from which on a shard is split in two", "50000"},
      {"lost-after", "TIME", "Silence after which the replicas of a node go to others, with balance on; 0s: never",
       "10m"},
      {"log-level", "debug|info|warn|error", "What is logged, to standard error", "info"},
      {"log-format", "text|json", "How it is logged", "text"},
      {"config", "FILE", "YAML file with any of these settings, like 'data-dir: /var/lib/fluxkv'", ""},
  };
}

Result<ServerOptions> server_options(const Settings& settings) {
  ServerOptions options;
  node::NodeOptions& node = options.process.node;
  node.name = settings.get("name");
  if (node.name.empty() || node.name.find_first_of(" =,\t\n") != std::string::npos || node.name.size() > 64) {
    return Status(ErrorCode::kInvalidArgument, "--name is empty, over 64 characters or has spaces, '=' or ','");
  }
  node.data_dir = settings.get("data-dir");
  if (node.data_dir.empty()) return Status(ErrorCode::kInvalidArgument, "--data-dir is empty");
  FLUX_TRY(node.listen_peer, listen_address(settings, "listen-peer"));
  FLUX_TRY(options.process.listen_resp, listen_address(settings, "listen-resp"));
  FLUX_TRY(options.process.listen_http, listen_address(settings, "listen-http"));
  FLUX_TRY(node.advertise_peer, advertised(settings, "peer"));
  FLUX_TRY(const env::Address resp, advertised(settings, "resp"));
  FLUX_TRY(const env::Address http, advertised(settings, "http"));
  node.advertise_resp = resp.to_string();
  node.advertise_http = http.to_string();
  if (!settings.get("listen-wire").empty()) {
    FLUX_TRY(options.process.listen_wire, listen_address(settings, "listen-wire"));
    FLUX_TRY(const env::Address wire, advertised(settings, "wire"));
    node.advertise_wire = wire.to_string();
  } else if (settings.given("advertise-wire")) {
    return Status(ErrorCode::kInvalidArgument, "--advertise-wire is given without --listen-wire");
  }
  FLUX_TRY(node.initial_cluster, founders(settings.get("initial-cluster")));
  for (const std::string& text : split_commas(settings.get("join"))) {
    Result<env::Address> address = env::Address::parse(text);
    if (!address.ok()) return address.status().with("--join");
    options.process.join.push_back(std::move(address).value());
  }
  if (!node.initial_cluster.empty() && !options.process.join.empty()) {
    return Status(ErrorCode::kInvalidArgument,
                  "--initial-cluster founds a new cluster and --join enters a running one; give one of them");
  }
  using node::EngineKind;
  using node::FsyncMode;
  FLUX_TRY(node.engine, choice<EngineKind>(settings, "engine",
                                           {{"memory", EngineKind::kMemory}, {"rocksdb", EngineKind::kRocksDb}}));
  FLUX_TRY(node.fsync,
           choice<FsyncMode>(
               settings, "fsync",
               {{"always", FsyncMode::kAlways}, {"everysec", FsyncMode::kEverySecond}, {"no", FsyncMode::kNo}}));
  FLUX_TRY(node.read_consistency, choice<api::Consistency>(settings, "read-consistency",
                                                           {{"linearizable", api::Consistency::kLinearizable},
                                                            {"lease", api::Consistency::kLease}}));
  FLUX_TRY(const uint64_t drift, settings.number("clock-drift-ppm", 1, 200'000));
  node.clock_drift_ppm_max = static_cast<uint32_t>(drift);
  FLUX_TRY(options.process.workers, settings.number("workers", 1, 256));
  node.cores = static_cast<uint32_t>(options.process.workers);
  FLUX_TRY(const uint64_t groups, settings.number("groups", 0, 1'000));
  FLUX_TRY(const uint64_t replication, settings.number("replication", 0, 9));
  FLUX_TRY(const uint64_t shards, settings.number("shards", 0, 16'384));
  node.groups = static_cast<uint32_t>(groups);
  node.replication = static_cast<uint32_t>(replication);
  node.shards = static_cast<uint32_t>(shards);
  FLUX_TRY(const bool sync_thread, settings.boolean("sync-thread"));
  options.process.sync_inline = !sync_thread;
  FLUX_TRY(node.memory_bytes_max, settings.bytes("max-memory"));
  FLUX_TRY(options.process.connections_max, settings.number("max-clients", 1, 1'000'000));
  FLUX_TRY(options.process.resp_cluster, settings.boolean("resp-cluster"));
  FLUX_TRY(node.request_timeout, settings.duration("request-timeout", Millis(10), Millis(600'000)));
  FLUX_TRY(node.heartbeat_interval, settings.duration("heartbeat-interval", Millis(1), Millis(60'000)));
  FLUX_TRY(node.election_timeout_min, settings.duration("election-timeout", Millis(10), Millis(600'000)));
  node.election_timeout_max = node.election_timeout_min * 2;
  if (node.election_timeout_min < node.heartbeat_interval * 3) {
    return Status(ErrorCode::kInvalidArgument,
                  "--election-timeout is less than three times --heartbeat-interval: one late heartbeat would depose a "
                  "good leader");
  }
  FLUX_TRY(node.snapshot_log_bytes, settings.bytes("snapshot-log-bytes"));
  if (node.snapshot_log_bytes < 1_MiB) {
    return Status(ErrorCode::kInvalidArgument, "--snapshot-log-bytes is less than 1MiB");
  }
  FLUX_TRY(node.wal_segment_bytes, settings.bytes("wal-segment-bytes"));
  if (node.wal_segment_bytes < 64_MiB || node.wal_segment_bytes > 4_GiB || node.wal_segment_bytes % 4096 != 0) {
    return Status(
        ErrorCode::kInvalidArgument,
        "--wal-segment-bytes is not a multiple of 4KiB from 64MiB to 4GiB (a segment must hold the largest entry)");
  }
  FLUX_TRY(node.lost_after, settings.duration("lost-after", Micros(), Millis(30 * 86'400'000LL)));
  FLUX_TRY(node.move_bytes_per_second, settings.bytes("move-rate"));
  FLUX_TRY(node.split_bytes, settings.bytes("split-size"));
  if (node.split_bytes < 1_MiB) return Status(ErrorCode::kInvalidArgument, "--split-size is less than 1MiB");
  FLUX_TRY(node.split_operations, settings.number("split-rate", 50, 1'000'000'000));
  FLUX_TRY(node.rocksdb_cache_bytes, settings.bytes("rocksdb-cache"));
  const Result<log::Level> level = log::parse_level(settings.get("log-level"));
  if (!level.ok()) return level.status().with("--log-level");
  options.log_level = *level;
  const Result<log::Format> format = log::parse_format(settings.get("log-format"));
  if (!format.ok()) return format.status().with("--log-format");
  options.log_format = *format;
  return options;
}

}  // namespace flux::main
