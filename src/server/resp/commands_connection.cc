// The connection itself: greeting, naming, leaving.
#include <fmt/core.h>

#include "server/resp/numbers.h"
#include "server/resp/session.h"
#include "server/resp/version.h"

namespace flux::server::resp {
namespace {

// Names go into the lines of CLIENT LIST, so nothing that would break one.
bool printable_word(std::string_view text) {
  for (const char c : text) {
    if (c < '!' || c > '~') return false;
  }
  return true;
}

std::string client_line(const ClientInfo& client, MonoTime now) {
  const auto seconds = [&](MonoTime since) { return (now - since).count() / 1'000'000; };
  return fmt::format(
      "id={} addr={} laddr={} fd=0 name={} age={} idle={} flags=N db={} sub=0 psub=0 ssub=0 multi=-1 qbuf=0 "
      "qbuf-free=0 "
      "argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll={} omem={} tot-mem=0 events=r cmd={} user=default redir=-1 resp={} "
      "lib-name={} lib-ver={}\n",
      client.id, client.address, client.local_address, client.name, seconds(client.connected),
      seconds(client.last_request), client.keyspace == api::kDefaultKeyspaceName ? "0" : client.keyspace,
      client.pending, client.unsent_bytes, client.last_command.empty() ? "NULL" : client.last_command, client.protocol,
      client.lib_name, client.lib_ver);
}

bool arity(Session& session, Arguments arguments, size_t wanted) {
  if (arguments.size() == wanted) return true;
  session.reply_error(fmt::format("ERR wrong number of arguments for 'client|{}' command", lower(arguments[1])));
  return false;
}

void client_setinfo(Session& session, Arguments arguments) {
  std::string* field = nullptr;
  if (equals_ignoring_case(arguments[2], "lib-name")) field = &session.info().lib_name;
  if (equals_ignoring_case(arguments[2], "lib-ver")) field = &session.info().lib_ver;
  if (field == nullptr) {
    return session.reply_error(fmt::format("ERR Unrecognized option '{}'", shown(arguments[2])));
  }
  if (!printable_word(arguments[3])) {
    return session.reply_error(
        fmt::format("ERR {} cannot contain spaces, newlines or special characters.", lower(arguments[2])));
  }
  *field = arguments[3].substr(0, 256);
  session.reply([](Reply& reply) { reply.ok(); });
}

}  // namespace

void cmd_ping(Session& session, Arguments arguments) {
  if (arguments.size() > 2) return session.reply_error("ERR wrong number of arguments for 'ping' command");
  session.reply([&](Reply& reply) { arguments.size() == 2 ? reply.bulk(arguments[1]) : reply.simple("PONG"); });
}

void cmd_echo(Session& session, Arguments arguments) {
  session.reply([&](Reply& reply) { reply.bulk(arguments[1]); });
}

void cmd_quit(Session& session, Arguments) {
  session.close_after_reply();
  session.reply([](Reply& reply) { reply.ok(); });
}

void cmd_reset(Session& session, Arguments) {
  session.info().name.clear();
  session.set_protocol(2);
  session.set_reads(Served::kByLeader);
  session.set_keyspace(api::kDefaultKeyspaceName, {});
  session.reply([](Reply& reply) { reply.simple("RESET"); });
}

std::string_view keyspace_name(std::string_view database) {
  return database == "0" ? api::kDefaultKeyspaceName : database;
}

std::string no_keyspace(std::string_view name) {
  if (const std::optional<int64_t> database = parse_integer(name)) {
    if (*database < INT32_MIN || *database > INT32_MAX) {
      return "ERR value is out of range, value must between -2147483648 and 2147483647";
    }
    return "ERR DB index is out of range";
  }
  return fmt::format("ERR there is no keyspace '{}'", shown(name));
}

// SELECT name: databases are keyspaces, and 0 is the default one.
void cmd_select(Session& session, Arguments arguments) {
  const std::string_view name = keyspace_name(arguments[1]);
  const std::optional<api::KeyspaceRef> found = session.context().admin.keyspace(name);
  // The default one is there from the first moment on that anything is.
  if (!found && name != api::kDefaultKeyspaceName) return session.reply_error(no_keyspace(name));
  session.set_keyspace(name, found.value_or(api::KeyspaceRef()));
  session.reply([](Reply& reply) { reply.ok(); });
}

// HELLO [version [AUTH user password] [SETNAME name]]
void cmd_hello(Session& session, Arguments arguments) {
  int protocol = session.protocol();
  std::string_view name;
  bool named = false;
  if (arguments.size() > 1) {
    const std::optional<int64_t> version = parse_integer(arguments[1]);
    if (!version) return session.reply_error("ERR Protocol version is not an integer or out of range");
    if (*version != 2 && *version != 3) return session.reply_error("NOPROTO unsupported protocol version");
    protocol = static_cast<int>(*version);
  }
  for (size_t i = 2; i < arguments.size(); ++i) {
    if (equals_ignoring_case(arguments[i], "setname") && i + 1 < arguments.size()) {
      name = arguments[++i];
      named = true;
      if (!printable_word(name)) {
        return session.reply_error("ERR Client names cannot contain spaces, newlines or special characters.");
      }
    } else if (equals_ignoring_case(arguments[i], "auth") && i + 2 < arguments.size()) {
      return session.reply_error(
          "ERR AUTH <password> called without any password configured for the default user. Are you sure your "
          "configuration is correct?");
    } else {
      return session.reply_error(fmt::format("ERR Syntax error in HELLO option '{}'", shown(arguments[i])));
    }
  }
  session.set_protocol(protocol);
  if (named) session.info().name = name;
  session.reply([&](Reply& reply) {
    reply.map(7);
    reply.bulk("server");
    reply.bulk("redis");
    reply.bulk("version");
    reply.bulk(kRedisVersion);
    reply.bulk("proto");
    reply.integer(protocol);
    reply.bulk("id");
    reply.integer(static_cast<int64_t>(session.info().id));
    reply.bulk("mode");
    reply.bulk(session.context().owners != nullptr ? "cluster" : "standalone");
    reply.bulk("role");
    reply.bulk("master");
    reply.bulk("modules");
    reply.array(0);
  });
}

void cmd_client(Session& session, Arguments arguments) {
  const std::string_view sub = arguments[1];
  const MonoTime now = session.context().loop.now();
  if (equals_ignoring_case(sub, "id")) {
    if (!arity(session, arguments, 2)) return;
    return session.reply([&](Reply& reply) { reply.integer(static_cast<int64_t>(session.info().id)); });
  }
  if (equals_ignoring_case(sub, "getname")) {
    if (!arity(session, arguments, 2)) return;
    const std::string& name = session.info().name;
    return session.reply([&](Reply& reply) { name.empty() ? reply.null() : reply.bulk(name); });
  }
  if (equals_ignoring_case(sub, "setname")) {
    if (!arity(session, arguments, 3)) return;
    if (!printable_word(arguments[2])) {
      return session.reply_error("ERR Client names cannot contain spaces, newlines or special characters.");
    }
    session.info().name = arguments[2].substr(0, 256);
    return session.reply([](Reply& reply) { reply.ok(); });
  }
  if (equals_ignoring_case(sub, "setinfo")) {
    if (!arity(session, arguments, 4)) return;
    return client_setinfo(session, arguments);
  }
  if (equals_ignoring_case(sub, "info")) {
    if (!arity(session, arguments, 2)) return;
    return session.reply([&](Reply& reply) { reply.verbatim(client_line(session.describe(), now)); });
  }
  if (equals_ignoring_case(sub, "list")) {
    const uint64_t slot = session.open_slot();
    return session.context().door.clients(
        session.context().loop, [self = SessionPtr(&session), slot, now](const std::vector<ClientInfo>& clients) {
          std::string lines;
          for (const ClientInfo& client : clients) lines += client_line(client, now);
          self->complete(slot, [&](Reply& reply) { reply.verbatim(lines); });
        });
  }
  if (equals_ignoring_case(sub, "no-evict") || equals_ignoring_case(sub, "no-touch")) {
    if (!arity(session, arguments, 3)) return;
    if (!equals_ignoring_case(arguments[2], "on") && !equals_ignoring_case(arguments[2], "off")) {
      return session.reply_error(kSyntaxError);
    }
    return session.reply([](Reply& reply) { reply.ok(); });
  }
  session.reply_error(
      fmt::format("ERR unknown subcommand '{}'. Try CLIENT ID, GETNAME, SETNAME, SETINFO, INFO, LIST or "
                  "NO-EVICT.",
                  shown(sub)));
}

}  // namespace flux::server::resp
