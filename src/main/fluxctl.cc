// fluxctl: an operator's hands.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "main/ctl/commands.h"
#include "main/settings.h"

namespace flux::main::ctl {
namespace {

int main_of(int argc, char** argv) {
  CLI::App app{"fluxctl: look at a FluxKV cluster, change it, load it"};
  app.require_subcommand(1);
  app.set_version_flag("--version", "fluxctl " FLUX_VERSION);
  Common common;
  app.add_option("--endpoints", common.endpoints, "HTTP addresses of nodes, the first that answers is used")
      ->type_name("HOST:PORT,...")
      ->envname("FLUXCTL_ENDPOINTS")
      ->capture_default_str();
  app.add_option("--resp", common.resp, "RESP addresses for data commands; else asked of --endpoints")
      ->type_name("HOST:PORT,...")
      ->envname("FLUXCTL_RESP");
  app.add_option("-o,--output", common.output, "table or json")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  app.add_option("--timeout", common.timeout_seconds, "Seconds to wait for an answer")
      ->check(CLI::Range(0.001, 3600.0))
      ->capture_default_str();
  app.fallthrough();
  Run run;
  add_status_commands(app, common, run);
  add_cluster_commands(app, common, run);
  add_shard_commands(app, common, run);
  add_plan_commands(app, common, run);
  add_data_commands(app, common, run);
  add_wal_commands(app, run);
  add_bench_command(app, common, run);
  add_verify_command(app, common, run);
  add_chaos_command(app, common, run);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    std::vector<std::string> names;
    for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
    const std::string near = argc > 1 ? nearest_name(argv[1], names) : "";
    const bool mistyped = !near.empty() && near != argv[1];
    fmt::print(stderr, "fluxctl: {}{}\nRun with --help for what is allowed.\n", error.what(),
               mistyped ? fmt::format("; did you mean '{}'?", near) : std::string());
    return 2;
  }
  const Status status = run();
  if (status.ok()) return 0;
  fmt::print(stderr, "fluxctl: {}\n", status.message());
  return 1;
}

}  // namespace
}  // namespace flux::main::ctl

int main(int argc, char** argv) { return flux::main::ctl::main_of(argc, argv); }
