// Watches the groups of a node: for simulation, which holds all nodes of a cluster against each other.
#pragma once

#include "base/log_entry.h"
#include "base/types.h"
#include "raft/message.h"

namespace flux::node {

class Group;

// Called on the group's loop.
class Observer {
 public:
  virtual ~Observer() = default;
  // The state machine has applied an entry.
  virtual void applied(Group& group, const Entry& entry) = 0;
  // The group has gone through the seven steps.
  virtual void stepped(Group& group) = 0;
  // The replica is about to be taken away, and says nothing any more.
  virtual void closed(Group& group) = 0;
  // A message is about to leave, if there is a way to its receiver.
  virtual void sending(Group& group, const raft::Message& message) = 0;
};

}  // namespace flux::node
