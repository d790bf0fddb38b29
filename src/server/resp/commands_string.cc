// Strings: GET and SET and their families, counters, ranges.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "api/limits.h"
#include "server/resp/expiry_arguments.h"
#include "server/resp/numbers.h"
#include "server/resp/session.h"

namespace flux::server::resp {
namespace {

using api::Put;

void format_ok(Reply& reply, const api::WriteReply&, int64_t) { reply.ok(); }

void format_integer(Reply& reply, const api::WriteReply& answer, int64_t) {
  const api::CommandResult& result = answer.results.front();
  if (result.code != ErrorCode::kOk) return reply.error("ERR " + result.value);
  reply.integer(result.integer);
}

void format_value(Reply& reply, const api::WriteReply& answer, int64_t) {
  const api::CommandResult& result = answer.results.front();
  if (result.code != ErrorCode::kOk) return reply.error("ERR " + result.value);
  result.had_value ? reply.bulk(result.value) : reply.null();
}

// 1 if something was done, else 0.
void format_applied(Reply& reply, const api::WriteReply& answer, int64_t) {
  reply.integer(answer.results.front().applied ? 1 : 0);
}

void format_ok_or_null(Reply& reply, const api::WriteReply& answer, int64_t) {
  answer.results.front().applied ? reply.ok() : reply.null();
}

void format_get(Reply& reply, const api::ReadReply& answer, int64_t) {
  const api::Item& item = answer.items.front();
  item.found ? reply.bulk(item.value) : reply.null();
}

void write_one(Session& session, const api::Command& command, WriteFormatter format) {
  session.write(std::span(&command, 1), format);
}

void read_one(Session& session, std::string_view key, ReadFormatter format, int64_t extra = 0) {
  const std::string_view keys[] = {key};
  session.read({.what = api::GetRequest{.keys = keys}}, format, extra);
}

// EX, PX, EXAT or PXAT with its time, read when all options are known to go together. One of them may come again: the
// last time counts.
struct TimeOption {
  std::optional<ExpiryUnit> unit;
  std::string_view text;

  bool take(Arguments arguments, size_t& at) {
    const std::optional<ExpiryUnit> named = expiry_option(arguments[at]);
    if (!named || (unit && unit != named) || at + 1 == arguments.size()) return false;
    unit = named;
    text = arguments[++at];
    return true;
  }
  std::string read(std::string_view command, api::Expiry& expiry) const {
    return unit ? read_expiry(text, *unit, Positive::kRequired, command, expiry) : std::string();
  }
};

}  // namespace

void cmd_get(Session& session, Arguments arguments) { read_one(session, arguments[1], format_get); }

// SET key value [NX|XX] [GET] [EX s|PX ms|EXAT s|PXAT ms|KEEPTTL]
void cmd_set(Session& session, Arguments arguments) {
  Put put{.key = arguments[1], .value = arguments[2]};
  TimeOption time;
  for (size_t i = 3; i < arguments.size(); ++i) {
    const std::string_view option = arguments[i];
    if (equals_ignoring_case(option, "nx") && put.condition != api::Condition::kIfPresent) {
      put.condition = api::Condition::kIfAbsent;
    } else if (equals_ignoring_case(option, "xx") && put.condition != api::Condition::kIfAbsent) {
      put.condition = api::Condition::kIfPresent;
    } else if (equals_ignoring_case(option, "get")) {
      put.return_old = true;
    } else if (equals_ignoring_case(option, "keepttl") && !time.unit) {
      put.expiry.kind = api::Expiry::Kind::kKeep;
    } else if (put.expiry.kind == api::Expiry::Kind::kKeep || !time.take(arguments, i)) {
      return session.reply_error(kSyntaxError);
    }
  }
  if (const std::string error = time.read("set", put.expiry); !error.empty()) return session.reply_error(error);
  write_one(session, put, put.return_old ? format_value : format_ok_or_null);
}

void cmd_setnx(Session& session, Arguments arguments) {
  write_one(session, Put{.key = arguments[1], .value = arguments[2], .condition = api::Condition::kIfAbsent},
            format_applied);
}

static void set_with_expiry(Session& session, Arguments arguments, ExpiryUnit unit) {
  Put put{.key = arguments[1], .value = arguments[3]};
  const std::string error = read_expiry(arguments[2], unit, Positive::kRequired, session.command().name, put.expiry);
  if (!error.empty()) return session.reply_error(error);
  write_one(session, put, format_ok);
}

void cmd_setex(Session& session, Arguments arguments) {
  set_with_expiry(session, arguments, ExpiryUnit::kSecondsFromNow);
}
void cmd_psetex(Session& session, Arguments arguments) {
  set_with_expiry(session, arguments, ExpiryUnit::kMillisFromNow);
}

void cmd_getset(Session& session, Arguments arguments) {
  write_one(session, Put{.key = arguments[1], .value = arguments[2], .return_old = true}, format_value);
}

void cmd_getdel(Session& session, Arguments arguments) {
  write_one(session, api::Delete{.key = arguments[1], .return_old = true}, format_value);
}

// GETEX key [EX s|PX ms|EXAT s|PXAT ms|PERSIST]
void cmd_getex(Session& session, Arguments arguments) {
  api::SetExpiry command{.key = arguments[1], .expiry = {.kind = api::Expiry::Kind::kKeep}, .return_value = true};
  TimeOption time;
  for (size_t i = 2; i < arguments.size(); ++i) {
    if (equals_ignoring_case(arguments[i], "persist") && !time.unit) {
      command.expiry.kind = api::Expiry::Kind::kClear;
    } else if (command.expiry.kind == api::Expiry::Kind::kClear || !time.take(arguments, i)) {
      return session.reply_error(kSyntaxError);
    }
  }
  if (const std::string error = time.read("getex", command.expiry); !error.empty()) return session.reply_error(error);
  write_one(session, command, format_value);
}

void cmd_mget(Session& session, Arguments arguments) {
  session.read({.what = api::GetRequest{.keys = arguments.subspan(1)}},
               [](Reply& reply, const api::ReadReply& answer, int64_t) {
                 reply.array(answer.items.size());
                 for (const api::Item& item : answer.items) item.found ? reply.bulk(item.value) : reply.null();
               });
}

static void set_many(Session& session, Arguments arguments, api::Condition condition, WriteFormatter format) {
  if (arguments.size() % 2 == 0) {
    return session.reply_error(fmt::format("ERR wrong number of arguments for '{}' command", session.command().name));
  }
  std::vector<api::Command> commands;
  commands.reserve(arguments.size() / 2);
  for (size_t i = 1; i < arguments.size(); i += 2) {
    // A key named twice is absent the second time too as far as MSETNX goes: only the first mention has the condition.
    const bool first = condition == api::Condition::kAlways ||
                       std::none_of(commands.begin(), commands.end(), [&](const api::Command& command) {
                         return std::get<Put>(command).key == arguments[i];
                       });
    commands.push_back(
        Put{.key = arguments[i], .value = arguments[i + 1], .condition = first ? condition : api::Condition::kAlways});
  }
  session.write(commands, format, 0, condition != api::Condition::kAlways);
}

void cmd_mset(Session& session, Arguments arguments) {
  set_many(session, arguments, api::Condition::kAlways, format_ok);
}
void cmd_msetnx(Session& session, Arguments arguments) {
  set_many(session, arguments, api::Condition::kIfAbsent, format_applied);
}

void cmd_append(Session& session, Arguments arguments) {
  write_one(session, api::Append{.key = arguments[1], .value = arguments[2]}, format_integer);
}

void cmd_setrange(Session& session, Arguments arguments) {
  const std::optional<int64_t> offset = parse_integer(arguments[2]);
  if (!offset) return session.reply_error(kNotInteger);
  if (*offset < 0) return session.reply_error("ERR offset is out of range");
  if (static_cast<uint64_t>(*offset) + arguments[3].size() > api::kValueBytesMax && !arguments[3].empty()) {
    return session.reply_error(fmt::format("ERR string exceeds maximum allowed size ({} bytes)", api::kValueBytesMax));
  }
  const auto at = std::min<uint64_t>(static_cast<uint64_t>(*offset), api::kValueBytesMax);
  write_one(session, api::SetRange{.key = arguments[1], .offset = at, .value = arguments[3]}, format_integer);
}

void cmd_getrange(Session& session, Arguments arguments) {
  const std::optional<int64_t> start = parse_integer(arguments[2]);
  const std::optional<int64_t> end = parse_integer(arguments[3]);
  if (!start || !end) return session.reply_error(kNotInteger);
  // Both ends in one number: no value is longer than 2^31 bytes, so that clamping changes nothing but the order of two
  // ends far before the first byte, and that is an empty range.
  constexpr int64_t kLimit = INT32_MAX;
  const bool reversed = *start < 0 && *end < 0 && *start > *end;
  const int64_t low = reversed ? -1 : std::clamp(*start, -kLimit, kLimit);
  const int64_t high = reversed ? -2 : std::clamp(*end, -kLimit, kLimit);
  const auto packed =
      static_cast<int64_t>((static_cast<uint64_t>(low) << 32) | (static_cast<uint64_t>(high) & 0xFFFFFFFF));
  read_one(
      session, arguments[1],
      [](Reply& reply, const api::ReadReply& answer, int64_t extra) {
        const std::string_view value = answer.items.front().value;
        const auto size = static_cast<int64_t>(value.size());
        int64_t from = extra >> 32;
        int64_t to = static_cast<int32_t>(extra & 0xFFFFFFFF);
        if (from < 0 && to < 0 && from > to) return reply.bulk({});
        from = std::max<int64_t>(from < 0 ? from + size : from, 0);
        to = std::min(std::max<int64_t>(to < 0 ? to + size : to, 0), size - 1);
        if (from > to || size == 0) return reply.bulk({});
        reply.bulk(value.substr(static_cast<size_t>(from), static_cast<size_t>(to - from + 1)));
      },
      packed);
}

void cmd_strlen(Session& session, Arguments arguments) {
  read_one(session, arguments[1], [](Reply& reply, const api::ReadReply& answer, int64_t) {
    reply.integer(static_cast<int64_t>(answer.items.front().value.size()));
  });
}

void cmd_incr(Session& session, Arguments arguments) {
  write_one(session, api::Increment{.key = arguments[1], .delta = 1}, format_integer);
}
void cmd_decr(Session& session, Arguments arguments) {
  write_one(session, api::Increment{.key = arguments[1], .delta = -1}, format_integer);
}
void cmd_incrby(Session& session, Arguments arguments) {
  const std::optional<int64_t> delta = parse_integer(arguments[2]);
  if (!delta) return session.reply_error(kNotInteger);
  write_one(session, api::Increment{.key = arguments[1], .delta = *delta}, format_integer);
}
void cmd_decrby(Session& session, Arguments arguments) {
  const std::optional<int64_t> delta = parse_integer(arguments[2]);
  if (!delta) return session.reply_error(kNotInteger);
  if (*delta == INT64_MIN) return session.reply_error("ERR decrement would overflow");
  write_one(session, api::Increment{.key = arguments[1], .delta = -*delta}, format_integer);
}

void cmd_incrbyfloat(Session& session, Arguments arguments) {
  const std::string text(arguments[2]);
  char* end = nullptr;
  const long double delta = std::strtold(text.c_str(), &end);
  if (text.empty() || end != text.c_str() + text.size() || std::isnan(delta) ||
      static_cast<unsigned char>(text.front()) <= ' ') {
    return session.reply_error("ERR value is not a valid float");
  }
  write_one(session, api::IncrementFloat{.key = arguments[1], .delta = arguments[2]}, format_value);
}

}  // namespace flux::server::resp
