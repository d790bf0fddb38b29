// The settings of `fluxkv server`, and what they make of a process.
#pragma once

#include <vector>

#include "base/log.h"
#include "main/process.h"
#include "main/settings.h"

namespace flux::main {

std::vector<Setting> server_settings();

struct ServerOptions {
  ProcessOptions process;
  log::Level log_level = log::Level::kInfo;
  log::Format log_format = log::Format::kText;
};

// kInvalidArgument says which setting is wrong and what is allowed.
Result<ServerOptions> server_options(const Settings& settings);

}  // namespace flux::main
