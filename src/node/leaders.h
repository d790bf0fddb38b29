// Which node leads each group, as far as this node knows, and what else doors tell clients that route by themselves.
// Thread-safe.
#pragma once

#include <map>
#include <mutex>
#include <shared_mutex>
#include <string>

#include "api/cluster_map.h"
#include "api/slot_owners.h"
#include "node/chart.h"

namespace flux::node {

class Leaders final : public api::SlotOwners, public api::ClusterMap {
 public:
  explicit Leaders(const NodeId& self) : self_(self) {}

  void set_chart(ChartPtr chart);
  // As the replica here knows it; kNobody: there is none, or it is not known.
  void set_leader(GroupId group, NodeId leader);
  // The leader as it is known here, else who should lead by the chart; kNobody if there is no such group.
  NodeId leader_of(GroupId group) const override;
  ConfigNum config_num() const override;
  std::string encoded_config() const override;
  std::string redirect(Slot slot) const override;

 private:
  NodeId find(GroupId group) const;

  const NodeId& self_;
  mutable std::shared_mutex mutex_;
  ChartPtr chart_ = std::make_shared<const Chart>();  // guarded by mutex_
  std::map<GroupId, NodeId> leaders_;                 // guarded by mutex_
};

}  // namespace flux::node
