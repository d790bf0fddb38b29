// fluxkv: the server.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "base/log.h"
#include "main/dev.h"
#include "main/process.h"
#include "main/server_options.h"
#include "main/settings.h"
#include "main/signals.h"
#include "node/version.h"

extern char** environ;

namespace flux::main {
namespace {

constexpr int kExitOk = 0;
constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

int fail(int code, const Status& status) {
  fmt::print(stderr, "fluxkv: {}\n", status.message());
  return code;
}

// Registers every setting as a flag of `command`; the values are read back by take_flags().
struct Flags {
  std::map<std::string, std::string> values;

  void add_to(CLI::App& command, const std::vector<Setting>& settings) {
    for (const Setting& setting : settings) {
      CLI::Option* option = command.add_option("--" + setting.name, values[setting.name], setting.help);
      option->type_name(setting.placeholder);
      if (!setting.default_value.empty()) option->default_str(setting.default_value);
    }
  }
  void take(CLI::App& command, Settings& settings) {
    for (const auto& [name, value] : values) {
      if (command.count("--" + name) != 0) settings.set_flag(name, value);
    }
  }
};

// Flag, then environment, then file, then default.
Result<ServerOptions> read_options(Settings& settings) {
  FLUX_RETURN_IF_ERROR(settings.read_environment(environ));
  if (const std::string file = settings.get("config"); !file.empty()) FLUX_RETURN_IF_ERROR(settings.read_file(file));
  return server_options(settings);
}

int run_server(CLI::App& command, Flags& flags) {
  Settings settings(server_settings());
  flags.take(command, settings);
  Result<ServerOptions> options = read_options(settings);
  if (!options.ok()) return fail(kExitUsage, options.status());
  log::configure(options->log_level, options->log_format, options->process.node.name);

  Signals signals;
  Result<std::unique_ptr<NodeProcess>> process = NodeProcess::start(options->process, [](const Status& why) {
    log::error("{} -> this node stops", why.to_string());
    std::_Exit(kExitFailed);
  });
  if (!process.ok()) return fail(kExitFailed, process.status());
  log::info("ready: RESP {}, HTTP {}, peers {}", (*process)->resp_address().to_string(),
            (*process)->http_address().to_string(), (*process)->peer_address().to_string());
  const int signal = signals.wait();
  log::info("signal {} -> handing over and stopping", signal);
  if (Status status = (*process)->shut_down(); !status.ok()) return fail(kExitFailed, status);
  return kExitOk;
}

// CLI11's message, with the flag that was probably meant.
int usage_error(const CLI::App& app, const CLI::ParseError& error, const std::vector<std::string>& flags) {
  if (error.get_exit_code() == 0) return app.exit(error);
  std::string text = error.what();
  const size_t dashes = text.find("--");
  if (dashes != std::string::npos) {
    const size_t end = text.find_first_of(" =,]", dashes);
    const std::string near = nearest_name(text.substr(dashes + 2, end - dashes - 2), flags);
    if (!near.empty()) text += fmt::format("; did you mean --{}?", near);
  }
  fmt::print(stderr, "fluxkv: {}\nRun with --help for what is allowed.\n", text);
  return kExitUsage;
}

int main_of(int argc, char** argv) {
  CLI::App app{"FluxKV: a distributed, linearizable key-value store that speaks the Redis protocol"};
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("fluxkv ") + std::string(node::kVersion));
  CLI::App* server = app.add_subcommand("server", "Run one node");
  server->footer(
      "Every flag may also be FLUXKV_NAME in the environment (FLUXKV_DATA_DIR) or 'name: value' in the --config "
      "file. A flag wins over the environment, that over the file.");
  Flags server_flags;
  server_flags.add_to(*server, server_settings());
  CLI::App* dev =
      app.add_subcommand("dev", "Run a whole cluster in this process, to try FluxKV or to develop against it");
  DevOptions dev_options;
  add_dev_flags(*dev, dev_options);
  std::vector<std::string> names;
  for (const Setting& setting : server_settings()) names.push_back(setting.name);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return usage_error(app, error, names);
  }
  if (dev->parsed()) {
    const Status status = run_dev(dev_options);
    return status.ok() ? kExitOk : fail(kExitFailed, status);
  }
  return run_server(*server, server_flags);
}

}  // namespace
}  // namespace flux::main

int main(int argc, char** argv) { return flux::main::main_of(argc, argv); }
