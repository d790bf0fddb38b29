#include "client/client.h"

#include <fmt/core.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "base/overloaded.h"
#include "base/probe.h"
#include "client/retry.h"
#include "client/split.h"
#include "ctrl/config_delta.h"

namespace flux::client {
namespace {

Status out_of_reach() { return {ErrorCode::kUnavailable, "no node of the cluster could be reached in time"}; }

}  // namespace

Client::Client(env::Loop& loop, env::Network& network, ClientOptions options, Rng rng)
    : loop_(loop), network_(network), options_(std::move(options)), rng_(rng) {
  FLUX_CHECK(!options_.endpoints.empty());
  loop_.set_turn_end([this] {
    for (auto& [address, link] : nodes_) link->flush();
  });
  for (const env::Address& endpoint : options_.endpoints) dial(endpoint);
}

Client::~Client() {
  *alive_ = false;
  loop_.set_turn_end(nullptr);
  for (auto& [number, open] : open_) {
    loop_.cancel(open.deadline);
    loop_.cancel(open.retry);
  }
}

std::optional<api::KeyspaceRef> Client::keyspace(std::string_view name) const {
  const ctrl::Keyspace* found = config_->keyspace(name);
  if (found == nullptr) return std::nullopt;
  return api::KeyspaceRef{.id = found->id, .kind = found->kind};
}

void Client::on_first_map(env::Task task) {
  if (config_->num != ConfigNum()) return loop_.post(std::move(task));
  on_first_map_ = std::move(task);
}

// --- Requests --------------------------------------------------------------------------------------------------------

void Client::write(const api::WriteRequest& request, api::WriteDone done) {
  Write write{.bytes = {},
              .done = std::move(done),
              .commands = request.commands.size(),
              .in_session = request.session.client != 0};
  Status status = check_session(request);
  if (status.ok()) status = api::append_request(write.bytes, request);
  begin(std::move(write), std::move(status));
}

void Client::read(const api::ReadRequest& request, api::ReadDone done) {
  Read read{.read = api::OwnedRead(request), .bytes = {}, .done = std::move(done)};
  read.read.encode(read.bytes);
  Status status;
  if (read.bytes.size() > api::kRequestBytesMax) {
    status = Status(ErrorCode::kTooLarge, fmt::format("the read is over the limit of {} bytes", api::kRequestBytesMax));
  }
  begin(std::move(read), std::move(status));
}

void Client::begin(std::variant<Write, Read> what, Status status) {
  if (status.ok() && open_.size() >= options_.requests_max) {
    status = Status(ErrorCode::kOverloaded, "too many requests are waiting");
  }
  const uint64_t number = next_number_++;
  Open& open =
      open_.emplace(number, Open{.what = std::move(what), .deadline = {}, .retry = {}, .refused = {}}).first->second;
  if (!status.ok()) {
    // No answer is given from inside the call that asks.
    return loop_.post([this, alive = alive_, number, status = std::move(status)] {
      if (*alive) finish(number, status);
    });
  }
  open.deadline = loop_.call_after(options_.request_timeout, [this, number] { out_of_time(number); });
  attempt(number);
}

GroupId Client::group_of(const Open& open) {
  if (routes_.empty()) return ctrl::kNoGroup;
  return std::visit(Overloaded{[&](const Write& write) {
                                 FLUX_CHECK(api::decode_one_request(write.bytes, decoded_).ok());
                                 return single_group(routes_, decoded_.view());
                               },
                               [&](const Read& read) {
                                 const api::ReadRequest request = read.read.view(keys_);
                                 const auto* get = std::get_if<api::GetRequest>(&request.what);
                                 if (get == nullptr) return ctrl::kNoGroup;
                                 return single_group(routes_, request.keyspace, *get);
                               }},
                    open.what);
}

void Client::attempt(uint64_t number) {
  Open& open = open_.at(number);
  const GroupId group = group_of(open);
  const std::string* const node = choose(group);
  if (node == nullptr) return try_again(number, open, out_of_reach());
  net::PeerLink& link = *nodes_.at(*node);
  const bool writes = std::holds_alternative<Write>(open.what);
  const std::string& bytes = writes ? std::get<Write>(open.what).bytes : std::get<Read>(open.what).bytes;
  open.is_out = true;
  link.call(static_cast<uint8_t>(writes ? net::WireMessage::kWrite : net::WireMessage::kRead), bytes,
            [this, alive = alive_, number, group, at = *node](Result<std::string_view> answer) {
              if (*alive) on_answer(number, group, at, std::move(answer));
            });
}

void Client::attempt_waiting() {
  std::vector<uint64_t> waiting;
  for (const auto& [number, open] : open_) {
    if (!open.is_out && open.retry != env::TimerId()) waiting.push_back(number);
  }
  for (const uint64_t number : waiting) {
    const auto found = open_.find(number);
    if (found == open_.end() || found->second.is_out) continue;
    loop_.cancel(std::exchange(found->second.retry, {}));
    attempt(number);
  }
}

void Client::on_answer(uint64_t number, GroupId group, const std::string& node, Result<std::string_view> answer) {
  Result<net::WireAnswer> words = answer.ok() ? net::decode_wire_answer(*answer) : answer.status();
  if (words.ok() && words->config > looked_at_) ask_map(node);
  const auto found = open_.find(number);
  if (found == open_.end()) return;  // its time was over
  Open& open = found->second;
  open.is_out = false;

  // What became of it here: OK is an answer for whoever asked, whatever it says.
  Status failure = words.status();
  api::WriteReply written;
  api::OwnedReadReply seen;
  const bool writes = std::holds_alternative<Write>(open.what);
  if (words.ok()) failure = writes ? api::decode_results(words->body, written) : seen.decode(words->body);
  if (failure.ok() && writes && written.status.ok() && written.results.size() != std::get<Write>(open.what).commands) {
    failure = Status(ErrorCode::kCorruption, "as many results as commands are expected");
  }
  if (answer.ok() && !failure.ok()) {
    failure = Status(ErrorCode::kOutcomeUnknown, "the answer is malformed: " + failure.message());
  } else if (answer.ok()) {
    failure = writes ? written.status : seen.view().status;
  }
  const ErrorCode code = failure.code();
  const bool repeatable = !writes || std::get<Write>(open.what).in_session;
  const bool again = worth_another_try(code) || (code == ErrorCode::kOutcomeUnknown && repeatable);
  if (group != ctrl::kNoGroup) {
    if (again || !words.ok()) {
      answerers_.answered(group, kNobody, false);
    } else if (words->leader != kNobody) {
      answerers_.answered(group, words->leader, true);
    }
  }
  if (again) {
    if (code == ErrorCode::kOutcomeUnknown && writes) open.may_have_happened = true;
    return try_again(number, open, std::move(failure));
  }
  if (!failure.ok() && open.may_have_happened) {
    // This attempt was refused; an earlier one may not have been.
    failure =
        Status(ErrorCode::kOutcomeUnknown, "an earlier attempt may have taken effect; the last: " + failure.message());
  }
  Open done = std::move(open);
  open_.erase(found);
  loop_.cancel(done.deadline);
  if (writes) {
    written.status = std::move(failure);
    return std::get<Write>(done.what).done(std::move(written));
  }
  if (!failure.ok()) return std::get<Read>(done.what).done({.status = failure});
  std::get<Read>(done.what).done(seen.view());
}

void Client::try_again(uint64_t number, Open& open, Status why) {
  open.refused = std::move(why);
  open.retry = loop_.call_after(retry_pause(open.attempts++, rng_), [this, number] {
    open_.at(number).retry = {};
    attempt(number);
  });
}

void Client::out_of_time(uint64_t number) {
  const Open& open = open_.at(number);
  const bool writes = std::holds_alternative<Write>(open.what);
  if (writes && (open.is_out || open.may_have_happened)) {
    return finish(number, Status(ErrorCode::kOutcomeUnknown, "no answer came in time; the write may have happened"));
  }
  finish(number, open.refused.ok() ? Status(ErrorCode::kUnavailable, "no answer came in time") : open.refused);
}

void Client::finish(uint64_t number, Status why) {
  auto node = open_.extract(number);
  if (node.empty()) return;
  Open& open = node.mapped();
  loop_.cancel(open.deadline);
  loop_.cancel(open.retry);
  std::visit(Overloaded{[&](Write& write) { write.done({.status = std::move(why)}); },
                        [&](Read& read) { read.done({.status = std::move(why)}); }},
             open.what);
}

// --- Nodes -----------------------------------------------------------------------------------------------------------

const std::string* Client::choose(GroupId group) {
  const NodeId wanted = group == ctrl::kNoGroup ? kNobody : answerers_.choose(config_->group(group), kNobody, rng_);
  if (const ctrl::Node* known = wanted == kNobody ? nullptr : config_->node(wanted);
      known != nullptr && !known->record.wire_address.empty()) {
    const auto found = nodes_.find(known->record.wire_address);
    if (found != nodes_.end() && found->second->up()) return &found->first;
    if (found == nodes_.end()) {
      if (const Result<env::Address> address = env::Address::parse(known->record.wire_address); address.ok()) {
        dial(*address);
      }
    }
  }
  std::vector<const std::string*> up;
  for (const auto& [address, link] : nodes_) {
    if (link->up()) up.push_back(&address);
  }
  if (up.empty()) return nullptr;
  if (wanted != kNobody) FLUX_PROBE("a client passes by the leader, which it is not connected to");
  return up[rng_.below(up.size())];
}

void Client::dial(const env::Address& address) {
  const auto [found, is_new] = nodes_.try_emplace(address.to_string());
  if (!is_new) return;
  const std::string& at = found->first;
  net::PeerLinkEvents events;
  events.up = [this, &at] { connected(at); };
  events.down = [](bool) {};
  events.refused = [this](const Status& reason) {
    log::warn("{}", reason.to_string());
    refusal_ = reason;
  };
  found->second = std::make_unique<net::PeerLink>(
      loop_, network_, address, kNobody, net::Hello{.name = options_.name, .peer_address = {}, .starts = {}},
      net::PeerLinkOptions{.frame_bytes_max = net::kWireAnswerFrameBytesMax}, rng_.fork(), std::move(events));
}

void Client::connected(const std::string& node) {
  if (config_->num == ConfigNum()) ask_map(node);
  attempt_waiting();
}

void Client::ask_map(const std::string& node) {
  if (std::exchange(asking_map_, true)) return;
  nodes_.at(node)->call(static_cast<uint8_t>(net::WireMessage::kMap), {},
                        [this, alive = alive_](Result<std::string_view> answer) {
                          if (!*alive) return;
                          asking_map_ = false;  // without one, the next answer says that it is due
                          if (!answer.ok()) return;
                          const Result<net::WireAnswer> words = net::decode_wire_answer(*answer);
                          if (!words.ok()) return;
                          const Status status = take_map(words->body);
                          looked_at_ = status.ok() ? config_->num : words->config;
                          if (!status.ok()) log::warn("a map that cannot be read: {}", status.to_string());
                        });
}

Status Client::take_map(std::string_view bytes) {
  FLUX_TRY(ctrl::Config config, ctrl::decode_config(bytes));
  if (config.num <= config_->num) return {};
  config_ = std::make_shared<const ctrl::Config>(std::move(config));
  routes_ = RoutingMap(*config_);
  // Not from inside a call of a link that may be of a node that is no more.
  loop_.post([this, alive = alive_] {
    if (*alive) forget_strangers();
  });
  if (on_first_map_) loop_.post(std::exchange(on_first_map_, nullptr));
  return {};
}

// Closes the connections to nodes that are neither in the map nor among those that the client was given.
void Client::forget_strangers() {
  std::set<std::string> known;
  for (const env::Address& endpoint : options_.endpoints) known.insert(endpoint.to_string());
  for (const auto& [id, node] : config_->nodes) {
    if (node.state != ctrl::NodeState::kRemoved) known.insert(node.record.wire_address);
  }
  std::erase_if(nodes_, [&](const auto& each) { return !known.contains(each.first); });
}

}  // namespace flux::client
