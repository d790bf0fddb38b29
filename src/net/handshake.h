// The first message each way on a connection between nodes: who is there, and whether we talk.
//
// A node is known by its id and by the store behind it: a random number made with the data directory, how often that
// directory was started, and a random number of each of its newest starts. A wiped directory has another store id; one
// that was rolled back to an older copy has started less often than its peers remember, or does not know the start that
// they remember. Either would forget votes and entries it promised, so peers refuse it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/types.h"

namespace flux::net {

inline constexpr uint32_t kProtocolVersion = 1;
inline constexpr size_t kHelloBytesMax = 4_KiB;
// Starts of a directory that a greeting tells of. A copy that has been started more often than this without meeting
// anybody can no longer be told from the directory it was taken from.
inline constexpr size_t kStartsKept = 64;

using ClusterId = StrongId<struct ClusterIdTag>;

// Entries and bulk data have connections of their own, so that nothing small waits behind megabytes.
enum class Channel : uint8_t { kMessages = 0, kBulk = 1, kEntries = 2 };

struct Hello {
  uint32_t protocol = kProtocolVersion;
  ClusterId cluster;
  NodeId node;
  uint64_t store = 0;  // random, made with the data directory
  uint64_t boot = 0;   // how often the directory has been started
  Channel channel = Channel::kMessages;
  std::string name;
  std::string peer_address;  // where the sender is reached
  // Random numbers of the newest starts, that of `boot` last; kStartsKept at most.
  std::vector<uint64_t> starts;
  bool operator==(const Hello&) const = default;
};

std::string encode_hello(const Hello& hello);
Result<Hello> decode_hello(std::string_view body);

}  // namespace flux::net
