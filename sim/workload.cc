#include "workload.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>

#include "api/keyspace.h"
#include "api/slot.h"
#include "client.h"
#include "session_client.h"

namespace flux::sim {
namespace {

using history::Kind;
using history::Outcome;

// Keys are left behind after this long, so that the history of each stays short enough to be searched.
constexpr int64_t kGenerationUs = 5'000'000;
// How long the leader may take to tell the log that something has expired.
constexpr Micros kSweep = Millis(2000);
// Followers judge expiry by the log alone. Once faults are over this long, there is a leader that has told the log.
constexpr int64_t kPeaceUs = 8'000'000;

std::string request_bytes(const std::vector<std::string_view>& words) {
  std::string bytes = fmt::format("*{}\r\n", words.size());
  for (const std::string_view word : words) {
    bytes += '$';
    bytes += std::to_string(word.size());
    bytes += "\r\n";
    bytes += word;
    bytes += "\r\n";
  }
  return bytes;
}

}  // namespace

WorkloadOptions WorkloadOptions::draw(Rng rng) {
  WorkloadOptions options;
  options.clients = rng.between(2, 6);
  options.pause_max = Micros(static_cast<int64_t>(rng.between(100'000, 600'000)));
  options.pipeline_max = rng.chance(0.5) ? 1 : rng.chance(0.2) ? rng.between(6, 10) : rng.between(2, 4);
  options.keys = rng.between(1, 3);
  options.give_up_max = Micros(static_cast<int64_t>(rng.between(500'000, 8'000'000)));
  options.reads = 0.2 + 0.5 * rng.unit();
  options.session_clients = rng.below(4);
  if (options.session_clients == 0 && rng.chance(0.7)) options.flushes = 0.02 * rng.unit();
  options.in_order = rng.chance(0.3);
  return options;
}

Workload::Workload(World& world, Cluster& cluster, const WorkloadOptions& options, Rng rng)
    : world_(world),
      cluster_(cluster),
      options_(options),
      rng_(rng),
      exactly_once_(cluster.knobs().node.limits.session_window,
                    [this](std::string problem) { cluster_.report(std::move(problem)); }) {
  for (size_t i = 0; i < options_.clients; ++i) {
    clients_.push_back(std::make_unique<Client>(*this, i + 1, rng_.fork()));
  }
  for (size_t i = 0; i < options_.session_clients; ++i) {
    session_clients_.push_back(std::make_unique<SessionClient>(*this, 51 + i, rng_.fork()));
  }
}

Workload::~Workload() = default;

void Workload::start() {
  for (const auto& client : clients_) client->start();
  for (const auto& client : session_clients_) client->start();
}

bool Workload::idle() const {
  return std::all_of(clients_.begin(), clients_.end(), [](const auto& client) { return client->idle(); }) &&
         std::all_of(session_clients_.begin(), session_clients_.end(),
                     [](const auto& client) { return client->idle(); });
}

void Workload::audit(size_t node, std::function<void(bool)> done) {
  if (!options_.in_order) return audit(node, false, std::move(done));
  audit(node, false, [this, node, done = std::move(done)](bool all) {
    if (!all) return done(false);
    audit(node, true, done);
  });
}

void Workload::audit(size_t node, bool ordered, std::function<void(bool)> done) {
  uint64_t number = 100 + clients_.size();
  if (options_.in_order && (number % 2 == 0) != ordered) number += 100 + 1;
  std::vector<Request> requests;
  for (const char type : {'s', 'c', 'a', 'e', 'k', 'l'}) {
    for (uint64_t slot = 0; slot < options_.keys; ++slot) requests.push_back(get(number, key_name(type, slot)));
  }
  clients_.push_back(std::make_unique<Client>(*this, number, rng_.fork()));
  clients_.back()->audit(node, std::move(requests), std::move(done));
}

void Workload::check_sessions(kv::StateMachine& machine) {
  kv::ReadOutcome outcome;
  Rng unused(0);
  const auto check = [&](Kind kind, char type, void (ExactlyOnce::*holds)(const std::string&, std::string_view) const) {
    for (const std::string& key : exactly_once_.keys(kind)) {
      if (key.front() != type || !machine.serves(api::encoded_key({}, key))) continue;
      const std::string_view keys[] = {key};
      machine.read({.what = api::GetRequest{.keys = keys}}, WallMillis(0), unused, outcome);
      const api::Item& item = outcome.items.front();
      (exactly_once_.*holds)(key, item.found ? item.value : std::string_view());
    }
  };
  check(Kind::kAppend, 'l', &ExactlyOnce::check_list);
  check(Kind::kAdd, 'k', &ExactlyOnce::check_counter);
}

// --- Requests --------------------------------------------------------------------------------------------------------

// A pair is written together, so both keys live in one group: the hash tag sees to it.
std::string Workload::key_name(char type, uint64_t slot) const {
  if (type == 'p') return fmt::format("p{{{}}}{}", now_us() / kGenerationUs, slot);
  return fmt::format("{}{}.{}", type, slot, now_us() / kGenerationUs);
}

std::string Workload::draw_key(char type, Rng& rng) const { return key_name(type, rng.below(options_.keys)); }

size_t Workload::add_operation(uint64_t client, Kind kind, std::string key, std::string argument) {
  if (keys_used_.insert(key).second) {
    for (auto& [number, flush] : flushes_) {
      flush.operations.push_back(history_.size());
      history_.push_back({.client = flush.client,
                          .number = history_.size() + 1,
                          .key = key,
                          .kind = Kind::kDelete,
                          .called_us = flush.called_us});
    }
  }
  history_.push_back({.client = client,
                      .number = history_.size() + 1,
                      .key = std::move(key),
                      .kind = kind,
                      .argument = std::move(argument),
                      .called_us = now_us()});
  return history_.size() - 1;
}

std::string Workload::known_as(uint64_t client, const std::string& key) const {
  return in_order(client) ? fmt::format("{}@{}", key, kOrdered) : key;
}

Workload::Request Workload::get(uint64_t client, std::string key) {
  Request request{.bytes = request_bytes({"GET", key}), .form = Form::kValue};
  request.operations = {add_operation(client, Kind::kGet, known_as(client, key))};
  return request;
}

// Keys of several groups, each read at a moment of its own.
Workload::Request Workload::get_several(uint64_t client, Rng& rng) {
  const std::string keys[] = {draw_key('s', rng), draw_key('c', rng), draw_key('a', rng)};
  Request request{.bytes = request_bytes({"MGET", keys[0], keys[1], keys[2]}), .form = Form::kValues};
  for (const std::string& key : keys) {
    request.operations.push_back(add_operation(client, Kind::kGet, known_as(client, key)));
  }
  return request;
}

Workload::Request Workload::flush_all(uint64_t client) {
  Request request{.bytes = request_bytes({"FLUSHALL"}), .form = Form::kOk, .flush = ++flushes_drawn_};
  Flush flush{.client = client, .called_us = now_us()};
  for (const std::string& key : keys_used_) flush.operations.push_back(add_operation(client, Kind::kDelete, key));
  flushes_.emplace(request.flush, std::move(flush));
  return request;
}

void Workload::renew(Request& request, uint64_t client) {
  if (request.flush != 0) {
    request = flush_all(client);
    return;
  }
  for (size_t& each : request.operations) {
    const history::Operation before = history_[each];
    each = add_operation(client, before.kind, before.key, before.argument);
  }
}

void Workload::sent(const Request& request) {
  if (request.flush != 0) flushes_.at(request.flush).called_us = now_us();
  for (const size_t each : operations_of(request)) history_[each].called_us = now_us();
}

Workload::Request Workload::draw_request(uint64_t client, Rng& rng) {
  if (rng.chance(options_.reads)) {
    constexpr char kTypes[] = {'s', 's', 'c', 'a', 'e'};
    if (!rng.chance(0.2)) return get(client, draw_key(kTypes[rng.below(std::size(kTypes))], rng));
    if (rng.chance(0.3)) return get_several(client, rng);
    const std::string one = key_name('p', 0);
    const std::string other = key_name('p', 1);
    // Where keys are in order, two may be in two groups.
    Request request{.bytes = request_bytes({"MGET", one, other}), .form = Form::kValues, .pair = !in_order(client)};
    for (const std::string& key : {one, other}) {
      request.operations.push_back(add_operation(client, Kind::kGet, known_as(client, key)));
    }
    return request;
  }
  if (rng.chance(options_.flushes)) return flush_all(client);
  const auto one = [&](Form form, Kind kind, std::string_view verb, std::string key, std::string argument) {
    Request request{.form = form};
    request.bytes = argument.empty() ? request_bytes({verb, key}) : request_bytes({verb, key, argument});
    request.operations = {add_operation(client, kind, known_as(client, key), std::move(argument))};
    return request;
  };
  switch (rng.below(13)) {
    case 0:
    case 1:
    case 2:
      return one(Form::kOk, Kind::kSet, "SET", draw_key('s', rng), fresh_value(client));
    case 3:
      return one(Form::kFlag, Kind::kSetNx, "SETNX", draw_key('s', rng), fresh_value(client));
    case 4:
      return one(Form::kValue, Kind::kGetSet, "GETSET", draw_key('s', rng), fresh_value(client));
    case 5: {
      const std::string key = draw_key(rng.chance(0.7) ? 's' : 'a', rng);
      Request request = one(Form::kFlag, Kind::kDelete, "DEL", key, {});
      // A deadline in the past is a deletion too.
      if (rng.chance(0.2)) request.bytes = request_bytes({"PEXPIREAT", key, "1"});
      return request;
    }
    case 6:
    case 7:
      return one(Form::kNumber, Kind::kAdd, "INCRBY", draw_key('c', rng), std::to_string(rng.between(1, 1000)));
    case 8:
      return one(Form::kNumber, Kind::kAppend, "APPEND", draw_key('a', rng),
                 fresh_value(client) + (rng.chance(0.1) ? std::string(rng.between(1, 3000), 'x') : ","));
    case 9:
    case 10: {
      const std::string value = fresh_value(client);
      const std::string keys[] = {key_name('p', 0), key_name('p', 1)};
      Request request{.bytes = request_bytes({"MSET", keys[0], value, keys[1], value}), .form = Form::kOk};
      for (const std::string& key : keys) {
        request.operations.push_back(add_operation(client, Kind::kSet, known_as(client, key), value));
      }
      return request;
    }
    default: {
      const std::string key = draw_key('e', rng);
      std::string value = fresh_value(client);
      // Many are about to go just when others are given for long: what is told of the one must not meet the other.
      const auto lives = Millis(static_cast<int64_t>(rng.chance(0.5) ? rng.between(10, 150) : rng.between(10, 3000)));
      Request request{.form = Form::kOk, .lives = lives};
      request.bytes = request_bytes({"SET", key, value, "PX", std::to_string(lives.count())});
      request.operations = {add_operation(client, Kind::kSet, known_as(client, key), std::move(value))};
      return request;
    }
  }
}

// --- Answers ---------------------------------------------------------------------------------------------------------

void Workload::finish(const Request& request, Outcome outcome, const std::vector<std::optional<std::string>>& values) {
  const std::vector<size_t>& operations = operations_of(request);
  for (size_t i = 0; i < operations.size(); ++i) {
    history::Operation& operation = history_[operations[i]];
    operation.outcome = outcome;
    operation.returned_us = now_us();
    if (i < values.size()) operation.result = values[i];
    if (outcome == Outcome::kOk && operation.kind == Kind::kGet) check_expired(operation);
  }
  if (request.flush != 0 && outcome != Outcome::kUnknown) flushes_.erase(request.flush);
  switch (outcome) {
    case Outcome::kOk:
      ++counts_.ok;
      break;
    case Outcome::kFailed:
      ++counts_.failed;
      break;
    case Outcome::kUnknown:
      ++counts_.unknown;
      break;
  }
  if (request.lives.count() > 0 && outcome != Outcome::kFailed) {
    const history::Operation set = history_[request.operations.front()];
    expires(set, request.lives);
  }
  if (outcome == Outcome::kOk && request.pair && values.size() == 2 && values[0] != values[1]) {
    cluster_.report(fmt::format("a pair that is only written together was read as '{}' and '{}'",
                                values[0].value_or("nothing"), values[1].value_or("nothing")));
  }
}

// Whoever set it, somebody deletes it: at most once, at a time only the log knows.
void Workload::expires(const history::Operation& set, Micros lives) {
  history_.push_back(
      {.client = set.client,
       .number = history_.size() + 1,
       .key = set.key,
       .kind = Kind::kExpire,
       .argument = set.argument,
       .outcome = Outcome::kUnknown,
       .called_us = std::max(set.called_us, set.called_us + (lives - options_.wall_error_max).count() - 1000)});
  // One that may yet take effect, at first or again, may show its value at any time.
  const int64_t gone = set.returned_us + (lives + options_.wall_error_max + kSweep).count();
  gone_by_.emplace(set.argument, set.outcome == Outcome::kOk ? gone : INT64_MAX);
}

void Workload::check_expired(const history::Operation& get) {
  if (!get.result || get.key.front() != 'e') return;
  const auto gone = gone_by_.find(*get.result);
  if (gone == gone_by_.end() || get.called_us <= gone->second || peace_since_us_ > get.called_us - kPeaceUs) return;
  std::string text = fmt::format("an expired value is shown: {}; gone by {} us", history::to_text(get), gone->second);
  for (const history::Operation& each : history_) {
    if (each.key == get.key) text += "\n  " + history::to_text(each);
  }
  cluster_.report(std::move(text));
}

}  // namespace flux::sim
