#include "node/shard_load.h"

#include <algorithm>

#include "api/slot.h"
#include "ctrl/fields.h"

namespace flux::node {
namespace {

using engine::Family;

// Slots [first, end) of a shard of a hash keyspace.
struct SlotRange {
  uint16_t first;
  uint16_t end;
};

SlotRange slots_of(const kv::ShardInfo& shard) {
  return {.first = api::slot_of_encoded(shard.start).value(),
          .end = shard.end.empty() ? api::kSlotCount : api::slot_of_encoded(shard.end).value()};
}

// Where a cut leaves something on both sides; empty if one slot is all there is.
std::string cut_at(const SlotRange& slots, uint16_t slot) {
  const auto cut = std::max<uint16_t>(slot, static_cast<uint16_t>(slots.first + 1));
  return cut < slots.end ? api::slot_start(cut) : std::string();
}

// The first slot before which there is half of the shard's data.
std::string middle_by_size(const Group& group, const kv::ShardInfo& shard, uint64_t bytes) {
  const SlotRange slots = slots_of(shard);
  uint16_t low = slots.first, high = slots.end;
  while (low < high) {
    const auto middle = static_cast<uint16_t>(low + (high - low) / 2);
    const bool half =
        group.engine().approximate_bytes(Family::kData, shard.start, api::slot_start(middle)) >= bytes / 2;
    half ? high = middle : low = static_cast<uint16_t>(middle + 1);
  }
  return cut_at(slots, low);
}

std::string middle_by_load(const Group& group, const kv::ShardInfo& shard) {
  const std::string key = group.state_machine().busy_middle(shard.shard);
  return key.empty() ? key : cut_at(slots_of(shard), api::slot_of_encoded(key).value());
}

}  // namespace

std::string encode_load_report(const LoadReport& report) { return ctrl::to_bytes(report); }

Result<LoadReport> decode_load_report(std::string_view body) {
  FLUX_TRY(LoadReport report, ctrl::from_bytes<LoadReport>(body, "report of a group's load"));
  if (report.shards.size() > kLoadReportShardsMax) return Status(ErrorCode::kTooLarge, "a report of too many shards");
  return report;
}

ctrl::ShardReport measure(const Group& group, const kv::ShardInfo& shard, const SplitLimits& limits) {
  ctrl::ShardReport report{
      .bytes = group.engine().approximate_bytes(Family::kData, shard.start, shard.end),
      .operations_per_second = group.operations_per_second(shard.shard),
      .middle = {},
  };
  // Halving a load that bears on one key helps nobody; halving the size may.
  if (report.operations_per_second >= limits.operations) report.middle = middle_by_load(group, shard);
  if (report.bytes >= limits.bytes && report.middle.empty()) report.middle = middle_by_size(group, shard, report.bytes);
  return report;
}

}  // namespace flux::node
