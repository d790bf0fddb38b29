#include "session_client.h"

#include <algorithm>
#include <utility>

#include "history/command.h"

namespace flux::sim {
namespace {

using history::Kind;
using history::Outcome;

constexpr uint64_t kFirstHost = 2000;
constexpr Micros kRetryPause = Millis(50);

}  // namespace

SessionClient::SessionClient(Workload& workload, uint64_t number, Rng rng)
    : workload_(workload), world_(workload.world_), number_(number), rng_(rng) {}

Micros SessionClient::draw_micros(int64_t low, int64_t high) {
  return Micros(static_cast<int64_t>(rng_.between(static_cast<uint64_t>(low), static_cast<uint64_t>(high))));
}

void SessionClient::rest() {
  busy_ = false;
  world_.after(draw_micros(1, workload_.options_.pause_max.count()), [this] { next(); });
}

void SessionClient::next() {
  if (workload_.stopped()) return;
  busy_ = true;
  ++operation_;
  if (session_.client == 0) return open();
  if (rng_.chance(0.15)) send_late_duplicate();
  if (rng_.chance(workload_.options_.reads / 2)) return read();
  ++session_.sequence;
  current_ = std::make_shared<Request>(Request{.session = session_, .writes = draw_writes()});
  tries_ = in_vain_ = 0;
  in_history_ = {};
  for (const Write& write : current_->writes) {
    in_history_.operations.push_back(workload_.add_operation(number_, write.kind, write.key, write.argument));
  }
  workload_.exactly_once_.called(session_, current_->writes);
  try_current();
}

std::vector<Write> SessionClient::draw_writes() {
  const auto token = [this] { return workload_.fresh_value(number_) + ","; };
  const auto number = [this] { return std::to_string(rng_.between(1, 1000)); };
  const auto key = [this](char type) { return workload_.draw_key(type, rng_); };
  switch (rng_.below(8)) {
    case 0:
    case 1:
      return {{.kind = Kind::kAdd, .key = key('k'), .argument = number()}};
    case 2:
    case 3:
      return {{.kind = Kind::kAppend, .key = key('l'), .argument = token()}};
    case 4:
      return {{.kind = Kind::kAdd, .key = key('c'), .argument = number()}};
    case 5: {
      const std::string value = workload_.fresh_value(number_);
      return {{.kind = Kind::kSet, .key = workload_.key_name('p', 0), .argument = value},
              {.kind = Kind::kSet, .key = workload_.key_name('p', 1), .argument = value}};
    }
    case 6:
      return {{.kind = rng_.chance(0.5) ? Kind::kSetNx : Kind::kSet,
               .key = key('s'),
               .argument = workload_.fresh_value(number_)}};
    default:
      return {{.kind = Kind::kDelete, .key = key('s'), .argument = {}}};
  }
}

// --- The way to a node and back --------------------------------------------------------------------------------------

void SessionClient::visit(size_t node, std::function<void(size_t)> turn, env::Task refused) {
  world_.after(world_.draw_latency(kFirstHost + number_, Cluster::host_id(node)),
               [this, node, turn = std::move(turn), refused = std::move(refused)]() mutable {
                 if (!workload_.cluster_.up(node)) return come_back(node, std::move(refused));
                 world_.at(world_.now(), workload_.cluster_.loop(node), [node, turn = std::move(turn)] { turn(node); });
               });
}

void SessionClient::come_back(size_t node, env::Task task) {
  world_.after(world_.draw_latency(Cluster::host_id(node), kFirstHost + number_), std::move(task));
}

void SessionClient::send(std::shared_ptr<const Request> request, Answered answered) {
  const auto turn = [this, request, answered](size_t node) {
    std::vector<api::Command> commands;
    for (const Write& write : request->writes)
      commands.push_back(history::command_of(write.kind, write.key, write.argument));
    api::SessionRef session = request->session;
    if (commands.empty()) {
      commands.push_back(api::OpenSession{.client = session.client});
      session = {};
    }
    const auto done = [this, node, answered](const api::WriteReply& reply) {
      come_back(node, [answered, reply] { answered(reply); });
    };
    workload_.cluster_.node(node).kv(0).write({.commands = commands, .session = session}, done);
  };
  visit(draw_node(), turn, [answered] { answered({.status = Status(ErrorCode::kUnavailable, "nothing runs there")}); });
}

// --- Requests --------------------------------------------------------------------------------------------------------

// A name that was ever sent is never sent again: a late duplicate of the opening would forget what the session knows.
void SessionClient::open() {
  answered_.clear();
  const uint64_t client = rng_.next() | 1;
  world_.say("client {} opens session {:x}", number_, client);
  const auto opened = [this, client, operation = operation_](const api::WriteReply& reply) {
    if (operation != operation_) return;
    if (reply.status.ok()) session_ = {.client = client};
    ++operation_;
    rest();
  };
  send(std::make_shared<Request>(Request{.session = {.client = client}, .writes = {}}), opened);
  world_.after(draw_micros(100'000, workload_.options_.give_up_max.count()),
               [opened] { opened({.status = Status(ErrorCode::kTimeout, "no answer in time")}); });
}

void SessionClient::try_current() {
  // Now and then two nodes have it at once.
  for (int copies = rng_.chance(0.1) ? 2 : 1; copies > 0; --copies) {
    ++tries_;
    send(current_, [this, request = current_, operation = operation_](const api::WriteReply& reply) {
      workload_.exactly_once_.answered(request->session, reply);
      on_answer(operation, reply);
    });
  }
  world_.after(draw_micros(100'000, workload_.options_.give_up_max.count()),
               [this, operation = operation_, tries = tries_] {
                 if (operation == operation_ && tries == tries_) try_current();
               });
}

void SessionClient::on_answer(uint64_t operation, const api::WriteReply& reply) {
  world_.say("client {} is told of session {:x} #{}: {}", number_, session_.client, session_.sequence,
             reply.status.to_string());
  if (operation != operation_) return;
  switch (reply.status.code()) {
    case ErrorCode::kOk:
      answered_.push_back(current_);
      return finish(Outcome::kOk, reply);
    case ErrorCode::kSessionExpired:
    case ErrorCode::kStaleRequest:
      // This try was not run; one before it may have been.
      session_ = {};
      return finish(in_vain_ + 1 == tries_ ? Outcome::kFailed : Outcome::kUnknown, reply);
    case ErrorCode::kOutcomeUnknown:
      break;
    default:
      ++in_vain_;
  }
  world_.after(kRetryPause, [this, operation, tries = tries_] {
    if (operation == operation_ && tries == tries_) try_current();
  });
}

void SessionClient::finish(Outcome outcome, const api::WriteReply& reply) {
  std::vector<std::optional<std::string>> values;
  for (size_t i = 0; outcome == Outcome::kOk && i < current_->writes.size(); ++i) {
    values.push_back(history::result_of(current_->writes[i].kind, reply.results[i]));
  }
  workload_.counts_.retries += tries_ - 1;
  workload_.finish(in_history_, outcome, values);
  ++operation_;
  rest();
}

// One that was answered, as a network that keeps packets might send it: mostly a young one, sometimes one from behind
// the window.
void SessionClient::send_late_duplicate() {
  if (answered_.empty()) return;
  const size_t back = std::min<size_t>(answered_.size(), rng_.between(1, rng_.chance(0.8) ? 3 : 100));
  const std::shared_ptr<const Request> request = answered_[answered_.size() - back];
  send(request,
       [this, request](const api::WriteReply& reply) { workload_.exactly_once_.answered(request->session, reply); });
}

void SessionClient::read() {
  constexpr char kTypes[] = {'k', 'l', 's', 'c', 'a'};
  const std::string key = workload_.draw_key(kTypes[rng_.below(std::size(kTypes))], rng_);
  Workload::Request request;
  request.operations = {workload_.add_operation(number_, Kind::kGet, key)};
  const auto told = [this, request, operation = operation_](bool ok, const std::optional<std::string>& value) {
    if (operation != operation_) return;
    workload_.finish(request, ok ? Outcome::kOk : Outcome::kFailed, {value});
    ++operation_;
    rest();
  };
  const auto turn = [this, key, told](size_t node) {
    const std::string_view keys[] = {key};
    workload_.cluster_.node(node).kv(0).read(
        {.what = api::GetRequest{.keys = keys}}, [this, node, told](const api::ReadReply& reply) {
          std::optional<std::string> value;
          if (reply.status.ok() && reply.items.front().found) value = std::string(reply.items.front().value);
          come_back(node, [told, ok = reply.status.ok(), value] { told(ok, value); });
        });
  };
  visit(draw_node(), turn, [told] { told(false, std::nullopt); });
  world_.after(draw_micros(100'000, workload_.options_.give_up_max.count()), [told] { told(false, std::nullopt); });
}

}  // namespace flux::sim
