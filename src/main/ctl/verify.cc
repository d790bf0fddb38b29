// verify: loads a live cluster, and checks that one copy of the data could have given every answer.
#include <fmt/core.h>

#include <boost/json.hpp>
#include <fstream>
#include <random>
#include <thread>

#include "history/linearizability.h"
#include "main/ctl/commands.h"
#include "main/ctl/verify_load.h"

namespace flux::main::ctl {
namespace {

// How often the progress line changes.
constexpr auto kShowEvery = std::chrono::milliseconds(500);

struct VerifyOptions {
  VerifyLoadOptions load;
  double seconds = 10;
  std::string history_out;
  std::string history_in;
  bool quiet = false;
  bool wire = false;
};

Result<history::History> read_history(const std::string& path) {
  std::ifstream file(path);
  if (!file) return Status(ErrorCode::kNotFound, fmt::format("cannot read {}", path));
  history::History history;
  std::string line;
  for (uint64_t number = 1; std::getline(file, line); ++number) {
    if (line.empty()) continue;
    Result<history::Operation> operation = history::operation_from_json(line);
    if (!operation.ok()) return operation.status().with(fmt::format("{} line {}", path, number));
    history.push_back(std::move(operation).value());
  }
  if (file.bad()) return Status(ErrorCode::kIo, fmt::format("cannot read {} to its end", path));
  return history;
}

std::string explain(const history::Verdict& verdict) {
  std::string text = fmt::format(
      "not linearizable: nothing that one copy of key {} could do explains these {} "
      "operations:\n",
      escape(verdict.key), verdict.counterexample.size());
  const int64_t origin = verdict.counterexample.empty() ? 0 : verdict.counterexample.front().called_us;
  for (history::Operation operation : verdict.counterexample) {
    operation.called_us -= origin;
    operation.returned_us -= origin;
    text += "  " + history::to_text(operation) + "\n";
  }
  text.pop_back();
  return text;
}

}  // namespace

Status write_history(const std::string& path, const history::History& history) {
  std::ofstream file(path, std::ios::trunc);
  for (const history::Operation& operation : history) file << history::to_json(operation) << '\n';
  file.flush();
  if (!file) return Status(ErrorCode::kIo, fmt::format("cannot write {}", path));
  return {};
}

Status report_verdict(const history::History& history, Format format) {
  const history::Verdict verdict = history::check_linearizable(history);
  uint64_t counts[3] = {};
  for (const history::Operation& operation : history) ++counts[static_cast<size_t>(operation.outcome)];
  using Answer = history::Verdict::Answer;
  const std::string_view name = verdict.answer == Answer::kYes  ? "linearizable"
                                : verdict.answer == Answer::kNo ? "violated"
                                                                : "undecided";
  if (format == Format::kJson) {
    boost::json::array part;
    for (const history::Operation& operation : verdict.counterexample) {
      part.push_back(boost::json::parse(history::to_json(operation)));
    }
    const boost::json::object out{{"verdict", boost::json::string_view(name.data(), name.size())},
                                  {"operations", history.size()},
                                  {"ok", counts[0]},
                                  {"failed", counts[1]},
                                  {"unknown", counts[2]},
                                  {"steps", verdict.steps},
                                  {"key", escape(verdict.key)},
                                  {"counterexample", part}};
    fmt::print("{}\n", boost::json::serialize(out));
  } else {
    fmt::print("{} operations: {} ok, {} failed, {} of unknown outcome\n", history.size(), counts[0], counts[1],
               counts[2]);
    if (verdict.answer == Answer::kYes) {
      fmt::print("linearizable: every answer fits one copy of the data, and nothing took effect twice\n");
    }
  }
  if (verdict.answer == Answer::kYes) return {};
  if (verdict.answer == Answer::kNo) return Status(ErrorCode::kDataLoss, explain(verdict));
  return Status(ErrorCode::kTooLarge,
                fmt::format("undecided: the search for key {} was cut short; use fewer clients or more keys",
                            escape(verdict.key)));
}

void resolve_seed(VerifyLoadOptions& load) {
  if (load.seed == 0) load.seed = std::random_device()() | 1;
}

void add_verify_load_options(CLI::App& command, VerifyLoadOptions& load, std::string& history_path) {
  load.seed = 0;
  command.add_option("--clients", load.clients, "Clients at once")->check(CLI::Range(1, 1000))->capture_default_str();
  command.add_option("--keys", load.keys, "Keys they share at a time; fewer means more contention")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  command.add_option("--seed", load.seed, "Of the random choices; 0 draws one")
      ->check(CLI::Range(uint64_t{0}, UINT64_MAX / 2))
      ->capture_default_str();
  command.add_option("--history", history_path, "Write what the clients saw here, a line of JSON each");
}

Result<history::History> load_for(const VerifyLoadOptions& load, double seconds, bool quiet,
                                  const std::function<Status()>& meanwhile) {
  std::atomic<bool> stop = false;
  VerifyProgress progress;
  Result<history::History> history = Status(ErrorCode::kCancelled, "not run");
  std::thread runner([&] { history = run_verify_load(load, stop, progress); });
  Status status;
  const auto begin = std::chrono::steady_clock::now();
  const auto end = begin + std::chrono::duration<double>(seconds);
  auto shown = begin;
  while (status.ok() && std::chrono::steady_clock::now() < end) {
    status = meanwhile();
    const auto now = std::chrono::steady_clock::now();
    if (quiet || now < shown + kShowEvery) continue;
    shown = now;
    const double passed = std::chrono::duration<double>(now - begin).count();
    fmt::print(stderr, "\r{:>6.1f} s  {:>9} ok  {:>7} failed  {:>6} unknown ", passed, progress.ok.load(),
               progress.failed.load(), progress.unknown.load());
  }
  stop = true;
  runner.join();
  if (!quiet) fmt::print(stderr, "\r{:60}\r", "");
  FLUX_RETURN_IF_ERROR(status);
  return history;
}

namespace {

Status run_verify(const Common& common, VerifyOptions options) {
  if (!options.history_in.empty()) {
    FLUX_TRY(const history::History history, read_history(options.history_in));
    return report_verdict(history, common.format());
  }
  resolve_seed(options.load);
  options.load.timeout = common.timeout();
  options.load.prefix = fmt::format("fluxctl-verify:{:x}:", std::random_device()());
  if (options.wire) {
    FLUX_TRY(options.load.wire, wire_endpoints(common));
  } else {
    FLUX_TRY(options.load.servers, resp_endpoints(common));
  }
  const auto wait = [] {
    std::this_thread::sleep_for(Millis(100));
    return Status();
  };
  FLUX_TRY(const history::History history, load_for(options.load, options.seconds, options.quiet, wait));
  if (!options.history_out.empty()) FLUX_RETURN_IF_ERROR(write_history(options.history_out, history));
  return report_verdict(history, common.format());
}

}  // namespace

void add_verify_command(CLI::App& app, const Common& common, Run& run) {
  auto options = std::make_shared<VerifyOptions>();
  CLI::App* verify = app.add_subcommand("verify", "Load a cluster and check that its answers are linearizable");
  add_verify_load_options(*verify, options->load, options->history_out);
  verify->add_option("--seconds", options->seconds, "How long to load")
      ->check(CLI::Range(0.1, 86400.0))
      ->capture_default_str();
  verify->add_option("--check", options->history_in, "Check such a file instead of a cluster");
  verify->add_flag("--wire", options->wire,
                   "Speak the wire protocol, through the C++ client, which makes retries safe");
  verify->add_flag("--quiet", options->quiet, "No progress line");
  verify->callback([&common, &run, options] { run = [&common, options] { return run_verify(common, *options); }; });
}

}  // namespace flux::main::ctl
