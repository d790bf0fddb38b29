// What a node is started with, and the world it is started in.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "api/kv_service.h"
#include "api/limits.h"
#include "base/status.h"
#include "base/types.h"
#include "env/fs.h"
#include "env/loop.h"
#include "env/net.h"

namespace flux::node {

enum class EngineKind : uint8_t { kMemory, kRocksDb };
// When a write counts as kept by this replica. All but kAlways may lose acknowledged writes in a power cut.
enum class FsyncMode : uint8_t { kAlways, kEverySecond, kNo };

std::string_view to_string(EngineKind kind);
std::string_view to_string(FsyncMode mode);

struct Founder {
  std::string name;
  env::Address address;
  bool operator==(const Founder&) const = default;
};

inline constexpr uint32_t kReplicationMostByDefault = 5;
// So many make groups differ by a tenth at most (docs/design/0004-controller.md).
inline constexpr uint32_t kShardsPerGroup = 16;

struct NodeOptions {
  std::string name;
  std::string data_dir;
  env::Address listen_peer;
  env::Address advertise_peer;  // where other nodes reach us
  std::string advertise_resp;   // shown to people and clients
  std::string advertise_http;
  std::string advertise_wire;  // empty: no such door
  // The members of a new cluster, ourselves among them; empty: a cluster of one. Ignored once the directory has a node.
  std::vector<Founder> initial_cluster;

  // For a new cluster. Groups that hold data; 0: as many as keep every worker of every node busy. Voters of each; 0:
  // one on every founder, kReplicationMostByDefault at most. Shards to begin with; 0: kShardsPerGroup for each group.
  uint32_t groups = 0;
  uint32_t replication = 0;
  uint32_t shards = 0;
  // Its share of replicas and leaders.
  uint32_t cores = 1;

  EngineKind engine = EngineKind::kMemory;
  FsyncMode fsync = FsyncMode::kAlways;
  api::Consistency read_consistency = api::Consistency::kLinearizable;
  // For lease reads: how far a node's clock may run from true time, in parts per million.
  uint32_t clock_drift_ppm_max = 1000;

  // New writes are refused above this; 0: no ceiling.
  uint64_t memory_bytes_max = 0;

  Micros heartbeat_interval = Millis(50);
  Micros election_timeout_min = Millis(300);
  Micros election_timeout_max = Millis(600);
  // On a worker with more groups than idle_groups_min, those that have had nothing to do for idle_after speak only
  // every idle_heartbeat_interval; 0 there: as often as all others.
  uint32_t idle_groups_min = 32;
  Micros idle_heartbeat_interval = Millis(2000);
  Micros idle_after = Millis(2000);
  // One message to a follower carries at most this much of the log (or one larger entry), and so many of them may be
  // under way to it.
  uint64_t append_bytes_max = 1_MiB;
  size_t appends_under_way_max = 128;
  // A snapshot travels in pieces of this size.
  uint64_t snapshot_chunk_bytes = 256_KiB;
  // So does a shard that moves; a piece is one entry of the receiver's log.
  uint64_t shard_chunk_bytes = 64_KiB;
  // What a node takes in of shards that are still served elsewhere, so that clients do not feel it. A copy also rests
  // after each piece, the longer it took. What changes during a copy, and what is handed over, is not held up. 0: no
  // limit, and no rest.
  uint64_t move_bytes_per_second = 0;
  // Balancing by load: from when on a shard is split in two; neighbours are merged when they have a tenth of the size
  // and a fiftieth of the operations together. How often the leader of a group measures them.
  uint64_t split_bytes = 10_GiB;
  uint64_t split_operations = 50'000;  // a second
  Micros measure_interval = Millis(2'000);
  // A group that has less to do is left alone, however little the others do: operations a second, and 64 KiB of data
  // each.
  uint64_t balance_cost_min = 1'000;
  // Once it is erased where it was, one entry takes so many keys.
  uint32_t shard_erase_keys = 1000;
  // A node that has not been heard for so long is lost: with balance on its replicas go to others; 0: it is waited for.
  Micros lost_after = Millis(600'000);
  // How long a request waits for a leader or an answer.
  Micros request_timeout = Millis(5000);

  // A group takes a snapshot and drops its log once it has written this much since the last one.
  uint64_t snapshot_log_bytes = 256_MiB;
  // Entries kept behind a snapshot, so that a follower that is a little late needs no snapshot.
  uint64_t log_entries_kept = 10'000;
  uint64_t wal_segment_bytes = 64_MiB;
  uint32_t wal_spare_segments = 2;
  uint32_t wal_segments_max = 24;
  bool wal_prefill = true;
  uint64_t rocksdb_cache_bytes = 256_MiB;
  uint64_t rocksdb_write_buffer_bytes = 128_MiB;

  // Decide what commands do, so they are the same at every node of a cluster.
  api::StateLimits limits;

  bool check_invariants = false;
};

class Observer;

// Everything a node touches. All of it outlives the node.
struct World {
  env::Fs& fs;
  env::Network& network;
  std::vector<env::Loop*> loops;  // one per worker
  env::Executor& log_executor;    // writes and syncs of the log, nothing else
  env::Executor& background;      // snapshots, flushes, preparing log segments
  uint64_t entropy;               // different for every start of every node
  // Bytes of memory the process uses; null: not known.
  std::function<uint64_t()> memory_used;
  // The node cannot go on: says why, stops the process. May be called from any loop, more than once.
  std::function<void(const Status&)> fatal;
  Observer* observer = nullptr;  // null: nobody watches
};

}  // namespace flux::node
