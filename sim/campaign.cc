#include "campaign.h"

#include <fmt/core.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "base/probe.h"

namespace flux::sim {
namespace {

// A seed that needs more processor time than this hangs.
constexpr rlim_t kSeedCpuSeconds = 120;
// One seed in this many runs twice.
constexpr uint64_t kTwiceEvery = 20;

// What a child tells of one seed: fixed figures, then a byte for every probe, then the problem's text.
struct Figures {
  uint64_t seed;
  Outcome::Counts counts;
  bool same_story;
  uint32_t problem_bytes;
};

std::string command_for(const TrialOptions& options) {
  std::string text = fmt::format("fluxsim --seed {}", options.seed);
  if (options.seconds != TrialOptions().seconds) text += fmt::format(" --seconds {}", options.seconds);
  std::string without;
  for (const FaultKind kind : options.without)
    without += fmt::format("{}{}", without.empty() ? "" : ",", to_string(kind));
  if (!without.empty()) text += " --without " + without;
  if (options.canary) text += " --canary";
  return text;
}

void write_all(int to, const void* bytes, size_t size) {
  const char* at = static_cast<const char*>(bytes);
  while (size > 0) {
    const ssize_t written = ::write(to, at, size);
    if (written <= 0) ::_exit(3);
    at += written;
    size -= static_cast<size_t>(written);
  }
}

bool read_all(int from, void* bytes, size_t size) {
  char* at = static_cast<char*>(bytes);
  while (size > 0) {
    const ssize_t got = ::read(from, at, size);
    if (got <= 0) return false;
    at += got;
    size -= static_cast<size_t>(got);
  }
  return true;
}

struct Child {
  pid_t pid = -1;
  int pipe = -1;
  uint64_t next = 0;  // the seed it is at
};

class Campaign {
 public:
  explicit Campaign(const CampaignOptions& options) : options_(options) {}

  int run() {
    const auto began = std::chrono::steady_clock::now();
    const uint64_t jobs = std::min(options_.jobs, options_.seeds);
    std::vector<Child> children(jobs);
    for (uint64_t i = 0; i < jobs; ++i) launch(children[i], options_.from + i);
    for (size_t running = jobs; running > 0 && !(options_.stop_at_failure && failed_ > 0);) {
      std::vector<pollfd> polls;
      for (const Child& child : children) polls.push_back({.fd = child.pipe, .events = POLLIN, .revents = 0});
      if (::poll(polls.data(), polls.size(), -1) < 0) continue;
      for (size_t i = 0; i < children.size(); ++i) {
        if (polls[i].revents != 0 && !take(children[i])) --running;
      }
    }
    for (const Child& child : children) {
      if (child.pipe < 0) continue;
      ::kill(child.pid, SIGKILL);
      ::waitpid(child.pid, nullptr, 0);
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    report(took.count());
    const bool missed = options_.every_probe && std::count(hit_.begin(), hit_.end(), 0u) > 0;
    return failed_ == 0 && !missed ? 0 : 1;
  }

 private:
  uint64_t end() const { return options_.from + options_.seeds; }

  void launch(Child& child, uint64_t seed) {
    int ends[2];
    FLUX_CHECK(::pipe(ends) == 0, "no pipe: {}", std::strerror(errno));
    std::fflush(stdout);
    child.pid = ::fork();
    FLUX_CHECK(child.pid >= 0, "no process: {}", std::strerror(errno));
    if (child.pid == 0) {
      ::close(ends[0]);
      work(ends[1], seed);
      ::_exit(0);
    }
    ::close(ends[1]);
    child.pipe = ends[0];
    child.next = seed;
  }

  // In the child: every jobs-th seed.
  void work(int to, uint64_t seed) {
    for (; seed < end(); seed += options_.jobs) {
      rusage used{};
      ::getrusage(RUSAGE_SELF, &used);
      const rlim_t limit = static_cast<rlim_t>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + kSeedCpuSeconds;
      const rlimit cpu{.rlim_cur = limit, .rlim_max = RLIM_INFINITY};
      ::setrlimit(RLIMIT_CPU, &cpu);
      TrialOptions trial = options_.trial;
      trial.seed = seed;
      for (Probe& probe : probes()) probe.hits = 0;
      Outcome outcome = run_trial(trial);
      std::string hit;
      for (const Probe& probe : probes()) hit.push_back(probe.hits > 0 ? 1 : 0);
      Figures figures{.seed = seed, .counts = outcome, .same_story = true, .problem_bytes = 0};
      if (seed % kTwiceEvery == 0) figures.same_story = run_trial(trial).story == outcome.story;
      if (!figures.same_story && outcome.problem.empty()) outcome.problem = "the seed tells two stories";
      figures.problem_bytes = static_cast<uint32_t>(outcome.problem.size());
      write_all(to, &figures, sizeof(figures));
      write_all(to, hit.data(), hit.size());
      write_all(to, outcome.problem.data(), outcome.problem.size());
    }
  }

  // Whether the child, or one in its place, goes on.
  bool take(Child& child) {
    Figures figures;
    if (read_all(child.pipe, &figures, sizeof(figures))) {
      std::string hit(hit_.size(), '\0');
      std::string problem(figures.problem_bytes, '\0');
      if (!read_all(child.pipe, hit.data(), hit.size())) return replace(child);
      if (!read_all(child.pipe, problem.data(), problem.size())) return replace(child);
      for (size_t i = 0; i < hit.size(); ++i) hit_[i] += hit[i] != 0 ? 1u : 0u;
      child.next = figures.seed + options_.jobs;
      if (figures.seed % kTwiceEvery == 0) ++twice_;
      add(figures.counts);
      show_progress();
      if (!problem.empty()) fail(figures.seed, problem);
      return true;
    }
    return replace(child);
  }

  bool replace(Child& child) {
    ::close(child.pipe);
    child.pipe = -1;
    int status = 0;
    ::waitpid(child.pid, &status, 0);
    if (child.next >= end()) return false;
    fail(child.next, WIFSIGNALED(status) ? fmt::format("the process ended: {}", ::strsignal(WTERMSIG(status)))
                                         : fmt::format("the process exited with {}", WEXITSTATUS(status)));
    if (child.next + options_.jobs >= end()) return false;
    launch(child, child.next + options_.jobs);
    return true;
  }

  void fail(uint64_t seed, const std::string& problem) {
    ++failed_;
    TrialOptions trial = options_.trial;
    trial.seed = seed;
    fmt::print("FAILED: {}\n  replay: {}\n  drawn: {}\n", problem, command_for(trial), describe_seed(seed));
    std::fflush(stdout);
  }

  void add(const Outcome::Counts& counts) {
    ++ran_;
    sum_.events += counts.events;
    sum_.simulated_us += counts.simulated_us;
    sum_.operations.ok += counts.operations.ok;
    sum_.operations.failed += counts.operations.failed;
    sum_.operations.unknown += counts.operations.unknown;
    sum_.operations.retries += counts.operations.retries;
    sum_.role_changes += counts.role_changes;
    sum_.entries += counts.entries;
    undecided_ += counts.undecided ? 1 : 0;
    for (size_t i = 0; i < kFaultKinds; ++i) sum_.faults[i] += counts.faults[i];
  }

  // For somebody who watches; a log would only grow.
  void show_progress() const {
    if (!watched_ || ran_ % 20 != 0) return;
    fmt::print(stderr, "\r{} of {} seeds, {} failed ", ran_, options_.seeds, failed_);
    if (ran_ == options_.seeds) fmt::print(stderr, "\r{:60}\r", "");
    std::fflush(stderr);
  }

  void report(double seconds) const {
    fmt::print("{} seeds from {} on, {} failed; {:.0f} seeds a minute, {:.1f} simulated hours, {} events\n",
               options_.seeds, options_.from, failed_, static_cast<double>(ran_) / seconds * 60,
               static_cast<double>(sum_.simulated_us) / 3.6e9, sum_.events);
    fmt::print("operations: {} ok, {} failed, {} unknown, {} of them sent again; {} entries, {} role changes\n",
               sum_.operations.ok, sum_.operations.failed, sum_.operations.unknown, sum_.operations.retries,
               sum_.entries, sum_.role_changes);
    std::string faults;
    for (size_t i = 0; i < kFaultKinds; ++i) {
      faults += fmt::format("{}{} {}", i == 0 ? "" : ", ", to_string(static_cast<FaultKind>(i)), sum_.faults[i]);
    }
    fmt::print("faults: {}\n", faults);
    fmt::print("{} seeds ran twice; {} histories were too hard to decide\n", twice_, undecided_);
    report_probes();
  }

  // The seldom ones first.
  void report_probes() const {
    std::vector<std::pair<uint64_t, std::string_view>> seen;
    for (size_t i = 0; i < hit_.size(); ++i) seen.emplace_back(hit_[i], probes()[i].what);
    std::sort(seen.begin(), seen.end());
    const auto missed = static_cast<size_t>(std::count(hit_.begin(), hit_.end(), 0u));
    fmt::print("rare branches: {} of {} were taken{}\n", hit_.size() - missed, hit_.size(),
               missed > 0 ? "; never:" : "");
    for (const auto& [seeds, what] : seen) {
      if (seeds == 0) fmt::print("  {}\n", what);
      if (seeds > 0 && options_.list_probes) fmt::print("  in {} seeds: {}\n", seeds, what);
    }
  }

  const CampaignOptions options_;
  Outcome::Counts sum_;
  std::vector<uint64_t> hit_ = std::vector<uint64_t>(probes().size());  // seeds that took the branch, by probe
  const bool watched_ = ::isatty(STDERR_FILENO) == 1;
  uint64_t ran_ = 0;
  uint64_t failed_ = 0;
  uint64_t twice_ = 0;
  uint64_t undecided_ = 0;
};

// In a process of its own, for a seed that ends its process fails too.
bool fails(const TrialOptions& options) {
  std::fflush(stdout);
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(run_trial(options).problem.empty() ? 0 : 1);
  int status = 0;
  ::waitpid(pid, &status, 0);
  return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

}  // namespace

int run_campaign(const CampaignOptions& options) { return Campaign(options).run(); }

int minimize(TrialOptions options) {
  if (!fails(options)) {
    fmt::print("seed {} does not fail\n", options.seed);
    return 0;
  }
  for (size_t i = 0; i < kFaultKinds; ++i) {
    TrialOptions fewer = options;
    if (!fewer.without.insert(static_cast<FaultKind>(i)).second || !fails(fewer)) continue;
    options = fewer;
    fmt::print("fails without {}\n", to_string(static_cast<FaultKind>(i)));
  }
  for (int64_t low = 0, high = options.seconds; high - low > 1;) {
    TrialOptions shorter = options;
    shorter.seconds = (low + high) / 2;
    if (fails(shorter)) {
      high = shorter.seconds;
      options = shorter;
    } else {
      low = shorter.seconds;
    }
  }
  fmt::print("replay: {} --trace\n", command_for(options));
  return 1;
}

}  // namespace flux::sim
