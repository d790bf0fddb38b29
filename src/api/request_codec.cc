#include "api/request_codec.h"

#include <fmt/core.h>

#include <algorithm>

#include "api/limits.h"
#include "base/codec.h"
#include "base/overloaded.h"

namespace flux::api {
namespace {

constexpr uint8_t kAllOrNothing = 1;
constexpr uint8_t kHasSession = 2;
constexpr uint8_t kHasKeyspace = 4;  // not the default one

// Stored in logs: never change or reuse. 11 is not used.
enum class Op : uint8_t {
  kPut = 1,
  kDelete = 2,
  kIncrement = 3,
  kIncrementFloat = 4,
  kAppend = 5,
  kSetRange = 6,
  kSetExpiry = 7,
  kCopy = 8,
  kDeleteAll = 9,
  kExpireDue = 10,
  kOpenSession = 12,
  kCloseSession = 13,
  kControl = 14,
  kShardChange = 15,
  kDeleteRange = 16,
};

Status check_key(std::string_view key) {
  if (key.size() <= kKeyBytesMax) return {};
  return Status(ErrorCode::kTooLarge, fmt::format("key of {} bytes is over the limit of {}", key.size(), kKeyBytesMax));
}

Status check_encoded_key(std::string_view key) {
  if (key.size() <= kEncodedKeyBytesMax) return {};
  return Status(ErrorCode::kTooLarge,
                fmt::format("encoded key of {} bytes is over the limit of {}", key.size(), kEncodedKeyBytesMax));
}

Status check_value(std::string_view value) {
  if (value.size() <= kValueBytesMax) return {};
  return Status(ErrorCode::kTooLarge,
                fmt::format("value of {} bytes is over the limit of {}", value.size(), kValueBytesMax));
}

Status check_key_value(std::string_view key, std::string_view value) {
  FLUX_RETURN_IF_ERROR(check_key(key));
  return check_value(value);
}

Status check_limits(const Command& command) {
  return std::visit(
      Overloaded{
          [](const Put& c) { return check_key_value(c.key, c.value); },
          [](const Delete& c) { return check_key(c.key); }, [](const Increment& c) { return check_key(c.key); },
          [](const IncrementFloat& c) { return check_key_value(c.key, c.delta); },
          [](const Append& c) { return check_key_value(c.key, c.value); },
          [](const SetRange& c) {
            if (c.offset > kValueBytesMax) {
              return Status(ErrorCode::kTooLarge,
                            fmt::format("offset {} is over the largest value of {} bytes", c.offset, kValueBytesMax));
            }
            return check_key_value(c.key, c.value);
          },
          [](const SetExpiry& c) { return check_key(c.key); },
          [](const Copy& c) {
            FLUX_RETURN_IF_ERROR(check_key(c.source));
            return check_key(c.destination);
          },
          [](const DeleteAll&) { return Status(); },
          [](const DeleteRange& c) {
            FLUX_RETURN_IF_ERROR(check_encoded_key(c.start));
            return check_encoded_key(c.end);
          },
          [](const ExpireDue& c) { return check_encoded_key(c.encoded_key); },
          [](const OpenSession&) { return Status(); }, [](const CloseSession&) { return Status(); },
          [](const Control& c) { return check_value(c.bytes); },
          [](const ShardChange&) { return Status(); },  // a value with its cursors
      },
      command);
}

void encode_expiry(Encoder& encoder, const Expiry& expiry) {
  encoder.u8(static_cast<uint8_t>(expiry.kind));
  using Kind = Expiry::Kind;
  if (expiry.kind == Kind::kIn || expiry.kind == Kind::kAt) encoder.zigzag(expiry.millis);
}

Expiry decode_expiry(Decoder& decoder) {
  using Kind = Expiry::Kind;
  Expiry expiry;
  const uint8_t kind = decoder.u8();
  if (kind > static_cast<uint8_t>(Kind::kAt)) decoder.fail();
  expiry.kind = static_cast<Kind>(kind);
  if (expiry.kind == Kind::kIn || expiry.kind == Kind::kAt) expiry.millis = decoder.zigzag();
  return expiry;
}

void encode_condition(Encoder& encoder, Condition condition, Version if_version) {
  encoder.u8(static_cast<uint8_t>(condition));
  if (condition == Condition::kIfVersion) encoder.id(if_version);
}

Condition decode_condition(Decoder& decoder, Version& if_version) {
  const uint8_t condition = decoder.u8();
  if (condition > static_cast<uint8_t>(Condition::kIfVersion)) decoder.fail();
  if (condition == static_cast<uint8_t>(Condition::kIfVersion)) if_version = decoder.id<Version>();
  return static_cast<Condition>(condition);
}

ErrorCode decode_code(Decoder& decoder) {
  const uint8_t code = decoder.u8();
  if (code > static_cast<uint8_t>(kLastErrorCode)) decoder.fail();
  return static_cast<ErrorCode>(code);
}

void encode_command(Encoder& e, const Command& command) {
  const auto op = [&](Op value) { e.u8(static_cast<uint8_t>(value)); };
  std::visit(Overloaded{
                 [&](const Put& c) {
                   op(Op::kPut);
                   e.bytes(c.key);
                   e.bytes(c.value);
                   encode_expiry(e, c.expiry);
                   encode_condition(e, c.condition, c.if_version);
                   e.u8(c.return_old);
                 },
                 [&](const Delete& c) {
                   op(Op::kDelete);
                   e.bytes(c.key);
                   encode_condition(e, c.condition, c.if_version);
                   e.u8(c.return_old);
                 },
                 [&](const Increment& c) {
                   op(Op::kIncrement);
                   e.bytes(c.key);
                   e.zigzag(c.delta);
                 },
                 [&](const IncrementFloat& c) {
                   op(Op::kIncrementFloat);
                   e.bytes(c.key);
                   e.bytes(c.delta);
                 },
                 [&](const Append& c) {
                   op(Op::kAppend);
                   e.bytes(c.key);
                   e.bytes(c.value);
                 },
                 [&](const SetRange& c) {
                   op(Op::kSetRange);
                   e.bytes(c.key);
                   e.varint(c.offset);
                   e.bytes(c.value);
                 },
                 [&](const SetExpiry& c) {
                   op(Op::kSetExpiry);
                   e.bytes(c.key);
                   encode_expiry(e, c.expiry);
                   e.u8(c.only);
                   e.u8(c.return_value);
                 },
                 [&](const Copy& c) {
                   op(Op::kCopy);
                   e.bytes(c.source);
                   e.bytes(c.destination);
                   e.u8(c.replace);
                   e.u8(c.remove_source);
                 },
                 [&](const DeleteAll&) { op(Op::kDeleteAll); },
                 [&](const DeleteRange& c) {
                   op(Op::kDeleteRange);
                   e.bytes(c.start);
                   e.bytes(c.end);
                 },
                 [&](const ExpireDue& c) {
                   op(Op::kExpireDue);
                   e.bytes(c.encoded_key);
                   e.id(c.deadline);
                 },
                 [&](const OpenSession& c) {
                   op(Op::kOpenSession);
                   e.u64(c.client);
                   e.varint(c.opened.value());
                 },
                 [&](const CloseSession& c) {
                   op(Op::kCloseSession);
                   e.u64(c.client);
                 },
                 [&](const Control& c) {
                   op(Op::kControl);
                   e.bytes(c.bytes);
                 },
                 [&](const ShardChange& c) {
                   op(Op::kShardChange);
                   e.bytes(c.bytes);
                 },
             },
             command);
}

// The fields of each command; members of a braced list are read in order.
Status decode_command(Decoder& d, Command& command) {
  const uint8_t op = d.u8();
  if (!d.ok()) return Status(ErrorCode::kCorruption, "a request ends before its commands do");
  switch (static_cast<Op>(op)) {
    case Op::kPut: {
      Put c;
      c.key = d.bytes();
      c.value = d.bytes();
      c.expiry = decode_expiry(d);
      c.condition = decode_condition(d, c.if_version);
      c.return_old = read_bool(d);
      command = c;
      return {};
    }
    case Op::kDelete: {
      Delete c;
      c.key = d.bytes();
      c.condition = decode_condition(d, c.if_version);
      c.return_old = read_bool(d);
      command = c;
      return {};
    }
    case Op::kIncrement: {
      Increment c;
      c.key = d.bytes();
      c.delta = d.zigzag();
      command = c;
      return {};
    }
    case Op::kIncrementFloat: {
      IncrementFloat c;
      c.key = d.bytes();
      c.delta = d.bytes();
      command = c;
      return {};
    }
    case Op::kAppend: {
      Append c;
      c.key = d.bytes();
      c.value = d.bytes();
      command = c;
      return {};
    }
    case Op::kSetRange: {
      SetRange c;
      c.key = d.bytes();
      c.offset = d.varint();
      c.value = d.bytes();
      command = c;
      return {};
    }
    case Op::kSetExpiry: {
      SetExpiry c;
      c.key = d.bytes();
      c.expiry = decode_expiry(d);
      c.only = d.u8();
      c.return_value = read_bool(d);
      command = c;
      return {};
    }
    case Op::kCopy: {
      Copy c;
      c.source = d.bytes();
      c.destination = d.bytes();
      c.replace = read_bool(d);
      c.remove_source = read_bool(d);
      command = c;
      return {};
    }
    case Op::kDeleteAll:
      command = DeleteAll{};
      return {};
    case Op::kDeleteRange: {
      DeleteRange c;
      c.start = d.bytes();
      c.end = d.bytes();
      command = c;
      return {};
    }
    case Op::kExpireDue: {
      ExpireDue c;
      c.encoded_key = d.bytes();
      c.deadline = d.id<WallMillis>();
      command = c;
      return {};
    }
    case Op::kOpenSession:
      command = OpenSession{.client = d.u64(), .opened = WallMillis(d.varint())};
      return {};
    case Op::kCloseSession:
      command = CloseSession{.client = d.u64()};
      return {};
    case Op::kControl:
      command = Control{.bytes = d.bytes()};
      return {};
    case Op::kShardChange:
      command = ShardChange{.bytes = d.bytes()};
      return {};
  }
  return Status(ErrorCode::kUnsupported,
                fmt::format("operation {} is not known to this version; upgrade this node before it goes on", op));
}

// Decodes what follows a request's size.
Status decode_request(std::string_view body, DecodedRequest& request) {
  Decoder decoder(body);
  request.commands.clear();
  request.session = {};
  const uint8_t flags = decoder.u8();
  if ((flags & ~(kAllOrNothing | kHasSession | kHasKeyspace)) != 0) {
    return Status(ErrorCode::kUnsupported, fmt::format("request flags {:#x} are not known to this version", flags));
  }
  request.all_or_nothing = (flags & kAllOrNothing) != 0;
  if ((flags & kHasSession) != 0) {
    request.session.client = decoder.u64();
    request.session.sequence = decoder.varint();
  }
  request.keyspace = {};
  if ((flags & kHasKeyspace) != 0) {
    request.keyspace = read_keyspace(decoder);
    if (request.keyspace.is_default()) decoder.fail();
  }
  const uint64_t count = decoder.count();
  request.commands.resize(count);
  for (Command& command : request.commands) {
    FLUX_RETURN_IF_ERROR(decode_command(decoder, command));
    if (!decoder.ok()) break;
  }
  return decoder.finish("a request");
}

}  // namespace

bool read_bool(Decoder& decoder) {
  const uint8_t value = decoder.u8();
  if (value > 1) decoder.fail();
  return value == 1;
}

void append_keyspace(Encoder& encoder, KeyspaceRef keyspace) {
  encoder.id(keyspace.id);
  encoder.u8(static_cast<uint8_t>(keyspace.kind));
}

KeyspaceRef read_keyspace(Decoder& decoder) {
  const auto id = decoder.id<KeyspaceId>();
  const auto kind = static_cast<KeyspaceKind>(decoder.u8());
  const bool known = kind == KeyspaceKind::kHash || kind == KeyspaceKind::kRange;
  const KeyspaceRef keyspace{.id = id, .kind = kind};
  if (!known || id == KeyspaceId() || id > kKeyspaceIdMax || (keyspace.is_default() && keyspace != KeyspaceRef())) {
    decoder.fail();
    return {};
  }
  return keyspace;
}

Status append_request(std::string& out, const WriteRequest& request) {
  if (request.commands.empty()) return Status(ErrorCode::kInvalidArgument, "a request has no command");
  if (request.commands.size() > kCommandsPerRequestMax) {
    return Status(ErrorCode::kTooLarge, fmt::format("{} commands in one request are over the limit of {}",
                                                    request.commands.size(), kCommandsPerRequestMax));
  }
  const size_t start = out.size();
  Encoder encoder(out);
  encoder.u32(0);
  const bool in_session = request.session.client != 0;
  const bool elsewhere = !request.keyspace.is_default();
  encoder.u8(static_cast<uint8_t>((request.all_or_nothing ? kAllOrNothing : 0) | (in_session ? kHasSession : 0) |
                                  (elsewhere ? kHasKeyspace : 0)));
  if (in_session) {
    encoder.u64(request.session.client);
    encoder.varint(request.session.sequence);
  }
  if (elsewhere) append_keyspace(encoder, request.keyspace);
  encoder.varint(request.commands.size());
  Status status;
  for (const Command& command : request.commands) {
    status = check_limits(command);
    if (!status.ok()) break;
    encode_command(encoder, command);
    if (out.size() - start > kRequestBytesMax) {
      status = Status(ErrorCode::kTooLarge, fmt::format("the request is over the limit of {} bytes", kRequestBytesMax));
      break;
    }
  }
  if (!status.ok()) {
    out.resize(start);
    return status;
  }
  put_fixed_at(out.data() + start, static_cast<uint32_t>(out.size() - start - sizeof(uint32_t)));
  return {};
}

bool erases_only(std::span<const Command> commands) {
  return std::all_of(commands.begin(), commands.end(), [](const Command& command) {
    return std::holds_alternative<Delete>(command) || std::holds_alternative<DeleteAll>(command) ||
           std::holds_alternative<DeleteRange>(command) || std::holds_alternative<ExpireDue>(command) ||
           std::holds_alternative<CloseSession>(command) || std::holds_alternative<Control>(command) ||
           std::holds_alternative<ShardChange>(command);
  });
}

bool is_for_clients(const Command& command) {
  return std::visit(
      Overloaded{
          [](const DeleteRange&) { return false; },
          [](const ExpireDue&) { return false; },
          [](const Control&) { return false; },
          [](const ShardChange&) { return false; },
          [](const OpenSession& c) { return c.opened == WallMillis(0); },  // the node that takes it says when
          [](const auto&) { return true; },
      },
      command);
}

Status take_request(std::string_view& bytes, DecodedRequest& request) {
  Decoder decoder(bytes);
  const std::string_view body = decoder.raw(decoder.u32());
  if (!decoder.ok()) return Status(ErrorCode::kCorruption, "the bytes end inside a request");
  bytes = decoder.raw(decoder.remaining());
  return decode_request(body, request);
}

Status decode_one_request(std::string_view bytes, DecodedRequest& request) {
  FLUX_RETURN_IF_ERROR(take_request(bytes, request));
  return bytes.empty() ? Status() : Status(ErrorCode::kCorruption, "there is something behind a request");
}

Result<bool> check_request(std::string_view bytes) {
  DecodedRequest request;
  FLUX_RETURN_IF_ERROR(decode_one_request(bytes, request));
  for (const Command& command : request.commands) FLUX_RETURN_IF_ERROR(check_limits(command));
  return erases_only(request.commands);
}

void encode_results(std::string& out, const WriteReply& reply) {
  Encoder encoder(out);
  encoder.u8(static_cast<uint8_t>(reply.status.code()));
  encoder.bytes(reply.status.message());
  encoder.id(reply.position.group);
  encoder.id(reply.position.index);
  encoder.id(reply.position.version);
  encoder.varint(reply.results.size());
  for (const CommandResult& result : reply.results) {
    encoder.u8(static_cast<uint8_t>(result.code));
    encoder.u8(static_cast<uint8_t>((result.applied ? 1 : 0) | (result.had_value ? 2 : 0)));
    encoder.zigzag(result.integer);
    encoder.bytes(result.value);
  }
}

Status decode_results(std::string_view bytes, WriteReply& reply) {
  Decoder decoder(bytes);
  const ErrorCode code = decode_code(decoder);
  const std::string_view message = decoder.bytes();
  reply.status = code == ErrorCode::kOk ? Status() : Status(code, std::string(message));
  reply.position.group = decoder.id<GroupId>();
  reply.position.index = decoder.id<Index>();
  reply.position.version = decoder.id<Version>();
  const uint64_t count = decoder.count(4);
  reply.results.clear();
  reply.results.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    CommandResult& result = reply.results.emplace_back();
    result.code = decode_code(decoder);
    const uint8_t flags = decoder.u8();
    result.applied = (flags & 1) != 0;
    result.had_value = (flags & 2) != 0;
    result.integer = decoder.zigzag();
    result.value = decoder.bytes();
  }
  return decoder.finish("the results of a request");
}

}  // namespace flux::api
