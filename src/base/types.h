// Strong ids and time. Two bare integers in one signature are two chances to swap them.
#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>

namespace flux {

// An integer that only compares with, and only converts to, its own kind. Arithmetic is with plain integers.
template <typename Tag, typename Rep = uint64_t>
class StrongId {
 public:
  using rep = Rep;
  constexpr StrongId() = default;
  constexpr explicit StrongId(Rep value) : value_(value) {}

  constexpr Rep value() const { return value_; }
  constexpr auto operator<=>(const StrongId&) const = default;

  constexpr StrongId operator+(Rep n) const { return StrongId(static_cast<Rep>(value_ + n)); }
  constexpr StrongId operator-(Rep n) const { return StrongId(static_cast<Rep>(value_ - n)); }
  constexpr Rep operator-(StrongId other) const { return static_cast<Rep>(value_ - other.value_); }
  constexpr StrongId& operator++() { return ++value_, *this; }
  constexpr StrongId& operator--() { return --value_, *this; }

 private:
  Rep value_ = 0;
};

using Term = StrongId<struct TermTag>;              // Raft term; 0 is "before the first election"
using Index = StrongId<struct IndexTag>;            // position in a group's log; the first entry is 1
using NodeId = StrongId<struct NodeIdTag>;          // a process with one data directory, for ever; 0 is "nobody"
using GroupId = StrongId<struct GroupIdTag>;        // a Raft group; group 0 is the controller
using ConfigNum = StrongId<struct ConfigNumTag>;    // version of the shard map
using KeyspaceId = StrongId<struct KeyspaceIdTag>;  // a named set of keys; never given twice, 0 is none
using ShardId = StrongId<struct ShardIdTag>;      // a range of a keyspace's encoded keys; never given twice, 0 is none
using Slot = StrongId<struct SlotTag, uint16_t>;  // 0 to 16383, as in Redis Cluster

inline constexpr NodeId kNobody{0};

using Micros = std::chrono::microseconds;
using Millis = std::chrono::milliseconds;

// A point on the monotonic clock of one process. Not comparable between processes or restarts.
class MonoTime {
 public:
  constexpr MonoTime() = default;
  constexpr explicit MonoTime(Micros since_start) : us_(since_start) {}
  static constexpr MonoTime infinite() { return MonoTime(Micros::max()); }

  constexpr Micros since_start() const { return us_; }
  constexpr auto operator<=>(const MonoTime&) const = default;
  constexpr MonoTime operator+(Micros d) const { return MonoTime(us_ + d); }
  constexpr MonoTime operator-(Micros d) const { return MonoTime(us_ - d); }
  constexpr Micros operator-(MonoTime other) const { return us_ - other.us_; }

 private:
  Micros us_{0};
};

// Milliseconds since 1970-01-01 UTC. May jump; nothing but hybrid time, expiry deadlines and people's eyes uses it.
using WallMillis = StrongId<struct WallMillisTag>;

inline constexpr size_t operator""_KiB(unsigned long long n) { return static_cast<size_t>(n) << 10; }
inline constexpr size_t operator""_MiB(unsigned long long n) { return static_cast<size_t>(n) << 20; }
inline constexpr size_t operator""_GiB(unsigned long long n) { return static_cast<size_t>(n) << 30; }

}  // namespace flux

template <typename Tag, typename Rep>
struct std::hash<flux::StrongId<Tag, Rep>> {
  size_t operator()(flux::StrongId<Tag, Rep> id) const noexcept {
    return static_cast<size_t>(static_cast<uint64_t>(id.value()) * 0x9E3779B97F4A7C15ULL);
  }
};

// Takes no format specification. The digits are written here because fmt's own integer path costs every file that
// includes this a second to compile.
template <typename Tag, typename Rep>
struct fmt::formatter<flux::StrongId<Tag, Rep>> {
  constexpr auto parse(fmt::format_parse_context& context) { return context.begin(); }
  template <typename Context>
  auto format(flux::StrongId<Tag, Rep> id, Context& context) const {
    char digits[24];
    const char* end = std::to_chars(std::begin(digits), std::end(digits), id.value()).ptr;
    return std::copy<const char*>(digits, end, context.out());
  }
};
