// node, group, keyspace, config: what there is.
#include <fmt/core.h>

#include <map>

#include "main/ctl/change.h"

namespace flux::main::ctl {
namespace {

using Rows = std::vector<std::vector<std::string>>;

// One list of the view: as JSON whole, as a table what is still there.
Status print_list(const Common& common, std::string_view name, Rows (*rows)(const json::object&)) {
  FLUX_TRY(const json::object view, cluster_view(common));
  if (common.format() == Format::kJson) {
    fmt::print("{}\n", json::serialize(list(view, name)));
  } else {
    print_table(rows(view));
  }
  return {};
}

Rows node_rows(const json::object& view) {
  Rows rows = {{"NODE", "NAME", "STATE", "PEER", "RESP", "HTTP", "CORES", "REPLICAS", "LEADERS"}};
  for (const json::value& each : list(view, "nodes")) {
    const json::object& node = each.as_object();
    if (text(node, "state") == "removed") continue;
    const std::string_view heard = flag(node, "lost") ? ", lost" : flag(node, "silent") ? ", silent" : "";
    rows.push_back({text(node, "id"), text(node, "name"), fmt::format("{}{}", text(node, "state"), heard),
                    text(node, "peer_address"), text(node, "resp_address"), text(node, "http_address"),
                    text(node, "cores"), text(node, "replicas"), text(node, "leaders")});
  }
  return rows;
}

Rows group_rows(const json::object& view) {
  Rows rows = {{"GROUP", "STATE", "LEADER", "VOTERS", "LEARNERS", "SHARDS", "WEIGHT", "CONFIG"}};
  for (const json::value& each : list(view, "groups")) {
    const json::object& group = each.as_object();
    if (text(group, "state") == "gone") continue;
    // Behind while a shard is being handed over.
    const bool behind = number(group, "settled") < number(group, "changed");
    rows.push_back({text(group, "id"), text(group, "state"), node_name(view, number(group, "leader")),
                    node_names(view, list(group, "voters")), node_names(view, list(group, "learners")),
                    text(group, "shards"), text(group, "weight"),
                    behind ? text(group, "settled") + " of " + text(group, "changed") : text(group, "settled")});
  }
  return rows;
}

Rows keyspace_rows(const json::object& view) {
  Rows rows = {{"ID", "NAME", "KIND", "REPLICATION", "SHARDS"}};
  for (const json::value& each : list(view, "keyspaces")) {
    const json::object& keyspace = each.as_object();
    rows.push_back({text(keyspace, "id"), text(keyspace, "name"), text(keyspace, "kind"), text(keyspace, "replication"),
                    text(keyspace, "shards")});
  }
  return rows;
}

// The same with how much there is of each.
Status print_keyspaces(const Common& common) {
  FLUX_TRY(json::object view, cluster_view(common));
  measure_at_leaders(common, view);
  std::map<std::string, std::pair<uint64_t, uint64_t>> sizes;  // keys and bytes, by name
  for (const json::value& each : list(view, "shards")) {
    auto& [keys, bytes] = sizes[text(each.as_object(), "keyspace")];
    keys += number(each.as_object(), "keys");
    bytes += number(each.as_object(), "bytes");
  }
  Rows rows = keyspace_rows(view);
  rows.front().insert(rows.front().end(), {"KEYS", "BYTES"});
  json::array keyspaces;
  for (const json::value& each : list(view, "keyspaces")) {
    json::object keyspace = each.as_object();
    const auto [keys, bytes] = sizes[text(keyspace, "name")];
    std::vector<std::string>& row = rows.at(keyspaces.size() + 1);
    row.insert(row.end(), {std::to_string(keys), human_bytes(static_cast<double>(bytes))});
    keyspace["keys"] = keys;
    keyspace["bytes"] = bytes;
    keyspaces.push_back(std::move(keyspace));
  }
  if (common.format() == Format::kJson) {
    fmt::print("{}\n", json::serialize(keyspaces));
  } else {
    print_table(rows);
  }
  return {};
}

Status print_config(const Common& common, uint64_t config) {
  FLUX_TRY(const json::object view, cluster_view(common, config));
  if (common.format() == Format::kJson) {
    fmt::print("{}\n", json::serialize(view));
    return {};
  }
  fmt::print("configuration {}, balance {}, groups are added {}, {} shards\n\n", text(view, "config_num"),
             text(view, "balance"), flag(view, "groups_by_cores") ? "by cores" : "by hand",
             list(view, "shards").size());
  print_table(keyspace_rows(view));
  fmt::print("\n");
  print_table(group_rows(view));
  fmt::print("\n");
  print_table(node_rows(view));
  return {};
}

// --- What changed from one configuration to the next -----------------------------------------------------------------

using Index = std::map<uint64_t, std::string>;

Index index_of(const json::object& view, std::string_view name, std::string (*describe)(const json::object&)) {
  Index out;
  for (const json::value& each : list(view, name)) {
    out[number(each.as_object(), "id")] = describe(each.as_object());
  }
  return out;
}

void add_differences(std::vector<std::string>& out, std::string_view noun, const Index& older, const Index& newer) {
  constexpr size_t kShownMax = 4;
  std::vector<std::string> lines;
  for (const auto& [id, now] : newer) {
    const auto before = older.find(id);
    if (before == older.end()) {
      lines.push_back(fmt::format("+{} {} ({})", noun, id, now));
    } else if (before->second != now) {
      lines.push_back(fmt::format("{} {}: {} -> {}", noun, id, before->second, now));
    }
  }
  for (const auto& [id, before] : older) {
    if (!newer.contains(id)) lines.push_back(fmt::format("-{} {} ({})", noun, id, before));
  }
  if (lines.size() > kShownMax) lines = {fmt::format("{} {}s changed", lines.size(), noun)};
  out.insert(out.end(), lines.begin(), lines.end());
}

std::vector<std::string> differences(const json::object& older, const json::object& newer) {
  std::vector<std::string> out;
  const auto compare = [&](std::string_view noun, std::string_view name, std::string (*describe)(const json::object&)) {
    add_differences(out, noun, index_of(older, name, describe), index_of(newer, name, describe));
  };
  using Object = json::object;
  compare("node", "nodes", [](const Object& node) { return text(node, "name") + " " + text(node, "state"); });
  compare("group", "groups", [](const Object& group) { return text(group, "state") + " " + text(group, "voters"); });
  compare("keyspace", "keyspaces",
          [](const Object& keyspace) { return text(keyspace, "name") + " x" + text(keyspace, "replication"); });
  compare("shard", "shards", [](const Object& shard) { return "group " + text(shard, "group"); });
  return out;
}

Status print_history(const Common& common, uint64_t last) {
  FLUX_TRY(json::object newer, cluster_view(common));
  json::array entries;
  Rows rows = {{"CONFIG", "WHAT CHANGED"}};
  for (uint64_t num = number(newer, "config_num"); num > 0 && entries.size() < last; --num) {
    Result<json::object> older = num == 1 ? Result<json::object>(json::object()) : cluster_view(common, num - 1);
    if (!older.ok()) break;  // not kept any more
    const std::vector<std::string> changes = differences(*older, newer);
    json::array words;
    std::string line;
    for (const std::string& change : changes) {
      words.push_back(json::value(change));
      line += (line.empty() ? "" : "; ") + change;
    }
    entries.push_back(json::object{{"config_num", num}, {"changes", std::move(words)}});
    rows.push_back({std::to_string(num), line});
    newer = std::move(older).value();
  }
  if (common.format() == Format::kJson) {
    fmt::print("{}\n", json::serialize(entries));
  } else {
    print_table(rows);
  }
  return {};
}

// --- Nodes -----------------------------------------------------------------------------------------------------------

Status add_node(const Common& common, const std::string& node, uint64_t cores, const ChangeOptions& options) {
  const size_t equals = node.find('=');
  if (equals == std::string::npos || equals == 0) {
    return Status(ErrorCode::kInvalidArgument, fmt::format("'{}' is not NAME=HOST:PORT", node));
  }
  const std::string name = node.substr(0, equals);
  const std::string address = node.substr(equals + 1);
  return change(common, "node/add", {{"name", name}, {"peer_address", address}, {"cores", cores}}, options,
                fmt::format("Added. Now start it: fluxkv server --name {} --listen-peer {} --join PEER-ADDRESS-OF-A-"
                            "NODE --data-dir ...",
                            name, address));
}

std::string replicas_of(const json::object& view, uint64_t node) {
  std::string groups;
  size_t count = 0;
  for (const json::value& each : list(view, "groups")) {
    for (const char* role : {"voters", "learners"}) {
      for (const json::value& id : list(each.as_object(), role)) {
        if (id.to_number<uint64_t>() != node) continue;
        ++count;
        groups += (groups.empty() ? "" : ", ") + text(each.as_object(), "id");
      }
    }
  }
  return count == 0 ? "no replica" : fmt::format("{} replicas (groups {})", count, groups);
}

struct NodeArguments {
  std::string node;
  std::string by;
  uint64_t cores = 1;
  ChangeOptions options;
};

Status drain_node(const Common& common, const NodeArguments& given) {
  FLUX_TRY(const json::object view, cluster_view(common));
  FLUX_TRY(const uint64_t id, node_id(view, given.node));
  FLUX_RETURN_IF_ERROR(
      confirm(given.options,
              fmt::format("Node {} ({}) holds {}: all of them move to other nodes, and it gets no more.", id,
                          node_name(view, id), replicas_of(view, id)),
              view));
  return change(common, "node/drain", {{"node", id}}, given.options, "Draining.");
}

Status remove_node(const Common& common, const NodeArguments& given) {
  FLUX_TRY(const json::object view, cluster_view(common));
  FLUX_TRY(const uint64_t id, node_id(view, given.node));
  FLUX_RETURN_IF_ERROR(confirm(
      given.options,
      fmt::format("Node {} ({}) holds {}: it leaves the cluster for ever, and what is in its directory is of no "
                  "more use.",
                  id, node_name(view, id), replicas_of(view, id)),
      view));
  return change(common, "node/remove", {{"node", id}}, given.options, "Removed.");
}

Status replace_node(const Common& common, const NodeArguments& given) {
  FLUX_TRY(const json::object view, cluster_view(common));
  FLUX_TRY(const uint64_t id, node_id(view, given.node));
  FLUX_TRY(const uint64_t by, node_id(view, given.by));
  FLUX_RETURN_IF_ERROR(confirm(
      given.options,
      fmt::format("Node {} ({}) holds {}: all of them move to node {} ({}), then node {} leaves the cluster for "
                  "ever.",
                  id, node_name(view, id), replicas_of(view, id), by, node_name(view, by), id),
      view));
  return change(common, "node/replace", {{"node", id}, {"by", by}}, given.options, "Replacing.");
}

void add_node_commands(CLI::App& app, const Common& common, Run& run) {
  auto given = std::make_shared<NodeArguments>();
  CLI::App* node = app.add_subcommand("node", "Show, add, drain, remove and replace nodes");
  node->require_subcommand(1);
  add_command(*node, run, "list", "Show the nodes", [&common] { return print_list(common, "nodes", node_rows); });

  CLI::App* add = add_command(*node, run, "add", "Let a node join; it gets replicas when groups or plans give it some",
                              [&common, given] { return add_node(common, given->node, given->cores, given->options); });
  add->add_option("node", given->node, "NAME=HOST:PORT, the peer address it will listen on")->required();
  add->add_option("--cores", given->cores, "Its share of replicas and leaders")->capture_default_str();
  add_change_flags(*add, given->options, {});

  CLI::App* drain = add_command(*node, run, "drain", "Move all its replicas to other nodes",
                                [&common, given] { return drain_node(common, *given); });
  drain->add_option("node", given->node, "Id or name")->required();
  add_change_flags(*drain, given->options, {.yes = true, .wait = true});

  CLI::App* remove = add_command(*node, run, "remove", "Remove a node that holds no replica, for good",
                                 [&common, given] { return remove_node(common, *given); });
  remove->add_option("node", given->node, "Id or name")->required();
  add_change_flags(*remove, given->options, {.yes = true});

  CLI::App* replace = add_command(*node, run, "replace", "Move all its replicas to one other node, then remove it",
                                  [&common, given] { return replace_node(common, *given); });
  replace->add_option("node", given->node, "Id or name; it may be dead")->required();
  replace->add_option("by", given->by, "Id or name of the node that takes its place")->required();
  add_change_flags(*replace, given->options, {.yes = true, .wait = true});
}

// --- Groups ----------------------------------------------------------------------------------------------------------

struct GroupArguments {
  uint64_t group = 0;
  uint64_t replicas = 0;
  uint64_t weight = 1;
  std::vector<std::string> voters;
  std::string by_cores;
  ChangeOptions options;
};

Status add_group(const Common& common, const GroupArguments& given) {
  json::object body{{"id", given.group}, {"replicas", given.replicas}, {"weight", given.weight}};
  if (!given.voters.empty()) {
    FLUX_TRY(const json::object view, cluster_view(common));
    json::array voters;
    for (const std::string& each : given.voters) {
      FLUX_TRY(const uint64_t id, node_id(view, each));
      voters.push_back(id);
    }
    body["voters"] = std::move(voters);
  }
  return change(common, "group/add", std::move(body), given.options,
                "Added. It gets shards with the next rebalancing.");
}

Status remove_group(const Common& common, const GroupArguments& given) {
  FLUX_TRY(const json::object view, cluster_view(common));
  const json::object* group = with_id(list(view, "groups"), given.group);
  if (group == nullptr) return Status(ErrorCode::kNotFound, fmt::format("there is no group {}", given.group));
  FLUX_RETURN_IF_ERROR(confirm(
      given.options,
      fmt::format("Group {} owns {} shards: other groups get them, then it ends.", given.group, text(*group, "shards")),
      view));
  return change(common, "group/remove", {{"group", given.group}}, given.options, "Removing.");
}

void add_group_commands(CLI::App& app, const Common& common, Run& run) {
  auto given = std::make_shared<GroupArguments>();
  CLI::App* group = app.add_subcommand("group", "Show, add and remove groups");
  group->require_subcommand(1);
  add_command(*group, run, "list", "Show the groups", [&common] { return print_list(common, "groups", group_rows); });

  CLI::App* add =
      add_command(*group, run, "add", "Add a group", [&common, given] { return add_group(common, *given); });
  add->add_option("--id", given->group, "Its number; else the next free one");
  add->add_option("--voters", given->voters, "Ids or names of its nodes; else they are chosen")->delimiter(',');
  add->add_option("--replicas", given->replicas, "How many nodes to choose; else as the default keyspace wants");
  add->add_option("--weight", given->weight, "Its share of shards")->capture_default_str();
  add_change_flags(*add, given->options, {});

  CLI::App* by_cores =
      add_command(*group, run, "auto", "Say whether groups are added as the cluster gets more cores", [&common, given] {
        const bool on = given->by_cores == "on";
        return change(common, "group/auto", {{"by_cores", on}}, given->options,
                      on ? "Groups are added as the cluster gets more cores." : "Groups are added by hand only.");
      });
  by_cores->add_option("on|off", given->by_cores, "on or off")->required()->check(CLI::IsMember({"on", "off"}));
  add_change_flags(*by_cores, given->options, {});

  CLI::App* remove = add_command(*group, run, "remove", "Give all its shards to other groups, then end it",
                                 [&common, given] { return remove_group(common, *given); });
  remove->add_option("group", given->group, "Its number")->required();
  add_change_flags(*remove, given->options, {.yes = true, .wait = true});
}

// --- Keyspaces -------------------------------------------------------------------------------------------------------

struct KeyspaceArguments {
  std::string name;
  std::string kind = "hash";
  uint64_t replication = 0;
  uint64_t shards = 0;
  std::vector<std::string> split_at;
  ChangeOptions options;
};

Status create_keyspace(const Common& common, const KeyspaceArguments& given) {
  json::object body{{"name", given.name}, {"kind", given.kind}, {"replication", given.replication}};
  if (given.shards != 0) body["shards"] = given.shards;
  if (!given.split_at.empty()) {
    json::array starts;
    for (const std::string& start : given.split_at) starts.push_back(json::value(start));
    body["split_at"] = std::move(starts);
  }
  return change(common, "keyspace/create", std::move(body), given.options, "Created.");
}

Status drop_keyspace(const Common& common, const KeyspaceArguments& given) {
  FLUX_TRY(json::object view, cluster_view(common));
  measure_at_leaders(common, view);
  uint64_t shards = 0;
  uint64_t keys = 0;
  for (const json::value& each : list(view, "shards")) {
    if (text(each.as_object(), "keyspace") != given.name) continue;
    ++shards;
    keys += number(each.as_object(), "keys");
  }
  FLUX_RETURN_IF_ERROR(
      confirm(given.options,
              fmt::format("Keyspace {} has {} shards with about {} keys: all of them are deleted, for ever.",
                          given.name, shards, keys),
              view));
  return change(common, "keyspace/drop", {{"name", given.name}}, given.options, "Dropped.");
}

void add_keyspace_commands(CLI::App& app, const Common& common, Run& run) {
  auto given = std::make_shared<KeyspaceArguments>();
  CLI::App* keyspace = app.add_subcommand("keyspace", "Show, create and drop keyspaces");
  keyspace->require_subcommand(1);
  add_command(*keyspace, run, "list", "Show the keyspaces, and about how much each holds",
              [&common] { return print_keyspaces(common); });

  CLI::App* create = add_command(*keyspace, run, "create", "Create a keyspace",
                                 [&common, given] { return create_keyspace(common, *given); });
  create->add_option("name", given->name)->required();
  create->add_option("--kind", given->kind, "hash spreads keys over slots; range keeps them in their order")
      ->check(CLI::IsMember({"hash", "range"}))
      ->capture_default_str();
  create->add_option("--replication", given->replication, "Voters of its groups; else as the default keyspace");
  create->add_option("--shards", given->shards, "hash: how many to begin with; else 16 for each group");
  create->add_option("--split-at", given->split_at, "range: the keys where the second and later shards begin");
  add_change_flags(*create, given->options, {});

  CLI::App* drop = add_command(*keyspace, run, "drop", "Delete a keyspace and all its data",
                               [&common, given] { return drop_keyspace(common, *given); });
  drop->add_option("name", given->name)->required();
  add_change_flags(*drop, given->options, {.yes = true});

  CLI::App* replication =
      add_command(*keyspace, run, "replication", "Change how many copies there are", [&common, given] {
        return change(common, "keyspace/replication", {{"keyspace", given->name}, {"replication", given->replication}},
                      given->options, fmt::format("{} gets {} copies.", given->name, given->replication));
      });
  replication->add_option("name", given->name)->required();
  replication->add_option("copies", given->replication, "Voters of its groups")->required();
  add_change_flags(*replication, given->options, {});
}

}  // namespace

void add_cluster_commands(CLI::App& app, const Common& common, Run& run) {
  add_node_commands(app, common, run);
  add_group_commands(app, common, run);
  add_keyspace_commands(app, common, run);

  struct Arguments {
    uint64_t config = 0;
    uint64_t last = 20;
  };
  auto given = std::make_shared<Arguments>();
  CLI::App* config = app.add_subcommand("config", "Show the cluster's configurations");
  config->require_subcommand(1);
  add_command(*config, run, "show", "Show one configuration", [&common, given] {
    return print_config(common, given->config);
  })->add_option("config", given->config, "Its number; else the newest");
  add_command(*config, run, "history", "Show what changed from one to the next, the newest first",
              [&common, given] { return print_history(common, given->last); })
      ->add_option("--last", given->last, "How many")
      ->capture_default_str();
}

}  // namespace flux::main::ctl
