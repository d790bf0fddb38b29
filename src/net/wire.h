// The wire protocol, for clients (docs/protocols/wire.md): frames, greetings, calls and signs of life as between nodes
// (net/frame.h, net/peer_link.h), and calls of its own. A client greets as node 0, and of cluster 0 if it takes any.
#pragma once

#include <string>
#include <string_view>

#include "api/limits.h"
#include "base/codec.h"
#include "base/status.h"
#include "base/types.h"

namespace flux::net {

// Every one is a call. Numbers are part of the protocol, and apart from those between nodes.
enum class WireMessage : uint8_t {
  kWrite = 64,  // a request (api/request_codec.h) -> results
  kRead = 65,   // a read (api/read_codec.h) -> items
  kMap = 66,    // nothing -> a configuration (docs/formats/ctrl.md)
};

// The largest request, with room for the messages' own bytes.
inline constexpr size_t kWireRequestFrameBytesMax = api::kRequestBytesMax + 1_MiB;
inline constexpr size_t kWireAnswerFrameBytesMax = api::kPeerFrameBytesMax;

// What stands before every answer.
struct WireAnswer {
  ConfigNum config;  // the newest that the node knows: whoever has an older one should ask for it
  // Who leads the group that answered, as far as the node knows: the next request for the group had better go there.
  // kNobody: not known, or no group answered.
  NodeId leader;
  std::string_view body;
};

// Begins an answer; its body is appended.
inline void begin_wire_answer(std::string& out, ConfigNum config, NodeId leader) {
  Encoder encoder(out);
  encoder.id(config);
  encoder.id(leader);
}

inline Result<WireAnswer> decode_wire_answer(std::string_view bytes) {
  Decoder decoder(bytes);
  WireAnswer answer{.config = decoder.id<ConfigNum>(), .leader = decoder.id<NodeId>(), .body = {}};
  if (!decoder.ok()) return Status(ErrorCode::kCorruption, "an answer is cut short");
  answer.body = decoder.raw(decoder.remaining());
  return answer;
}

}  // namespace flux::net
