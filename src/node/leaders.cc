#include "node/leaders.h"

#include "ctrl/config_delta.h"

namespace flux::node {

void Leaders::set_chart(ChartPtr chart) {
  const std::unique_lock lock(mutex_);
  chart_ = std::move(chart);
}

void Leaders::set_leader(GroupId group, NodeId leader) {
  const std::unique_lock lock(mutex_);
  if (leader == kNobody) {
    leaders_.erase(group);
  } else {
    leaders_[group] = leader;
  }
}

NodeId Leaders::find(GroupId group) const {
  if (const auto known = leaders_.find(group); known != leaders_.end()) return known->second;
  const ctrl::Group* wished = chart_->config->group(group);
  return wished == nullptr ? kNobody : wished->leader;
}

NodeId Leaders::leader_of(GroupId group) const {
  const std::shared_lock lock(mutex_);
  return find(group);
}

ConfigNum Leaders::config_num() const {
  const std::shared_lock lock(mutex_);
  return chart_->config->num;
}

std::string Leaders::encoded_config() const {
  const std::shared_ptr<const ctrl::Config> config = [&] {
    const std::shared_lock lock(mutex_);
    return chart_->config;
  }();
  return ctrl::encode_config(*config);
}

std::string Leaders::redirect(Slot slot) const {
  const std::shared_lock lock(mutex_);
  const NodeId leader = find(chart_->routes->group_of(slot));
  if (leader == kNobody || leader == self_) return {};
  const ctrl::Node* node = chart_->config->node(leader);
  return node == nullptr ? std::string() : node->record.resp_address;
}

}  // namespace flux::node
