#include "engine/memory/leaf.h"

#include <malloc.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "base/check.h"

namespace flux::engine {
namespace {

constexpr uint32_t kOutOfLine = uint32_t{1} << 31;
constexpr uint32_t kKeyMask = (uint32_t{1} << 17) - 1;

// Garbage below this is not worth a rebuild.
constexpr uint32_t kArenaSlackBytes = 2048;

void* allocate(size_t bytes) {
  void* const memory = std::malloc(bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

// A value too large for the arena; shared by the copies of a leaf.
struct Leaf::Blob {
  std::atomic<uint32_t> references;
  uint32_t size;

  char* bytes() { return reinterpret_cast<char*>(this + 1); }
  static Blob* make(std::string_view value, MemoryMeter& meter) {
    Blob* const blob =
        new (allocate(sizeof(Blob) + value.size())) Blob{.references = 1, .size = static_cast<uint32_t>(value.size())};
    std::memcpy(blob->bytes(), value.data(), value.size());
    meter.add(sizeof(Blob) + value.size());
    return blob;
  }
  void release(MemoryMeter& meter) {
    if (references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    meter.subtract(sizeof(Blob) + size);
    std::free(this);
  }
};

Leaf::Leaf(const Leaf& other)
    : CowNode(other),
      meter_(other.meter_),
      slot_count_(other.slot_count_),
      count_(other.count_),
      arena_used_(other.arena_used_),
      arena_capacity_(other.arena_capacity_),
      arena_garbage_(other.arena_garbage_),
      content_bytes_(other.content_bytes_) {
  meter_->add(sizeof(Leaf) + slot_count_ * sizeof(uint32_t) + arena_capacity_);
  if (slot_count_ == 0) return;
  slots_ = static_cast<uint32_t*>(allocate(slot_count_ * sizeof(uint32_t)));
  std::memcpy(slots_, other.slots_, slot_count_ * sizeof(uint32_t));
  arena_ = static_cast<char*>(allocate(arena_capacity_));
  std::memcpy(arena_, other.arena_, arena_used_);
  for (size_t i = 0; i < slot_count_; ++i) {
    if (slots_[i] == 0) continue;
    if (Blob* const blob = blob_at(place_of(slots_[i]))) blob->references.fetch_add(1, std::memory_order_relaxed);
  }
}

Leaf::~Leaf() {
  for (size_t i = 0; i < slot_count_; ++i) {
    if (slots_[i] != 0) drop_value_at(place_of(slots_[i]));
  }
  meter_->subtract(sizeof(Leaf) + slot_count_ * sizeof(uint32_t) + arena_capacity_);
  std::free(slots_);
  std::free(arena_);
}

// --- Records ---------------------------------------------------------------------------------------------------------

Leaf::Record Leaf::record_at(size_t place) const {
  uint32_t head;
  std::memcpy(&head, arena_ + place, kHeadBytes);
  const size_t key_bytes = head & kKeyMask;
  const char* const key = arena_ + place + kHeadBytes;
  if ((head & kOutOfLine) != 0) {
    Blob* const blob = blob_at(place);
    return {.key = {key, key_bytes}, .value = {blob->bytes(), blob->size}};
  }
  return {.key = {key, key_bytes}, .value = {key + key_bytes, head >> 17}};
}

size_t Leaf::stored_bytes_at(size_t place) const {
  uint32_t head;
  std::memcpy(&head, arena_ + place, kHeadBytes);
  const size_t value_bytes = (head & kOutOfLine) != 0 ? sizeof(Blob*) : head >> 17;
  return padded(kHeadBytes + (head & kKeyMask) + value_bytes);
}

Leaf::Blob* Leaf::blob_at(size_t place) const {
  uint32_t head;
  std::memcpy(&head, arena_ + place, kHeadBytes);
  if ((head & kOutOfLine) == 0) return nullptr;
  Blob* blob;
  std::memcpy(&blob, arena_ + place + kHeadBytes + (head & kKeyMask), sizeof(blob));
  return blob;
}

void Leaf::drop_value_at(size_t place) {
  if (Blob* const blob = blob_at(place)) blob->release(*meter_);
}

void Leaf::write_record(size_t place, std::string_view key, std::string_view value) {
  const bool out_of_line = value.size() > kInlineValueBytesMax;
  const uint32_t head =
      static_cast<uint32_t>(key.size()) | (out_of_line ? kOutOfLine : static_cast<uint32_t>(value.size()) << 17);
  char* at = arena_ + place;
  std::memcpy(at, &head, kHeadBytes);
  at += kHeadBytes;
  std::memcpy(at, key.data(), key.size());
  at += key.size();
  if (out_of_line) {
    Blob* const blob = Blob::make(value, *meter_);
    std::memcpy(at, &blob, sizeof(blob));
  } else {
    std::memcpy(at, value.data(), value.size());
  }
}

// --- Finding ---------------------------------------------------------------------------------------------------------

size_t Leaf::find_slot(uint64_t hash, std::string_view key) const {
  if (slot_count_ == 0) return slot_count_;
  const uint32_t tag = tag_of(hash);
  for (size_t at = home_of(tag); slots_[at] != 0; at = at + 1 == slot_count_ ? 0 : at + 1) {
    if (slots_[at] >> 16 == tag && record_at(place_of(slots_[at])).key == key) return at;
  }
  return slot_count_;
}

bool Leaf::find(uint64_t hash, std::string_view key, std::string_view& value) const {
  const size_t at = find_slot(hash, key);
  if (at == slot_count_) return false;
  value = record_at(place_of(slots_[at])).value;
  return true;
}

void Leaf::prefetch(uint64_t hash) const {
  if (slot_count_ == 0) return;
  const uint32_t tag = tag_of(hash);
  for (size_t at = home_of(tag); slots_[at] != 0; at = at + 1 == slot_count_ ? 0 : at + 1) {
    if (slots_[at] >> 16 != tag) continue;
    __builtin_prefetch(arena_ + place_of(slots_[at]));
    return;
  }
}

std::vector<Leaf::Record> Leaf::records() const {
  std::vector<Record> out;
  out.reserve(count_);
  for (size_t i = 0; i < slot_count_; ++i) {
    if (slots_[i] != 0) out.push_back(record_at(place_of(slots_[i])));
  }
  return out;
}

std::string Leaf::smallest_key() const {
  const std::vector<Record> all = records();
  return std::string(
      std::min_element(all.begin(), all.end(), [](const Record& a, const Record& b) { return a.key < b.key; })->key);
}

std::string Leaf::largest_key() const {
  const std::vector<Record> all = records();
  return std::string(
      std::max_element(all.begin(), all.end(), [](const Record& a, const Record& b) { return a.key < b.key; })->key);
}

// --- Changing --------------------------------------------------------------------------------------------------------

Leaf::Put Leaf::put(uint64_t hash, std::string_view key, std::string_view value) {
  FLUX_CHECK(key.size() <= kKeyBytesMax);
  const size_t value_bytes = value.size() > kInlineValueBytesMax ? sizeof(Blob*) : value.size();
  const size_t bytes = padded(kHeadBytes + key.size() + value_bytes);
  const size_t at = find_slot(hash, key);
  if (at != slot_count_) {
    const size_t place = place_of(slots_[at]);
    const size_t old_bytes = stored_bytes_at(place);
    const size_t old_value_bytes = record_at(place).value.size();
    if (old_bytes == bytes) {
      drop_value_at(place);
      write_record(place, key, value);
    } else {
      if (!make_room(bytes)) return Put::kFull;
      const size_t old_place = place_of(slots_[at]);  // making room may have moved it
      const size_t new_place = arena_used_;
      drop_value_at(old_place);
      write_record(new_place, key, value);
      arena_used_ += static_cast<uint32_t>(bytes);
      arena_garbage_ += static_cast<uint32_t>(old_bytes);
      slots_[at] = slot_for(tag_of(hash), new_place);
    }
    content_bytes_ += value.size() - old_value_bytes;
    return Put::kReplaced;
  }
  if (count_ >= kRecordsMax) return Put::kFull;
  if (!make_room(bytes)) return Put::kFull;
  if (count_ + 1 > slot_count_ - slot_count_ / 5) grow_slots();
  const size_t place = arena_used_;
  write_record(place, key, value);
  arena_used_ += static_cast<uint32_t>(bytes);
  insert_slot(slot_for(tag_of(hash), place));
  count_ += 1;
  content_bytes_ += key.size() + value.size();
  return Put::kInserted;
}

bool Leaf::erase(uint64_t hash, std::string_view key) {
  const size_t at = find_slot(hash, key);
  if (at == slot_count_) return false;
  const size_t place = place_of(slots_[at]);
  const Record record = record_at(place);
  content_bytes_ -= record.key.size() + record.value.size();
  arena_garbage_ += static_cast<uint32_t>(stored_bytes_at(place));
  drop_value_at(place);
  remove_slot(at);
  count_ -= 1;
  if (arena_garbage_ > kArenaSlackBytes && arena_garbage_ > arena_used_ / 2) {
    rebuild_arena(arena_used_ - arena_garbage_ + kArenaSlackBytes / 4);
  }
  return true;
}

Leaf* Leaf::split() {
  FLUX_CHECK(count_ >= 2);
  struct Item {
    std::string_view key;  // points into arena_
    uint32_t slot;
  };
  std::vector<Item> items;
  for (size_t i = 0; i < slot_count_; ++i) {
    if (slots_[i] != 0) items.push_back({.key = record_at(place_of(slots_[i])).key, .slot = slots_[i]});
  }
  const auto middle = items.begin() + static_cast<ptrdiff_t>(items.size() / 2);
  std::nth_element(items.begin(), middle, items.end(), [](const Item& a, const Item& b) { return a.key < b.key; });
  Leaf* const upper = new Leaf(*meter_);
  size_t moved = 0;
  for (auto item = middle; item != items.end(); ++item) moved += stored_bytes_at(place_of(item->slot));
  upper->rebuild_arena(moved + moved / 8);
  std::memset(slots_, 0, slot_count_ * sizeof(uint32_t));
  for (auto item = items.begin(); item != middle; ++item) insert_slot(item->slot);
  for (auto item = middle; item != items.end(); ++item) {
    const size_t place = place_of(item->slot);
    upper->take(item->slot >> 16, *this, place);
    content_bytes_ -= record_at(place).key.size() + record_at(place).value.size();
    arena_garbage_ += static_cast<uint32_t>(stored_bytes_at(place));
  }
  count_ = static_cast<uint32_t>(middle - items.begin());
  const size_t live = arena_used_ - arena_garbage_;
  rebuild_arena(live + live / 8);
  return upper;
}

// Adds the record that another leaf gives up; a value out of line changes hands.
void Leaf::take(uint32_t tag, const Leaf& from, size_t place) {
  const size_t bytes = from.stored_bytes_at(place);
  FLUX_CHECK(arena_used_ + bytes <= arena_capacity_);
  if (count_ + 1 > slot_count_ - slot_count_ / 5) grow_slots();
  std::memcpy(arena_ + arena_used_, from.arena_ + place, bytes);
  insert_slot(slot_for(tag, arena_used_));
  arena_used_ += static_cast<uint32_t>(bytes);
  count_ += 1;
  const Record record = from.record_at(place);
  content_bytes_ += record.key.size() + record.value.size();
}

// Room for `bytes` more at the end of the arena; false when there cannot be.
bool Leaf::make_room(size_t bytes) {
  if (arena_used_ + bytes <= arena_capacity_) return true;
  const size_t needed = arena_used_ - arena_garbage_ + bytes;
  if (needed > kArenaBytesMax) return false;
  rebuild_arena(std::min(needed + needed / 8 + 32, kArenaBytesMax));
  return true;
}

// Moves the live records together into a block of at least `capacity` bytes.
void Leaf::rebuild_arena(size_t capacity) {
  if (capacity == 0) capacity = 4;
  char* const fresh = static_cast<char*>(allocate(capacity));
  capacity = std::max(capacity, std::min(malloc_usable_size(fresh), kArenaBytesMax));
  size_t used = 0;
  if (arena_garbage_ == 0 && arena_used_ > 0) {
    std::memcpy(fresh, arena_, arena_used_);
    used = arena_used_;
  } else {
    for (size_t i = 0; i < slot_count_; ++i) {
      if (slots_[i] == 0) continue;
      const size_t place = place_of(slots_[i]);
      const size_t bytes = stored_bytes_at(place);
      std::memcpy(fresh + used, arena_ + place, bytes);
      slots_[i] = slot_for(slots_[i] >> 16, used);
      used += bytes;
    }
  }
  meter_->add(capacity);
  meter_->subtract(arena_capacity_);
  std::free(arena_);
  arena_ = fresh;
  arena_used_ = static_cast<uint32_t>(used);
  arena_capacity_ = static_cast<uint32_t>(capacity);
  arena_garbage_ = 0;
}

void Leaf::insert_slot(uint32_t slot) {
  size_t at = home_of(slot >> 16);
  while (slots_[at] != 0) at = at + 1 == slot_count_ ? 0 : at + 1;
  slots_[at] = slot;
}

// Fills the gap with whatever was pushed past it, so that searches may stop at a free slot.
void Leaf::remove_slot(size_t at) {
  const auto distance = [&](size_t from, size_t to) { return to >= from ? to - from : to + slot_count_ - from; };
  size_t gap = at;
  for (size_t next = at;;) {
    next = next + 1 == slot_count_ ? 0 : next + 1;
    if (slots_[next] == 0) break;
    const size_t home = home_of(slots_[next] >> 16);
    if (distance(home, next) >= distance(gap, next)) {
      slots_[gap] = slots_[next];
      gap = next;
    }
  }
  slots_[gap] = 0;
}

void Leaf::grow_slots() {
  const uint32_t old_count = slot_count_;
  uint32_t* const old = slots_;
  slot_count_ = std::max<uint32_t>(8, old_count + old_count / 4);
  slots_ = static_cast<uint32_t*>(allocate(slot_count_ * sizeof(uint32_t)));
  std::memset(slots_, 0, slot_count_ * sizeof(uint32_t));
  meter_->add((slot_count_ - old_count) * sizeof(uint32_t));
  for (size_t i = 0; i < old_count; ++i) {
    if (old[i] != 0) insert_slot(old[i]);
  }
  std::free(old);
}

}  // namespace flux::engine
