// Listens for clients of the wire protocol on every worker's loop (docs/protocols/wire.md).
#pragma once

#include <memory>
#include <vector>

#include "api/cluster_map.h"
#include "api/kv_service.h"
#include "env/net.h"
#include "net/handshake.h"

namespace flux::server::wire {

// What a loop's connections are served by; belongs to the loop.
struct LoopServices {
  env::Loop* loop;
  api::KvService* kv;
};

struct DoorOptions {
  env::Address listen;
  size_t connections_max = 10'000;
  // Who answers here: cluster, node and name.
  net::Hello self;
};

struct DoorStats {
  uint64_t connections = 0;  // now
  uint64_t requests = 0;
  uint64_t errors = 0;  // requests that were answered with one
};

class Door {
 public:
  // `map` must outlive the door.
  static Result<std::unique_ptr<Door>> open(env::Network& network, const std::vector<LoopServices>& services,
                                            const api::ClusterMap& map, DoorOptions options);
  virtual ~Door() = default;
  virtual env::Address local() const = 0;
  // No more connections; those that are open go on.
  virtual void stop_accepting() = 0;
  // Counters of all loops; may be called from any thread and is a little behind.
  virtual DoorStats stats() const = 0;
};

}  // namespace flux::server::wire
