#include "kv/config_cuts.h"

#include <fmt/core.h>

#include <algorithm>

namespace flux::kv {
namespace {

using Kind = ShardCut::Kind;

bool before_end(std::string_view key, std::string_view end) { return end.empty() || key < end; }

template <typename A, typename B>
bool overlap(const A& a, const B& b) {
  return before_end(a.start, b.end) && before_end(b.start, a.end);
}

// Those that overlap a range, of ranges that are in order and do not overlap each other. O(log n).
template <typename T, typename Range>
std::span<const T> touching(std::span<const T> ranges, const Range& range) {
  const auto first = std::partition_point(ranges.begin(), ranges.end(),
                                          [&](const T& each) { return !before_end(range.start, each.end); });
  const auto last =
      std::partition_point(first, ranges.end(), [&](const T& each) { return before_end(each.start, range.end); });
  return {first, last};
}

// Whether those that `of` chooses from the ranges that touch it cover all of it.
template <typename T, typename Range, typename Of>
bool covered(std::span<const T> touched, const Range& range, Of of) {
  std::string_view low = range.start;
  for (const T& each : touched) {
    if (!of(each)) continue;
    if (low < each.start) return false;
    if (each.end.empty() || (!range.end.empty() && range.end <= each.end)) return true;
    low = each.end;
  }
  return false;
}

bool served(const ShardInfo& info) { return info.served(); }

Status refused(std::string why) { return Status(ErrorCode::kPrecondition, std::move(why)); }

// In order of their starts.
Result<std::vector<ShardCut>> checked_cuts(GroupId own, const ApplyConfig& config) {
  std::vector<ShardCut> cuts = config.cuts;
  std::sort(cuts.begin(), cuts.end(), [](const ShardCut& a, const ShardCut& b) { return a.start < b.start; });
  std::vector<ShardId> ids;
  for (size_t i = 0; i < cuts.size(); ++i) {
    const ShardCut& cut = cuts[i];
    const bool to_nobody = cut.kind == Kind::kGive && (cut.peer == own || cut.peer == GroupId(0));
    if (cut.shard == ShardId(0) || !before_end(cut.start, cut.end) || to_nobody) {
      return Status(ErrorCode::kInvalidArgument, fmt::format("the cut of shard {} is malformed", cut.shard));
    }
    if (i > 0 && overlap(cuts[i - 1], cut)) {
      return Status(ErrorCode::kInvalidArgument,
                    fmt::format("the cuts of shards {} and {} overlap", cuts[i - 1].shard, cut.shard));
    }
    ids.push_back(cut.shard);
  }
  std::sort(ids.begin(), ids.end());
  if (const auto twice = std::adjacent_find(ids.begin(), ids.end()); twice != ids.end()) {
    return Status(ErrorCode::kInvalidArgument, fmt::format("shard {} is cut twice", *twice));
  }
  return cuts;
}

// What a range that is served becomes. `touched`: the shards it was part of.
Result<ShardInfo> cut_served(std::span<const ShardInfo> touched, GroupId own, const ShardCut& cut, ConfigNum num) {
  if (cut.kind == Kind::kOwn && cut.peer != own && cut.peer != GroupId(0)) {
    return refused(fmt::format("shard {} is served here, not by group {}", cut.shard, cut.peer));
  }
  const ShardInfo& first = touched.front();
  const bool same = first.shard == cut.shard && first.start == cut.start && first.end == cut.end;
  ShardInfo info = first;
  if (!same) {
    for (const ShardInfo& each : touched) {
      if (each.feed) return refused(fmt::format("shard {} is being copied and cannot be cut anew", each.shard));
    }
    info = {.shard = cut.shard, .start = cut.start, .end = cut.end, .since = num, .cursor = {}};
  }
  if (cut.kind == Kind::kOwn) return info;
  info.since = num;
  info.peer = cut.peer;
  info.state = cut.kind == Kind::kGive ? ShardState::kBePulling : ShardState::kErasing;
  if (cut.kind == Kind::kDrop) {
    info.feed = false;
    info.feed_plan = info.feed_step = 0;
    info.feed_epoch = {};
    info.feed_first = info.feed_length = 0;
  }
  return info;
}

// What a range becomes of which nothing is served. `touched`: what is in its way.
Result<ShardInfo> cut_new(std::span<const ShardInfo> touched, GroupId own, const ShardCut& cut, ConfigNum num) {
  if (cut.peer == own) return refused(fmt::format("shard {} should be here and is not", cut.shard));
  ShardInfo info{.shard = cut.shard, .start = cut.start, .end = cut.end, .since = num, .peer = cut.peer, .cursor = {}};
  info.state = cut.peer == GroupId(0) ? ShardState::kServing : ShardState::kPulling;
  if (touched.empty()) return info;
  const ShardInfo& first = touched.front();
  const bool same = first.shard == cut.shard && first.start == cut.start && first.end == cut.end;
  if (!same || first.state != ShardState::kStaged || cut.peer == GroupId(0)) {
    return refused(
        fmt::format("shard {} cannot come while shard {} is {} here", cut.shard, first.shard, to_string(first.state)));
  }
  info.cursor = first.cursor;
  if (first.peer != cut.peer) return info;  // of no step: no feed of the giver fits, and the copy starts over
  info.plan = first.plan;
  info.step = first.step;
  return info;
}

}  // namespace

Result<std::vector<ShardInfo>> cut_table(std::span<const ShardInfo> table, GroupId own, const ApplyConfig& config) {
  FLUX_TRY(const std::vector<ShardCut> cuts, checked_cuts(own, config));
  std::vector<ShardInfo> out;
  std::vector<ShardCut> of_served;
  for (const ShardCut& cut : cuts) {
    const std::span<const ShardInfo> touched = touching(table, cut);
    if (covered(touched, cut, served)) {
      FLUX_TRY(ShardInfo info, cut_served(touched, own, cut, config.num));
      out.push_back(std::move(info));
      of_served.push_back(cut);
      continue;
    }
    const bool some_served = std::any_of(touched.begin(), touched.end(), served);
    if (some_served || cut.kind == Kind::kGive) {
      return refused(fmt::format("not all of shard {} is served here", cut.shard));
    }
    if (cut.kind == Kind::kDrop) continue;  // nothing of it is here
    FLUX_TRY(ShardInfo info, cut_new(touched, own, cut, config.num));
    out.push_back(std::move(info));
  }
  const auto any = [](const ShardCut&) { return true; };
  std::vector<ShardInfo> left;
  for (const ShardInfo& info : table) {
    if (info.served() && !covered(touching(std::span<const ShardCut>(of_served), info), info, any)) {
      return refused(fmt::format("configuration {} says nothing of what shard {} serves", config.num, info.shard));
    }
    if (touching(std::span<const ShardInfo>(out), info).empty()) left.push_back(info);
  }
  out.insert(out.end(), left.begin(), left.end());
  std::vector<ShardId> ids;
  for (const ShardInfo& info : out) ids.push_back(info.shard);
  std::sort(ids.begin(), ids.end());
  if (const auto twice = std::adjacent_find(ids.begin(), ids.end()); twice != ids.end()) {
    return refused(fmt::format("shard {} is here with another range", *twice));
  }
  return out;
}

}  // namespace flux::kv
