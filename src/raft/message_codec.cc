#include "raft/message_codec.h"

#include <fmt/core.h>

#include "base/overloaded.h"

namespace flux::raft {
namespace {

constexpr uint8_t kVersion = 1;

// Sent between nodes of different builds: never change or reuse a number.
enum class Kind : uint8_t {
  kAppend = 1,
  kAppendResult = 2,
  kVote = 3,
  kVoteResult = 4,
  kHeartbeat = 5,
  kHeartbeatResult = 6,
  kSnapshotOffer = 7,
  kTimeoutNow = 8,
  kReadIndex = 9,
  kReadIndexResult = 10,
};

void put(Encoder& out, EntryId id) {
  out.id(id.index);
  out.id(id.term);
}
EntryId get_entry_id(Decoder& in) {
  const Index index = in.id<Index>();
  return {.index = index, .term = in.id<Term>()};
}

// Yes or no; anything else is malformed, so that a message has one spelling.
bool get_flag(Decoder& in) {
  const uint8_t flag = in.u8();
  if (flag > 1) in.fail();
  return flag == 1;
}

void put(Encoder& out, const Append& m) {
  put(out, m.prev);
  out.id(m.commit);
  out.varint(m.round);
  out.id(m.since);
  out.varint(m.entries.size());
  for (const Entry& entry : m.entries) {
    out.u8(static_cast<uint8_t>(entry.type));
    out.id(entry.term);
    out.bytes(entry.data.view());
  }
}

Result<Append> get_append(Decoder& in) {
  Append m;
  m.prev = get_entry_id(in);
  m.commit = in.id<Index>();
  m.round = in.varint();
  m.since = in.id<Index>();
  const uint64_t count = in.count(3);
  m.entries.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    const uint8_t type = in.u8();
    const Term term = in.id<Term>();
    const std::string_view data = in.bytes();
    if (!in.ok()) break;
    if (type > static_cast<uint8_t>(EntryType::kConfig)) {
      return Status(ErrorCode::kUnsupported, fmt::format("log entry type {}", type));
    }
    m.entries.push_back({.index = m.prev.index + 1 + i,
                         .term = term,
                         .type = static_cast<EntryType>(type),
                         .data = SharedBytes(std::string(data))});
  }
  return m;
}

void put(Encoder& out, const AppendResult& m) {
  out.u8(m.accepted ? 1 : 0);
  out.id(m.index);
  put(out, m.hint);
  out.varint(m.round);
  out.id(m.since);
}
AppendResult get_append_result(Decoder& in) {
  AppendResult m;
  m.accepted = get_flag(in);
  m.index = in.id<Index>();
  m.hint = get_entry_id(in);
  m.round = in.varint();
  m.since = in.id<Index>();
  return m;
}

void put(Encoder& out, const Vote& m) {
  out.u8(m.pre ? 1 : 0);
  out.u8(m.transfer ? 1 : 0);
  put(out, m.last);
}
Vote get_vote(Decoder& in) {
  Vote m;
  m.pre = get_flag(in);
  m.transfer = get_flag(in);
  m.last = get_entry_id(in);
  return m;
}

void put(Encoder& out, const VoteResult& m) {
  out.u8(m.pre ? 1 : 0);
  out.u8(m.granted ? 1 : 0);
}
VoteResult get_vote_result(Decoder& in) {
  VoteResult m;
  m.pre = get_flag(in);
  m.granted = get_flag(in);
  return m;
}

void put(Encoder& out, const Heartbeat& m) {
  out.id(m.commit);
  out.varint(m.round);
  out.id(m.since);
  out.u8(m.wants_reply ? 1 : 0);
  out.varint(static_cast<uint64_t>(m.patience.count()));
}
Heartbeat get_heartbeat(Decoder& in) {
  Heartbeat m;
  m.commit = in.id<Index>();
  m.round = in.varint();
  m.since = in.id<Index>();
  m.wants_reply = get_flag(in);
  const uint64_t patience = in.varint();
  if (patience > static_cast<uint64_t>(kPatienceMax.count())) in.fail();
  m.patience = Micros(static_cast<int64_t>(patience));
  return m;
}

void put(Encoder& out, const HeartbeatResult& m) {
  out.varint(m.round);
  out.id(m.since);
}
HeartbeatResult get_heartbeat_result(Decoder& in) {
  HeartbeatResult m;
  m.round = in.varint();
  m.since = in.id<Index>();
  return m;
}

void put(Encoder& out, const SnapshotOffer& m) { encode(out, m.meta); }
SnapshotOffer get_snapshot_offer(Decoder& in) { return {.meta = decode_snapshot_meta(in)}; }

void put(Encoder&, const TimeoutNow&) {}

void put(Encoder& out, const ReadIndex& m) { out.varint(m.context); }

void put(Encoder& out, const ReadIndexResult& m) {
  out.varint(m.context);
  out.u8(m.ok ? 1 : 0);
  out.id(m.index);
}
ReadIndexResult get_read_index_result(Decoder& in) {
  ReadIndexResult m;
  m.context = in.varint();
  m.ok = get_flag(in);
  m.index = in.id<Index>();
  return m;
}

Kind kind_of(const MessageBody& body) {
  return std::visit(Overloaded{
                        [](const Append&) { return Kind::kAppend; },
                        [](const AppendResult&) { return Kind::kAppendResult; },
                        [](const Vote&) { return Kind::kVote; },
                        [](const VoteResult&) { return Kind::kVoteResult; },
                        [](const Heartbeat&) { return Kind::kHeartbeat; },
                        [](const HeartbeatResult&) { return Kind::kHeartbeatResult; },
                        [](const SnapshotOffer&) { return Kind::kSnapshotOffer; },
                        [](const TimeoutNow&) { return Kind::kTimeoutNow; },
                        [](const ReadIndex&) { return Kind::kReadIndex; },
                        [](const ReadIndexResult&) { return Kind::kReadIndexResult; },
                    },
                    body);
}

Result<MessageBody> get_body(Kind kind, Decoder& in) {
  switch (kind) {
    case Kind::kAppend: {
      FLUX_TRY(Append append, get_append(in));
      return MessageBody(std::move(append));
    }
    case Kind::kAppendResult:
      return MessageBody(get_append_result(in));
    case Kind::kVote:
      return MessageBody(get_vote(in));
    case Kind::kVoteResult:
      return MessageBody(get_vote_result(in));
    case Kind::kHeartbeat:
      return MessageBody(get_heartbeat(in));
    case Kind::kHeartbeatResult:
      return MessageBody(get_heartbeat_result(in));
    case Kind::kSnapshotOffer:
      return MessageBody(get_snapshot_offer(in));
    case Kind::kTimeoutNow:
      return MessageBody(TimeoutNow{});
    case Kind::kReadIndex:
      return MessageBody(ReadIndex{.context = in.varint()});
    case Kind::kReadIndexResult:
      return MessageBody(get_read_index_result(in));
  }
  return Status(ErrorCode::kUnsupported, fmt::format("raft message kind {}", static_cast<unsigned>(kind)));
}

}  // namespace

void encode(const Message& message, std::string& out) {
  Encoder encoder(out);
  encoder.u8(kVersion);
  encoder.u8(static_cast<uint8_t>(kind_of(message.body)));
  encoder.id(message.from);
  encoder.id(message.to);
  encoder.id(message.term);
  std::visit([&](const auto& body) { put(encoder, body); }, message.body);
}

Result<Message> decode(std::string_view bytes) {
  Decoder in(bytes);
  const uint8_t version = in.u8();
  if (in.ok() && version != kVersion) {
    return Status(ErrorCode::kUnsupported, fmt::format("raft message version {}", version));
  }
  const Kind kind = static_cast<Kind>(in.u8());
  const NodeId from = in.id<NodeId>();
  const NodeId to = in.id<NodeId>();
  const Term term = in.id<Term>();
  if (!in.ok()) return in.finish("raft message");
  FLUX_TRY(MessageBody body, get_body(kind, in));
  FLUX_RETURN_IF_ERROR(in.finish("raft message"));
  return Message{.from = from, .to = to, .term = term, .body = std::move(body)};
}

}  // namespace flux::raft
