#include "net/handshake.h"

#include "base/codec.h"

namespace flux::net {

std::string encode_hello(const Hello& hello) {
  std::string out;
  Encoder encoder(out);
  encoder.u32(hello.protocol);
  encoder.u64(hello.cluster.value());
  encoder.u64(hello.node.value());
  encoder.u64(hello.store);
  encoder.u64(hello.boot);
  encoder.u8(static_cast<uint8_t>(hello.channel));
  encoder.bytes(hello.name);
  encoder.bytes(hello.peer_address);
  encoder.varint(hello.starts.size());
  for (const uint64_t start : hello.starts) encoder.u64(start);
  return out;
}

Result<Hello> decode_hello(std::string_view body) {
  Decoder decoder(body);
  Hello hello;
  hello.protocol = decoder.u32();
  hello.cluster = ClusterId(decoder.u64());
  hello.node = NodeId(decoder.u64());
  hello.store = decoder.u64();
  hello.boot = decoder.u64();
  const uint8_t channel = decoder.u8();
  if (channel > static_cast<uint8_t>(Channel::kEntries)) decoder.fail();
  hello.channel = static_cast<Channel>(channel);
  hello.name = decoder.bytes();
  hello.peer_address = decoder.bytes();
  const uint64_t starts = decoder.count(8);
  if (starts > kStartsKept) decoder.fail();
  for (uint64_t i = 0; i < starts && decoder.ok(); ++i) hello.starts.push_back(decoder.u64());
  // A later protocol may add fields; whether we talk to it is decided by its number.
  if (!decoder.ok()) return Status(ErrorCode::kCorruption, "a greeting between nodes is malformed");
  return hello;
}

}  // namespace flux::net
