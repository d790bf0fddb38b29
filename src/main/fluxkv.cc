// fluxkv: the server.
#include <fmt/core.h>

#include <cstdio>
#include <cstdlib>

#include "base/log.h"
#include "main/command_line.h"
#include "main/signals.h"

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

// Flag, then environment, then file, then default.
Result<ServerOptions> read_options(Settings& settings) {
  FLUX_RETURN_IF_ERROR(settings.read_environment(environ));
  if (const std::string file = settings.get("config"); !file.empty()) FLUX_RETURN_IF_ERROR(settings.read_file(file));
  return server_options(settings);
}

int run_server(Settings& settings) {
  Result<ServerOptions> options = read_options(settings);
  if (!options.ok()) return fail(kExitUsage, options.status());
  log::configure(options->log_level, options->log_format, options->process.node.name);

  Signals signals;
  Result<std::unique_ptr<NodeProcess>> process = NodeProcess::start(options->process, [](const Status& why) {
    log::error("{} -> this node stops", why.to_string());
    std::_Exit(kExitFailed);
  });
  if (!process.ok()) return fail(kExitFailed, process.status());
  const std::optional<env::Address> wire = (*process)->wire_address();
  log::info("ready: RESP {}, HTTP {}, {}peers {}", (*process)->resp_address().to_string(),
            (*process)->http_address().to_string(), wire ? fmt::format("wire {}, ", wire->to_string()) : "",
            (*process)->peer_address().to_string());
  const int signal = signals.wait();
  log::info("signal {} -> handing over and stopping", signal);
  if (Status status = (*process)->shut_down(); !status.ok()) return fail(kExitFailed, status);
  return kExitOk;
}

int main_of(int argc, char** argv) {
  Result<CommandLine> line = parse_command_line({argv + 1, argv + argc});
  if (!line.ok()) {
    fmt::print(stderr, "fluxkv: {}\nRun with --help for what is allowed.\n", line.status().message());
    return kExitUsage;
  }
  switch (line->command) {
    case CommandLine::Command::kPrint:
      fmt::print("{}", line->text);
      return kExitOk;
    case CommandLine::Command::kDev: {
      const Status status = run_dev(line->dev);
      return status.ok() ? kExitOk : fail(kExitFailed, status);
    }
    case CommandLine::Command::kServer:
      return run_server(line->settings);
  }
  return kExitUsage;
}

}  // namespace
}  // namespace flux::main

int main(int argc, char** argv) { return flux::main::main_of(argc, argv); }
