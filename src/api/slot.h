// Which of the 16384 slots a key belongs to: CRC16 of its hash tag or of the whole key, as the Redis Cluster
// specification defines it. Part of the stored format: it never changes.
#pragma once

#include <string>
#include <string_view>

#include "base/types.h"

namespace flux::api {

inline constexpr uint16_t kSlotCount = 16384;

// CRC16-XMODEM (polynomial 0x1021, initial value 0).
uint16_t crc16(std::string_view data);

// The slot of a key: by what stands between the first '{' and the next '}' if that is not empty, else by all of it.
Slot slot_of(std::string_view key);

// The slot that an encoded key of the default keyspace begins with; of an empty one, the beginning of all, 0.
inline Slot slot_of_encoded(std::string_view encoded) {
  if (encoded.size() < 2) return Slot(0);
  return Slot(
      static_cast<uint16_t>(static_cast<unsigned char>(encoded[0]) << 8 | static_cast<unsigned char>(encoded[1])));
}
// The first encoded key of a slot; for kSlotCount the end of all.
std::string slot_start(uint16_t slot);

}  // namespace flux::api
