// A command line, an environment and a file with anything in them: they make a server's options or are refused with a
// reason, each value comes from the first source that has it, and what was taken is taken again when it stands in
// flags. The input is lines: arguments, then after a line "%env" the environment, after a line "%file" the file.
#include <cstdint>

#include "main/command_line.h"
#include "main/server_options.h"

namespace {

using namespace flux;
using namespace flux::main;

struct Input {
  std::vector<std::string> arguments;
  std::vector<std::string> environment;
  std::string file;
};

Input split(std::string_view text) {
  Input input;
  enum class Part : uint8_t { kArguments, kEnvironment, kFile } part = Part::kArguments;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string line(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line == "%env") {
      part = Part::kEnvironment;
    } else if (line == "%file") {
      part = Part::kFile;
    } else if (part == Part::kArguments) {
      input.arguments.push_back(line);
    } else if (part == Part::kEnvironment) {
      input.environment.push_back(line.substr(0, line.find('\0')));
    } else {
      input.file += line + "\n";
    }
  }
  return input;
}

Status read_environment(Settings& settings, std::vector<std::string> entries) {
  std::vector<char*> pointers;
  for (std::string& entry : entries) pointers.push_back(entry.data());
  pointers.push_back(nullptr);
  return settings.read_environment(pointers.data());
}

void must_explain(const Status& status) {
  FLUX_CHECK(status.code() == ErrorCode::kInvalidArgument);
  FLUX_CHECK(!status.message().empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 20'000) return 0;
  const Input input = split({reinterpret_cast<const char*>(data), size});
  Result<CommandLine> line = parse_command_line(input.arguments);
  Settings flags(server_settings()), environment(server_settings()), file(server_settings());
  if (!line.ok()) {
    must_explain(line.status());
  } else {
    flags = line->settings;
  }
  if (const Status status = read_environment(environment, input.environment); !status.ok()) must_explain(status);
  if (const Status status = file.read_text(input.file, "file"); !status.ok()) must_explain(status);

  Settings all = flags;
  static_cast<void>(read_environment(all, input.environment).ok());
  static_cast<void>(all.read_text(input.file, "file").ok());
  Settings again(server_settings());
  for (const Setting& setting : all.known()) {
    const Settings& source = flags.given(setting.name) ? flags : environment.given(setting.name) ? environment : file;
    FLUX_CHECK(all.get(setting.name) == source.get(setting.name), "{}", setting.name);
    if (all.given(setting.name)) again.set_flag(setting.name, all.get(setting.name));
  }
  const Result<ServerOptions> options = server_options(all);
  const Result<ServerOptions> once_more = server_options(again);
  FLUX_CHECK(options.ok() == once_more.ok());
  if (!options.ok()) {
    must_explain(options.status());
    FLUX_CHECK(options.status().message() == once_more.status().message());
    return 0;
  }
  const node::NodeOptions& node = options->process.node;
  for (const env::Address& address : {node.listen_peer, node.advertise_peer, options->process.listen_resp}) {
    FLUX_CHECK(env::Address::parse(address.to_string()).value() == address, "{}", address.to_string());
  }
  FLUX_CHECK(node.election_timeout_min >= node.heartbeat_interval * 3);
  FLUX_CHECK(!node.name.empty());
  return 0;
}
