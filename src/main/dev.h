// `fluxkv dev`: several nodes in one process.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "base/status.h"

namespace flux::main {

struct DevOptions {
  size_t nodes = 3;
  uint32_t groups = 0;
  std::string data_dir = "fluxkv-dev";
  std::string engine = "memory";
  uint16_t resp_port = 6379;
  uint16_t http_port = 8379;
  uint16_t peer_port = 7380;
  uint16_t wire_port = 7370;
  std::string log_level = "warn";
};

void add_dev_flags(CLI::App& command, DevOptions& options);
// Runs until SIGINT or SIGTERM.
Status run_dev(const DevOptions& options);

}  // namespace flux::main
