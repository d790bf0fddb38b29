#include "api/slot.h"

#include <array>

namespace flux::api {
namespace {

constexpr std::array<uint16_t, 256> make_table() {
  std::array<uint16_t, 256> table{};
  for (unsigned byte = 0; byte < 256; ++byte) {
    unsigned crc = byte << 8;
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 0x8000) != 0 ? (crc << 1) ^ 0x1021 : crc << 1;
    table[byte] = static_cast<uint16_t>(crc);
  }
  return table;
}
constexpr std::array<uint16_t, 256> kTable = make_table();

}  // namespace

uint16_t crc16(std::string_view data) {
  unsigned crc = 0;
  for (const char c : data) crc = ((crc << 8) & 0xFFFF) ^ kTable[((crc >> 8) ^ static_cast<unsigned char>(c)) & 0xFF];
  return static_cast<uint16_t>(crc);
}

Slot slot_of(std::string_view key) {
  const size_t open = key.find('{');
  if (open != std::string_view::npos) {
    const size_t close = key.find('}', open + 1);
    if (close != std::string_view::npos && close != open + 1) key = key.substr(open + 1, close - open - 1);
  }
  return Slot(static_cast<uint16_t>(crc16(key) % kSlotCount));
}

std::string slot_start(uint16_t slot) { return {static_cast<char>(slot >> 8), static_cast<char>(slot & 0xFF)}; }

}  // namespace flux::api
