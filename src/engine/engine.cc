#include "engine/engine.h"

#include "engine/hash.h"

namespace flux::engine {
namespace {

// Fixed: replicas of different builds compare their sums.
constexpr uint64_t kSumSeed = 0x464C5558'0001;

}  // namespace

Result<uint64_t> content_hash(const Snapshot& snapshot, Family family, std::string_view low, std::string_view high) {
  uint64_t sum = 0;
  const std::unique_ptr<Iterator> it = snapshot.iterate(family, low, high);
  for (; it->valid(); it->next()) {
    const uint64_t key = hash_bytes(kSumSeed + static_cast<uint64_t>(family), it->key());
    sum += hash_bytes(key, it->value());
  }
  FLUX_RETURN_IF_ERROR(it->status());
  return sum;
}

Result<uint64_t> state_hash(const Snapshot& snapshot) {
  uint64_t sum = 0;
  for (const Family family : kFamilies) {
    FLUX_TRY(const uint64_t part, content_hash(snapshot, family, "", ""));
    sum += part;
  }
  return sum;
}

Result<uint64_t> Engine::state_hash() { return engine::state_hash(*snapshot()); }

}  // namespace flux::engine
