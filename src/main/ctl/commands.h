// The families of fluxctl's commands. Each adds its subcommands to the command line; the chosen one becomes `run`.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "base/status.h"
#include "env/net.h"
#include "main/ctl/output.h"

namespace flux::main::ctl {

struct Common {
  std::string endpoints = "127.0.0.1:8379";
  std::string resp;  // empty: asked of the endpoints
  std::string output = "table";
  double timeout_seconds = 5;

  Format format() const { return output == "json" ? Format::kJson : Format::kTable; }
  Micros timeout() const { return Micros(static_cast<int64_t>(timeout_seconds * 1e6)); }
};

// What main() runs after parsing: the chosen command. Its error is printed and makes the exit code 1.
using Run = std::function<Status()>;

void add_status_commands(CLI::App& app, const Common& common, Run& run);
void add_cluster_commands(CLI::App& app, const Common& common, Run& run);
void add_shard_commands(CLI::App& app, const Common& common, Run& run);
void add_plan_commands(CLI::App& app, const Common& common, Run& run);
void add_data_commands(CLI::App& app, const Common& common, Run& run);
void add_wal_commands(CLI::App& app, Run& run);
void add_bench_command(CLI::App& app, const Common& common, Run& run);
void add_verify_command(CLI::App& app, const Common& common, Run& run);
void add_chaos_command(CLI::App& app, const Common& common, Run& run);

Result<std::vector<env::Address>> parse_endpoints(const std::string& text);
// The body that the first endpoint that answers gives. An HTTP error is its message as a Status.
Result<std::string> ask(const Common& common, std::string_view method, std::string_view path, std::string_view body);
// Where RESP clients connect: --resp, else what the nodes say of themselves.
Result<std::vector<env::Address>> resp_endpoints(const Common& common);
// Where clients of the wire protocol connect, as the nodes say of themselves.
Result<std::vector<env::Address>> wire_endpoints(const Common& common);

}  // namespace flux::main::ctl
