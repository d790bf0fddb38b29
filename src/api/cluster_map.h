// What clients that route by themselves are told of the cluster.
#pragma once

#include <string>

#include "base/types.h"

namespace flux::api {

// Any thread, never blocks for long.
class ClusterMap {
 public:
  virtual ~ClusterMap() = default;
  // Of the newest configuration that this node knows.
  virtual ConfigNum config_num() const = 0;
  // That configuration, encoded as docs/formats/ctrl.md has it.
  virtual std::string encoded_config() const = 0;
  // kNobody: not known.
  virtual NodeId leader_of(GroupId group) const = 0;
};

}  // namespace flux::api
