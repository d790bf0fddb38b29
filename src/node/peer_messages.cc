#include "node/peer_messages.h"

#include "base/codec.h"
#include "node/directory.h"

namespace flux::node {

std::string encode_transfer_call(const TransferCall& call) {
  std::string out;
  Encoder encoder(out);
  encoder.id(call.group);
  encoder.id(call.target);
  return out;
}

Result<TransferCall> decode_transfer_call(std::string_view body) {
  Decoder decoder(body);
  TransferCall call;
  call.group = decoder.id<GroupId>();
  call.target = decoder.id<NodeId>();
  FLUX_RETURN_IF_ERROR(decoder.finish("a transfer call"));
  return call;
}

std::string encode_release_call(const ReleaseCall& call) {
  std::string out;
  Encoder encoder(out);
  encoder.id(call.group);
  encoder.id(call.shard);
  encoder.id(call.num);
  return out;
}

Result<ReleaseCall> decode_release_call(std::string_view body) {
  Decoder decoder(body);
  ReleaseCall call;
  call.group = decoder.id<GroupId>();
  call.shard = decoder.id<ShardId>();
  call.num = decoder.id<ConfigNum>();
  FLUX_RETURN_IF_ERROR(decoder.finish("a call to release a shard"));
  return call;
}

std::string encode_snapshot_open(const SnapshotOpen& open) {
  std::string out;
  Encoder encoder(out);
  encoder.id(open.group);
  encoder.id(open.term);
  encoder.id(open.last.index);
  encoder.id(open.last.term);
  encoder.varint(open.bytes);
  return out;
}

Result<SnapshotOpen> decode_snapshot_open(std::string_view body) {
  Decoder decoder(body);
  SnapshotOpen open;
  open.group = decoder.id<GroupId>();
  open.term = decoder.id<Term>();
  open.last.index = decoder.id<Index>();
  open.last.term = decoder.id<Term>();
  open.bytes = decoder.varint();
  FLUX_RETURN_IF_ERROR(decoder.finish("a snapshot announcement"));
  return open;
}

std::string encode_snapshot_chunk(const SnapshotChunk& chunk) {
  std::string out;
  out.reserve(chunk.bytes.size() + 32);
  Encoder encoder(out);
  encoder.id(chunk.group);
  encoder.id(chunk.last.index);
  encoder.id(chunk.last.term);
  encoder.varint(chunk.offset);
  encoder.bytes(chunk.bytes);
  return out;
}

Result<SnapshotChunk> decode_snapshot_chunk(std::string_view body) {
  Decoder decoder(body);
  SnapshotChunk chunk;
  chunk.group = decoder.id<GroupId>();
  chunk.last.index = decoder.id<Index>();
  chunk.last.term = decoder.id<Term>();
  chunk.offset = decoder.varint();
  chunk.bytes = decoder.bytes();
  FLUX_RETURN_IF_ERROR(decoder.finish("a snapshot chunk"));
  return chunk;
}

std::string encode_join_call(const JoinCall& call) {
  std::string out;
  Encoder(out).bytes(call.name);
  return out;
}

Result<JoinCall> decode_join_call(std::string_view body) {
  Decoder decoder(body);
  JoinCall call;
  call.name = decoder.bytes();
  FLUX_RETURN_IF_ERROR(decoder.finish("a join call"));
  return call;
}

std::string encode_join_reply(const JoinReply& reply) {
  std::string out;
  Encoder encoder(out);
  encoder.u64(reply.cluster.value());
  encoder.id(reply.node);
  encoder.varint(reply.nodes.size());
  for (const api::NodeRecord& record : reply.nodes) encoder.bytes(encode_node_record(record));
  encoder.bytes(KnownPeers::encode(reply.met));
  return out;
}

Result<JoinReply> decode_join_reply(std::string_view body) {
  Decoder decoder(body);
  JoinReply reply;
  reply.cluster = net::ClusterId(decoder.u64());
  reply.node = decoder.id<NodeId>();
  const uint64_t count = decoder.count(6);
  for (uint64_t i = 0; i < count && decoder.ok(); ++i) {
    FLUX_TRY(api::NodeRecord record, decode_node_record(decoder.bytes()));
    reply.nodes.push_back(std::move(record));
  }
  const std::string_view met = decoder.bytes();
  FLUX_RETURN_IF_ERROR(decoder.finish("a join reply"));
  FLUX_TRY(reply.met, KnownPeers::decode(met));
  return reply;
}

void encode_status(std::string& out, const Status& status) {
  Encoder encoder(out);
  encoder.u8(static_cast<uint8_t>(status.code()));
  encoder.bytes(status.message());
}

Status take_status(std::string_view& body) {
  Decoder decoder(body);
  const auto code = static_cast<ErrorCode>(decoder.u8());
  const std::string_view message = decoder.bytes();
  body = decoder.raw(decoder.remaining());
  if (!decoder.ok()) return Status(ErrorCode::kCorruption, "a peer's answer is malformed");
  if (code == ErrorCode::kOk) return {};
  return Status(code, std::string(message));
}

}  // namespace flux::node
