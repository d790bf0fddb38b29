// chaos: a cluster of real processes on this machine, loaded and checked as `verify` does, while its nodes are killed
// and paused.
#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <random>
#include <thread>

#include "main/ctl/client.h"
#include "main/ctl/commands.h"
#include "main/ctl/verify_load.h"

namespace flux::main::ctl {
namespace {

constexpr Micros kStartTimeout = Millis(20'000);
// How often the nemesis looks whether something is due.
constexpr Micros kLook = Millis(20);

using SteadyClock = std::chrono::steady_clock;

struct ChaosOptions {
  VerifyLoadOptions load;
  double seconds = 30;
  uint64_t nodes = 3;
  uint64_t groups = 0;
  std::string engine = "memory";
  std::string history_out;
  bool keep = false;
  bool quiet = false;
};

// Ports that were free a moment ago, all different; below those that the system gives to outgoing connections, which
// could take one before its node listens.
Result<std::vector<uint16_t>> free_ports(size_t count) {
  constexpr uint16_t kLow = 12'000, kHigh = 32'000;
  Rng rng(std::random_device{}());
  std::vector<uint16_t> ports;
  std::vector<int> sockets;
  for (int attempts = 0; ports.size() < count && attempts < 1000; ++attempts) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) break;
    sockets.push_back(fd);
    const auto port = static_cast<uint16_t>(rng.between(kLow, kHigh));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    if (::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) ports.push_back(port);
  }
  for (const int fd : sockets) ::close(fd);
  if (ports.size() < count) return Status(ErrorCode::kIo, "no free ports on 127.0.0.1");
  return ports;
}

// Nodes as child processes; they end with this one.
class LocalCluster {
 public:
  ~LocalCluster() {
    for (size_t i = 0; i < nodes_.size(); ++i) kill(i);
    std::error_code ignored;
    if (!dir_.empty() && !keep_) std::filesystem::remove_all(dir_, ignored);
  }

  Status start(const ChaosOptions& options) {
    keep_ = options.keep;
    std::error_code error;
    const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
    program_ = (self.parent_path() / "fluxkv").string();
    if (error || ::access(program_.c_str(), X_OK) != 0) {
      return Status(ErrorCode::kNotFound, fmt::format("{} is needed beside fluxctl", program_));
    }
    std::string dir = (std::filesystem::temp_directory_path() / "fluxkv-chaos-XXXXXX").string();
    if (::mkdtemp(dir.data()) == nullptr) return Status(ErrorCode::kIo, "cannot make a temporary folder");
    dir_ = dir;
    FLUX_TRY(const std::vector<uint16_t> ports, free_ports(options.nodes * 3));
    std::string founders;
    for (size_t i = 0; i < options.nodes; ++i) {
      founders += fmt::format("{}n{}=127.0.0.1:{}", i == 0 ? "" : ",", i + 1, ports[i * 3]);
    }
    for (size_t i = 0; i < options.nodes; ++i) {
      const auto at = [&](size_t which) { return fmt::format("127.0.0.1:{}", ports[i * 3 + which]); };
      Node& node = nodes_.emplace_back();
      FLUX_TRY(node.http, env::Address::parse(at(2)));
      FLUX_TRY(node.resp, env::Address::parse(at(1)));
      node.log = fmt::format("{}/n{}.log", dir_, i + 1);
      node.arguments = {program_,
                        "server",
                        "--name",
                        fmt::format("n{}", i + 1),
                        "--data-dir",
                        fmt::format("{}/n{}", dir_, i + 1),
                        "--listen-peer",
                        at(0),
                        "--listen-resp",
                        at(1),
                        "--listen-http",
                        at(2),
                        "--engine",
                        options.engine,
                        "--groups",
                        std::to_string(options.groups),
                        "--initial-cluster",
                        founders};
      FLUX_RETURN_IF_ERROR(spawn(i));
    }
    return wait_until_ready();
  }

  Status spawn(size_t i) {
    Node& node = nodes_[i];
    std::vector<char*> arguments;
    for (std::string& argument : node.arguments) arguments.push_back(argument.data());
    arguments.push_back(nullptr);
    const int log = ::open(node.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (log < 0) return Status(ErrorCode::kIo, fmt::format("cannot write {}", node.log));
    node.process = ::fork();
    if (node.process == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::dup2(log, STDOUT_FILENO);
      ::dup2(log, STDERR_FILENO);
      ::execv(program_.c_str(), arguments.data());
      ::_exit(127);
    }
    ::close(log);
    if (node.process < 0) return Status(ErrorCode::kIo, "cannot start a process");
    return {};
  }

  void kill(size_t i) {
    Node& node = nodes_[i];
    if (node.process <= 0) return;
    ::kill(node.process, SIGKILL);
    ::waitpid(node.process, nullptr, 0);
    node.process = 0;
  }
  void pause(size_t i) { ::kill(nodes_[i].process, SIGSTOP); }
  void resume(size_t i) { ::kill(nodes_[i].process, SIGCONT); }
  bool up(size_t i) const { return nodes_[i].process > 0; }

  // A node that ended although nobody killed it.
  Status check_alive() {
    for (Node& node : nodes_) {
      if (node.process <= 0 || ::waitpid(node.process, nullptr, WNOHANG) == 0) continue;
      node.process = 0;
      keep_ = true;
      return Status(ErrorCode::kDataLoss, fmt::format("a node ended by itself; its log is {}", node.log));
    }
    return {};
  }

  Status wait_until_ready() {
    const auto until = SteadyClock::now() + kStartTimeout;
    for (const Node& node : nodes_) {
      while (true) {
        const Result<HttpReply> reply = http(node.http, "GET", "/readyz", "", Millis(1000));
        if (reply.ok() && reply->status == 200) break;
        FLUX_RETURN_IF_ERROR(check_alive());
        if (SteadyClock::now() > until) {
          keep_ = true;
          return Status(ErrorCode::kTimeout, fmt::format("a node is not ready within 20 s; its log is {}", node.log));
        }
        std::this_thread::sleep_for(kLook);
      }
    }
    return {};
  }

  std::vector<env::Address> resp_addresses() const {
    std::vector<env::Address> addresses;
    for (const Node& node : nodes_) addresses.push_back(node.resp);
    return addresses;
  }
  size_t size() const { return nodes_.size(); }
  const std::string& dir() const { return dir_; }
  void keep() { keep_ = true; }

 private:
  struct Node {
    env::Address http;
    env::Address resp;
    std::string log;
    std::vector<std::string> arguments;
    pid_t process = 0;
  };
  std::string program_;
  std::string dir_;
  bool keep_ = false;
  std::vector<Node> nodes_;
};

// Draws faults: one node killed or paused, or all killed at once; mends each before the next.
class Nemesis {
 public:
  Nemesis(LocalCluster& cluster, uint64_t seed, bool quiet) : cluster_(cluster), rng_(seed), quiet_(quiet) {
    due_ = SteadyClock::now() + draw(500, 2000);
  }

  // Does what is due, then waits a little. In peace it only mends.
  Status step(bool peace) {
    FLUX_RETURN_IF_ERROR(cluster_.check_alive());
    if (peace || SteadyClock::now() >= due_) {
      if (mend_) {
        FLUX_RETURN_IF_ERROR(mend());
      } else if (!peace) {
        harm();
      }
    }
    std::this_thread::sleep_for(kLook);
    return {};
  }

  uint64_t kills() const { return kills_; }
  uint64_t pauses() const { return pauses_; }

 private:
  Status mend() {
    due_ = SteadyClock::now() + draw(300, 3000);
    return std::exchange(mend_, nullptr)();
  }

  void harm() {
    due_ = SteadyClock::now() + draw(100, 2500);
    const size_t victim = rng_.below(cluster_.size());
    switch (rng_.below(5)) {
      case 0:
      case 1:
        say(fmt::format("SIGKILL n{}", victim + 1));
        cluster_.kill(victim);
        ++kills_;
        mend_ = [this, victim] { return cluster_.spawn(victim); };
        return;
      case 2:
      case 3:
        say(fmt::format("SIGSTOP n{}", victim + 1));
        cluster_.pause(victim);
        ++pauses_;
        mend_ = [this, victim] { return cluster_.resume(victim), Status(); };
        return;
      default:
        say("SIGKILL all nodes");
        for (size_t i = 0; i < cluster_.size(); ++i) cluster_.kill(i);
        kills_ += cluster_.size();
        mend_ = [this] {
          for (size_t i = 0; i < cluster_.size(); ++i) FLUX_RETURN_IF_ERROR(cluster_.spawn(i));
          return Status();
        };
        return;
    }
  }

  Micros draw(uint64_t min_ms, uint64_t max_ms) { return Millis(static_cast<int64_t>(rng_.between(min_ms, max_ms))); }

  void say(const std::string& what) const {
    if (!quiet_) fmt::print(stderr, "\r{:70}\r{}\n", "", what);
  }

  LocalCluster& cluster_;
  Rng rng_;
  const bool quiet_;
  SteadyClock::time_point due_;
  std::function<Status()> mend_;
  uint64_t kills_ = 0;
  uint64_t pauses_ = 0;
};

Status run_chaos(const Common& common, ChaosOptions options) {
  resolve_seed(options.load);
  options.load.timeout = common.timeout();
  options.load.prefix = "chaos:";
  LocalCluster cluster;
  FLUX_RETURN_IF_ERROR(cluster.start(options));
  if (!options.quiet) {
    fmt::print(stderr, "{} nodes in {}, seed {}\n", options.nodes, cluster.dir(), options.load.seed);
  }
  options.load.servers = cluster.resp_addresses();
  Nemesis nemesis(cluster, options.load.seed, options.quiet);
  const auto begin = SteadyClock::now();
  const auto step = [&]() -> Status {
    const double passed = std::chrono::duration<double>(SteadyClock::now() - begin).count();
    // Peace before the end: the last reads need a quorum.
    return nemesis.step(passed + 1 > options.seconds);
  };
  FLUX_TRY(const history::History history, load_for(options.load, options.seconds, options.quiet, step));
  if (!options.history_out.empty()) FLUX_RETURN_IF_ERROR(write_history(options.history_out, history));
  if (common.format() == Format::kTable) {
    fmt::print("{} kills, {} pauses\n", nemesis.kills(), nemesis.pauses());
  }
  Status verdict = report_verdict(history, common.format());
  if (verdict.ok()) return {};
  cluster.keep();
  return verdict.with(fmt::format("seed {}, data and logs in {}", options.load.seed, cluster.dir()));
}

}  // namespace

void add_chaos_command(CLI::App& app, const Common& common, Run& run) {
  auto options = std::make_shared<ChaosOptions>();
  CLI::App* chaos =
      app.add_subcommand("chaos", "Start a cluster here, kill and pause its nodes under load, and check every answer");
  add_verify_load_options(*chaos, options->load, options->history_out);
  chaos->add_option("--seconds", options->seconds, "How long")->check(CLI::Range(1.0, 86400.0))->capture_default_str();
  chaos->add_option("--nodes", options->nodes, "Nodes")->check(CLI::Range(1, 7))->capture_default_str();
  chaos
      ->add_option("--groups", options->groups,
                   "Raft groups that share the keys; 0: as many as a cluster has by itself")
      ->check(CLI::Range(0, 100))
      ->capture_default_str();
  chaos->add_option("--engine", options->engine, "Of the nodes")
      ->check(CLI::IsMember({"memory", "rocksdb"}))
      ->capture_default_str();
  chaos->add_flag("--keep", options->keep, "Keep data and logs");
  chaos->add_flag("--quiet", options->quiet, "No progress");
  chaos->callback([&common, &run, options] { run = [&common, options] { return run_chaos(common, *options); }; });
}

}  // namespace flux::main::ctl
