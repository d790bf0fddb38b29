#include "ctrl/shard_map.h"

#include <fmt/core.h>

#include <algorithm>

#include "api/limits.h"
#include "api/slot.h"

namespace flux::ctrl {
namespace {

uint64_t slot_at(std::string_view start) {
  if (start.empty()) return 0;
  return (uint64_t{static_cast<uint8_t>(start[0])} << 8) | static_cast<uint8_t>(start[1]);
}

}  // namespace

const Shard& Keyspace::lookup(std::string_view place) const {
  const auto after = std::upper_bound(shards.begin(), shards.end(), place,
                                      [](std::string_view key, const Shard& shard) { return key < shard.start; });
  FLUX_CHECK(after != shards.begin());
  return *(after - 1);
}

const Shard* Keyspace::find(ShardId shard) const {
  const auto found = std::find_if(shards.begin(), shards.end(), [&](const Shard& each) { return each.id == shard; });
  return found == shards.end() ? nullptr : &*found;
}

Shard* Keyspace::find(ShardId shard) { return const_cast<Shard*>(std::as_const(*this).find(shard)); }

std::string_view Keyspace::end_of(size_t at) const {
  return at + 1 < shards.size() ? std::string_view(shards[at + 1].start) : std::string_view();
}

api::KeyRange Keyspace::encoded_range(size_t at) const {
  const std::string prefix = api::keyspace_prefix(ref());
  const std::string_view end = end_of(at);
  return {.start = prefix + shards[at].start,
          .end = end.empty() ? api::keyspace_range(ref()).end : prefix + std::string(end)};
}

uint64_t Keyspace::measure(size_t at) const {
  if (kind == KeyspaceKind::kRange) return 1;
  const std::string_view end = end_of(at);
  return (end.empty() ? api::kSlotCount : slot_at(end)) - slot_at(shards[at].start);
}

Status Keyspace::check_boundary(std::string_view start) const {
  if (start.empty()) return Status(ErrorCode::kInvalidArgument, "no shard begins before the first one");
  if (kind == KeyspaceKind::kHash && (start.size() != 2 || slot_at(start) == 0 || slot_at(start) >= api::kSlotCount)) {
    return Status(ErrorCode::kInvalidArgument, "a shard of a hash keyspace begins at a slot: 2 bytes, big endian");
  }
  if (start.size() > api::kKeyBytesMax) return Status(ErrorCode::kTooLarge, "the boundary is larger than any key");
  return {};
}

Status Keyspace::validate() const {
  if (shards.empty() || !shards.front().start.empty()) {
    return Status(ErrorCode::kInvalidArgument, "the first shard begins at the first key");
  }
  for (size_t at = 1; at < shards.size(); ++at) {
    FLUX_RETURN_IF_ERROR(check_boundary(shards[at].start));
    if (shards[at].start <= shards[at - 1].start) {
      return Status(ErrorCode::kInvalidArgument, "shards do not follow each other");
    }
  }
  return {};
}

std::vector<std::string> equal_slot_ranges(uint32_t count) {
  FLUX_CHECK(count > 0);
  FLUX_CHECK(count <= api::kSlotCount);
  std::vector<std::string> starts{""};
  for (uint32_t i = 1; i < count; ++i) {
    starts.push_back(api::slot_start(static_cast<uint16_t>(uint64_t{i} * api::kSlotCount / count)));
  }
  return starts;
}

}  // namespace flux::ctrl
