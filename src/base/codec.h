// The one codec for bytes on disk and between nodes: little-endian fixed integers, LEB128 varints, length-prefixed
// strings. Each format has a *_format.h that draws its layout and uses these.
//
// Decoder never reads past its input and never allocates by a length it has not checked against what is left.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "base/status.h"
#include "base/types.h"

namespace flux {

static_assert(std::endian::native == std::endian::little, "fixed integers are copied as they are");

// Writes an integer over bytes that exist already, as for a length or checksum known only at the end.
template <typename T>
void put_fixed_at(char* target, T value) {
  std::memcpy(target, &value, sizeof(value));
}
template <typename T>
T get_fixed_at(const char* source) {
  T value;
  std::memcpy(&value, source, sizeof(value));
  return value;
}

// Appends to a string that the caller owns.
class Encoder {
 public:
  explicit Encoder(std::string& out) : out_(out) {}

  void u8(uint8_t value) { out_.push_back(static_cast<char>(value)); }
  void u16(uint16_t value) { fixed(value); }
  void u32(uint32_t value) { fixed(value); }
  void u64(uint64_t value) { fixed(value); }
  void varint(uint64_t value);
  // Signed integers in zigzag form, so that small negatives stay short.
  void zigzag(int64_t value) { varint((static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63)); }
  // varint length, then the bytes.
  void bytes(std::string_view value) {
    varint(value.size());
    out_.append(value);
  }
  void raw(std::string_view value) { out_.append(value); }
  template <typename Tag, typename Rep>
  void id(StrongId<Tag, Rep> value) {
    varint(static_cast<uint64_t>(value.value()));
  }

  std::string& out() { return out_; }

 private:
  template <typename T>
  void fixed(T value) {
    out_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  std::string& out_;
};

// Reads from bytes that must outlive it; what it returns as string_view points into them. After the first failure every
// read yields zero or empty and ok() stays false, so that a caller may read a whole structure and check once.
class Decoder {
 public:
  explicit Decoder(std::string_view in) : in_(in) {}

  uint8_t u8() { return fixed<uint8_t>(); }
  uint16_t u16() { return fixed<uint16_t>(); }
  uint32_t u32() { return fixed<uint32_t>(); }
  uint64_t u64() { return fixed<uint64_t>(); }
  uint64_t varint();
  int64_t zigzag() {
    const uint64_t n = varint();
    return static_cast<int64_t>(n >> 1) ^ -static_cast<int64_t>(n & 1);
  }
  std::string_view bytes() { return raw(varint()); }
  std::string_view raw(uint64_t size);
  template <typename Id>
  Id id() {
    const uint64_t value = varint();
    if (value > static_cast<uint64_t>(static_cast<typename Id::rep>(-1))) fail();
    return Id(static_cast<typename Id::rep>(value));
  }
  // A count of things that each take at least `bytes_each` more bytes; fails where that cannot be, so that a caller may
  // reserve() by it.
  uint64_t count(size_t bytes_each = 1);

  bool ok() const { return ok_; }
  bool done() const { return ok_ && in_.empty(); }
  size_t remaining() const { return in_.size(); }
  void fail() { ok_ = false, in_ = {}; }
  // OK if everything was read and nothing is left; otherwise kCorruption naming `what`.
  Status finish(std::string_view what) const;

 private:
  template <typename T>
  T fixed() {
    if (in_.size() < sizeof(T)) return fail(), T{};
    const T value = get_fixed_at<T>(in_.data());
    in_.remove_prefix(sizeof(T));
    return value;
  }

  std::string_view in_;
  bool ok_ = true;
};

}  // namespace flux
