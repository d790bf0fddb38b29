#include "kv/shard_command.h"

#include <fmt/core.h>

#include "api/request_codec.h"
#include "base/codec.h"
#include "base/overloaded.h"

namespace flux::kv {
namespace {

// Stored in logs: never change or reuse.
enum class Kind : uint8_t {
  kApplyConfig = 1,
  kBeginFeed = 2,
  kTrimFeed = 3,
  kEndFeed = 4,
  kBeginStaging = 5,
  kEndStaging = 6,
  kImport = 7,
  kRelease = 8,
  kConfirm = 9,
  kEraseSome = 10,
};

constexpr uint8_t kCopiedAll = 1;
constexpr uint8_t kSessionsDone = 2;
constexpr uint8_t kCaughtUp = 1;
constexpr uint8_t kStartOver = 2;

uint8_t flags_of(bool first, bool second) { return static_cast<uint8_t>((first ? 1 : 0) | (second ? 2 : 0)); }

uint8_t decode_flags(Decoder& decoder) {
  const uint8_t value = decoder.u8();
  if (value > 3) decoder.fail();
  return value;
}

uint32_t decode_u32(Decoder& decoder) {
  const uint64_t value = decoder.varint();
  if (value > UINT32_MAX) decoder.fail();
  return static_cast<uint32_t>(value);
}

void encode_chunk(Encoder& encoder, const ShardChunk& chunk) {
  append_cursor(encoder, chunk.from);
  append_cursor(encoder, chunk.next);
  encoder.id(chunk.num);
  encoder.u8(flags_of(chunk.caught_up, chunk.start_over));
  encoder.u64(chunk.clock.value());
  encoder.varint(chunk.items.size());
  for (const ChunkItem& item : chunk.items) {
    encoder.bytes(item.key);
    encoder.u8(item.record ? 1 : 0);
    if (item.record) encoder.bytes(*item.record);
  }
  encoder.varint(chunk.sessions_forgotten.value());
  encoder.varint(chunk.sessions.size());
  for (const MovedSession& session : chunk.sessions) {
    encoder.u64(session.client);
    encoder.varint(session.opened.value());
    encoder.u64(session.last_use.value());
    encoder.varint(session.low);
    encoder.varint(session.replies.size());
    for (const MovedSession::Reply& reply : session.replies) {
      encoder.varint(reply.sequence);
      encoder.bytes(reply.bytes);
    }
  }
}

MovedSession decode_session(Decoder& decoder) {
  MovedSession session{.client = decoder.u64(),
                       .opened = WallMillis(decoder.varint()),
                       .last_use = Version(decoder.u64()),
                       .low = decoder.varint()};
  uint64_t above = session.low;
  const uint64_t count = decoder.count(2);
  session.replies.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    MovedSession::Reply reply{.sequence = decoder.varint(), .bytes = std::string(decoder.bytes())};
    if (reply.sequence <= above) decoder.fail();
    above = reply.sequence;
    session.replies.push_back(std::move(reply));
  }
  return session;
}

ShardChunk decode_chunk(Decoder& decoder) {
  ShardChunk chunk;
  chunk.from = read_cursor(decoder);
  chunk.next = read_cursor(decoder);
  chunk.num = decoder.id<ConfigNum>();
  const uint8_t flags = decode_flags(decoder);
  chunk.caught_up = (flags & kCaughtUp) != 0;
  chunk.start_over = (flags & kStartOver) != 0;
  chunk.clock = Version(decoder.u64());
  const uint64_t items = decoder.count(2);
  chunk.items.reserve(items);
  for (uint64_t i = 0; i < items; ++i) {
    ChunkItem item{.key = std::string(decoder.bytes()), .record = {}};
    if (api::read_bool(decoder)) item.record = std::string(decoder.bytes());
    chunk.items.push_back(std::move(item));
  }
  chunk.sessions_forgotten = WallMillis(decoder.varint());
  const uint64_t sessions = decoder.count(19);
  chunk.sessions.reserve(sessions);
  for (uint64_t i = 0; i < sessions; ++i) chunk.sessions.push_back(decode_session(decoder));
  return chunk;
}

ApplyConfig decode_config(Decoder& decoder) {
  ApplyConfig config{.num = decoder.id<ConfigNum>(), .cuts = {}};
  const uint64_t count = decoder.count(5);
  config.cuts.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    const uint8_t kind = decoder.u8();
    if (kind < static_cast<uint8_t>(ShardCut::Kind::kOwn) || kind > static_cast<uint8_t>(ShardCut::Kind::kDrop)) {
      decoder.fail();
    }
    config.cuts.push_back({.kind = static_cast<ShardCut::Kind>(kind),
                           .shard = decoder.id<ShardId>(),
                           .start = std::string(decoder.bytes()),
                           .end = std::string(decoder.bytes()),
                           .peer = decoder.id<GroupId>()});
  }
  return config;
}

template <typename T>
T decode_step(Decoder& decoder) {
  return {.shard = decoder.id<ShardId>(), .plan = decoder.varint(), .step = decode_u32(decoder)};
}

template <typename T>
T decode_num(Decoder& decoder) {
  return {.shard = decoder.id<ShardId>(), .num = decoder.id<ConfigNum>()};
}

// Members of a braced list are read in order.
Result<ShardCommand> decode_fields(uint8_t kind, Decoder& d) {
  switch (static_cast<Kind>(kind)) {
    case Kind::kApplyConfig:
      return ShardCommand(decode_config(d));
    case Kind::kBeginFeed:
      return ShardCommand(decode_step<BeginFeed>(d));
    case Kind::kTrimFeed:
      return ShardCommand(TrimFeed{.shard = d.id<ShardId>(), .epoch = d.id<Version>(), .through = d.varint()});
    case Kind::kEndFeed:
      return ShardCommand(decode_step<EndFeed>(d));
    case Kind::kBeginStaging:
      return ShardCommand(BeginStaging{.shard = d.id<ShardId>(),
                                       .start = std::string(d.bytes()),
                                       .end = std::string(d.bytes()),
                                       .from = d.id<GroupId>(),
                                       .plan = d.varint(),
                                       .step = decode_u32(d)});
    case Kind::kEndStaging:
      return ShardCommand(decode_step<EndStaging>(d));
    case Kind::kImport:
      return ShardCommand(
          Import{.shard = d.id<ShardId>(), .plan = d.varint(), .step = decode_u32(d), .chunk = decode_chunk(d)});
    case Kind::kRelease:
      return ShardCommand(decode_num<Release>(d));
    case Kind::kConfirm:
      return ShardCommand(decode_num<Confirm>(d));
    case Kind::kEraseSome:
      return ShardCommand(EraseSome{.shard = d.id<ShardId>(), .keys_max = decode_u32(d)});
  }
  return Status(ErrorCode::kUnsupported, fmt::format("shard command {} is not known to this version", kind));
}

}  // namespace

std::string_view to_string(ShardState state) {
  switch (state) {
    case ShardState::kServing:
      return "serving";
    case ShardState::kPulling:
      return "pulling";
    case ShardState::kBePulling:
      return "be_pulling";
    case ShardState::kGcing:
      return "gcing";
    case ShardState::kStaged:
      return "staged";
    case ShardState::kErasing:
      return "erasing";
  }
  return "unknown";
}

void append_cursor(Encoder& encoder, const MoveCursor& cursor) {
  encoder.bytes(cursor.copied_through);
  encoder.u8(flags_of(cursor.copied_all, cursor.sessions_done));
  encoder.id(cursor.feed_epoch);
  encoder.varint(cursor.feed_next);
  encoder.varint(cursor.session_next);
}

MoveCursor read_cursor(Decoder& decoder) {
  MoveCursor cursor;
  cursor.copied_through = decoder.bytes();
  const uint8_t flags = decode_flags(decoder);
  cursor.copied_all = (flags & kCopiedAll) != 0;
  cursor.sessions_done = (flags & kSessionsDone) != 0;
  cursor.feed_epoch = decoder.id<Version>();
  cursor.feed_next = decoder.varint();
  cursor.session_next = decoder.varint();
  return cursor;
}

std::string encode(const ShardCommand& command) {
  std::string out;
  Encoder e(out);
  const auto begin = [&](Kind kind, ShardId shard) {
    e.u8(static_cast<uint8_t>(kind));
    e.id(shard);
  };
  const auto step = [&](Kind kind, const auto& c) {
    begin(kind, c.shard);
    e.varint(c.plan);
    e.varint(c.step);
  };
  std::visit(Overloaded{
                 [&](const ApplyConfig& c) {
                   e.u8(static_cast<uint8_t>(Kind::kApplyConfig));
                   e.id(c.num);
                   e.varint(c.cuts.size());
                   for (const ShardCut& cut : c.cuts) {
                     e.u8(static_cast<uint8_t>(cut.kind));
                     e.id(cut.shard);
                     e.bytes(cut.start);
                     e.bytes(cut.end);
                     e.id(cut.peer);
                   }
                 },
                 [&](const BeginFeed& c) { step(Kind::kBeginFeed, c); },
                 [&](const TrimFeed& c) {
                   begin(Kind::kTrimFeed, c.shard);
                   e.id(c.epoch);
                   e.varint(c.through);
                 },
                 [&](const EndFeed& c) { step(Kind::kEndFeed, c); },
                 [&](const BeginStaging& c) {
                   begin(Kind::kBeginStaging, c.shard);
                   e.bytes(c.start);
                   e.bytes(c.end);
                   e.id(c.from);
                   e.varint(c.plan);
                   e.varint(c.step);
                 },
                 [&](const EndStaging& c) { step(Kind::kEndStaging, c); },
                 [&](const Import& c) {
                   step(Kind::kImport, c);
                   encode_chunk(e, c.chunk);
                 },
                 [&](const Release& c) {
                   begin(Kind::kRelease, c.shard);
                   e.id(c.num);
                 },
                 [&](const Confirm& c) {
                   begin(Kind::kConfirm, c.shard);
                   e.id(c.num);
                 },
                 [&](const EraseSome& c) {
                   begin(Kind::kEraseSome, c.shard);
                   e.varint(c.keys_max);
                 },
             },
             command);
  return out;
}

Result<ShardCommand> decode_shard_command(std::string_view bytes) {
  Decoder decoder(bytes);
  const uint8_t kind = decoder.u8();
  if (!decoder.ok()) return Status(ErrorCode::kCorruption, "a shard command is empty");
  Result<ShardCommand> command = decode_fields(kind, decoder);
  if (command.ok()) FLUX_RETURN_IF_ERROR(decoder.finish("a shard command"));
  return command;
}

std::string encode(const ShardChunk& chunk) {
  std::string out;
  Encoder encoder(out);
  encode_chunk(encoder, chunk);
  return out;
}

Result<ShardChunk> decode_shard_chunk(std::string_view bytes) {
  Decoder decoder(bytes);
  ShardChunk chunk = decode_chunk(decoder);
  FLUX_RETURN_IF_ERROR(decoder.finish("a piece of a shard"));
  return chunk;
}

std::string encode(const ExportRequest& request) {
  std::string out;
  Encoder encoder(out);
  encoder.id(request.shard);
  encoder.id(request.num);
  encoder.varint(request.plan);
  encoder.varint(request.step);
  append_cursor(encoder, request.from);
  encoder.varint(request.bytes_max);
  return out;
}

Result<ExportRequest> decode_export_request(std::string_view bytes) {
  Decoder decoder(bytes);
  ExportRequest request{.shard = decoder.id<ShardId>(),
                        .num = decoder.id<ConfigNum>(),
                        .plan = decoder.varint(),
                        .step = decode_u32(decoder),
                        .from = read_cursor(decoder),
                        .bytes_max = decoder.varint()};
  FLUX_RETURN_IF_ERROR(decoder.finish("a request for a piece of a shard"));
  return request;
}

}  // namespace flux::kv
