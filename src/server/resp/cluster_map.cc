#include "server/resp/cluster_map.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <set>

#include "api/slot.h"
#include "env/net.h"

namespace flux::server::resp {
namespace {

constexpr std::string_view kKeyspace = "default";

class Builder {
 public:
  explicit Builder(const api::ClusterView& view) : view_(view) {}

  ClusterMap build() {
    map_.epoch = view_.config.value();
    add_members();
    add_slots();
    add_replicas();
    return std::move(map_);
  }

 private:
  void add_members() {
    for (const api::NodeView& node : view_.nodes) {
      if (node.state == "removed") continue;
      const Result<env::Address> address = env::Address::parse(node.record.resp_address);
      if (!address.ok()) continue;  // it has not told its address yet
      const Result<env::Address> peer = env::Address::parse(node.record.peer_address);
      map_.members.push_back({.id = node.record.id,
                              .host = address->host,
                              .port = address->port,
                              .peer_port = peer.ok() ? peer->port : uint16_t{0}});
    }
    std::sort(map_.members.begin(), map_.members.end(),
              [](const ClusterMember& a, const ClusterMember& b) { return a.id < b.id; });
    for (ClusterMember& member : map_.members) by_id_[member.id] = &member;
  }

  // Of a group: its leader, else the first of its voters that takes clients. Null: there is none.
  ClusterMember* owner(const api::GroupView& group) {
    if (ClusterMember* leader = find(group.leader); leader != nullptr) return leader;
    for (const NodeId voter : group.voters) {
      if (ClusterMember* member = find(voter); member != nullptr) return member;
    }
    return nullptr;
  }

  void add_slots() {
    const bool hashed = std::any_of(view_.keyspaces.begin(), view_.keyspaces.end(), [](const auto& keyspace) {
      return keyspace.name == kKeyspace && keyspace.kind == "hash";
    });
    if (!hashed) return;
    std::map<GroupId, const api::GroupView*> groups;
    for (const api::GroupView& group : view_.groups) groups[group.id] = &group;
    for (const api::ShardView& shard : view_.shards) {
      if (shard.keyspace != kKeyspace || !groups.contains(shard.group)) continue;
      const api::GroupView& group = *groups[shard.group];
      ClusterMember* member = owner(group);
      if (member == nullptr) continue;
      const uint16_t end = shard.end.empty() ? api::kSlotCount : api::slot_of_encoded(shard.end).value();
      const uint16_t first = api::slot_of_encoded(shard.start).value();
      if (end <= first) continue;
      const auto last = static_cast<uint16_t>(end - 1);
      if (!member->slots.empty() && member->slots.back().last + 1 == first) {
        member->slots.back().last = last;
      } else {
        member->slots.push_back({first, last});
      }
      map_.slots_assigned += end - first;
      if (group.leader == kNobody) map_.slots_leaderless += end - first;
      with_slots_.insert(group.id);
    }
  }

  void add_replicas() {
    for (ClusterMember& member : map_.members) {
      if (!member.slots.empty()) continue;
      ClusterMember* best = nullptr;
      for (const api::GroupView& group : view_.groups) {
        const auto holds = [&](const std::vector<NodeId>& nodes) {
          return std::find(nodes.begin(), nodes.end(), member.id) != nodes.end();
        };
        if (!with_slots_.contains(group.id) || (!holds(group.voters) && !holds(group.learners))) continue;
        ClusterMember* master = owner(group);
        if (best == nullptr || master->replicas.size() < best->replicas.size()) best = master;
      }
      if (best == nullptr) continue;
      member.master = best->id;
      best->replicas.push_back(member.id);
    }
  }

  ClusterMember* find(NodeId id) {
    const auto it = by_id_.find(id);
    return it == by_id_.end() ? nullptr : it->second;
  }

  const api::ClusterView& view_;
  ClusterMap map_;
  std::map<NodeId, ClusterMember*> by_id_;  // into map_.members
  std::set<GroupId> with_slots_;
};

}  // namespace

const ClusterMember* ClusterMap::find(NodeId id) const {
  const auto it = std::lower_bound(members.begin(), members.end(), id,
                                   [](const ClusterMember& member, NodeId wanted) { return member.id < wanted; });
  return it != members.end() && it->id == id ? &*it : nullptr;
}

ClusterMap cluster_map(const api::ClusterView& view) { return Builder(view).build(); }

std::string member_name(NodeId id) { return fmt::format("{:040x}", id.value()); }

std::string cluster_nodes_text(const ClusterMap& map, NodeId self) {
  std::string out;
  for (const ClusterMember& member : map.members) {
    const bool replica = member.master != kNobody;
    out += fmt::format("{} {}:{}@{} {}{} {} 0 0 {} connected", member_name(member.id), member.host, member.port,
                       member.peer_port, member.id == self ? "myself," : "", replica ? "slave" : "master",
                       replica ? member_name(member.master) : "-", map.epoch);
    for (const SlotRange range : member.slots) {
      out +=
          range.first == range.last ? fmt::format(" {}", range.first) : fmt::format(" {}-{}", range.first, range.last);
    }
    out += '\n';
  }
  return out;
}

std::string cluster_info_text(const ClusterMap& map) {
  const auto size = std::count_if(map.members.begin(), map.members.end(),
                                  [](const ClusterMember& member) { return !member.slots.empty(); });
  return fmt::format(
      "cluster_state:{}\r\ncluster_slots_assigned:{}\r\ncluster_slots_ok:{}\r\ncluster_slots_pfail:{}\r\n"
      "cluster_slots_fail:0\r\ncluster_known_nodes:{}\r\ncluster_size:{}\r\ncluster_current_epoch:{}\r\n"
      "cluster_my_epoch:{}\r\ncluster_stats_messages_sent:0\r\ncluster_stats_messages_received:0\r\n"
      "total_cluster_links_buffer_limit_exceeded:0\r\n",
      map.slots_assigned == api::kSlotCount ? "ok" : "fail", map.slots_assigned,
      map.slots_assigned - map.slots_leaderless, map.slots_leaderless, map.members.size(), size, map.epoch, map.epoch);
}

}  // namespace flux::server::resp
