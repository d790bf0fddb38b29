// Every command, as data.
#include <algorithm>
#include <array>

#include "server/resp/command.h"

namespace flux::server::resp {
namespace {

constexpr Effect kNone = Effect::kNone;
constexpr Effect kRead = Effect::kRead;
constexpr Effect kWrite = Effect::kWrite;

// name, arity, effect, fast, admin, first key, last key, step, group, summary, handler; sorted by name.
constexpr std::array kCommands = std::to_array<Command>({
    {"append", 3, kWrite, true, false, 1, 1, 1, "string", "Appends to a value, creating it if there is none.",
     cmd_append},
    {"asking", 1, kNone, true, false, 0, 0, 0, "cluster", "Changes nothing: every node takes what it is asked.",
     cmd_asking},
    {"client", -2, kNone, false, true, 0, 0, 0, "connection", "Shows and names connections.", cmd_client},
    {"cluster", -2, kRead, false, false, 0, 0, 0, "cluster", "Describes the cluster as Redis Cluster would.",
     cmd_cluster},
    {"command", -1, kNone, false, false, 0, 0, 0, "server", "Describes the commands.", cmd_command},
    {"config", -2, kNone, false, true, 0, 0, 0, "server", "Shows settings and changes those that may change.",
     cmd_config},
    {"copy", -3, kWrite, false, false, 1, 2, 1, "generic", "Copies a key's value and expiry to another key.", cmd_copy},
    {"dbsize", 1, kRead, true, false, 0, 0, 0, "server", "Returns the number of keys.", cmd_dbsize},
    {"decr", 2, kWrite, true, false, 1, 1, 1, "string", "Subtracts one from an integer.", cmd_decr},
    {"decrby", 3, kWrite, true, false, 1, 1, 1, "string", "Subtracts from an integer.", cmd_decrby},
    {"del", -2, kWrite, false, false, 1, -1, 1, "generic", "Deletes keys.", cmd_del},
    {"echo", 2, kNone, true, false, 0, 0, 0, "connection", "Returns its argument.", cmd_echo},
    {"exists", -2, kRead, true, false, 1, -1, 1, "generic", "Counts which of the keys exist.", cmd_exists},
    {"expire", -3, kWrite, true, false, 1, 1, 1, "generic", "Sets a key's expiry in seconds from now.", cmd_expire},
    {"expireat", -3, kWrite, true, false, 1, 1, 1, "generic", "Sets a key's expiry to a Unix time.", cmd_expireat},
    {"expiretime", 2, kRead, true, false, 1, 1, 1, "generic", "Returns a key's expiry as a Unix time.", cmd_expiretime},
    {"flushall", -1, kWrite, false, false, 0, 0, 0, "server", "Deletes all keys of all keyspaces.", cmd_flushall},
    {"flushdb", -1, kWrite, false, false, 0, 0, 0, "server", "Deletes all keys of the keyspace.", cmd_flushdb},
    {"flux.scan", -3, kRead, false, false, 0, 0, 0, "generic", "Returns a page of a range of keys, in order.",
     cmd_flux_scan},
    {"get", 2, kRead, true, false, 1, 1, 1, "string", "Returns a value.", cmd_get},
    {"getdel", 2, kWrite, true, false, 1, 1, 1, "string", "Returns a value and deletes its key.", cmd_getdel},
    {"getex", -2, kWrite, true, false, 1, 1, 1, "string", "Returns a value and sets its key's expiry.", cmd_getex},
    {"getrange", 4, kRead, false, false, 1, 1, 1, "string", "Returns a part of a value.", cmd_getrange},
    {"getset", 3, kWrite, true, false, 1, 1, 1, "string", "Sets a value and returns the old one.", cmd_getset},
    {"hello", -1, kNone, true, false, 0, 0, 0, "connection", "Greets, and chooses the protocol version.", cmd_hello},
    {"incr", 2, kWrite, true, false, 1, 1, 1, "string", "Adds one to an integer.", cmd_incr},
    {"incrby", 3, kWrite, true, false, 1, 1, 1, "string", "Adds to an integer.", cmd_incrby},
    {"incrbyfloat", 3, kWrite, true, false, 1, 1, 1, "string", "Adds to a decimal number.", cmd_incrbyfloat},
    {"info", -1, kNone, false, false, 0, 0, 0, "server", "Describes this server and its cluster.", cmd_info},
    {"keys", 2, kRead, false, false, 0, 0, 0, "generic", "Returns all keys that match a pattern.", cmd_keys},
    {"mget", -2, kRead, true, false, 1, -1, 1, "string", "Returns several values.", cmd_mget},
    {"mset", -3, kWrite, false, false, 1, -1, 2, "string", "Sets several values together.", cmd_mset},
    {"msetnx", -3, kWrite, false, false, 1, -1, 2, "string", "Sets several values if none of the keys exists.",
     cmd_msetnx},
    {"persist", 2, kWrite, true, false, 1, 1, 1, "generic", "Removes a key's expiry.", cmd_persist},
    {"pexpire", -3, kWrite, true, false, 1, 1, 1, "generic", "Sets a key's expiry in milliseconds from now.",
     cmd_pexpire},
    {"pexpireat", -3, kWrite, true, false, 1, 1, 1, "generic", "Sets a key's expiry to a Unix time in milliseconds.",
     cmd_pexpireat},
    {"pexpiretime", 2, kRead, true, false, 1, 1, 1, "generic", "Returns a key's expiry as a Unix time in milliseconds.",
     cmd_pexpiretime},
    {"ping", -1, kNone, true, false, 0, 0, 0, "connection", "Returns PONG, or its argument.", cmd_ping},
    {"psetex", 4, kWrite, false, false, 1, 1, 1, "string", "Sets a value with an expiry in milliseconds.", cmd_psetex},
    {"pttl", 2, kRead, true, false, 1, 1, 1, "generic", "Returns the milliseconds until a key expires.", cmd_pttl},
    {"quit", -1, kNone, true, false, 0, 0, 0, "connection", "Closes the connection.", cmd_quit},
    {"randomkey", 1, kRead, false, false, 0, 0, 0, "generic", "Returns some key.", cmd_randomkey},
    {"readonly", 1, kNone, true, false, 0, 0, 0, "cluster", "Lets this connection read at whichever node it is.",
     cmd_readonly},
    {"readwrite", 1, kNone, true, false, 0, 0, 0, "cluster", "Ends READONLY.", cmd_readwrite},
    {"rename", 3, kWrite, false, false, 1, 2, 1, "generic", "Renames a key, replacing the destination.", cmd_rename},
    {"renamenx", 3, kWrite, false, false, 1, 2, 1, "generic", "Renames a key if the destination does not exist.",
     cmd_renamenx},
    {"reset", 1, kNone, true, false, 0, 0, 0, "connection", "Puts the connection back to how it began.", cmd_reset},
    {"scan", -2, kRead, false, false, 0, 0, 0, "generic", "Walks the keys, a page at a time.", cmd_scan},
    {"select", 2, kNone, true, false, 0, 0, 0, "connection", "Chooses the keyspace of this connection.", cmd_select},
    {"set", -3, kWrite, false, false, 1, 1, 1, "string", "Sets a value.", cmd_set},
    {"setex", 4, kWrite, false, false, 1, 1, 1, "string", "Sets a value with an expiry in seconds.", cmd_setex},
    {"setnx", 3, kWrite, true, false, 1, 1, 1, "string", "Sets a value if the key does not exist.", cmd_setnx},
    {"setrange", 4, kWrite, false, false, 1, 1, 1, "string", "Overwrites a part of a value.", cmd_setrange},
    {"strlen", 2, kRead, true, false, 1, 1, 1, "string", "Returns the length of a value.", cmd_strlen},
    {"substr", 4, kRead, false, false, 1, 1, 1, "string", "Returns a part of a value; GETRANGE by its old name.",
     cmd_getrange},
    {"touch", -2, kRead, true, false, 1, -1, 1, "generic", "Counts which of the keys exist.", cmd_touch},
    {"ttl", 2, kRead, true, false, 1, 1, 1, "generic", "Returns the seconds until a key expires.", cmd_ttl},
    {"type", 2, kRead, true, false, 1, 1, 1, "generic", "Returns the type of a key's value.", cmd_type},
    {"unlink", -2, kWrite, true, false, 1, -1, 1, "generic", "Deletes keys.", cmd_del},
    {"wait", 3, kWrite, false, false, 0, 0, 0, "generic", "Returns how many replicas have the writes before it.",
     cmd_wait},
});
static_assert(std::is_sorted(kCommands.begin(), kCommands.end(),
                             [](const Command& a, const Command& b) { return a.name < b.name; }));

}  // namespace

std::span<const Command> command_table() { return kCommands; }

const Command* find_command(std::string_view name) {
  constexpr size_t kLongest = 32;
  if (name.size() > kLongest) return nullptr;
  char buffer[kLongest];
  for (size_t i = 0; i < name.size(); ++i) {
    buffer[i] = name[i] >= 'A' && name[i] <= 'Z' ? static_cast<char>(name[i] - 'A' + 'a') : name[i];
  }
  const std::string_view wanted(buffer, name.size());
  const auto it = std::lower_bound(kCommands.begin(), kCommands.end(), wanted,
                                   [](const Command& command, std::string_view key) { return command.name < key; });
  return it != kCommands.end() && it->name == wanted ? &*it : nullptr;
}

bool equals_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    const auto fold = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
    return fold(x) == fold(y);
  });
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

}  // namespace flux::server::resp
