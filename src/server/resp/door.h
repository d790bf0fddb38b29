// Listens for RESP clients on every worker's loop.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "api/admin_service.h"
#include "api/kv_service.h"
#include "api/slot_owners.h"
#include "env/net.h"
#include "server/resp/session.h"

namespace flux::server::resp {

// What a loop's sessions are served by; both belong to the loop.
struct LoopServices {
  env::Loop* loop;
  api::KvService* kv;
  api::AdminService* admin;
};

struct DoorOptions {
  env::Address listen;
  size_t connections_max = 10'000;
  std::vector<Setting> settings;
  // Given: the door acts as a node of Redis Cluster, and sends clients to the leader of a key's group (MOVED). Null: it
  // takes every key.
  const api::SlotOwners* owners = nullptr;
};

class Door {
 public:
  static Result<std::unique_ptr<Door>> open(env::Network& network, const std::vector<LoopServices>& services,
                                            DoorOptions options);
  virtual ~Door() = default;
  virtual env::Address local() const = 0;
  // No more connections; those that are open go on.
  virtual void stop_accepting() = 0;
  // Counters of all loops; may be called from any thread and is a little behind.
  virtual DoorStats stats() const = 0;
  virtual size_t connections_max() const = 0;
  virtual void set_connections_max(size_t count) = 0;
};

}  // namespace flux::server::resp
