#include "main/ctl/verify_load.h"

#include <fmt/core.h>

#include <chrono>
#include <memory>
#include <set>
#include <thread>

#include "main/ctl/talk.h"

namespace flux::main::ctl {
namespace {

using history::Kind;
using history::Operation;
using history::Outcome;

// How long one of the last reads may take: whatever was broken must have come back by then.
constexpr Micros kLastReadsTimeout = Millis(30'000);
// How long a key is used before a fresh one takes its place. What is read of a list, and the search for an order of
// what happened to a key, grow with the square of it.
constexpr int64_t kGenerationUs = 1'000'000;
// Pause before a server that could not be reached is tried again.
constexpr Micros kReconnectPause = Millis(20);

int64_t now_us() {
  return std::chrono::duration_cast<Micros>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Registers take SET, SETNX, GETSET and DEL; counters take INCRBY; lists take APPEND. A list shows every element once
// or the store has run an append twice.
enum class KeyUse : uint8_t { kRegister, kCounter, kList };
KeyUse use_of(uint64_t key) { return static_cast<KeyUse>(key % 3); }

std::string key_name(const VerifyLoadOptions& options, uint64_t key, int64_t generation) {
  return fmt::format("{}{}:{}", options.prefix, key, generation);
}

class LoadClient {
 public:
  LoadClient(const VerifyLoadOptions& options, const std::shared_ptr<client::BlockingClient>& wire, uint64_t number,
             int64_t began_us, VerifyProgress& progress)
      : options_(options),
        number_(number),
        began_us_(began_us),
        progress_(progress),
        rng_(options.seed * 1'000'003 + number),
        talker_(wire != nullptr ? make_wire_talker(wire) : make_resp_talker(options.servers, number, options.timeout)) {
  }

  void run(const std::atomic<bool>& stop) {
    while (!stop) {
      if (!connected()) {
        std::this_thread::sleep_for(kReconnectPause);
        continue;
      }
      perform(draw());
      if (options_.think.count() > 0) {
        std::this_thread::sleep_for(
            Micros(static_cast<int64_t>(rng_.below(static_cast<uint64_t>(options_.think.count())))));
      }
    }
  }

  // One operation; false if it was not answered with a result.
  bool perform(Operation operation) {
    operation.client = number_;
    operation.number = ++operations_;
    operation.called_us = now_us();
    talker_->ask(operation);
    operation.returned_us = now_us();
    const bool ok = operation.outcome == Outcome::kOk;
    ++(ok ? progress_.ok : operation.outcome == Outcome::kFailed ? progress_.failed : progress_.unknown);
    seen_.push_back(std::move(operation));
    return ok;
  }

  bool connected() { return talker_->connected(); }

  history::History take() { return std::move(seen_); }

 private:
  Operation draw() {
    const uint64_t key = rng_.below(options_.keys);
    Operation operation;
    operation.key = key_name(options_, key, (now_us() - began_us_) / kGenerationUs);
    if (rng_.chance(0.35)) return operation;  // kGet
    const std::string unique = fmt::format("{}.{}", number_, operations_ + 1);
    switch (use_of(key)) {
      case KeyUse::kRegister: {
        static constexpr Kind kWrites[] = {Kind::kSet,   Kind::kSet,    Kind::kSet,
                                           Kind::kSetNx, Kind::kGetSet, Kind::kDelete};
        operation.kind = kWrites[rng_.below(std::size(kWrites))];
        if (operation.kind != Kind::kDelete) operation.argument = unique;
        break;
      }
      case KeyUse::kCounter:
        // Amounts that differ: a sum then tells which of them it holds.
        operation.kind = Kind::kAdd;
        operation.argument = std::to_string(rng_.between(1, 1'000'000'000));
        break;
      case KeyUse::kList:
        operation.kind = Kind::kAppend;
        operation.argument = unique + ";";
        break;
    }
    return operation;
  }

  const VerifyLoadOptions& options_;
  const uint64_t number_;
  const int64_t began_us_;
  VerifyProgress& progress_;
  Rng rng_;
  std::unique_ptr<Talker> talker_;
  uint64_t operations_ = 0;
  history::History seen_;
};

}  // namespace

Result<history::History> run_verify_load(const VerifyLoadOptions& options, const std::atomic<bool>& stop,
                                         VerifyProgress& progress) {
  std::shared_ptr<client::BlockingClient> wire;
  if (!options.wire.empty()) {
    FLUX_TRY(wire, client::BlockingClient::connect({.endpoints = options.wire, .request_timeout = options.timeout}));
  }
  const int64_t began = now_us();
  std::vector<std::unique_ptr<LoadClient>> clients;
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < options.clients; ++i) {
    clients.push_back(std::make_unique<LoadClient>(options, wire, i + 1, began, progress));
    threads.emplace_back([client = clients.back().get(), &stop] { client->run(stop); });
  }
  for (std::thread& thread : threads) thread.join();
  std::set<std::string> keys;
  history::History all;
  for (const auto& client : clients) {
    history::History part = client->take();
    for (const Operation& each : part) keys.insert(each.key);
    std::move(part.begin(), part.end(), std::back_inserter(all));
  }
  // Whatever is still on its way may land between these reads; that is what an unknown outcome means.
  LoadClient last(options, wire, options.clients + 1, began, progress);
  for (const std::string& key : keys) {
    const int64_t until = now_us() + kLastReadsTimeout.count();
    for (bool done = false; !done;) {
      if (now_us() > until) return Status(ErrorCode::kUnavailable, "a last read was not answered within 30 s");
      Operation read;
      read.key = key;
      done = last.connected() && last.perform(std::move(read));
      if (!done) std::this_thread::sleep_for(kReconnectPause);
    }
  }
  history::History reads = last.take();
  std::move(reads.begin(), reads.end(), std::back_inserter(all));
  LoadClient cleaner(options, wire, options.clients + 2, began, progress);
  for (const std::string& key : keys) {
    Operation erase;
    erase.key = key;
    erase.kind = Kind::kDelete;
    if (cleaner.connected()) cleaner.perform(std::move(erase));
  }
  return all;
}

}  // namespace flux::main::ctl
