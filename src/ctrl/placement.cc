#include "ctrl/placement.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace flux::ctrl {
namespace {

// a/b < c/d without a division. Loads are below 2^33 and weights at most 2^20, so products fit.
bool less(uint64_t a, uint64_t b, uint64_t c, uint64_t d) { return a * d < c * b; }

bool is_emptier(const Bin& a, uint64_t size, const Bin& b) {
  if (less(a.load + size, a.weight, b.load + size, b.weight)) return true;
  if (less(b.load + size, b.weight, a.load + size, a.weight)) return false;
  return std::tie(a.tie, a.id) < std::tie(b.tie, b.id);
}

bool helps(const Bin& from, const Bin& to, uint64_t size) {
  return from.load >= size && !less(2 * from.load, from.weight, 2 * to.load + 3 * size, to.weight);
}

// Items of a bin by size, then by id.
using Shelf = std::set<std::pair<uint64_t, ShardId>>;

// The largest that leaves `from` no emptier than `to`; if there is none, the smallest. Of equal ones the lowest id.
std::optional<std::pair<uint64_t, ShardId>> choose_item(const Shelf& shelf, const Bin& from, const Bin& to) {
  if (shelf.empty()) return std::nullopt;
  // (from.load - size) / from.weight >= (to.load + size) / to.weight, solved for size.
  const uint64_t gain = from.load * to.weight, lack = to.load * from.weight;
  const uint64_t size_fit = gain > lack ? (gain - lack) / (from.weight + to.weight) : 0;
  auto chosen = shelf.upper_bound({size_fit, ShardId(UINT64_MAX)});
  if (chosen != shelf.begin()) chosen = shelf.lower_bound({std::prev(chosen)->first, ShardId(0)});
  return helps(from, to, chosen->first) ? std::optional(*chosen) : std::nullopt;
}

}  // namespace

std::vector<Relocation> even_out(std::vector<Bin> bins, const std::vector<Item>& items, size_t moves_max) {
  std::vector<Relocation> moves;
  if (bins.size() < 2) return moves;
  std::map<GroupId, Shelf> shelves;
  for (const Item& item : items) shelves[item.at].insert({item.size, item.id});
  std::set<GroupId> stuck;  // with the bin that is the emptiest now
  while (moves.size() < moves_max) {
    Bin* to =
        &*std::min_element(bins.begin(), bins.end(), [](const Bin& a, const Bin& b) { return is_emptier(a, 0, b); });
    Bin* from = nullptr;
    for (Bin& bin : bins) {
      if (&bin != to && !stuck.contains(bin.id) && (!from || is_emptier(*from, 0, bin))) from = &bin;
    }
    if (!from) break;
    Shelf& shelf = shelves[from->id];
    const auto item = choose_item(shelf, *from, *to);
    if (!item) {
      stuck.insert(from->id);
      continue;
    }
    moves.push_back({.shard = item->second, .from = from->id, .to = to->id});
    shelf.erase(*item);
    from->load -= item->first, from->tie -= std::min(from->tie, item->first);
    to->load += item->first, to->tie += item->first;
    stuck.clear();
  }
  return moves;
}

std::vector<Relocation> hand_out(std::vector<Bin> bins, std::vector<Item> items) {
  FLUX_CHECK(!bins.empty());
  std::sort(items.begin(), items.end(),
            [](const Item& a, const Item& b) { return std::pair(b.size, a.id) < std::pair(a.size, b.id); });
  std::vector<Relocation> moves;
  for (const Item& item : items) {
    Bin& to = *std::min_element(bins.begin(), bins.end(),
                                [&](const Bin& a, const Bin& b) { return is_emptier(a, item.size, b); });
    moves.push_back({.shard = item.id, .from = item.at, .to = to.id});
    to.load += item.size, to.tie += item.size;
  }
  return moves;
}

std::vector<NodeId> choose_nodes(const Config& config, size_t count, const std::set<NodeId>& exclude,
                                 const std::set<NodeId>& silent) {
  std::map<NodeId, uint64_t> replicas;
  for (const auto& [id, group] : config.groups) {
    for (const NodeId node : group.voters) ++replicas[node];
    for (const NodeId node : group.learners) ++replicas[node];
  }
  std::vector<const Node*> candidates;
  for (const auto& [id, node] : config.nodes) {
    if (node.state != NodeState::kActive || exclude.contains(id) || silent.contains(id)) continue;
    candidates.push_back(&node);
  }
  const bool is_founded = !config.keyspaces.empty();
  std::sort(candidates.begin(), candidates.end(), [&](const Node* a, const Node* b) {
    if (is_founded && a->announced != b->announced) return a->announced;
    const uint64_t x = replicas[a->record.id], y = replicas[b->record.id];
    if (less(x + 1, a->cores, y + 1, b->cores)) return true;
    if (less(y + 1, b->cores, x + 1, a->cores)) return false;
    return a->record.id < b->record.id;
  });
  std::vector<NodeId> chosen;
  for (const Node* node : candidates) {
    if (chosen.size() < count) chosen.push_back(node->record.id);
  }
  return chosen;
}

NodeId choose_leader(const Config& config, GroupId group, const std::set<NodeId>& voters) {
  FLUX_CHECK(!voters.empty());
  std::map<NodeId, uint64_t> leads;
  for (const auto& [id, each] : config.groups) {
    if (id != group && each.alive()) ++leads[each.leader];
  }
  const auto cores = [&](NodeId id) -> uint64_t { return config.node(id) ? config.node(id)->cores : 1; };
  return *std::min_element(voters.begin(), voters.end(),
                           [&](NodeId a, NodeId b) { return less(leads[a] + 1, cores(a), leads[b] + 1, cores(b)); });
}

}  // namespace flux::ctrl
