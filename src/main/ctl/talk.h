// How a load asks a cluster for one operation after the other.
#pragma once

#include <memory>
#include <vector>

#include "client/blocking/blocking_client.h"
#include "env/net.h"
#include "history/operation.h"

namespace flux::main::ctl {

class Talker {
 public:
  virtual ~Talker() = default;
  // Whether it can ask now; it has tried to.
  virtual bool connected() = 0;
  // Asks, and sets the outcome and the result. REQUIRES: connected().
  virtual void ask(history::Operation& operation) = 0;
};

// A RESP connection, to servers[first] if that can be reached, else to the next. `servers` must outlive it.
std::unique_ptr<Talker> make_resp_talker(const std::vector<env::Address>& servers, uint64_t first, Micros timeout);
// The C++ client, which may be shared.
std::unique_ptr<Talker> make_wire_talker(std::shared_ptr<client::BlockingClient> client);

}  // namespace flux::main::ctl
