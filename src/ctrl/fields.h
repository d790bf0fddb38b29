// How the types of this library become bytes. A type names its fields once, in `static void fields(self, io)`, and that
// order is the format: the same function writes, reads and so cannot disagree with itself (docs/formats/ctrl.md).
//
//   integers and ids  varint                    bool           1 byte, 0 or 1
//   enums             1 byte, from 1 to kLast   string         varint length, bytes
//   vector, deque     varint count, elements    set, map       the same, keys strictly ascending
//   variant           1 byte, place from 1      aggregate      its fields
//
// One spelling per value: the reader fails on every other.
#pragma once

#include <concepts>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "api/admin_service.h"
#include "base/codec.h"

namespace flux::ctrl {

// The last enumerator of an enum that is stored. The first is 1.
template <typename E>
inline constexpr E kLast{};

class FieldWriter {
 public:
  explicit FieldWriter(std::string& out) : encoder_(out) {}

  template <typename... Values>
  void operator()(const Values&... values) {
    (put(values), ...);
  }

 private:
  template <typename Tag, typename Rep>
  void put(StrongId<Tag, Rep> id) {
    encoder_.id(id);
  }
  void put(const std::string& text) { encoder_.bytes(text); }
  template <typename T>
  void put(const std::set<T>& set) {
    encoder_.varint(set.size());
    for (const T& each : set) put(each);
  }
  template <typename T>
  void put(const std::vector<T>& list) {
    encoder_.varint(list.size());
    for (const T& each : list) put(each);
  }
  template <typename T>
  void put(const std::deque<T>& list) {
    encoder_.varint(list.size());
    for (const T& each : list) put(each);
  }
  template <typename K, typename V>
  void put(const std::map<K, V>& map) {
    encoder_.varint(map.size());
    for (const auto& [key, value] : map) put(key), put(value);
  }
  template <typename... Alternatives>
  void put(const std::variant<Alternatives...>& variant) {
    encoder_.u8(static_cast<uint8_t>(variant.index() + 1));
    std::visit([&](const auto& each) { put(each); }, variant);
  }
  void put(const api::NodeRecord& r) {
    (*this)(r.id, r.name, r.peer_address, r.resp_address, r.http_address, r.wire_address);
  }
  template <typename T>
  void put(const T& value) {
    if constexpr (std::is_enum_v<T>) {
      static_assert(sizeof(T) == 1);
      encoder_.u8(static_cast<uint8_t>(value));
    } else if constexpr (std::same_as<T, bool>) {
      encoder_.u8(value ? 1 : 0);
    } else if constexpr (std::unsigned_integral<T>) {
      encoder_.varint(value);
    } else {
      T::fields(value, *this);
    }
  }

  Encoder encoder_;
};

// After the first thing that is wrong everything reads as zero or empty; Decoder::finish() tells.
class FieldReader {
 public:
  explicit FieldReader(Decoder& decoder) : decoder_(decoder) {}

  template <typename... Values>
  void operator()(Values&... values) {
    (get(values), ...);
  }

 private:
  template <typename Tag, typename Rep>
  void get(StrongId<Tag, Rep>& id) {
    id = decoder_.id<StrongId<Tag, Rep>>();
  }
  void get(std::string& text) { text = std::string(decoder_.bytes()); }
  template <typename T>
  void get(std::set<T>& set) {
    for (uint64_t left = decoder_.count(); left > 0 && decoder_.ok(); --left) {
      T each;
      get(each);
      if (!set.empty() && each <= *set.rbegin()) decoder_.fail();
      set.insert(std::move(each));
    }
  }
  template <typename T>
  void get(std::vector<T>& list) {
    // Not reserved by the count: an element is larger in memory than the least that spells it.
    for (uint64_t left = decoder_.count(); left > 0 && decoder_.ok(); --left) get(list.emplace_back());
  }
  template <typename T>
  void get(std::deque<T>& list) {
    for (uint64_t left = decoder_.count(); left > 0 && decoder_.ok(); --left) get(list.emplace_back());
  }
  template <typename K, typename V>
  void get(std::map<K, V>& map) {
    for (uint64_t left = decoder_.count(2); left > 0 && decoder_.ok(); --left) {
      K key;
      get(key);
      if (!map.empty() && key <= map.rbegin()->first) decoder_.fail();
      get(map[key]);
    }
  }
  template <typename... Alternatives>
  void get(std::variant<Alternatives...>& variant) {
    const size_t place = decoder_.u8();
    if (place == 0 || place > sizeof...(Alternatives)) return decoder_.fail();
    get_alternative(variant, place - 1, std::index_sequence_for<Alternatives...>());
  }
  template <typename Variant, size_t... Places>
  void get_alternative(Variant& variant, size_t place, std::index_sequence<Places...>) {
    ((Places == place ? get(variant.template emplace<Places>()) : void()), ...);
  }
  void get(api::NodeRecord& r) {
    (*this)(r.id, r.name, r.peer_address, r.resp_address, r.http_address, r.wire_address);
  }
  template <typename T>
  void get(T& value) {
    if constexpr (std::is_enum_v<T>) {
      static_assert(kLast<T> != T{}, "the enum does not say which value is its last");
      const uint8_t byte = decoder_.u8();
      if (byte == 0 || byte > static_cast<uint8_t>(kLast<T>)) decoder_.fail();
      if (decoder_.ok()) value = static_cast<T>(byte);
    } else if constexpr (std::same_as<T, bool>) {
      const uint8_t byte = decoder_.u8();
      if (byte > 1) decoder_.fail();
      value = byte == 1;
    } else if constexpr (std::unsigned_integral<T>) {
      const uint64_t number = decoder_.varint();
      if (number > static_cast<T>(-1)) decoder_.fail();
      value = static_cast<T>(number);
    } else {
      T::fields(value, *this);
    }
  }

  Decoder& decoder_;
};

// A whole document: its format's number (1 byte), then the value.
inline constexpr uint8_t kFormat = 1;

template <typename T>
std::string to_bytes(const T& value) {
  std::string out(1, static_cast<char>(kFormat));
  FieldWriter writer(out);
  writer(value);
  return out;
}

// kUnsupported for a format that this build does not know, kCorruption unless the bytes are exactly one value.
template <typename T>
Result<T> from_bytes(std::string_view bytes, std::string_view what) {
  Decoder decoder(bytes);
  if (const uint8_t format = decoder.u8(); decoder.ok() && format != kFormat) {
    return Status(ErrorCode::kUnsupported, std::string(what) + ": a format of another version");
  }
  T value;
  FieldReader reader(decoder);
  reader(value);
  FLUX_RETURN_IF_ERROR(decoder.finish(what));
  return value;
}

}  // namespace flux::ctrl
