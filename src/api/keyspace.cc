#include "api/keyspace.h"

#include <algorithm>

#include "api/slot.h"

namespace flux::api {
namespace {

constexpr char kHashMark = 0x40;
constexpr char kRangeMark = static_cast<char>(0x80);
constexpr size_t kPrefixBytes = 5;
constexpr size_t kSlotBytes = 2;
static_assert(kSlotCount == unsigned{kHashMark} << 8, "the default keyspace ends where the others begin");

void append_prefix(std::string& out, KeyspaceRef keyspace) {
  if (keyspace.is_default()) return;
  out.push_back(keyspace.kind == KeyspaceKind::kHash ? kHashMark : kRangeMark);
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(keyspace.id.value() >> shift & 0xFF));
}

}  // namespace

void append_encoded_key(std::string& out, KeyspaceRef keyspace, std::string_view key) {
  append_prefix(out, keyspace);
  if (keyspace.kind == KeyspaceKind::kHash) {
    const uint16_t slot = slot_of(key).value();
    out.push_back(static_cast<char>(slot >> 8));
    out.push_back(static_cast<char>(slot & 0xFF));
  }
  out.append(key);
}

std::string encoded_key(KeyspaceRef keyspace, std::string_view key) {
  std::string out;
  out.reserve(key.size() + kPrefixBytes + kSlotBytes);
  append_encoded_key(out, keyspace, key);
  return out;
}

std::string_view decoded_key(std::string_view encoded) {
  size_t before = kSlotBytes;
  if (encoded.starts_with(kHashMark)) before = kPrefixBytes + kSlotBytes;
  if (encoded.starts_with(kRangeMark)) before = kPrefixBytes;
  return encoded.substr(std::min(before, encoded.size()));
}

std::string keyspace_prefix(KeyspaceRef keyspace) {
  std::string prefix;
  append_prefix(prefix, keyspace);
  return prefix;
}

std::optional<KeyspaceRef> keyspace_at(std::string_view encoded) {
  if (encoded.empty() || static_cast<unsigned char>(encoded.front()) < kHashMark) return KeyspaceRef();
  if (encoded.size() < kPrefixBytes || (encoded.front() != kHashMark && encoded.front() != kRangeMark)) return {};
  uint64_t id = 0;
  for (const char byte : encoded.substr(1, kPrefixBytes - 1)) id = id << 8 | static_cast<unsigned char>(byte);
  if (KeyspaceId(id) <= kDefaultKeyspaceId) return {};
  return KeyspaceRef{.id = KeyspaceId(id),
                     .kind = encoded.front() == kHashMark ? KeyspaceKind::kHash : KeyspaceKind::kRange};
}

KeyRange keyspace_range(KeyspaceRef keyspace) {
  if (keyspace.is_default()) return {.start = {}, .end = slot_start(kSlotCount)};
  std::string prefix = keyspace_prefix(keyspace);
  std::string end = after_prefix(prefix);
  return {.start = std::move(prefix), .end = std::move(end)};
}

KeyRange within(KeyspaceRef keyspace, std::string_view start, std::string_view end) {
  KeyRange range = keyspace_range(keyspace);
  if (start > range.start) range.start = start;
  if (!end.empty() && end < range.end) range.end = end;
  return range;
}

std::string after_prefix(std::string_view prefix) {
  std::string after(prefix);
  while (!after.empty() && after.back() == static_cast<char>(0xFF)) after.pop_back();
  if (!after.empty()) after.back() = static_cast<char>(after.back() + 1);
  return after;
}

}  // namespace flux::api
