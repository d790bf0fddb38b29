// CLUSTER and what goes with it: the cluster as clients of Redis Cluster see it.
#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "api/limits.h"
#include "api/slot.h"
#include "server/resp/cluster_map.h"
#include "server/resp/numbers.h"
#include "server/resp/session.h"

namespace flux::server::resp {
namespace {

// Answers from the cluster as this node knows it.
using MapFormatter = void (*)(Reply& reply, const ClusterMap& map);
void reply_map(Session& session, MapFormatter format) {
  const uint64_t slot = session.open_slot();
  session.context().admin.cluster(ConfigNum(),
                                  [self = SessionPtr(&session), slot, format](const Result<api::ClusterView>& view) {
                                    self->complete(slot, [&](Reply& reply) {
                                      if (!view.ok()) return reply.error(view.status());
                                      format(reply, cluster_map(*view));
                                    });
                                  });
}

void endpoint(Reply& reply, const ClusterMember& member) {
  reply.array(4);
  reply.bulk(member.host);
  reply.integer(member.port);
  reply.bulk(member_name(member.id));
  reply.map(0);  // no further addresses
}

void slots(Session& session, Arguments) {
  reply_map(session, [](Reply& reply, const ClusterMap& map) {
    std::vector<std::pair<SlotRange, const ClusterMember*>> ranges;
    for (const ClusterMember& member : map.members) {
      for (const SlotRange range : member.slots) ranges.emplace_back(range, &member);
    }
    std::sort(ranges.begin(), ranges.end(), [](const auto& a, const auto& b) { return a.first.first < b.first.first; });
    reply.array(ranges.size());
    for (const auto& [range, master] : ranges) {
      reply.array(3 + master->replicas.size());
      reply.integer(range.first);
      reply.integer(range.last);
      endpoint(reply, *master);
      for (const NodeId replica : master->replicas) endpoint(reply, *map.find(replica));
    }
  });
}

void shard_node(Reply& reply, const ClusterMember& member) {
  reply.map(7);
  reply.bulk("id");
  reply.bulk(member_name(member.id));
  reply.bulk("port");
  reply.integer(member.port);
  reply.bulk("ip");
  reply.bulk(member.host);
  reply.bulk("endpoint");
  reply.bulk(member.host);
  reply.bulk("role");
  reply.bulk(member.master == kNobody ? "master" : "replica");
  reply.bulk("replication-offset");
  reply.integer(0);
  reply.bulk("health");
  reply.bulk("online");
}

void shards(Session& session, Arguments) {
  reply_map(session, [](Reply& reply, const ClusterMap& map) {
    const auto is_master = [](const ClusterMember& member) { return member.master == kNobody; };
    reply.array(static_cast<size_t>(std::count_if(map.members.begin(), map.members.end(), is_master)));
    for (const ClusterMember& master : map.members) {
      if (!is_master(master)) continue;
      reply.map(2);
      reply.bulk("slots");
      reply.array(master.slots.size() * 2);
      for (const SlotRange range : master.slots) {
        reply.integer(range.first);
        reply.integer(range.last);
      }
      reply.bulk("nodes");
      reply.array(1 + master.replicas.size());
      shard_node(reply, master);
      for (const NodeId replica : master.replicas) shard_node(reply, *map.find(replica));
    }
  });
}

void nodes(Session& session, Arguments) {
  const uint64_t slot = session.open_slot();
  api::AdminService& admin = session.context().admin;
  admin.status([self = SessionPtr(&session), slot, &admin](const api::NodeStatus& status) {
    admin.cluster(ConfigNum(), [self, slot, id = status.node_id](const Result<api::ClusterView>& view) {
      self->complete(slot, [&](Reply& reply) {
        if (!view.ok()) return reply.error(view.status());
        reply.verbatim(cluster_nodes_text(cluster_map(*view), id));
      });
    });
  });
}

void info(Session& session, Arguments) {
  reply_map(session, [](Reply& reply, const ClusterMap& map) { reply.verbatim(cluster_info_text(map)); });
}

void my_id(Session& session, Arguments) {
  const uint64_t slot = session.open_slot();
  session.context().admin.status([self = SessionPtr(&session), slot](const api::NodeStatus& status) {
    self->complete(slot, [&](Reply& reply) { reply.bulk(member_name(status.node_id)); });
  });
}

void key_slot(Session& session, Arguments arguments) {
  session.reply([&](Reply& reply) { reply.integer(api::slot_of(arguments[2]).value()); });
}

// A walk over the keys of one slot of the default keyspace: page after page, each a request of its own.
struct SlotWalk {
  SessionPtr session;
  uint64_t slot;
  bool listing = false;      // else counting
  size_t wanted = SIZE_MAX;  // keys to list
  std::string start;         // encoded key
  std::string end;           // encoded key
  size_t count = 0;
  std::vector<std::string> found;

  static void next(std::unique_ptr<SlotWalk> walk) {
    SlotWalk& w = *walk;
    const std::string start = w.start;
    const std::string end = w.end;
    const api::ReadRequest request{
        .what = api::ScanRequest{.start = start, .end = end, .keys_max = std::min(w.wanted, api::kScanKeysMax)}};
    w.session->context().kv.read(request, [walk = std::move(walk)](const api::ReadReply& page) mutable {
      SlotWalk& at = *walk;
      const SessionPtr session = at.session;
      if (!page.status.ok()) {
        return session->complete(at.slot, [&](Reply& reply) { reply.error(page.status); });
      }
      at.count += page.items.size();
      if (at.listing) {
        for (const api::Item& item : page.items) at.found.emplace_back(item.key);
        at.wanted -= std::min(at.wanted, page.items.size());
      }
      at.start = page.scan_resume;
      if (!at.start.empty() && at.wanted != 0) return next(std::move(walk));
      session->complete(at.slot, [&](Reply& reply) {
        if (!at.listing) return reply.integer(static_cast<int64_t>(at.count));
        reply.array(at.found.size());
        for (const std::string& key : at.found) reply.bulk(key);
      });
    });
  }
};

std::unique_ptr<SlotWalk> walk_of(Session& session, uint16_t slot) {
  auto walk = std::make_unique<SlotWalk>();
  walk->session = SessionPtr(&session);
  walk->slot = session.open_slot();
  walk->start = api::slot_start(slot);
  walk->end = api::slot_start(static_cast<uint16_t>(slot + 1));
  return walk;
}

void count_keys_in_slot(Session& session, Arguments arguments) {
  const std::optional<int64_t> slot = parse_integer(arguments[2]);
  if (!slot) return session.reply_error(kNotInteger);
  if (*slot < 0 || *slot >= api::kSlotCount) return session.reply_error("ERR Invalid slot");
  SlotWalk::next(walk_of(session, static_cast<uint16_t>(*slot)));
}

void get_keys_in_slot(Session& session, Arguments arguments) {
  const std::optional<int64_t> slot = parse_integer(arguments[2]);
  const std::optional<int64_t> count = parse_integer(arguments[3]);
  if (!slot || !count) return session.reply_error(kNotInteger);
  if (*slot < 0 || *slot >= api::kSlotCount || *count < 0) {
    return session.reply_error("ERR Invalid slot or number of keys");
  }
  if (*count == 0) return session.reply([](Reply& reply) { reply.array(0); });
  std::unique_ptr<SlotWalk> walk = walk_of(session, static_cast<uint16_t>(*slot));
  walk->listing = true;
  walk->wanted = static_cast<size_t>(*count);
  SlotWalk::next(std::move(walk));
}

// Nodes talk over connections that carry all groups together, and none of them is a link of Redis Cluster's bus.
void links(Session& session, Arguments) {
  session.reply([](Reply& reply) { reply.array(0); });
}

void help(Session& session, Arguments) {
  static constexpr std::string_view kLines[] = {
      "CLUSTER <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
      "COUNTKEYSINSLOT <slot>",
      "    Return the number of keys in <slot>.",
      "GETKEYSINSLOT <slot> <count>",
      "    Return key names in a slot, whichever node has them.",
      "INFO",
      "    Return information about the cluster.",
      "KEYSLOT <key>",
      "    Return the hash slot for <key>.",
      "LINKS",
      "    Return nothing: there is no cluster bus.",
      "MYID",
      "    Return the node id.",
      "NODES",
      "    Return cluster configuration seen by node. Output format:",
      "    <id> <ip:port@peer-port> <flags> <master> <pings> <pongs> <epoch> <link> <slot> ...",
      "SHARDS",
      "    Return information about slot range mappings and the nodes associated with them.",
      "SLOTS",
      "    Return information about slots range mappings. Each range is made of:",
      "    start, end, master and replicas IP addresses, ports and ids",
      "HELP",
      "    Print this help.",
  };
  session.reply([](Reply& reply) {
    reply.array(std::size(kLines));
    for (const std::string_view line : kLines) reply.simple(line);
  });
}

struct Subcommand {
  std::string_view name;
  size_t arity;  // with the two words of the name
  Handler handler;
};
constexpr std::array kSubcommands = std::to_array<Subcommand>({
    {"countkeysinslot", 3, count_keys_in_slot},
    {"getkeysinslot", 4, get_keys_in_slot},
    {"help", 2, help},
    {"info", 2, info},
    {"keyslot", 3, key_slot},
    {"links", 2, links},
    {"myid", 2, my_id},
    {"nodes", 2, nodes},
    {"shards", 2, shards},
    {"slots", 2, slots},
});

// HOST:PORT as MOVED has it: clients cut at the last colon, and no brackets around an IPv6 address.
std::string bare_address(std::string_view address) {
  std::string out;
  for (const char c : address) {
    if (c != '[' && c != ']') out += c;
  }
  return out;
}

}  // namespace

std::string redirection(const api::SlotOwners& owners, const Command& command, Arguments arguments, Served served) {
  if (command.first_key == 0) return "";
  const auto size = static_cast<int>(arguments.size());
  const int last = std::min(command.last_key < 0 ? size + command.last_key : command.last_key, size - 1);
  std::optional<Slot> slot;
  for (int i = command.first_key; i <= last; i += command.key_step) {
    const Slot found = api::slot_of(arguments[static_cast<size_t>(i)]);
    if (slot && *slot != found) return "CROSSSLOT Keys in request don't hash to the same slot";
    slot = found;
  }
  if (!slot || served == Served::kAnywhere) return "";
  const std::string address = owners.redirect(*slot);
  return address.empty() ? "" : fmt::format("MOVED {} {}", *slot, bare_address(address));
}

void cmd_asking(Session& session, Arguments) {
  session.reply([](Reply& reply) { reply.ok(); });
}

void cmd_readonly(Session& session, Arguments) {
  session.set_reads(Served::kAnywhere);
  session.reply([](Reply& reply) { reply.ok(); });
}

void cmd_readwrite(Session& session, Arguments) {
  session.set_reads(Served::kByLeader);
  session.reply([](Reply& reply) { reply.ok(); });
}

void cmd_cluster(Session& session, Arguments arguments) {
  const auto* it = std::find_if(kSubcommands.begin(), kSubcommands.end(), [&](const Subcommand& subcommand) {
    return equals_ignoring_case(arguments[1], subcommand.name);
  });
  if (it == kSubcommands.end()) {
    return session.reply_error(fmt::format("ERR unknown subcommand '{}'. Try CLUSTER HELP.", shown(arguments[1])));
  }
  if (arguments.size() != it->arity) {
    return session.reply_error(fmt::format("ERR wrong number of arguments for 'cluster|{}' command", it->name));
  }
  it->handler(session, arguments);
}

}  // namespace flux::server::resp
