#include "ctrl/advice.h"

#include <algorithm>

#include "ctrl/balance.h"

namespace flux::ctrl {
namespace {

// One operation weighs as much as so many bytes that are only kept.
constexpr uint64_t kBytesPerOperation = 64_KiB;

class Adviser {
 public:
  Adviser(const State& state, const std::map<ShardId, ShardReport>& reports, const AdviceOptions& options)
      : state_(state), config_(state.config()), reports_(reports), options_(options), destinations_(state) {}

  void splits_and_merges() {
    for (const auto& [id, keyspace] : config_.keyspaces) {
      for (size_t at = 0; at < keyspace.shards.size(); ++at) {
        if (!split(keyspace, at) && at + 1 < keyspace.shards.size()) merge(keyspace, at);
      }
    }
  }

  void moves() {
    for (const auto& [id, keyspace] : config_.keyspaces) move_within(keyspace);
  }

  std::vector<Command> take() { return std::move(commands_); }

 private:
  const ShardReport* report(ShardId shard) const {
    const auto found = reports_.find(shard);
    return found == reports_.end() ? nullptr : &found->second;
  }

  static uint64_t cost(const ShardReport& report) {
    return report.bytes / kBytesPerOperation + report.operations_per_second;
  }

  // Groups that settle or move the shard now would refuse the command.
  bool is_free(const Shard& shard) const {
    return !touched_.contains(shard.id) && !state_.progress_of(shard.group).busy() && !busy_.contains(shard.group) &&
           !destinations_.is_promised(shard.id);
  }

  void propose(CommandBody body) {
    if (commands_.size() < options_.commands_max) commands_.push_back({.expected = {}, .body = std::move(body)});
  }

  bool split(const Keyspace& keyspace, size_t at) {
    const Shard& shard = keyspace.shards[at];
    const ShardReport* load = report(shard.id);
    if (!load || !is_free(shard)) return false;
    if (load->bytes < options_.split_bytes && load->operations_per_second < options_.split_operations) return false;
    const std::string_view end = keyspace.end_of(at);
    if (!keyspace.check_boundary(load->middle).ok() || load->middle <= shard.start) return false;
    if (!end.empty() && load->middle >= end) return false;
    touched_.insert(shard.id);
    busy_.insert(shard.group);
    propose(Split{.shard = shard.id, .at = load->middle});
    return true;
  }

  void merge(const Keyspace& keyspace, size_t at) {
    const Shard& left = keyspace.shards[at];
    const Shard& right = keyspace.shards[at + 1];
    const ShardReport* a = report(left.id);
    const ShardReport* b = report(right.id);
    if (!a || !b || left.group != right.group || !is_free(left) || !is_free(right)) return;
    const auto kept = std::count_if(keyspace.shards.begin(), keyspace.shards.end(),
                                    [&](const Shard& shard) { return shard.group == left.group; });
    if (static_cast<size_t>(kept) <= options_.group_shards_min) return;
    if (state_.pins.contains(left.id) != state_.pins.contains(right.id)) return;
    if (a->bytes + b->bytes > options_.merge_bytes) return;
    if (a->operations_per_second + b->operations_per_second > options_.merge_operations) return;
    touched_.insert({left.id, right.id});
    busy_.insert(left.group);
    propose(Merge{.left = left.id, .right = right.id});
  }

  // Nothing until a group is far over its share by weight; then until none is by much.
  void move_within(const Keyspace& keyspace) {
    std::map<GroupId, uint64_t> loads;
    for (const Shard& shard : keyspace.shards) {
      const ShardReport* load = report(shard.id);
      if (!load) return;
      loads[destinations_.of(shard)] += cost(*load);
    }
    std::vector<Bin> bins;
    uint64_t load_sum = 0, weight_sum = 0;
    for (const GroupId id : receivers(state_, config_, keyspace.replication)) {
      bins.push_back({.id = id, .weight = config_.group(id)->weight, .load = loads[id]});
      load_sum += loads[id], weight_sum += bins.back().weight;
    }
    const auto is_over = [&](const Bin& bin, uint32_t percent) {
      return static_cast<double>(bin.load) * static_cast<double>(weight_sum) * 100 >
             static_cast<double>(load_sum) * static_cast<double>(bin.weight) * (100 + percent);
    };
    if (std::none_of(bins.begin(), bins.end(), [&](const Bin& bin) {
          return bin.load >= options_.cost_min && is_over(bin, options_.unbalanced_percent);
        })) {
      return;
    }
    std::vector<Item> items;
    for (const Shard& shard : keyspace.shards) {
      const ShardReport* load = report(shard.id);
      if (!load || cost(*load) == 0 || state_.pins.contains(shard.id) || !is_free(shard)) continue;
      items.push_back({.id = shard.id, .size = cost(*load), .at = shard.group});
    }
    const auto bin_of = [&](GroupId id) {
      return std::find_if(bins.begin(), bins.end(), [&](const Bin& bin) { return bin.id == id; });
    };
    std::map<ShardId, uint64_t> sizes;
    for (const Item& item : items) sizes[item.id] = item.size;
    for (const Relocation& each : even_out(bins, items, options_.commands_max)) {
      const auto from = bin_of(each.from);
      if (!is_over(*from, options_.balanced_percent)) continue;
      from->load -= sizes[each.shard];
      bin_of(each.to)->load += sizes[each.shard];
      touched_.insert(each.shard);
      propose(Move{.shard = each.shard, .to = each.to});
    }
  }

  const State& state_;
  const Config& config_;
  const std::map<ShardId, ShardReport>& reports_;
  const AdviceOptions& options_;
  const Destinations destinations_;
  std::set<ShardId> touched_;
  std::set<GroupId> busy_;  // by the advice itself
  std::vector<Command> commands_;
};

}  // namespace

std::vector<Command> advise(const State& state, const std::map<ShardId, ShardReport>& reports,
                            const AdviceOptions& options) {
  if (state.balance != BalanceMode::kLoad) return {};
  FLUX_CHECK(options.merge_bytes <= options.split_bytes / 2);
  FLUX_CHECK(options.merge_operations <= options.split_operations / 2);
  FLUX_CHECK(options.balanced_percent <= options.unbalanced_percent);
  Adviser adviser(state, reports, options);
  // Moves first: each split makes a new configuration, after which everything is measured anew.
  adviser.moves();
  adviser.splits_and_merges();
  return adviser.take();
}

}  // namespace flux::ctrl
