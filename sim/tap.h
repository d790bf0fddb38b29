// Somebody at the wire: looks at every message that nodes send each other, and says what becomes of it. TCP loses,
// repeats and reorders nothing; consensus must stand it all the same, as a connection may end at any word.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "world.h"

namespace flux::sim {

// One message that a node sends on a connection which it has opened. Answers do not pass here.
struct Passing {
  uint64_t from = 0;  // host
  std::string to;     // address
  uint8_t type = 0;
  uint64_t request_id = 0;
  std::string body;   // may be rewritten; its checksum is made afterwards
  size_t damage = 0;  // for kDamage: which byte of the body changes on the way, under the checksum it had
  // Bodies of the same type that arrive behind it.
  std::vector<std::string> replays;
};

enum class Fate : uint8_t {
  kPass,
  kDrop,
  kHold,   // goes behind the connection's next message that passes
  kTwice,  // arrives two times
  kReset,  // the connection is closed in its place
  kDamage,
};
using Tap = std::function<Fate(Passing& passing)>;

// The world's network with a tap, which may come and go.
class TappedNetwork final : public env::Network {
 public:
  explicit TappedNetwork(SimNetwork& network) : network_(network) {}
  Result<std::unique_ptr<env::Listener>> listen(const std::vector<env::Loop*>& loops, const env::Address& address,
                                                const env::StreamOptions& options, env::AcceptFn on_accept) override {
    return network_.listen(loops, address, options, std::move(on_accept));
  }
  void connect(env::Loop& loop, const env::Address& address, const env::StreamOptions& options, Micros timeout,
               env::ConnectFn done) override;

  void set_tap(Tap tap) { tap_ = std::move(tap); }
  const Tap& tap() const { return tap_; }

 private:
  SimNetwork& network_;
  Tap tap_;
};

}  // namespace flux::sim
