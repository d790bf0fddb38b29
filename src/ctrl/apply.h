// What commands do. Decided by the state and the command alone: every replica that applies the same log gets the same
// state, byte for byte.
#pragma once

#include <string>

#include "ctrl/command.h"
#include "ctrl/state.h"

namespace flux::ctrl {

struct Outcome {
  // Not OK: refused, and the state is what it was. Definite.
  Status status;
  ConfigNum config;  // the newest configuration, after the command
  PlanId plan;       // that the command began; 0: none
  NodeId node;       // AddNode: the node
  GroupId group;     // Join: the last of the new groups
  std::string note;  // for the operator: what a cancel could not undo
};

std::string encode_outcome(const Outcome& outcome);
Result<Outcome> decode_outcome(std::string_view bytes);

// One command makes one configuration at most.
Outcome apply(State& state, const Command& command);

}  // namespace flux::ctrl
