// TCP sockets of the operating system, on AsioLoops.
#pragma once

#include "env/net.h"

namespace flux::env {

// Thread-safe: holds no state. Every Loop it is given must be an AsioLoop.
class AsioNetwork final : public Network {
 public:
  Result<std::unique_ptr<Listener>> listen(const std::vector<Loop*>& loops, const Address& address,
                                           const StreamOptions& options, AcceptFn on_accept) override;
  void connect(Loop& loop, const Address& address, const StreamOptions& options, Micros timeout,
               ConnectFn done) override;
};

}  // namespace flux::env
