// What a bad network does to single messages of consensus. TCP hides all of it from the nodes, but a connection that
// ends and another that begins lose, repeat and reorder all the same, and the algorithm promises to stand any of it.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <string>
#include <utility>

#include "tap.h"

namespace flux::sim {

enum class WireFault : uint8_t {
  kLose,
  kDuplicate,
  kReplay,   // an older message between the two nodes, also of an earlier connection, comes again
  kReorder,  // a message goes behind the next one
};
inline constexpr size_t kWireFaults = 4;

class WireFaults {
 public:
  WireFaults(World& world, TappedNetwork& network, Rng rng) : world_(world), network_(network), rng_(rng) {}
  ~WireFaults() { stop(); }
  WireFaults(const WireFaults&) = delete;
  WireFaults& operator=(const WireFaults&) = delete;

  // Keeps some of what passes from now on, for kReplay.
  void remember();
  // From now on every message that `host` sends (0: any host) meets this with that probability.
  void begin(WireFault fault, uint64_t host, double probability, Micros length);
  void stop();

 private:
  struct Active {
    MonoTime until;
    uint64_t host = 0;
    double probability = 0;
  };
  Fate look(Passing& passing);
  bool strikes(WireFault fault, const Passing& passing);

  World& world_;
  TappedNetwork& network_;
  Rng rng_;
  bool remembers_ = false;
  std::array<Active, kWireFaults> active_{};
  // What one host has said to an address, oldest first.
  std::map<std::pair<uint64_t, std::string>, std::deque<std::string>> said_;
};

}  // namespace flux::sim
