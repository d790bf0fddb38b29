#include "main/command_line.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <sstream>

#include "node/version.h"

namespace flux::main {
namespace {

// Every setting as a flag of `command`, with its value in `values`.
void add_flags(CLI::App& command, const std::vector<Setting>& settings, std::map<std::string, std::string>& values) {
  for (const Setting& setting : settings) {
    CLI::Option* option = command.add_option("--" + setting.name, values[setting.name], setting.help);
    option->type_name(setting.placeholder);
    if (!setting.default_value.empty()) option->default_str(setting.default_value);
  }
}

// CLI11's message, with the flag that was probably meant.
Status usage_error(const CLI::ParseError& error, const Settings& settings) {
  std::string text = error.what();
  const size_t dashes = text.find("--");
  if (dashes != std::string::npos) {
    const size_t end = text.find_first_of(" =,]", dashes);
    const std::string near = settings.nearest(text.substr(dashes + 2, end - dashes - 2));
    if (!near.empty()) text += fmt::format("; did you mean --{}?", near);
  }
  return Status(ErrorCode::kInvalidArgument, std::move(text));
}

}  // namespace

Result<CommandLine> parse_command_line(std::vector<std::string> arguments) {
  CommandLine line;
  CLI::App app{"FluxKV: a distributed, linearizable key-value store that speaks the Redis protocol", "fluxkv"};
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("fluxkv ") + std::string(node::kVersion));
  CLI::App* server = app.add_subcommand("server", "Run one node");
  server->footer(
      "Every flag may also be FLUXKV_NAME in the environment (FLUXKV_DATA_DIR) or 'name: value' in the --config "
      "file. A flag wins over the environment, that over the file.");
  std::map<std::string, std::string> values;
  add_flags(*server, line.settings.known(), values);
  CLI::App* dev =
      app.add_subcommand("dev", "Run a whole cluster in this process, to try FluxKV or to develop against it");
  add_dev_flags(*dev, line.dev);
  std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) return usage_error(error, line.settings);
    std::ostringstream out;
    app.exit(error, out, out);
    line.command = CommandLine::Command::kPrint;
    line.text = out.str();
    return line;
  }
  line.command = dev->parsed() ? CommandLine::Command::kDev : CommandLine::Command::kServer;
  for (const auto& [name, value] : values) {
    if (server->count("--" + name) != 0) line.settings.set_flag(name, value);
  }
  return line;
}

}  // namespace flux::main
