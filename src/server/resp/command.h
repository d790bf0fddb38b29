// Commands as data, and what a handler works with.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/kv_service.h"
#include "api/slot_owners.h"
#include "server/resp/reply.h"

namespace flux::server::resp {

class Session;

// How a command relates to those before and after it on its connection: effects keep the order of the pipeline.
enum class Effect : uint8_t {
  kNone,   // touches only the connection, or what belongs to no key
  kRead,   // may overlap with other reads
  kWrite,  // may overlap with other writes
};

using Arguments = std::span<const std::string_view>;
using Handler = void (*)(Session& session, Arguments arguments);

struct Command {
  std::string_view name;  // lower case
  int arity;              // with the name itself; negative: at least that many
  Effect effect;
  bool fast;  // O(1) or O(log n)
  bool admin;
  int first_key;  // 0: none
  int last_key;   // negative: from the end
  int key_step;
  std::string_view group;
  std::string_view summary;
  Handler handler;
};

// All commands, sorted by name.
std::span<const Command> command_table();
// nullptr if there is none; any case.
const Command* find_command(std::string_view name);

// What turns a service's answer into a reply. `extra` is what the handler gave along.
using WriteFormatter = void (*)(Reply& reply, const api::WriteReply& answer, int64_t extra);
using ReadFormatter = void (*)(Reply& reply, const api::ReadReply& answer, int64_t extra);

// --- Handlers, by family ---------------------------------------------------------------------------------------------
void cmd_append(Session& session, Arguments arguments);
void cmd_asking(Session& session, Arguments arguments);
void cmd_client(Session& session, Arguments arguments);
void cmd_cluster(Session& session, Arguments arguments);
void cmd_command(Session& session, Arguments arguments);
void cmd_config(Session& session, Arguments arguments);
void cmd_copy(Session& session, Arguments arguments);
void cmd_dbsize(Session& session, Arguments arguments);
void cmd_decr(Session& session, Arguments arguments);
void cmd_decrby(Session& session, Arguments arguments);
void cmd_del(Session& session, Arguments arguments);
void cmd_echo(Session& session, Arguments arguments);
void cmd_exists(Session& session, Arguments arguments);
void cmd_expire(Session& session, Arguments arguments);
void cmd_expireat(Session& session, Arguments arguments);
void cmd_expiretime(Session& session, Arguments arguments);
void cmd_flushall(Session& session, Arguments arguments);
void cmd_flushdb(Session& session, Arguments arguments);
void cmd_flux_scan(Session& session, Arguments arguments);
void cmd_get(Session& session, Arguments arguments);
void cmd_getdel(Session& session, Arguments arguments);
void cmd_getex(Session& session, Arguments arguments);
void cmd_getrange(Session& session, Arguments arguments);
void cmd_getset(Session& session, Arguments arguments);
void cmd_hello(Session& session, Arguments arguments);
void cmd_incr(Session& session, Arguments arguments);
void cmd_incrby(Session& session, Arguments arguments);
void cmd_incrbyfloat(Session& session, Arguments arguments);
void cmd_info(Session& session, Arguments arguments);
void cmd_keys(Session& session, Arguments arguments);
void cmd_mget(Session& session, Arguments arguments);
void cmd_mset(Session& session, Arguments arguments);
void cmd_msetnx(Session& session, Arguments arguments);
void cmd_persist(Session& session, Arguments arguments);
void cmd_pexpire(Session& session, Arguments arguments);
void cmd_pexpireat(Session& session, Arguments arguments);
void cmd_pexpiretime(Session& session, Arguments arguments);
void cmd_ping(Session& session, Arguments arguments);
void cmd_psetex(Session& session, Arguments arguments);
void cmd_pttl(Session& session, Arguments arguments);
void cmd_quit(Session& session, Arguments arguments);
void cmd_randomkey(Session& session, Arguments arguments);
void cmd_readonly(Session& session, Arguments arguments);
void cmd_readwrite(Session& session, Arguments arguments);
void cmd_rename(Session& session, Arguments arguments);
void cmd_renamenx(Session& session, Arguments arguments);
void cmd_reset(Session& session, Arguments arguments);
void cmd_scan(Session& session, Arguments arguments);
void cmd_select(Session& session, Arguments arguments);
void cmd_set(Session& session, Arguments arguments);
void cmd_setex(Session& session, Arguments arguments);
void cmd_setnx(Session& session, Arguments arguments);
void cmd_setrange(Session& session, Arguments arguments);
void cmd_strlen(Session& session, Arguments arguments);
void cmd_touch(Session& session, Arguments arguments);
void cmd_ttl(Session& session, Arguments arguments);
void cmd_type(Session& session, Arguments arguments);
void cmd_wait(Session& session, Arguments arguments);

// In a cluster, what keeps a command from being served here: keys of several slots, or of one that is led elsewhere
// unless it may be served anywhere. Empty: nothing does. REQUIRES: the arguments fit the command's arity.
enum class Served : uint8_t { kByLeader, kAnywhere };
std::string redirection(const api::SlotOwners& owners, const Command& command, Arguments arguments, Served served);

// --- Argument helpers ---
bool equals_ignoring_case(std::string_view a, std::string_view upper_or_lower);
std::string lower(std::string_view text);

inline constexpr std::string_view kNotInteger = "ERR value is not an integer or out of range";
// Of the keyspace that a database is; 0 is the default one.
std::string_view keyspace_name(std::string_view database);
// The error for one that is not there.
std::string no_keyspace(std::string_view name);
inline constexpr std::string_view kSyntaxError = "ERR syntax error";

}  // namespace flux::server::resp
