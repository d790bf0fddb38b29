// Keys: existence, expiry, renaming, walking.
#include <fmt/core.h>

#include "api/limits.h"
#include "api/slot.h"
#include "server/resp/expiry_arguments.h"
#include "server/resp/glob.h"
#include "server/resp/numbers.h"
#include "server/resp/session.h"

namespace flux::server::resp {
namespace {

void format_count(Reply& reply, const api::WriteReply& answer, int64_t) {
  int64_t count = 0;
  for (const api::CommandResult& result : answer.results) count += result.applied ? 1 : 0;
  reply.integer(count);
}

void format_found(Reply& reply, const api::ReadReply& answer, int64_t) {
  int64_t count = 0;
  for (const api::Item& item : answer.items) count += item.found ? 1 : 0;
  reply.integer(count);
}

void count_keys(Session& session, Arguments arguments) {
  session.read({.what = api::GetRequest{.keys = arguments.subspan(1)}}, format_found);
}

void set_expiry(Session& session, Arguments arguments, ExpiryUnit unit) {
  api::SetExpiry command{.key = arguments[1]};
  for (const std::string_view option : arguments.subspan(3)) {
    using Only = api::SetExpiry;
    if (equals_ignoring_case(option, "nx")) {
      command.only |= Only::kIfNone;
    } else if (equals_ignoring_case(option, "xx")) {
      command.only |= Only::kIfSome;
    } else if (equals_ignoring_case(option, "gt")) {
      command.only |= Only::kIfLater;
    } else if (equals_ignoring_case(option, "lt")) {
      command.only |= Only::kIfEarlier;
    } else {
      return session.reply_error(fmt::format("ERR Unsupported option {}", shown(option)));
    }
  }
  using Only = api::SetExpiry;
  if ((command.only & Only::kIfNone) != 0 && command.only != Only::kIfNone) {
    return session.reply_error("ERR NX and XX, GT or LT options at the same time are not compatible");
  }
  if ((command.only & Only::kIfLater) != 0 && (command.only & Only::kIfEarlier) != 0) {
    return session.reply_error("ERR GT and LT options at the same time are not compatible");
  }
  const std::string error =
      read_expiry(arguments[2], unit, Positive::kNotRequired, session.command().name, command.expiry);
  if (!error.empty()) return session.reply_error(error);
  const api::Command commands[] = {command};
  session.write(commands, format_count);
}

// What a key's expiry is asked as: divisor of milliseconds, and whether from now or absolute.
enum TimeForm : int64_t { kTtl, kPttl, kExpireTime, kPexpireTime };

void format_expiry(Reply& reply, const api::ReadReply& answer, int64_t form) {
  const api::Item& item = answer.items.front();
  if (!item.found) return reply.integer(-2);
  if (!item.deadline) return reply.integer(-1);
  const auto deadline = static_cast<int64_t>(item.deadline->value());
  const int64_t left = std::max<int64_t>(deadline - static_cast<int64_t>(answer.clock.value()), 0);
  switch (static_cast<TimeForm>(form)) {
    case kTtl:
      return reply.integer((left + 500) / 1000);
    case kPttl:
      return reply.integer(left);
    case kExpireTime:
      return reply.integer(deadline / 1000);
    case kPexpireTime:
      return reply.integer(deadline);
  }
}

void read_expiry_of(Session& session, std::string_view key, TimeForm form) {
  const std::string_view keys[] = {key};
  session.read({.what = api::GetRequest{.keys = keys}}, format_expiry, form);
}

void rename(Session& session, Arguments arguments, bool replace, WriteFormatter format) {
  const api::Command commands[] = {
      api::Copy{.source = arguments[1], .destination = arguments[2], .replace = replace, .remove_source = true}};
  session.write(commands, format);
}

// The encoded keys that a pattern can match: where keys are in order they are together.
api::KeyRange range_of_pattern(api::KeyspaceRef keyspace, std::string_view pattern) {
  const std::string prefix = keyspace.kind == api::KeyspaceKind::kRange ? glob_prefix(pattern) : std::string();
  if (prefix.empty()) return api::keyspace_range(keyspace);
  std::string start = api::encoded_key(keyspace, prefix);
  std::string end = api::after_prefix(start);
  return {.start = std::move(start), .end = std::move(end)};
}

// Keys in a page of FLUX.SCAN that asks for no number.
constexpr size_t kFluxScanCount = 1000;

// A walk over all keys for KEYS: page after page, each a request of its own.
struct KeysWalk {
  SessionPtr session;
  api::KeyspaceRef keyspace;
  uint64_t slot;
  std::string pattern;
  api::KeyRange left;
  std::vector<std::string> found;

  static void next(std::unique_ptr<KeysWalk> walk) {
    KeysWalk& w = *walk;
    const api::KeyRange range = w.left;
    const api::ReadRequest request{
        .what = api::ScanRequest{.start = range.start, .end = range.end, .keys_max = api::kScanKeysMax},
        .keyspace = w.keyspace};
    w.session->context().kv.read(request, [walk = std::move(walk)](const api::ReadReply& page) mutable {
      KeysWalk& at = *walk;
      const SessionPtr session = at.session;
      if (!page.status.ok()) {
        return session->complete(at.slot, [&](Reply& reply) { reply.error(page.status); });
      }
      for (const api::Item& item : page.items) {
        if (glob_match(at.pattern, item.key)) at.found.emplace_back(item.key);
      }
      at.left.start = page.scan_resume;
      if (!at.left.start.empty()) return next(std::move(walk));
      session->complete(at.slot, [&](Reply& reply) {
        reply.array(at.found.size());
        for (const std::string& key : at.found) reply.bulk(key);
      });
    });
  }
};

}  // namespace

void cmd_del(Session& session, Arguments arguments) {
  std::vector<api::Command> commands;
  commands.reserve(arguments.size() - 1);
  for (const std::string_view key : arguments.subspan(1)) commands.push_back(api::Delete{.key = key});
  session.write(commands, format_count);
}

void cmd_exists(Session& session, Arguments arguments) { count_keys(session, arguments); }
void cmd_touch(Session& session, Arguments arguments) { count_keys(session, arguments); }

void cmd_type(Session& session, Arguments arguments) {
  session.read({.what = api::GetRequest{.keys = arguments.subspan(1)}},
               [](Reply& reply, const api::ReadReply& answer, int64_t) {
                 reply.simple(answer.items.front().found ? "string" : "none");
               });
}

void cmd_expire(Session& session, Arguments arguments) { set_expiry(session, arguments, ExpiryUnit::kSecondsFromNow); }
void cmd_pexpire(Session& session, Arguments arguments) { set_expiry(session, arguments, ExpiryUnit::kMillisFromNow); }
void cmd_expireat(Session& session, Arguments arguments) { set_expiry(session, arguments, ExpiryUnit::kSecondsUnix); }
void cmd_pexpireat(Session& session, Arguments arguments) { set_expiry(session, arguments, ExpiryUnit::kMillisUnix); }

void cmd_ttl(Session& session, Arguments arguments) { read_expiry_of(session, arguments[1], kTtl); }
void cmd_pttl(Session& session, Arguments arguments) { read_expiry_of(session, arguments[1], kPttl); }
void cmd_expiretime(Session& session, Arguments arguments) { read_expiry_of(session, arguments[1], kExpireTime); }
void cmd_pexpiretime(Session& session, Arguments arguments) { read_expiry_of(session, arguments[1], kPexpireTime); }

void cmd_persist(Session& session, Arguments arguments) {
  const api::Command commands[] = {api::SetExpiry{.key = arguments[1], .expiry = {.kind = api::Expiry::Kind::kClear}}};
  session.write(commands, format_count);
}

void cmd_rename(Session& session, Arguments arguments) {
  rename(session, arguments, true, [](Reply& reply, const api::WriteReply& answer, int64_t) {
    const api::CommandResult& result = answer.results.front();
    result.code == ErrorCode::kOk ? reply.ok() : reply.error("ERR " + result.value);
  });
}

void cmd_renamenx(Session& session, Arguments arguments) {
  rename(session, arguments, false, [](Reply& reply, const api::WriteReply& answer, int64_t) {
    const api::CommandResult& result = answer.results.front();
    if (result.code != ErrorCode::kOk) return reply.error("ERR " + result.value);
    reply.integer(result.applied ? 1 : 0);
  });
}

// COPY source destination [DB 0] [REPLACE]
void cmd_copy(Session& session, Arguments arguments) {
  bool replace = false;
  for (size_t i = 3; i < arguments.size(); ++i) {
    if (equals_ignoring_case(arguments[i], "replace")) {
      replace = true;
    } else if (equals_ignoring_case(arguments[i], "db") && i + 1 < arguments.size()) {
      const std::string_view name = keyspace_name(arguments[++i]);
      const bool known = name == session.info().keyspace || session.context().admin.keyspace(name);
      if (!known) return session.reply_error(no_keyspace(name));
      if (name != session.info().keyspace) return session.reply_error("ERR a key is copied within its keyspace only");
    } else {
      return session.reply_error(kSyntaxError);
    }
  }
  if (arguments[1] == arguments[2]) {
    return session.reply_error("ERR source and destination objects are the same");
  }
  const api::Command commands[] = {api::Copy{.source = arguments[1], .destination = arguments[2], .replace = replace}};
  session.write(commands, format_count);
}

void cmd_randomkey(Session& session, Arguments) {
  session.read({.what = api::RandomKeyRequest{}}, [](Reply& reply, const api::ReadReply& answer, int64_t) {
    answer.items.empty() ? reply.null() : reply.bulk(answer.items.front().key);
  });
}

void cmd_dbsize(Session& session, Arguments) {
  session.read({.what = api::CountRequest{}}, [](Reply& reply, const api::ReadReply& answer, int64_t) {
    reply.integer(static_cast<int64_t>(answer.count));
  });
}

void cmd_keys(Session& session, Arguments arguments) {
  if (arguments[1].size() > kPatternBytesMax) {
    return session.reply_error(fmt::format("ERR pattern is over the limit of {} bytes", kPatternBytesMax));
  }
  auto walk = std::make_unique<KeysWalk>();
  walk->session = SessionPtr(&session);
  walk->keyspace = session.keyspace();
  walk->slot = session.open_slot();
  walk->pattern = arguments[1];
  walk->left = range_of_pattern(walk->keyspace, walk->pattern);
  KeysWalk::next(std::move(walk));
}

// SCAN cursor [MATCH pattern] [COUNT n] [TYPE type]
void cmd_scan(Session& session, Arguments arguments) {
  const std::optional<int64_t> cursor = parse_integer(arguments[1]);
  const api::KeyspaceRef keyspace = session.keyspace();
  const std::optional<std::string> start =
      cursor && *cursor >= 0 ? session.context().cursors.find(keyspace, static_cast<uint64_t>(*cursor)) : std::nullopt;
  if (!start) return session.reply_error("ERR invalid cursor");
  std::string pattern;
  size_t count = 10;
  bool strings = true;
  for (size_t i = 2; i < arguments.size(); i += 2) {
    if (i + 1 == arguments.size()) return session.reply_error(kSyntaxError);
    const std::string_view value = arguments[i + 1];
    if (equals_ignoring_case(arguments[i], "match")) {
      if (value.size() > kPatternBytesMax) {
        return session.reply_error(fmt::format("ERR pattern is over the limit of {} bytes", kPatternBytesMax));
      }
      pattern = value;
    } else if (equals_ignoring_case(arguments[i], "count")) {
      const std::optional<int64_t> number = parse_integer(value);
      if (!number) return session.reply_error(kNotInteger);
      if (*number < 1) return session.reply_error(kSyntaxError);
      count = static_cast<size_t>(std::min<int64_t>(*number, api::kScanKeysMax));
    } else if (equals_ignoring_case(arguments[i], "type")) {
      strings = equals_ignoring_case(value, "string");
    } else {
      return session.reply_error(kSyntaxError);
    }
  }
  const api::KeyRange range = range_of_pattern(keyspace, pattern);
  const api::ReadRequest request{
      .what = api::ScanRequest{.start = std::max(*start, range.start), .end = range.end, .keys_max = count},
      .keyspace = keyspace};
  const uint64_t slot = session.open_slot();
  session.context().kv.read(request, [self = SessionPtr(&session), keyspace, slot, pattern = std::move(pattern),
                                      strings](const api::ReadReply& page) {
    self->complete(slot, [&](Reply& reply) {
      if (!page.status.ok()) return reply.error(page.status);
      const uint64_t next = page.scan_resume.empty() ? 0 : self->context().cursors.remember(keyspace, page.scan_resume);
      std::vector<std::string_view> found;
      for (const api::Item& item : page.items) {
        if (strings && (pattern.empty() || glob_match(pattern, item.key))) found.push_back(item.key);
      }
      reply.array(2);
      reply.bulk(fmt::format("{}", next));
      reply.array(found.size());
      for (const std::string_view key : found) reply.bulk(key);
    });
  });
}

// FLUX.SCAN start end [COUNT n] [VALUES]: the keys from `start` up to `end`, an empty one being no bound, in order.
// Answers where to go on (null: that was all), and the page.
void cmd_flux_scan(Session& session, Arguments arguments) {
  const api::KeyspaceRef keyspace = session.keyspace();
  if (keyspace.kind != api::KeyspaceKind::kRange) {
    return session.reply_error("ERR FLUX.SCAN needs a range keyspace; SCAN walks this one");
  }
  size_t count = kFluxScanCount;
  bool values = false;
  for (size_t i = 3; i < arguments.size(); ++i) {
    if (equals_ignoring_case(arguments[i], "values")) {
      values = true;
    } else if (equals_ignoring_case(arguments[i], "count") && i + 1 < arguments.size()) {
      const std::optional<int64_t> number = parse_integer(arguments[++i]);
      if (!number) return session.reply_error(kNotInteger);
      if (*number < 1) return session.reply_error(kSyntaxError);
      count = static_cast<size_t>(std::min<int64_t>(*number, api::kScanKeysMax));
    } else {
      return session.reply_error(kSyntaxError);
    }
  }
  const std::string start = api::encoded_key(keyspace, arguments[1]);
  const std::string end = arguments[2].empty() ? std::string() : api::encoded_key(keyspace, arguments[2]);
  session.read(
      {.what = api::ScanRequest{.start = start, .end = end, .keys_max = count, .values = values}},
      [](Reply& reply, const api::ReadReply& page, int64_t with_values) {
        reply.array(2);
        page.scan_resume.empty() ? reply.null() : reply.bulk(api::decoded_key(page.scan_resume));
        reply.array(page.items.size() * (with_values != 0 ? 2 : 1));
        for (const api::Item& item : page.items) {
          reply.bulk(item.key);
          if (with_values != 0) reply.bulk(item.value);
        }
      },
      values ? 1 : 0);
}

}  // namespace flux::server::resp
