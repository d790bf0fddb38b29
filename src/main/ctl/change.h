// Asking for a change of the cluster, and watching the plan that it began.
#pragma once

#include <memory>
#include <string>

#include "main/ctl/answers.h"

namespace flux::main::ctl {

struct ChangeOptions {
  uint64_t expect = 0;  // the configuration that must still be the newest; 0: any
  bool yes = false;     // do what cannot be undone
  bool wait = false;    // until the plan has ended
};

// The flags of a change: --expect, and those of the others that it takes.
struct ChangeFlags {
  bool yes = false;
  bool wait = false;
};
void add_change_flags(CLI::App& command, ChangeOptions& options, ChangeFlags flags);

// Says what a change that cannot be undone will do. Not OK: --yes was not given, so nothing may be done.
Status confirm(const ChangeOptions& options, const std::string& what, const json::object& view);

// POST /cluster/PATH, then prints the answer: `done`, or JSON.
Status change(const Common& common, const std::string& path, json::object body, const ChangeOptions& options,
              const std::string& done);

// One command of a family, which becomes `run` when it is chosen.
CLI::App* add_command(CLI::App& family, Run& run, const std::string& name, const std::string& help, Run body);

// Shows how a plan gets on until it has ended. Not OK unless it is done.
Status await_plan(const Common& common, uint64_t plan);

}  // namespace flux::main::ctl
