#include "wire_faults.h"

#include "node/peer_messages.h"

namespace flux::sim {
namespace {

// Messages kept between two hosts, and how many of those that pass are kept: so that some are old.
constexpr size_t kKept = 32;
constexpr double kKeptShare = 0.2;

}  // namespace

void WireFaults::remember() {
  remembers_ = true;
  network_.set_tap([this](Passing& passing) { return look(passing); });
}

void WireFaults::begin(WireFault fault, uint64_t host, double probability, Micros length) {
  active_[static_cast<size_t>(fault)] = {.until = world_.now() + length, .host = host, .probability = probability};
  network_.set_tap([this](Passing& passing) { return look(passing); });
}

void WireFaults::stop() {
  active_ = {};
  network_.set_tap(nullptr);
}

bool WireFaults::strikes(WireFault fault, const Passing& passing) {
  const Active& active = active_[static_cast<size_t>(fault)];
  if (active.until <= world_.now() || (active.host != 0 && active.host != passing.from)) return false;
  return rng_.chance(active.probability);
}

Fate WireFaults::look(Passing& passing) {
  if (passing.type != static_cast<uint8_t>(node::PeerMessage::kRaft)) return Fate::kPass;
  if (remembers_) {
    std::deque<std::string>& said = said_[{passing.from, passing.to}];
    if (!said.empty() && strikes(WireFault::kReplay, passing)) passing.replays.push_back(said[rng_.below(said.size())]);
    if (rng_.chance(kKeptShare)) {
      said.push_back(passing.body);
      if (said.size() > kKept) said.pop_front();
    }
  }
  if (strikes(WireFault::kLose, passing)) return Fate::kDrop;
  if (strikes(WireFault::kReorder, passing)) return Fate::kHold;
  return strikes(WireFault::kDuplicate, passing) ? Fate::kTwice : Fate::kPass;
}

}  // namespace flux::sim
