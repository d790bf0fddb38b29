// bench: a load driver for FluxKV or any other RESP server.
//
// Closed loop: every connection sends a batch of --pipeline requests, waits for all answers, sends the next. Open loop
// (--rate): requests have times at which they are due, whether or not earlier ones were answered, and latency counts
// from that time, so that a server that stalls is charged for what waited meanwhile (coordinated omission).
#include <fmt/core.h>

#include <boost/json.hpp>
#include <cmath>
#include <deque>
#include <future>
#include <memory>
#include <thread>

#include "base/histogram.h"
#include "base/rng.h"
#include "env/posix/asio_loop.h"
#include "env/posix/asio_network.h"
#include "main/ctl/bench_values.h"
#include "main/ctl/client.h"
#include "main/ctl/commands.h"

namespace flux::main::ctl {
namespace {

struct BenchOptions {
  uint64_t connections = 50;
  uint64_t pipeline = 1;
  uint64_t threads = 1;
  double seconds = 10;
  double warmup_seconds = 1;
  uint64_t requests = 0;
  double rate = 0;
  double read_ratio = 0.5;
  uint64_t key_space = 100'000;
  uint64_t key_size = 16;
  uint64_t value_size = 128;
  std::string distribution = "uniform";
  bool load = false;
  bool quiet = false;
  uint64_t seed = 1;
};

// Draws ranks 0..n-1 with Zipf's law, exponent 0.99 (Gray et al., "Quickly Generating Billion-Record Synthetic
// Databases", 1994).
class Zipf {
 public:
  explicit Zipf(uint64_t n) : n_(n) {
    for (uint64_t i = 1; i <= n; ++i) zeta_ += 1 / std::pow(static_cast<double>(i), kTheta);
    const double zeta2 = 1 + 1 / std::pow(2.0, kTheta);
    eta_ = (1 - std::pow(2.0 / static_cast<double>(n), 1 - kTheta)) / (1 - zeta2 / zeta_);
  }
  uint64_t draw(Rng& rng) const {
    const double u = rng.unit();
    const double uz = u * zeta_;
    if (uz < 1) return 0;
    if (uz < 1 + std::pow(0.5, kTheta)) return 1;
    const double rank = static_cast<double>(n_) * std::pow(eta_ * u - eta_ + 1, 1 / (1 - kTheta));
    return std::min(static_cast<uint64_t>(rank), n_ - 1);
  }

 private:
  static constexpr double kTheta = 0.99;
  const uint64_t n_;
  double zeta_ = 0;
  double eta_ = 0;
};

struct Tally {
  Histogram reads;
  Histogram writes;
  uint64_t errors = 0;
  std::string first_error;

  void merge(const Tally& other) {
    reads.merge(other.reads);
    writes.merge(other.writes);
    errors += other.errors;
    if (first_error.empty()) first_error = other.first_error;
  }
  uint64_t done() const { return reads.count() + writes.count(); }
};

class BenchThread;

class Client final : public env::StreamHandler {
 public:
  Client(BenchThread& thread, std::unique_ptr<env::Stream> stream) : thread_(thread), stream_(std::move(stream)) {
    stream_->set_handler(this);
  }
  // Sends one request that is, or was, due at `due`.
  void send(MonoTime due);
  size_t pending() const { return pending_.size(); }
  size_t on_data(env::Stream&, std::string_view data) override;
  void on_closed(env::Stream&, const Status& reason) override;

 private:
  struct Pending {
    MonoTime due;
    bool read;
  };
  BenchThread& thread_;
  std::unique_ptr<env::Stream> stream_;
  std::deque<Pending> pending_;
};

// One thread with its share of the connections.
class BenchThread {
 public:
  BenchThread(const BenchOptions& options, std::vector<env::Address> servers, uint64_t number, const Zipf* zipf)
      : options_(options),
        servers_(std::move(servers)),
        number_(number),
        zipf_(zipf),
        rng_(options.seed + number),
        values_(options.value_size) {
    share_ = options.connections / options.threads + (number < options.connections % options.threads ? 1 : 0);
    // --load: this thread's part of the key space, in order.
    next_key_ = options.key_space * number / options.threads;
    end_key_ = options.key_space * (number + 1) / options.threads;
  }

  void run() {
    for (uint64_t i = 0; i < share_; ++i) {
      const env::Address& server = servers_[(number_ + i * options_.threads) % servers_.size()];
      network_.connect(loop_, server, {}, Millis(5000), [this](Result<std::unique_ptr<env::Stream>> stream) {
        if (!stream.ok()) return fail(stream.status());
        clients_.push_back(std::make_unique<Client>(*this, std::move(stream).value()));
        if (clients_.size() == share_) start();
      });
    }
    if (share_ != 0) loop_.run();
    clients_.clear();
  }

  bool next_is_read() { return !options_.load && rng_.unit() < options_.read_ratio; }
  void append_next(std::string& out, bool read) {
    uint64_t rank = 0;
    if (options_.load) {
      rank = next_key_++;
    } else {
      rank = zipf_ != nullptr ? zipf_->draw(rng_) : rng_.below(options_.key_space);
    }
    key_.clear();
    fmt::format_to(std::back_inserter(key_), "key:{:0{}}", rank, options_.key_size - 4);
    if (read) return append_request(out, {"GET", key_});
    append_request(out, {"SET", key_, values_.of(rank)});
  }
  bool wants_more() const {
    if (stopping_) return false;
    if (options_.load) return next_key_ < end_key_;
    return options_.requests == 0 || sent_ < options_.requests / options_.threads;
  }
  void count_sent() { ++sent_; }
  void answered(MonoTime due, bool read, bool error, std::string_view text) {
    ++answered_;
    done_.fetch_add(1, std::memory_order_relaxed);
    if (error) {
      ++tally_.errors;
      if (tally_.first_error.empty()) tally_.first_error = std::string(text.substr(0, 200));
      return;
    }
    const MonoTime now = loop_.precise_now();
    if (now < measured_from_) return;
    (read ? tally_.reads : tally_.writes).record(static_cast<uint64_t>(std::max<int64_t>((now - due).count(), 0)));
    last_answer_ = now;
  }
  // A connection has got all its answers.
  void batch_done(Client& client) {
    if (options_.rate == 0) return send_batch(client);
    send_due();
  }
  void check_end() {
    if (!wants_more() && answered_ == sent_) loop_.stop();
  }
  void fail(const Status& status) {
    if (failure_.ok()) failure_ = status;
    loop_.stop();
  }
  env::AsioLoop& loop() { return loop_; }
  const Tally& tally() const { return tally_; }
  const Status& failure() const { return failure_; }
  uint64_t done() const { return done_.load(std::memory_order_relaxed); }
  double measured_seconds() const { return static_cast<double>((last_answer_ - measured_from_).count()) / 1e6; }

 private:
  void start() {
    const bool timed = options_.requests == 0 && !options_.load;
    measured_from_ = loop_.precise_now();
    if (timed) measured_from_ = measured_from_ + Micros(static_cast<int64_t>(options_.warmup_seconds * 1e6));
    last_answer_ = measured_from_;
    if (timed) {
      loop_.call_at(measured_from_ + Micros(static_cast<int64_t>(options_.seconds * 1e6)), [this] {
        stopping_ = true;
        // What is not answered by then is answered soon, or the server is stuck.
        loop_.call_after(Millis(5000),
                         [this] { fail(Status(ErrorCode::kUnavailable, "the server stopped answering")); });
        check_end();
      });
    }
    if (options_.rate == 0) {
      for (const auto& client : clients_) send_batch(*client);
      return;
    }
    interval_us_ = 1e6 / (options_.rate / static_cast<double>(options_.threads));
    schedule_start_ = loop_.precise_now();
    tick();
  }

  void send_batch(Client& client) {
    for (uint64_t i = 0; i < options_.pipeline && wants_more(); ++i) client.send(loop_.precise_now());
    check_end();
  }

  void tick() {
    send_due();
    if (!stopping_) loop_.call_after(Millis(1), [this] { tick(); });
  }

  // Open loop: gives every request that is due to the connection with the least to do.
  void send_due() {
    const MonoTime now = loop_.precise_now();
    while (wants_more()) {
      const MonoTime due =
          schedule_start_ + Micros(static_cast<int64_t>(static_cast<double>(scheduled_) * interval_us_));
      if (due > now) return;
      Client* least = nullptr;
      for (size_t i = 0; i < clients_.size(); ++i) {
        Client* each = clients_[(scheduled_ + i) % clients_.size()].get();
        if (each->pending() >= options_.pipeline) continue;
        if (least == nullptr || each->pending() < least->pending()) least = each;
        if (least->pending() == 0) break;
      }
      if (least == nullptr) return;  // all are busy: it waits, and its latency counts from `due`
      ++scheduled_;
      least->send(due);
    }
    check_end();
  }

  const BenchOptions& options_;
  const std::vector<env::Address> servers_;
  const uint64_t number_;
  const Zipf* const zipf_;
  Rng rng_;
  env::AsioLoop loop_;
  env::AsioNetwork network_;
  uint64_t share_ = 0;
  std::vector<std::unique_ptr<Client>> clients_;
  const BenchValues values_;
  std::string key_;
  uint64_t next_key_ = 0;
  uint64_t end_key_ = 0;
  uint64_t sent_ = 0;
  uint64_t answered_ = 0;
  uint64_t scheduled_ = 0;
  double interval_us_ = 0;
  MonoTime schedule_start_;
  MonoTime measured_from_;
  MonoTime last_answer_;
  bool stopping_ = false;
  Tally tally_;
  Status failure_;
  std::atomic<uint64_t> done_ = 0;
};

void Client::send(MonoTime due) {
  const bool read = thread_.next_is_read();
  thread_.append_next(stream_->outbox(), read);
  stream_->wrote();
  pending_.push_back({.due = due, .read = read});
  thread_.count_sent();
}

size_t Client::on_data(env::Stream&, std::string_view data) {
  size_t at = 0;
  while (at < data.size()) {
    bool error = false;
    const size_t next = skip_reply(data, at, error);
    if (next == 0) break;
    if (next == SIZE_MAX || pending_.empty()) {
      thread_.fail(Status(ErrorCode::kCorruption, "the server does not answer in RESP"));
      return data.size();
    }
    thread_.answered(pending_.front().due, pending_.front().read, error, data.substr(at, next - at));
    pending_.pop_front();
    at = next;
  }
  if (pending_.empty()) thread_.batch_done(*this);
  return at;
}

void Client::on_closed(env::Stream&, const Status& reason) {
  thread_.fail(Status(ErrorCode::kUnavailable, "the server closed a connection: " + reason.to_string()));
}

boost::json::object latency_json(const Histogram& histogram) {
  return {{"count", histogram.count()},         {"mean_us", histogram.mean()},
          {"p50_us", histogram.quantile(0.5)},  {"p90_us", histogram.quantile(0.9)},
          {"p99_us", histogram.quantile(0.99)}, {"p999_us", histogram.quantile(0.999)},
          {"max_us", histogram.max()}};
}

std::vector<std::string> latency_row(const std::string& name, const Histogram& histogram) {
  const auto millis = [](uint64_t us) { return fmt::format("{:.3f}", static_cast<double>(us) / 1000); };
  return {name,
          std::to_string(histogram.count()),
          millis(histogram.quantile(0.5)),
          millis(histogram.quantile(0.9)),
          millis(histogram.quantile(0.99)),
          millis(histogram.quantile(0.999)),
          millis(histogram.max())};
}

// Prints how far it is, once a second, until `finished`.
void show_progress(const std::vector<std::unique_ptr<BenchThread>>& threads, std::future<void> finished) {
  uint64_t before = 0;
  for (int second = 1; finished.wait_for(Millis(1000)) == std::future_status::timeout; ++second) {
    uint64_t done = 0;
    for (const auto& thread : threads) done += thread->done();
    fmt::print(stderr, "\r{:>4} s  {:>9} ops/s  {:>12} done ", second, done - before, done);
    before = done;
  }
  fmt::print(stderr, "\r{:60}\r", "");
}

Status run_bench(const Common& common, const BenchOptions& options) {
  if (options.key_size < 5 || fmt::format("{}", options.key_space - 1).size() > options.key_size - 4) {
    return Status(ErrorCode::kInvalidArgument, fmt::format("--key-size {} cannot hold 'key:' and numbers up to {}",
                                                           options.key_size, options.key_space));
  }
  FLUX_TRY(const std::vector<env::Address> servers, resp_endpoints(common));
  std::unique_ptr<Zipf> zipf;
  if (options.distribution == "zipf") zipf = std::make_unique<Zipf>(options.key_space);
  std::vector<std::unique_ptr<BenchThread>> threads;
  for (uint64_t i = 0; i < options.threads; ++i) {
    threads.push_back(std::make_unique<BenchThread>(options, servers, i, zipf.get()));
  }
  std::vector<std::thread> running;
  std::promise<void> finished;
  for (const auto& thread : threads) running.emplace_back([&thread] { thread->run(); });
  std::thread progress;
  if (!options.quiet) progress = std::thread([&] { show_progress(threads, finished.get_future()); });
  for (std::thread& thread : running) thread.join();
  finished.set_value();
  if (progress.joinable()) progress.join();

  Tally tally;
  double seconds = 0;
  for (const auto& thread : threads) {
    if (!thread->failure().ok()) return thread->failure();
    tally.merge(thread->tally());
    seconds = std::max(seconds, thread->measured_seconds());
  }
  const double throughput = seconds > 0 ? static_cast<double>(tally.done()) / seconds : 0;
  if (common.format() == Format::kJson) {
    boost::json::object out{{"ops_per_second", throughput},
                            {"seconds", seconds},
                            {"errors", tally.errors},
                            {"first_error", tally.first_error},
                            {"reads", latency_json(tally.reads)},
                            {"writes", latency_json(tally.writes)}};
    fmt::print("{}\n", boost::json::serialize(out));
  } else {
    fmt::print("{:.0f} ops/s over {:.1f} s, {} errors{}\n", throughput, seconds, tally.errors,
               tally.first_error.empty() ? "" : ", the first: " + tally.first_error);
    fmt::print("latency from the {} time, in milliseconds\n", options.rate > 0 ? "intended" : "sending");
    std::vector<std::vector<std::string>> rows = {{"", "COUNT", "P50", "P90", "P99", "P99.9", "MAX"}};
    if (tally.reads.count() != 0) rows.push_back(latency_row("GET", tally.reads));
    if (tally.writes.count() != 0) rows.push_back(latency_row("SET", tally.writes));
    print_table(rows);
  }
  return {};
}

}  // namespace

void add_bench_command(CLI::App& app, const Common& common, Run& run) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* bench = app.add_subcommand("bench", "Load a RESP server and measure it");
  const auto number = [&](const char* name, uint64_t& value, uint64_t low, uint64_t high, const char* help) {
    bench->add_option(name, value, help)->check(CLI::Range(low, high))->capture_default_str();
  };
  number("--connections", options->connections, 1, 100'000, "Connections, over all threads");
  number("--pipeline", options->pipeline, 1, 10'000, "Requests under way per connection");
  number("--threads", options->threads, 1, 256, "Threads of this program");
  number("--requests", options->requests, 0, UINT64_MAX / 2,
         "Stop after this many requests instead of after --seconds");
  number("--key-space", options->key_space, 1, 10'000'000'000, "Different keys");
  number("--key-size", options->key_size, 5, 60'000, "Bytes of a key");
  number("--value-size", options->value_size, 0, 16u << 20, "Bytes of a value");
  number("--seed", options->seed, 0, UINT64_MAX / 2, "Of the random choices");
  bench->add_option("--seconds", options->seconds, "How long to measure")
      ->check(CLI::Range(0.1, 86400.0))
      ->capture_default_str();
  bench->add_option("--warmup", options->warmup_seconds, "Seconds before measuring")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  bench->add_option("--rate", options->rate, "Open loop: requests per second over all connections; 0 is a closed loop")
      ->check(CLI::Range(0.0, 1e8))
      ->capture_default_str();
  bench->add_option("--read-ratio", options->read_ratio, "Share of GETs; the rest are SETs")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  bench->add_option("--distribution", options->distribution, "How keys are chosen")
      ->check(CLI::IsMember({"uniform", "zipf"}))
      ->capture_default_str();
  bench->add_flag("--load", options->load, "Set every key once, in order, and stop");
  bench->add_flag("--quiet", options->quiet, "No progress line");
  bench->callback([&common, &run, options] { run = [&common, options] { return run_bench(common, *options); }; });
}

}  // namespace flux::main::ctl
