#include "main/ctl/change.h"

#include <fmt/core.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <optional>
#include <thread>

namespace flux::main::ctl {
namespace {

constexpr auto kPollInterval = std::chrono::milliseconds(500);
// A node that answers may not have heard of a plan yet; and nodes may restart while a plan runs.
constexpr int kMissesMax = 60;

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Progress as one line: rewritten on a terminal, else a new one when something has changed.
class ProgressLine {
 public:
  explicit ProgressLine(bool silent) : silent_(silent), terminal_(::isatty(STDOUT_FILENO) != 0) {}
  ~ProgressLine() {
    if (terminal_ && !last_.empty()) fmt::print("\n");
  }
  void show(const std::string& line) {
    if (silent_ || line == last_) return;
    last_ = line;
    fmt::print("{}{}{}", terminal_ ? "\r\x1b[K" : "", line, terminal_ ? "" : "\n");
    std::fflush(stdout);
  }

 private:
  const bool silent_;
  const bool terminal_;
  std::string last_;
};

}  // namespace

void add_change_flags(CLI::App& command, ChangeOptions& options, ChangeFlags flags) {
  command.add_option("--expect", options.expect, "Only if this is still the number of the newest configuration");
  if (flags.yes) command.add_flag("--yes", options.yes, "Do it; without, only say what would be done");
  if (flags.wait) command.add_flag("--wait", options.wait, "Wait until the plan has ended, and show how it gets on");
}

Status confirm(const ChangeOptions& options, const std::string& what, const json::object& view) {
  fmt::print(stderr, "{}\n", what);
  if (options.yes) return {};
  return Status(ErrorCode::kPrecondition,
                fmt::format("nothing was changed; --yes does it, and with --expect {} only if nothing else has changed",
                            text(view, "config_num")));
}

Status change(const Common& common, const std::string& path, json::object body, const ChangeOptions& options,
              const std::string& done) {
  if (options.expect != 0) body["expected_config"] = options.expect;
  FLUX_TRY(const std::string answer, ask(common, "POST", "/cluster/" + path, json::serialize(body)));
  FLUX_TRY(const json::object reply, parse_object(answer));
  const uint64_t plan = number(reply, "plan");
  const bool watch = options.wait && plan != 0;
  if (common.format() == Format::kJson) {
    if (!watch) fmt::print("{}", answer);
  } else {
    fmt::print("{}\n", done);
    if (const std::string note = text(reply, "note"); !note.empty()) fmt::print("{}\n", note);
    if (plan != 0 && !watch) fmt::print("It goes on by itself: fluxctl plan show {}\n", plan);
  }
  return watch ? await_plan(common, plan) : Status();
}

CLI::App* add_command(CLI::App& family, Run& run, const std::string& name, const std::string& help, Run body) {
  CLI::App* command = family.add_subcommand(name, help);
  command->callback([&run, body = std::move(body)] { run = body; });
  return command;
}

Status await_plan(const Common& common, uint64_t wanted) {
  ProgressLine line(common.format() == Format::kJson);
  Rate rate;
  std::optional<Sizes> sizes;
  for (int misses = 0; misses < kMissesMax; std::this_thread::sleep_for(kPollInterval)) {
    const Result<json::object> view = cluster_view(common);
    const json::object* plan = view.ok() ? with_id(list(*view, "plans"), wanted) : nullptr;
    if (plan == nullptr) {
      ++misses;
      continue;
    }
    misses = 0;
    if (!sizes) sizes.emplace(common, *view);
    const Totals totals = totals_of(*plan, *sizes);
    rate.add(now_seconds(), totals.bytes_done);
    const std::string state = text(*plan, "state");
    line.show(fmt::format("plan {} {}: {} of {} steps, {}", wanted, state, totals.ended, totals.steps,
                          progress_text(totals.bytes_done, totals.bytes_total, rate.per_second())));
    if (state != "done" && state != "failed" && state != "cancelled") continue;
    if (common.format() == Format::kJson) fmt::print("{}\n", json::serialize(*plan));
    if (state == "done") return {};
    return Status(ErrorCode::kPrecondition, fmt::format("plan {} is {}{}", wanted, state,
                                                        totals.reason.empty() ? std::string() : ": " + totals.reason));
  }
  return Status(ErrorCode::kUnavailable, fmt::format("no node tells of plan {} any more", wanted));
}

}  // namespace flux::main::ctl
