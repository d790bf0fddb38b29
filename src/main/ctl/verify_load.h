// The load of `verify` and `chaos`: clients that read, write, count and append at the same few keys through every node,
// and write down what they did and were told.
#pragma once

#include <CLI/CLI.hpp>
#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "base/rng.h"
#include "base/types.h"
#include "env/net.h"
#include "history/operation.h"
#include "main/ctl/output.h"

namespace flux::main::ctl {

struct VerifyLoadOptions {
  std::vector<env::Address> servers;  // of RESP
  // Given: the load speaks the wire protocol, through the C++ client, which is told of these nodes.
  std::vector<env::Address> wire;
  uint64_t clients = 8;
  uint64_t keys = 12;  // at a time; every second fresh ones take their place
  // An unanswered request is given up after this; its outcome is unknown.
  Micros timeout = Millis(2000);
  // Pause of a client between requests, at most.
  Micros think = Micros(0);
  std::string prefix;  // of all keys; nothing else may use it
  uint64_t seed = 1;
};

// Counts of a load; any thread.
struct VerifyProgress {
  std::atomic<uint64_t> ok = 0;
  std::atomic<uint64_t> failed = 0;
  std::atomic<uint64_t> unknown = 0;
};

// Runs clients, a thread each, until `stop`; returns what they saw, with a last read of every key. The keys are deleted
// afterwards. A server that is away is tried again; an error is what the options or the last reads ran into.
Result<history::History> run_verify_load(const VerifyLoadOptions& options, const std::atomic<bool>& stop,
                                         VerifyProgress& progress);

// The same for a time, with a progress line unless `quiet`. `meanwhile` is called again and again until then and does
// its own waiting; an error of it ends the load.
Result<history::History> load_for(const VerifyLoadOptions& load, double seconds, bool quiet,
                                  const std::function<Status()>& meanwhile);

// Checks a history, prints what it is worth, and returns an error that explains if it is not linearizable.
Status report_verdict(const history::History& history, Format format);
Status write_history(const std::string& path, const history::History& history);

// The options that `verify` and `chaos` share. A seed of 0 asks for resolve_seed().
void add_verify_load_options(CLI::App& command, VerifyLoadOptions& load, std::string& history_path);
void resolve_seed(VerifyLoadOptions& load);

}  // namespace flux::main::ctl
