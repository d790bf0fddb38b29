// Who takes a slot's commands, for doors that send their clients there.
#pragma once

#include <string>

#include "base/types.h"

namespace flux::api {

class SlotOwners {
 public:
  virtual ~SlotOwners() = default;
  // Where the leader of the slot's group takes RESP clients, as HOST:PORT. Empty: this node leads it, or no leader is
  // known. Any thread, never blocks: doors ask for every command.
  virtual std::string redirect(Slot slot) const = 0;
};

}  // namespace flux::api
