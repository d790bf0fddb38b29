#include "base/codec.h"

namespace flux {

void Encoder::varint(uint64_t value) {
  while (value >= 0x80) {
    u8(static_cast<uint8_t>(value | 0x80));
    value >>= 7;
  }
  u8(static_cast<uint8_t>(value));
}

uint64_t Decoder::varint() {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    const uint8_t byte = u8();
    if (!ok_) return 0;
    const uint64_t bits = byte & 0x7F;
    if (shift == 63 && bits > 1) break;
    value |= bits << shift;
    if ((byte & 0x80) == 0) {
      if (byte == 0 && shift != 0) break;  // one spelling per number
      return value;
    }
  }
  return fail(), 0;
}

std::string_view Decoder::raw(uint64_t size) {
  if (size > in_.size()) return fail(), std::string_view();
  const std::string_view value = in_.substr(0, size);
  in_.remove_prefix(size);
  return value;
}

uint64_t Decoder::count(size_t bytes_each) {
  const uint64_t n = varint();
  if (n > in_.size() / bytes_each) return fail(), 0;
  return n;
}

Status Decoder::finish(std::string_view what) const {
  if (!ok_) return Status(ErrorCode::kCorruption, std::string(what) + " is malformed");
  if (!in_.empty()) return Status(ErrorCode::kCorruption, std::string(what) + " has bytes after its end");
  return {};
}

}  // namespace flux
