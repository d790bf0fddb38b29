// plan, rebalance, balance: work that takes its time, and what starts it.
#include <fmt/core.h>

#include <chrono>
#include <thread>

#include "main/ctl/change.h"

namespace flux::main::ctl {
namespace {

Result<json::object> find_plan(const json::object& view, uint64_t id) {
  const json::object* plan = with_id(list(view, "plans"), id);
  if (plan == nullptr) return Status(ErrorCode::kNotFound, fmt::format("there is no plan {}; see plan list", id));
  return *plan;
}

Status print_plans(const Common& common) {
  FLUX_TRY(const json::object view, cluster_view(common));
  if (common.format() == Format::kJson) {
    fmt::print("{}\n", json::serialize(list(view, "plans")));
    return {};
  }
  const Sizes sizes(common, view);
  std::vector<std::vector<std::string>> rows = {{"PLAN", "KIND", "STATE", "STEPS", "ENDED", "COPIED"}};
  for (const json::value& each : list(view, "plans")) {
    const json::object& plan = each.as_object();
    const Totals totals = totals_of(plan, sizes);
    rows.push_back({text(plan, "id"), text(plan, "kind"), text(plan, "state"), std::to_string(totals.steps),
                    std::to_string(totals.ended), progress_text(totals.bytes_done, totals.bytes_total, 0)});
  }
  print_table(rows);
  return {};
}

// The rate of a plan that runs shows between two looks at it.
Status print_plan(const Common& common, uint64_t id) {
  FLUX_TRY(json::object view, cluster_view(common));
  FLUX_TRY(json::object plan, find_plan(view, id));
  if (common.format() == Format::kJson) {
    fmt::print("{}\n", json::serialize(plan));
    return {};
  }
  const Sizes sizes(common, view);
  std::vector<Rate> rates(list(plan, "steps").size());
  Rate together;
  const auto first = std::chrono::steady_clock::now();
  const auto look = [&] {
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - first;
    rates.resize(list(plan, "steps").size());
    for (size_t i = 0; i < rates.size(); ++i) {
      rates[i].add(passed.count(), number(list(plan, "steps")[i].as_object(), "bytes_done"));
    }
    together.add(passed.count(), totals_of(plan, sizes).bytes_done);
  };
  look();
  if (text(plan, "state") == "running") {
    std::this_thread::sleep_for(std::chrono::seconds(1));
    FLUX_TRY(view, cluster_view(common));
    FLUX_TRY(plan, find_plan(view, id));
    look();
  }
  const Totals totals = totals_of(plan, sizes);
  fmt::print("plan {} {}, {}: {} of {} steps, {}\n\n", id, text(plan, "kind"), text(plan, "state"), totals.ended,
             totals.steps, progress_text(totals.bytes_done, totals.bytes_total, together.per_second()));
  std::vector<std::vector<std::string>> rows = {{"STEP", "WHAT", "PHASE", "KEYS", "COPIED", "REASON"}};
  for (size_t i = 0; i < rates.size(); ++i) {
    const json::object& step = list(plan, "steps")[i].as_object();
    rows.push_back({std::to_string(i + 1), text(step, "what"), text(step, "phase"),
                    number(step, "shard") != 0 ? text(step, "keys_done") : "-",
                    progress_text(number(step, "bytes_done"), bytes_of(step, sizes), rates[i].per_second()),
                    text(step, "reason")});
  }
  print_table(rows);
  return {};
}

struct Arguments {
  uint64_t plan = 0;
  std::string mode;
  uint64_t moves = 0;
  uint64_t moves_per_group = 0;
  uint64_t member_changes = 0;
  ChangeOptions options;
};

Status plan_limits(const Common& common, const Arguments& given) {
  json::object body;
  if (given.moves != 0) body["moves"] = given.moves;
  if (given.moves_per_group != 0) body["moves_per_group"] = given.moves_per_group;
  if (given.member_changes != 0) body["member_changes"] = given.member_changes;
  if (!body.empty()) return change(common, "plan/limits", std::move(body), given.options, "Changed.");
  FLUX_TRY(const json::object view, cluster_view(common));
  const json::value* limits = view.if_contains("limits");
  if (limits == nullptr || !limits->is_object()) return Status(ErrorCode::kUnsupported, "the node does not say");
  if (common.format() == Format::kJson) {
    fmt::print("{}\n", json::serialize(*limits));
    return {};
  }
  print_table({{"AT ONCE", "LIMIT"},
               {"shards that change groups", text(limits->get_object(), "moves")},
               {"of which one group gives or takes", text(limits->get_object(), "moves_per_group")},
               {"groups that change their members", text(limits->get_object(), "member_changes")}});
  return {};
}

}  // namespace

void add_plan_commands(CLI::App& app, const Common& common, Run& run) {
  auto given = std::make_shared<Arguments>();
  CLI::App* plan = app.add_subcommand("plan", "Show and control moves and changes that are under way");
  plan->require_subcommand(1);
  add_command(*plan, run, "list", "Show the plans", [&common] { return print_plans(common); });
  add_command(*plan, run, "show", "Show every step of a plan, how fast it is and how long it will take",
              [&common, given] { return print_plan(common, given->plan); })
      ->add_option("plan", given->plan, "Its number")
      ->required();
  for (const auto& [name, help, answer] :
       {std::tuple{"pause", "Begin no more steps", "Paused."},
        std::tuple{"resume", "Go on; steps that failed are tried again", "Resumed."},
        std::tuple{"cancel", "Give up what has not been handed over yet", "Cancelled."}}) {
    CLI::App* command =
        add_command(*plan, run, name, help, [&common, given, verb = std::string(name), done = std::string(answer)] {
          return change(common, "plan", {{"plan", given->plan}, {"verb", verb}}, given->options, done);
        });
    command->add_option("plan", given->plan, "Its number")->required();
    add_change_flags(*command, given->options, {});
  }

  CLI::App* limits = add_command(*plan, run, "limits", "Show what plans may do at once, or change it",
                                 [&common, given] { return plan_limits(common, *given); });
  const CLI::Range allowed(1, 1000);
  limits->add_option("--moves", given->moves, "Shards that change groups at once")->check(allowed);
  limits->add_option("--moves-per-group", given->moves_per_group, "Of which one group gives or takes")->check(allowed);
  limits->add_option("--member-changes", given->member_changes, "Groups that change their members at once")
      ->check(allowed);
  add_change_flags(*limits, given->options, {});

  CLI::App* rebalance = add_command(app, run, "rebalance", "Plan the moves that even out the shards", [&common, given] {
    return change(common, "rebalance", {}, given->options, "Rebalancing.");
  });
  add_change_flags(*rebalance, given->options, {.wait = true});

  CLI::App* balance = add_command(app, run, "balance", "Say what is evened out without being asked", [&common, given] {
    return change(common, "balance", {{"mode", given->mode}}, given->options, "Balance is " + given->mode + ".");
  });
  balance->add_option("mode", given->mode, "off, shards (their number) or load")
      ->required()
      ->check(CLI::IsMember({"off", "shards", "load"}));
  add_change_flags(*balance, given->options, {});
}

}  // namespace flux::main::ctl
