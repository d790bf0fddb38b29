// shard: where keys are.
#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <set>

#include "main/ctl/change.h"

namespace flux::main::ctl {
namespace {

std::string range_of(const json::object& shard) {
  const json::array& slots = list(shard, "slots");
  if (slots.size() == 2) return fmt::format("{}-{}", json::serialize(slots[0]), json::serialize(slots[1]));
  const std::string start = text(shard, "start");
  const std::string end = text(shard, "end");
  return fmt::format("[{}, {})", start.empty() ? "first" : "'" + start + "'", end.empty() ? "last" : "'" + end + "'");
}

void print_shard_table(const json::object& view, const json::array& shards) {
  std::vector<std::vector<std::string>> rows = {
      {"SHARD", "KEYSPACE", "SLOTS OR KEYS", "GROUP", "LEADER", "STATE", "KEYS", "BYTES", "OPS/S"}};
  for (const json::value& each : shards) {
    const json::object& shard = each.as_object();
    const json::object* group = with_id(list(view, "groups"), number(shard, "group"));
    const std::string state = text(shard, "state");
    rows.push_back({text(shard, "id"), text(shard, "keyspace"), range_of(shard),
                    text(shard, "group") + (text(shard, "pinned") == "true" ? " pinned" : ""),
                    node_name(view, group == nullptr ? 0 : number(*group, "leader")), state.empty() ? "-" : state,
                    text(shard, "keys"), human_bytes(static_cast<double>(number(shard, "bytes"))),
                    text(shard, "operations_per_second")});
  }
  print_table(rows);
}

struct Wanted {
  std::string keyspace;  // "": all
  uint64_t group = 0;    // 0: all
};

Status print_shards(const Common& common, const Wanted& wanted) {
  FLUX_TRY(json::object view, cluster_view(common));
  measure_at_leaders(common, view);
  json::array shards;
  for (const json::value& each : list(view, "shards")) {
    const json::object& shard = each.as_object();
    if (!wanted.keyspace.empty() && text(shard, "keyspace") != wanted.keyspace) continue;
    if (wanted.group != 0 && number(shard, "group") != wanted.group) continue;
    shards.push_back(shard);
  }
  if (common.format() == Format::kJson) {
    fmt::print("{}\n", json::serialize(shards));
  } else {
    print_shard_table(view, shards);
  }
  return {};
}

Status print_hot_shards(const Common& common, size_t count) {
  FLUX_TRY(json::object view, cluster_view(common));
  measure_at_leaders(common, view);
  json::array shards = list(view, "shards");
  std::sort(shards.begin(), shards.end(), [](const json::value& a, const json::value& b) {
    const uint64_t load_a = number(a.as_object(), "operations_per_second");
    const uint64_t load_b = number(b.as_object(), "operations_per_second");
    return load_a != load_b ? load_a > load_b : number(a.as_object(), "id") < number(b.as_object(), "id");
  });
  if (shards.size() > count) shards.resize(count);
  if (common.format() == Format::kJson) {
    fmt::print("{}\n", json::serialize(shards));
  } else {
    print_shard_table(view, shards);
  }
  return {};
}

}  // namespace

void add_shard_commands(CLI::App& app, const Common& common, Run& run) {
  struct Arguments {
    Wanted wanted;
    size_t top = 10;
    uint64_t shard = 0;
    uint64_t right = 0;
    uint64_t to = 0;
    bool pin = false;
    std::string at;
    ChangeOptions options;
  };
  auto given = std::make_shared<Arguments>();
  CLI::App* shard = app.add_subcommand("shard", "Show, move, split and merge shards");
  shard->require_subcommand(1);

  CLI::App* show = add_command(*shard, run, "list", "Show the shards and who owns them",
                               [&common, given] { return print_shards(common, given->wanted); });
  show->add_option("--keyspace", given->wanted.keyspace, "Only those of this keyspace");
  show->add_option("--group", given->wanted.group, "Only those of this group");

  CLI::App* hot = add_command(*shard, run, "hot", "Show the busiest shards",
                              [&common, given] { return print_hot_shards(common, given->top); });
  hot->add_option("--top", given->top, "How many")->capture_default_str();

  CLI::App* move =
      add_command(*shard, run, "move", "Move a shard to another group; its clients do not notice", [&common, given] {
        return change(common, "shard/move", {{"shard", given->shard}, {"to", given->to}, {"pin", given->pin}},
                      given->options, fmt::format("Shard {} moves to group {}.", given->shard, given->to));
      });
  move->add_option("shard", given->shard, "Its number")->required();
  move->add_option("to", given->to, "The group that gets it")->required();
  move->add_flag("--pin", given->pin, "Rebalancing leaves it there");
  add_change_flags(*move, given->options, {.wait = true});

  CLI::App* split = add_command(*shard, run, "split", "Cut a shard in two; moves no data", [&common, given] {
    return change(common, "shard/split", {{"shard", given->shard}, {"at", given->at}}, given->options, "Split.");
  });
  split->add_option("shard", given->shard, "Its number")->required();
  split
      ->add_option(
          "at", given->at,
          "Where the new shard begins: slot:N, or in a range keyspace a key, with \\xHH for bytes that are not "
          "printable and \\\\ for a backslash")
      ->required();
  add_change_flags(*split, given->options, {});

  CLI::App* merge =
      add_command(*shard, run, "merge", "Make one shard of two neighbours in one group", [&common, given] {
        return change(common, "shard/merge", {{"left", given->shard}, {"right", given->right}}, given->options,
                      "Merged.");
      });
  merge->add_option("left", given->shard, "The shard that stays")->required();
  merge->add_option("right", given->right, "The shard that becomes part of it")->required();
  add_change_flags(*merge, given->options, {});
}

}  // namespace flux::main::ctl
