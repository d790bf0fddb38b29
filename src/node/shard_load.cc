#include "node/shard_load.h"

#include <algorithm>

#include "api/slot.h"
#include "ctrl/fields.h"

namespace flux::node {
namespace {

using engine::Family;

// A shard of a hash keyspace: what its encoded keys begin with, and its slots [first, end).
struct SlotRange {
  std::string prefix;
  uint16_t first;
  uint16_t end;
};

SlotRange slots_of(const kv::ShardInfo& shard, api::KeyspaceRef keyspace) {
  const std::string prefix = api::keyspace_prefix(keyspace);
  const bool last = shard.end.empty() || !shard.end.starts_with(prefix);
  return {
      .prefix = prefix,
      .first = api::slot_of_encoded(std::string_view(shard.start).substr(prefix.size())).value(),
      .end = last ? api::kSlotCount : api::slot_of_encoded(std::string_view(shard.end).substr(prefix.size())).value()};
}

// Where a cut leaves something on both sides; empty if one slot is all there is.
std::string cut_at(const SlotRange& slots, uint16_t slot) {
  const auto cut = std::max<uint16_t>(slot, static_cast<uint16_t>(slots.first + 1));
  return cut < slots.end ? api::slot_start(cut) : std::string();
}

// The first slot before which there is half of the shard's data.
std::string middle_slot(const Group& group, const kv::ShardInfo& shard, const SlotRange& slots, uint64_t bytes) {
  uint16_t low = slots.first, high = slots.end;
  while (low < high) {
    const auto middle = static_cast<uint16_t>(low + (high - low) / 2);
    const std::string end = slots.prefix + api::slot_start(middle);
    const bool half = group.engine().approximate_bytes(Family::kData, shard.start, end) >= bytes / 2;
    half ? high = middle : low = static_cast<uint16_t>(middle + 1);
  }
  return cut_at(slots, low);
}

// The string in the middle between two, read as digits behind a point.
std::string halfway(std::string_view low, std::string_view high) {
  const auto digit = [](std::string_view text, size_t at) {
    return at < text.size() ? unsigned{static_cast<unsigned char>(text[at])} : 0U;
  };
  std::string sum(std::max(low.size(), high.size()) + 1, '\0');
  unsigned carry = 0;
  for (size_t at = sum.size(); at-- > 0;) {
    carry += digit(low, at) + digit(high, at);
    sum[at] = static_cast<char>(carry & 0xFF);
    carry >>= 8;
  }
  for (char& each : sum) {  // by two; `carry` is what is left of the digits before
    const unsigned whole = carry << 8 | static_cast<unsigned char>(each);
    each = static_cast<char>(whole / 2);
    carry = whole % 2;
  }
  sum.erase(sum.find_last_not_of('\0') + 1);
  return sum;
}

// A place before which there is about half of the shard's data; empty: none was found. Each step halves what is left,
// so that eight find the next byte of what all keys begin with.
std::string middle_place(const Group& group, const kv::ShardInfo& shard, uint64_t bytes) {
  constexpr int kStepsMax = 8 * 64;
  std::string low = shard.start, high = shard.end;
  for (int step = 0; step < kStepsMax; ++step) {
    std::string middle = halfway(low, high);
    if (middle <= low || middle >= high) return {};
    const uint64_t before = group.engine().approximate_bytes(Family::kData, shard.start, middle);
    if (before >= bytes / 8 * 3 && before <= bytes / 8 * 5) return middle;
    (before < bytes / 2 ? low : high) = std::move(middle);
  }
  return {};
}

std::string middle_by_load(const Group& group, const kv::ShardInfo& shard, api::KeyspaceRef keyspace) {
  const std::string key = group.state_machine().busy_middle(shard.shard);
  if (key.empty() || key <= shard.start) return {};
  const std::string_view place = std::string_view(key).substr(api::keyspace_prefix(keyspace).size());
  if (keyspace.kind == api::KeyspaceKind::kRange) return std::string(place);
  return cut_at(slots_of(shard, keyspace), api::slot_of_encoded(place).value());
}

std::string middle_by_size(const Group& group, const kv::ShardInfo& shard, api::KeyspaceRef keyspace, uint64_t bytes) {
  if (keyspace.kind == api::KeyspaceKind::kHash) return middle_slot(group, shard, slots_of(shard, keyspace), bytes);
  const std::string place = middle_place(group, shard, bytes);
  return place.empty() ? place : place.substr(api::keyspace_prefix(keyspace).size());
}

}  // namespace

std::string encode_load_report(const LoadReport& report) { return ctrl::to_bytes(report); }

Result<LoadReport> decode_load_report(std::string_view body) {
  FLUX_TRY(LoadReport report, ctrl::from_bytes<LoadReport>(body, "report of a group's load"));
  if (report.shards.size() > kLoadReportShardsMax) return Status(ErrorCode::kTooLarge, "a report of too many shards");
  return report;
}

ctrl::ShardReport measure(const Group& group, const kv::ShardInfo& shard, const SplitLimits& limits) {
  const api::KeyspaceRef keyspace = api::keyspace_at(shard.start).value_or(api::KeyspaceRef());
  ctrl::ShardReport report{
      .bytes = group.engine().approximate_bytes(Family::kData, shard.start, shard.end),
      .operations_per_second = group.operations_per_second(shard.shard),
      .middle = {},
  };
  // Halving a load that bears on one key helps nobody; halving the size may.
  if (report.operations_per_second >= limits.operations) report.middle = middle_by_load(group, shard, keyspace);
  if (report.bytes >= limits.bytes && report.middle.empty()) {
    report.middle = middle_by_size(group, shard, keyspace, report.bytes);
  }
  return report;
}

}  // namespace flux::node
