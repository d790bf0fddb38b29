// The command line of fluxkv.
#pragma once

#include <string>
#include <vector>

#include "main/dev.h"
#include "main/server_options.h"
#include "main/settings.h"

namespace flux::main {

struct CommandLine {
  enum class Command : uint8_t {
    kServer,
    kDev,
    kPrint,  // help or the version: `text` is all there is to do
  };
  Command command = Command::kServer;
  Settings settings{server_settings()};  // kServer: with the flags that were given
  DevOptions dev;                        // kDev
  std::string text;                      // kPrint
};

// `arguments` without the program's name. kInvalidArgument names the flag that is wrong, and the one that was probably
// meant.
Result<CommandLine> parse_command_line(std::vector<std::string> arguments);

}  // namespace flux::main
