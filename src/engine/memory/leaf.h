// A small hash table with its records in one block of memory: up to about a thousand keys that lie next to each other
// in key order. Copying it is two memory copies; growing it moves only its own records.
//
//   slots_: u32 each, 0 is free; high 16 bits: tag, the high bits of the key's hash, which also names the home slot
//           (tag * slots / 2^16); low 16 bits: place of the record in the arena, in units of 4 bytes, plus 1
//   arena_: records, each a multiple of 4 bytes:
//           u32 head: bits 0-16 key bytes, bits 17-30 value bytes, bit 31: the value is a pointer to a Blob
//           key, value
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/memory/cow.h"
#include "engine/memory/memory_meter.h"

namespace flux::engine {

inline constexpr size_t kKeyBytesMax = (64 << 10) + 1024;

// Owned by one thread while it is not shared.
class Leaf final : public CowNode {
 public:
  explicit Leaf(MemoryMeter& meter) : meter_(&meter) { meter_->add(sizeof(Leaf)); }
  Leaf(const Leaf& other);
  ~Leaf();

  size_t count() const { return count_; }
  bool empty() const { return count_ == 0; }
  // Bytes of keys and values.
  size_t content_bytes() const { return content_bytes_; }

  bool find(uint64_t hash, std::string_view key, std::string_view& value) const;
  // Bring closer what find() will look at first: the home slot; then the record it names.
  void prefetch_slot(uint64_t hash) const {
    if (slot_count_ > 0) __builtin_prefetch(&slots_[home_of(tag_of(hash))]);
  }
  void prefetch(uint64_t hash) const;

  enum class Put : uint8_t { kInserted, kReplaced, kFull };
  // kFull: nothing was changed; split first.
  Put put(uint64_t hash, std::string_view key, std::string_view value);
  bool erase(uint64_t hash, std::string_view key);

  // A record as it stands in the arena; valid until the leaf changes.
  struct Record {
    std::string_view key;
    std::string_view value;
  };
  // All records in no order.
  std::vector<Record> records() const;
  // Moves the upper half of the keys to a new leaf. REQUIRES: count() >= 2.
  Leaf* split();
  std::string smallest_key() const;
  std::string largest_key() const;

 private:
  struct Blob;
  static constexpr size_t kRecordsMax = 1024;
  static constexpr size_t kArenaBytesMax = (size_t{1} << 18) - 8;
  static constexpr size_t kInlineValueBytesMax = 512;
  static constexpr size_t kHeadBytes = 4;

  static size_t padded(size_t bytes) { return (bytes + 3) & ~size_t{3}; }
  static uint32_t tag_of(uint64_t hash) { return static_cast<uint32_t>(hash >> 48); }
  size_t home_of(uint32_t tag) const { return (size_t{tag} * slot_count_) >> 16; }
  size_t place_of(uint32_t slot) const { return (size_t{slot & 0xFFFF} - 1) * 4; }
  static uint32_t slot_for(uint32_t tag, size_t place) { return tag << 16 | static_cast<uint32_t>(place / 4 + 1); }

  Record record_at(size_t place) const;
  size_t stored_bytes_at(size_t place) const;
  Blob* blob_at(size_t place) const;
  void drop_value_at(size_t place);
  size_t find_slot(uint64_t hash, std::string_view key) const;  // slot_count_: none
  void write_record(size_t place, std::string_view key, std::string_view value);
  bool make_room(size_t bytes);
  void rebuild_arena(size_t capacity);
  void take(uint32_t tag, const Leaf& from, size_t place);
  void insert_slot(uint32_t slot);
  void remove_slot(size_t at);
  void grow_slots();

  MemoryMeter* meter_;
  uint32_t* slots_ = nullptr;
  char* arena_ = nullptr;
  uint32_t slot_count_ = 0;
  uint32_t count_ = 0;
  uint32_t arena_used_ = 0;
  uint32_t arena_capacity_ = 0;
  uint32_t arena_garbage_ = 0;  // of records that are gone
  uint64_t content_bytes_ = 0;
};

}  // namespace flux::engine
