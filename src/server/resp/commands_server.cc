// The server: description, settings, flushing, replication.
#include <fmt/core.h>

#include <algorithm>

#include "server/resp/glob.h"
#include "server/resp/numbers.h"
#include "server/resp/session.h"
#include "server/resp/version.h"

namespace flux::server::resp {
namespace {

void describe_command(Reply& reply, const Command& command) {
  std::vector<std::string_view> flags;
  if (command.effect == Effect::kWrite) flags.push_back("write");
  if (command.effect == Effect::kRead) flags.push_back("readonly");
  if (command.effect == Effect::kWrite && command.first_key != 0) flags.push_back("denyoom");
  if (command.admin) flags.push_back("admin");
  if (command.fast) flags.push_back("fast");
  reply.array(10);
  reply.bulk(command.name);
  reply.integer(command.arity);
  reply.set(flags.size());
  for (const std::string_view flag : flags) reply.simple(flag);
  reply.integer(command.first_key);
  reply.integer(command.last_key);
  reply.integer(command.key_step);
  reply.set(1);
  reply.simple(fmt::format("@{}", command.group));
  reply.array(0);  // tips
  reply.array(0);  // key specifications
  reply.array(0);  // subcommands
}

void document_command(Reply& reply, const Command& command) {
  reply.bulk(command.name);
  reply.map(4);
  reply.bulk("summary");
  reply.bulk(command.summary);
  reply.bulk("since");
  reply.bulk("1.0.0");
  reply.bulk("group");
  reply.bulk(command.group);
  reply.bulk("complexity");
  reply.bulk(command.fast ? "O(1) per key" : "O(N)");
}

std::vector<const Command*> named_commands(Arguments names) {
  std::vector<const Command*> found;
  for (const std::string_view name : names) found.push_back(find_command(name));
  return found;
}

std::vector<const Command*> all_commands() {
  std::vector<const Command*> all;
  for (const Command& command : command_table()) all.push_back(&command);
  return all;
}

std::string human_bytes(uint64_t bytes) {
  constexpr std::string_view kUnits = "BKMGT";
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) value /= 1024, ++unit;
  return fmt::format("{:.2f}{}", value, kUnits[unit]);
}

// The first that holds data: group 0 is the controller's.
const api::GroupStatus* first_group(const api::NodeStatus& status) {
  const auto it = std::find_if(status.groups.begin(), status.groups.end(),
                               [](const api::GroupStatus& group) { return group.id != GroupId(0); });
  return it == status.groups.end() ? nullptr : &*it;
}

std::string info_section(std::string_view section, SessionContext& context, const api::NodeStatus& status) {
  std::string out;
  const api::GroupStatus* group = first_group(status);
  const auto line = [&out](std::string_view name, const auto& value) { out += fmt::format("{}:{}\r\n", name, value); };
  if (section == "server") {
    out += "# Server\r\n";
    line("redis_version", kRedisVersion);
    line("fluxkv_version", status.version);
    line("redis_mode", context.owners != nullptr ? "cluster" : "standalone");
    line("arch_bits", sizeof(void*) * 8);
    line("process_id", status.process_id);
    line("run_id", fmt::format("{:040x}", status.node_id.value()));
    line("node_name", status.name);
    line("uptime_in_seconds", status.uptime_seconds);
    line("uptime_in_days", status.uptime_seconds / 86400);
  } else if (section == "clients") {
    out += "# Clients\r\n";
    line("connected_clients", context.door.stats().connections);
    line("blocked_clients", 0);
  } else if (section == "memory") {
    out += "# Memory\r\n";
    line("used_memory", status.memory_used_bytes);
    line("used_memory_human", human_bytes(status.memory_used_bytes));
    line("maxmemory", status.memory_max_bytes);
    line("maxmemory_human", human_bytes(status.memory_max_bytes));
    line("maxmemory_policy", "noeviction");
  } else if (section == "persistence") {
    out += "# Persistence\r\n";
    line("loading", 0);
    line("aof_enabled", 1);
    line("aof_last_write_status", "ok");
    line("fluxkv_engine", status.engine);
    line("fluxkv_fsync", status.fsync);
    line("fluxkv_snapshot_index", group ? group->snapshot_index.value() : 0);
  } else if (section == "stats") {
    out += "# Stats\r\n";
    const DoorStats stats = context.door.stats();
    line("total_connections_received", stats.connections_accepted);
    line("total_commands_processed", stats.commands);
    line("rejected_connections", stats.connections_refused);
    line("total_error_replies", stats.errors);
  } else if (section == "replication") {
    // Every node takes every command, so each is a master to its clients.
    out += "# Replication\r\n";
    line("role", "master");
    line("connected_slaves", group && group->voters.size() > 1 ? group->voters.size() - 1 : 0);
    line("master_repl_offset", group ? group->commit_index.value() : 0);
    line("fluxkv_group_role", group ? group->role : "none");
    line("fluxkv_group_leader", group ? group->leader.value() : 0);
    line("fluxkv_term", group ? group->term.value() : 0);
  } else if (section == "cluster") {
    out += "# Cluster\r\n";
    line("cluster_enabled", context.owners != nullptr ? 1 : 0);
    line("fluxkv_cluster_id", status.cluster_id);
    line("fluxkv_nodes", status.nodes.size());
    line("fluxkv_groups", status.groups.size());
  } else if (section == "keyspace") {
    out += "# Keyspace\r\n";
    for (const auto& [name, keys] : status.keyspaces) {
      if (keys == 0) continue;
      const bool numbered = parse_integer(name).has_value();
      line(name == api::kDefaultKeyspaceName ? "db0" : (numbered ? "db" : "fluxkv_keyspace_") + name,
           fmt::format("keys={},expires=0,avg_ttl=0", keys));
    }
  }
  return out;
}

constexpr std::string_view kSections[] = {"server", "clients",     "memory",  "persistence",
                                          "stats",  "replication", "cluster", "keyspace"};

void config_get(Session& session, Arguments patterns) {
  std::vector<std::pair<std::string, std::string>> found;
  for (const Setting& setting : session.context().settings) {
    const bool wanted = std::any_of(patterns.begin(), patterns.end(), [&](std::string_view pattern) {
      return glob_match(lower(pattern.substr(0, kPatternBytesMax)), setting.name);
    });
    if (wanted) found.emplace_back(setting.name, setting.get());
  }
  session.reply([&](Reply& reply) {
    reply.map(found.size());
    for (const auto& [name, value] : found) {
      reply.bulk(name);
      reply.bulk(value);
    }
  });
}

void config_set(Session& session, Arguments pairs) {
  // All names and values are checked before anything changes.
  std::vector<std::function<void()>> changes;
  for (size_t i = 0; i < pairs.size(); i += 2) {
    const auto& all = session.context().settings;
    const auto it = std::find_if(all.begin(), all.end(),
                                 [&](const Setting& setting) { return equals_ignoring_case(setting.name, pairs[i]); });
    if (it == all.end()) {
      return session.reply_error(
          fmt::format("ERR Unknown option or number of arguments for CONFIG SET - '{}'", shown(pairs[i])));
    }
    if (!it->prepare) {
      return session.reply_error(fmt::format(
          "ERR CONFIG SET failed (possibly related to argument '{}') - can't set immutable config", it->name));
    }
    Result<std::function<void()>> change = it->prepare(pairs[i + 1]);
    if (!change.ok()) {
      return session.reply_error(fmt::format("ERR CONFIG SET failed (possibly related to argument '{}') - {}", it->name,
                                             change.status().message()));
    }
    changes.push_back(std::move(change).value());
  }
  for (const std::function<void()>& change : changes) change();
  session.reply([](Reply& reply) { reply.ok(); });
}

void flush(Session& session, Arguments arguments, const api::Command& command) {
  const bool valid = arguments.size() == 1 || (arguments.size() == 2 && (equals_ignoring_case(arguments[1], "async") ||
                                                                         equals_ignoring_case(arguments[1], "sync")));
  if (!valid) return session.reply_error(kSyntaxError);
  session.write(std::span(&command, 1), [](Reply& reply, const api::WriteReply&, int64_t) { reply.ok(); });
}

}  // namespace

void cmd_command(Session& session, Arguments arguments) {
  if (arguments.size() == 1) {
    return session.reply([](Reply& reply) {
      reply.array(command_table().size());
      for (const Command& command : command_table()) describe_command(reply, command);
    });
  }
  const std::string_view sub = arguments[1];
  const Arguments names = arguments.subspan(2);
  if (equals_ignoring_case(sub, "count")) {
    return session.reply([](Reply& reply) { reply.integer(static_cast<int64_t>(command_table().size())); });
  }
  if (equals_ignoring_case(sub, "list")) {
    return session.reply([](Reply& reply) {
      reply.array(command_table().size());
      for (const Command& command : command_table()) reply.bulk(command.name);
    });
  }
  if (equals_ignoring_case(sub, "info")) {
    const std::vector<const Command*> commands = names.empty() ? all_commands() : named_commands(names);
    return session.reply([&](Reply& reply) {
      reply.array(commands.size());
      for (const Command* command : commands) command != nullptr ? describe_command(reply, *command) : reply.null();
    });
  }
  if (equals_ignoring_case(sub, "docs")) {
    std::vector<const Command*> commands = names.empty() ? all_commands() : named_commands(names);
    std::erase(commands, nullptr);
    return session.reply([&](Reply& reply) {
      reply.map(commands.size());
      for (const Command* command : commands) document_command(reply, *command);
    });
  }
  session.reply_error(fmt::format("ERR unknown subcommand '{}'. Try COMMAND COUNT, DOCS, INFO or LIST.", shown(sub)));
}

void cmd_config(Session& session, Arguments arguments) {
  const std::string_view sub = arguments[1];
  if (equals_ignoring_case(sub, "get") && arguments.size() >= 3) return config_get(session, arguments.subspan(2));
  if (equals_ignoring_case(sub, "set") && arguments.size() >= 4 && arguments.size() % 2 == 0) {
    return config_set(session, arguments.subspan(2));
  }
  if (equals_ignoring_case(sub, "get") || equals_ignoring_case(sub, "set")) {
    return session.reply_error(fmt::format("ERR wrong number of arguments for 'config|{}' command", lower(sub)));
  }
  session.reply_error(fmt::format("ERR unknown subcommand '{}'. Try CONFIG GET or SET.", shown(sub)));
}

void cmd_info(Session& session, Arguments arguments) {
  std::vector<std::string> wanted;
  for (const std::string_view name : arguments.subspan(1)) wanted.push_back(lower(name));
  const uint64_t slot = session.open_slot();
  session.context().admin.status([self = SessionPtr(&session), slot, wanted](const api::NodeStatus& status) {
    std::string text;
    const auto any = [&](std::string_view name) {
      return std::find(wanted.begin(), wanted.end(), name) != wanted.end();
    };
    const bool all = wanted.empty() || any("all") || any("everything") || any("default");
    for (const std::string_view section : kSections) {
      if (!all && !any(section)) continue;
      if (!text.empty()) text += "\r\n";
      text += info_section(section, self->context(), status);
    }
    for (const std::string& warning : status.warnings) text += fmt::format("\r\n# Warning: {}\r\n", warning);
    self->complete(slot, [&](Reply& reply) { reply.verbatim(text); });
  });
}

// FLUSHALL [ASYNC|SYNC]
void cmd_flushall(Session& session, Arguments arguments) { flush(session, arguments, api::DeleteAll{}); }

// FLUSHDB [ASYNC|SYNC]
void cmd_flushdb(Session& session, Arguments arguments) {
  const api::KeyRange range = api::keyspace_range(session.keyspace());
  flush(session, arguments, api::DeleteRange{.start = range.start, .end = range.end});
}

// WAIT replicas timeout: every write that was answered is on a quorum already, so there is nothing to wait for.
void cmd_wait(Session& session, Arguments arguments) {
  const std::optional<int64_t> replicas = parse_integer(arguments[1]);
  const std::optional<int64_t> timeout = parse_integer(arguments[2]);
  if (!replicas) return session.reply_error(kNotInteger);
  if (!timeout) return session.reply_error("ERR timeout is not an integer or out of range");
  if (*timeout < 0) return session.reply_error("ERR timeout is negative");
  const uint64_t slot = session.open_slot();
  session.context().admin.status([self = SessionPtr(&session), slot](const api::NodeStatus& status) {
    const api::GroupStatus* group = first_group(status);
    const size_t voters = group != nullptr ? group->voters.size() : 1;
    self->complete(slot, [&](Reply& reply) { reply.integer(static_cast<int64_t>(voters / 2)); });
  });
}

}  // namespace flux::server::resp
