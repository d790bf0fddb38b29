// wal dump: a log directory for people.
#include "wal/dump.h"

#include <fmt/core.h>

#include "env/posix/posix_fs.h"
#include "main/ctl/commands.h"

namespace flux::main::ctl {

void add_wal_commands(CLI::App& app, Run& run) {
  CLI::App* wal = app.add_subcommand("wal", "Look into a node's log");
  wal->require_subcommand(1);
  CLI::App* dump = wal->add_subcommand("dump", "Print every record of a log; changes nothing");
  auto dir = std::make_shared<std::string>();
  dump->add_option("dir", *dir, "A node's data directory, or the wal directory in it")->required();
  dump->callback([&run, dir] {
    run = [dir]() -> Status {
      env::PosixFs fs;
      FLUX_TRY(const bool is_data_dir, fs.exists(*dir + "/wal"));
      return wal::dump(fs, is_data_dir ? *dir + "/wal" : *dir, [](std::string_view line) { fmt::print("{}\n", line); });
    };
  });
}

}  // namespace flux::main::ctl
