#include "ctrl/spread.h"

#include <algorithm>
#include <map>
#include <set>

namespace flux::ctrl {
namespace {

// A node that may have more replicas or fewer. All numbers are below 2^20.
struct Place {
  NodeId id;
  int64_t cores = 1;
  int64_t replicas = 0;
  int64_t leaders = 0;
};

// a/b > c/d
bool more(int64_t a, int64_t b, int64_t c, int64_t d) { return a * d > c * b; }

std::map<NodeId, Place> places_in(const State& state) {
  std::map<NodeId, Place> places;
  for (const auto& [id, node] : state.config().nodes) {
    if (node.state != NodeState::kActive || !node.announced || state.silent.contains(id)) continue;
    places[id] = {.id = id, .cores = node.cores};
  }
  return places;
}

class Spread {
 public:
  explicit Spread(const State& state) : state_(state), places_(places_in(state)) {
    for (const auto& [id, group] : state.config().groups) count(group);
    for (const auto& [id, plan] : state.plans) {
      if (!plan.active()) continue;
      for (const Step& step : plan.steps) {
        const auto* change = std::get_if<ChangeReplica>(&step.task);
        if (change && State::is_open(plan, step)) count(*change);
      }
    }
    for (const auto& [id, group] : state.config().groups) {
      if (may_change(group)) open_.push_back(&group);
    }
  }

  void leave_lost_nodes(size_t changes_max) {
    for (const NodeId lost : state_.lost) {
      if (state_.config().node(lost)->state != NodeState::kActive) continue;  // a plan is at it
      for (const Group* group : std::vector(open_)) {
        if (changes_.size() >= changes_max) return;
        if (!group->voters.contains(lost)) continue;
        if (const Place* to = emptiest_without(*group)) change(*group, lost, to->id);
      }
    }
  }

  void even_out(size_t changes_max) {
    while (changes_.size() < changes_max && improve()) {
    }
  }

  std::vector<ChangeReplica> take() { return std::move(changes_); }

 private:
  void add(NodeId node, int64_t replicas, int64_t leaders) {
    const auto found = places_.find(node);
    if (found == places_.end()) return;
    found->second.replicas += replicas;
    found->second.leaders += leaders;
  }
  void count(const Group& group) {
    if (!group.alive()) return;
    for (const auto* members : {&group.voters, &group.learners}) {
      for (const NodeId node : *members) add(node, 1, 0);
    }
    add(group.leader, 0, 1);
  }
  void count(const ChangeReplica& change) {
    const Group* group = state_.config().group(change.group);
    if (!group || !group->alive()) return;
    if (group->has(change.remove)) add(change.remove, -1, group->leader == change.remove ? -1 : 0);
    if (!group->has(change.add)) add(change.add, 1, 0);
    if (group->leader == change.remove) add(change.add, 0, 1);
    planned_.insert(change.group);
  }

  bool may_change(const Group& group) const {
    return group.state == GroupState::kServing && group.learners.empty() && !planned_.contains(group.id) &&
           state_.has_quorum(group);
  }

  void change(const Group& group, NodeId from, NodeId to) {
    changes_.push_back({.group = group.id, .add = to, .remove = from});
    count(changes_.back());
    std::erase(open_, &group);
  }

  const Place* emptiest_without(const Group& group) const {
    const Place* emptiest = nullptr;
    for (const auto& [id, place] : places_) {
      if (group.has(id)) continue;
      if (!emptiest || more(emptiest->replicas + 1, emptiest->cores, place.replicas + 1, place.cores)) {
        emptiest = &place;
      }
    }
    return emptiest;
  }

  // Moves one replica from a fuller node to an emptier one that is no fuller afterwards, if there is a pair of which
  // that is true. So it comes to an end, and nothing goes back.
  bool improve() {
    std::vector<const Place*> places;
    for (const auto& [id, place] : places_) places.push_back(&place);
    std::sort(places.begin(), places.end(), [](const Place* a, const Place* b) {
      if (more(b->replicas, b->cores, a->replicas, a->cores)) return true;
      if (more(a->replicas, a->cores, b->replicas, b->cores)) return false;
      return a->id < b->id;
    });
    for (auto from = places.rbegin(); from != places.rend(); ++from) {
      for (const Place* to : places) {
        if (more(to->replicas + 1, to->cores, (*from)->replicas - 1, (*from)->cores)) break;
        const Group* group = choose_group(**from, *to);
        if (!group) continue;
        change(*group, (*from)->id, to->id);
        return true;
      }
    }
    return false;
  }

  // One with a voter at `from` and nothing at `to`.
  const Group* choose_group(const Place& from, const Place& to) const {
    const bool takes_lead = !more(to.leaders + 1, to.cores, from.leaders - 1, from.cores);
    const Group* chosen = nullptr;
    for (const Group* group : open_) {
      if (!group->voters.contains(from.id) || group->has(to.id)) continue;
      if ((group->leader == from.id) == takes_lead) return group;
      if (!chosen) chosen = group;
    }
    return chosen;
  }

  const State& state_;
  std::map<NodeId, Place> places_;
  std::set<GroupId> planned_;
  std::vector<const Group*> open_;  // groups that may be changed
  std::vector<ChangeReplica> changes_;
};

}  // namespace

ProposeGroups missing_groups(const State& state) {
  uint32_t alive = 0;
  for (const auto& [id, group] : state.config().groups) {
    if (group.state == GroupState::kCreating) return {};
    alive += group.alive() ? 1U : 0U;
  }
  uint32_t replicas = 0;
  for (const auto& [id, keyspace] : state.config().keyspaces) replicas = std::max(replicas, keyspace.replication);
  const std::map<NodeId, Place> places = places_in(state);
  // Where nothing is kept twice, spreading it over more nodes makes every one of them a way to lose some of it.
  if (replicas < 2 || places.size() < replicas) return {};
  uint64_t cores = 0;
  for (const auto& [id, place] : places) cores += static_cast<uint64_t>(place.cores);
  const uint32_t wanted = groups_for(cores, replicas);
  return {.count = wanted > alive ? wanted - alive : 0, .replicas = replicas};
}

std::vector<ChangeReplica> balancing_changes(const State& state, size_t changes_max) {
  Spread spread(state);
  spread.leave_lost_nodes(changes_max);
  spread.even_out(changes_max);
  return spread.take();
}

}  // namespace flux::ctrl
