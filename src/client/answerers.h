// Whom to ask for a group: the node that answered last, else who should lead, else any. Not thread-safe.
#pragma once

#include <map>

#include "base/rng.h"
#include "base/types.h"
#include "ctrl/config.h"

namespace flux::client {

class Answerers {
 public:
  // `group`: as the newest configuration has it; null: it has none. `self`: who asks, if it is a node. kNobody: nobody
  // can be asked, or only oneself.
  NodeId choose(const ctrl::Group* group, NodeId self, Rng& rng) const;
  // A node has answered, or was of no use.
  void answered(GroupId group, NodeId node, bool useful) { answerers_[group] = useful ? node : kNobody; }

 private:
  std::map<GroupId, NodeId> answerers_;
};

}  // namespace flux::client
