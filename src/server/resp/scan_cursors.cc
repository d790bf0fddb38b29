#include "server/resp/scan_cursors.h"

#include "api/slot.h"

namespace flux::server::resp {
namespace {

constexpr uint64_t kMark = uint64_t{1} << 62;
constexpr unsigned kHashBits = 48;

uint64_t hash48(std::string_view text) {
  uint64_t hash = 0xCBF29CE484222325ULL;  // FNV-1a
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  return (hash ^ (hash >> kHashBits)) & ((uint64_t{1} << kHashBits) - 1);
}

}  // namespace

uint64_t ScanCursors::remember(api::KeyspaceRef keyspace, std::string_view encoded_key) {
  uint64_t slot = 0;
  if (keyspace.kind == api::KeyspaceKind::kHash) {
    const std::string_view place = encoded_key.substr(api::keyspace_prefix(keyspace).size());
    slot = api::slot_of_encoded(place).value();
  }
  const uint64_t cursor = kMark | (slot << kHashBits) | hash48(encoded_key);
  const std::lock_guard lock(mutex_);
  if (keys_.insert_or_assign(cursor, std::string(encoded_key)).second) oldest_first_.push_back(cursor);
  if (oldest_first_.size() > kRememberedMax) {
    keys_.erase(oldest_first_.front());
    oldest_first_.pop_front();
  }
  return cursor;
}

std::optional<std::string> ScanCursors::find(api::KeyspaceRef keyspace, uint64_t cursor) const {
  if (cursor == 0) return std::string();
  {
    const std::lock_guard lock(mutex_);
    const auto it = keys_.find(cursor);
    if (it != keys_.end()) return it->second;
  }
  const uint64_t slot = (cursor & ~kMark) >> kHashBits;
  if ((cursor & kMark) == 0 || slot >= api::kSlotCount || keyspace.kind != api::KeyspaceKind::kHash)
    return std::nullopt;
  return api::keyspace_prefix(keyspace) + api::slot_start(static_cast<uint16_t>(slot));
}

}  // namespace flux::server::resp
