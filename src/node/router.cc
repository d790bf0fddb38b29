#include "node/router.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "api/limits.h"
#include "base/overloaded.h"
#include "base/probe.h"
#include "client/retry.h"
#include "client/split.h"
#include "node/node_impl.h"

namespace flux::node {
namespace {

// Requests that wait for a way; more are refused.
constexpr size_t kWaitingMax = api::kGroupRequestsMax;

Status no_way() {
  return {ErrorCode::kUnavailable,
          "no group that serves the keys could be reached in time; see 'fluxctl plan list' and "
          "'fluxctl status'"};
}

Status dropped() { return {ErrorCode::kNotFound, "the keyspace of the request has been dropped"}; }

}  // namespace

Router::Router(NodeImpl& node, Worker& worker) : node_(node), worker_(worker), rng_(worker.fork_rng()) {}

Router::~Router() {
  *alive_ = false;
  for (auto& [number, waiting] : waiting_) worker_.loop().cancel(waiting.timer);
}

MonoTime Router::until() const { return worker_.loop().now() + node_.options().request_timeout; }

Group* Router::here(GroupId group) {
  Group* const found = worker_.find(group);
  return found != nullptr && !found->retiring() ? found : nullptr;
}

bool Router::is_here(GroupId group) const { return worker_.chart()->has_replica(group, node_.identity().node); }

NodeId Router::ask_whom(GroupId group) {
  return answerers_.choose(worker_.chart()->config->group(group), node_.identity().node, rng_);
}

// No answer is given from inside the call that asks.
void Router::answer_later(api::WriteDone done, api::WriteReply reply) {
  worker_.loop().post([done = std::move(done), reply = std::move(reply)]() mutable { done(std::move(reply)); });
}

void Router::answer_later(api::ReadDone done, Status status) {
  worker_.loop().post([done = std::move(done), status = std::move(status)]() mutable { done({.status = status}); });
}

// --- Waiting ---------------------------------------------------------------------------------------------------------

void Router::wait(Waiting waiting, uint32_t attempts) {
  const MonoTime now = worker_.loop().now();
  const bool over = std::visit(Overloaded{[&](ParkedWrite& write) { return write.waiter.deadline <= now; },
                                          [&](WaitingRead& read) { return read.deadline <= now; }},
                               waiting.request);
  if (over || waiting_.size() >= kWaitingMax) {
    const Status why = over ? no_way() : Status(ErrorCode::kOverloaded, "too many requests are waiting");
    return std::visit(Overloaded{[&](ParkedWrite& write) { write.waiter.done({.status = why}); },
                                 [&](WaitingRead& read) { read.done({.status = why}); }},
                      waiting.request);
  }
  const uint64_t number = next_number_++;
  waiting.timer = worker_.loop().call_after(client::retry_pause(attempts, rng_), [this, number] { try_again(number); });
  waiting_.emplace(number, std::move(waiting));
}

void Router::try_again(uint64_t number) {
  auto node = waiting_.extract(number);
  if (node.empty()) return;
  worker_.loop().cancel(node.mapped().timer);
  std::visit(Overloaded{[&](ParkedWrite& write) { route(std::move(write)); },
                        [&](WaitingRead& read) { route(std::move(read)); }},
             node.mapped().request);
}

void Router::look_again() {
  if (waiting_.empty()) return;
  std::vector<uint64_t> numbers;
  for (const auto& [number, waiting] : waiting_) numbers.push_back(number);
  for (const uint64_t number : numbers) try_again(number);
}

void Router::reroute(ParkedWrite write) {
  const uint32_t attempts = write.waiter.attempts++;
  wait({.request = std::move(write), .timer = {}}, attempts);
}

void Router::reroute(WaitingRead read) {
  const uint32_t attempts = read.attempts++;
  wait({.request = std::move(read), .timer = {}}, attempts);
}

// --- Writes ----------------------------------------------------------------------------------------------------------

void Router::write(const api::WriteRequest& request, api::WriteDone done) {
  if (is_dropped(request.keyspace)) return answer_later(std::move(done), {.status = dropped()});
  if (Status status = client::check_session(request); !status.ok()) {
    return answer_later(std::move(done), {.status = std::move(status)});
  }
  const auto opens = [](const api::Command& command) {
    const auto* open = std::get_if<api::OpenSession>(&command);
    return open != nullptr && open->opened == WallMillis(0);
  };
  if (std::any_of(request.commands.begin(), request.commands.end(), opens)) {
    std::vector<api::Command> stamped(request.commands.begin(), request.commands.end());
    for (api::Command& command : stamped) {
      if (opens(command)) std::get<api::OpenSession>(command).opened = worker_.loop().wall_now();
    }
    api::WriteRequest with_time = request;
    with_time.commands = stamped;
    return write(with_time, std::move(done));
  }
  const GroupId single = client::single_group(routes(), request);
  if (single == ctrl::kNoGroup && !routes().empty()) return scatter(request, until(), std::move(done));
  if (Group* group = here(single); group != nullptr && single != ctrl::kNoGroup) {
    return group->write(request, std::move(done));
  }
  ParkedWrite write{.request = {}, .waiter = {.done = std::move(done), .deadline = until()}};
  if (Status status = api::append_request(write.request, request); !status.ok()) {
    return answer_later(std::move(write.waiter.done), {.status = std::move(status)});
  }
  if (single == ctrl::kNoGroup) return reroute(std::move(write));  // nothing is known yet
  send(single, std::move(write));
}

void Router::route(ParkedWrite write) {
  if (write.waiter.bound) {
    const GroupId group = *write.waiter.bound;
    const ctrl::Group* known = worker_.chart()->config->group(group);
    if (known != nullptr && known->alive()) return send(group, std::move(write));
    return write.waiter.done({});  // it has nothing any more
  }
  if (Status status = api::decode_one_request(write.request, decoded_); !status.ok()) {
    return write.waiter.done({.status = std::move(status)});
  }
  const api::WriteRequest request = decoded_.view();
  if (is_dropped(request.keyspace)) return write.waiter.done({.status = dropped()});
  const GroupId single = client::single_group(routes(), request);
  if (single != ctrl::kNoGroup) return send(single, std::move(write));
  if (routes().empty()) return reroute(std::move(write));
  scatter(request, write.waiter.deadline, std::move(write.waiter.done));
}

void Router::scatter(const api::WriteRequest& request, MonoTime deadline, api::WriteDone done) {
  Result<std::vector<client::WritePart>> parts = client::split_write(routes(), request);
  if (!parts.ok()) return answer_later(std::move(done), {.status = parts.status()});
  FLUX_PROBE("a write concerns several groups");
  struct Gather {
    client::WriteMerge merge;
    api::WriteDone done;
  };
  auto gather = std::make_shared<Gather>(
      Gather{.merge = client::WriteMerge(request.commands.size(), parts->size()), .done = std::move(done)});
  // All are encoded before the first is sent: a request over its limits does nothing.
  std::vector<ParkedWrite> writes;
  for (client::WritePart& part : *parts) {
    ParkedWrite& write = writes.emplace_back();
    const Status status = api::append_request(write.request, {.commands = part.commands,
                                                              .keyspace = request.keyspace,
                                                              .all_or_nothing = request.all_or_nothing,
                                                              .session = request.session});
    if (!status.ok()) return answer_later(std::move(gather->done), {.status = status});
    const std::optional<GroupId> bound = part.bound() ? std::optional(part.group) : std::nullopt;
    part.commands.clear();  // views of the caller's
    write.waiter = {.done =
                        [gather, part](api::WriteReply reply) {
                          gather->merge.add(part, std::move(reply));
                          if (gather->merge.complete()) gather->done(gather->merge.take());
                        },
                    .deadline = deadline,
                    .bound = bound};
  }
  for (size_t i = 0; i < writes.size(); ++i) send((*parts)[i].group, std::move(writes[i]));
}

void Router::send(GroupId group, ParkedWrite write) {
  const auto erases = [](const std::string& bytes) {
    const Result<bool> erases_only = api::check_request(bytes);
    return erases_only.ok() && *erases_only;
  };
  if (Group* replica = here(group); replica != nullptr) {
    const bool erases_only = erases(write.request);
    return replica->submit(std::move(write), erases_only);
  }
  Worker& owner = node_.owner(group);
  if (&owner == &worker_ || !is_here(group)) return send_away(group, std::move(write));
  // Another worker of this node has it: there and back.
  write.waiter.done = [loop = &worker_.loop(), done = std::move(write.waiter.done)](api::WriteReply reply) mutable {
    loop->post([done = std::move(done), reply = std::move(reply)]() mutable { done(std::move(reply)); });
  };
  owner.loop().post(
      [&owner, group, write = std::move(write)]() mutable { owner.router().send(group, std::move(write)); });
}

void Router::send_away(GroupId group, ParkedWrite write) {
  const NodeId target = ask_whom(group);
  if (target == kNobody) {
    answerers_.answered(group, kNobody, false);
    return reroute(std::move(write));
  }
  if (!write.waiter.may_reroute) {
    return write.waiter.done({.status = Status(ErrorCode::kWrongShard, "this node has no replica of the group")});
  }
  std::string body;
  body.reserve(write.request.size() + 10);
  Encoder encoder(body);
  encoder.id(group);
  encoder.raw(write.request);
  auto kept = std::make_unique<ParkedWrite>(std::move(write));
  worker_.call(target, PeerMessage::kRoutedWrite, body,
               [this, alive = alive_, group, target, kept = std::move(kept)](Result<std::string_view> answer) mutable {
                 if (!*alive) return;
                 api::WriteReply reply;
                 if (!answer.ok()) {
                   reply.status = answer.status();
                 } else if (!api::decode_results(*answer, reply).ok()) {
                   reply.status = Status(ErrorCode::kOutcomeUnknown, "the answer of the group is malformed");
                 }
                 const ErrorCode code = reply.status.code();
                 answerers_.answered(group, target, !client::worth_another_try(code));
                 if (client::worth_another_try(code)) return reroute(std::move(*kept));
                 kept->waiter.done(std::move(reply));
               });
}

// --- Reads -----------------------------------------------------------------------------------------------------------

void Router::read(const api::ReadRequest& request, api::ReadDone done) {
  const client::RoutingMap& map = routes();
  if (is_dropped(request.keyspace)) return answer_later(std::move(done), dropped());
  if (map.groups().size() == 1 && !std::holds_alternative<api::ScanRequest>(request.what)) {
    if (Group* group = here(map.groups().front())) return group->read(request, std::move(done));
  }
  if (const auto* get = std::get_if<api::GetRequest>(&request.what)) {
    const GroupId single = client::single_group(map, request.keyspace, *get);
    if (single != ctrl::kNoGroup) {
      if (Group* group = here(single)) return group->read(request, std::move(done));
    }
  }
  route(WaitingRead(request, std::move(done), until()));
}

void Router::route(WaitingRead read) {
  const client::RoutingMap& map = routes();
  if (map.empty()) return reroute(std::move(read));
  const api::ReadRequest request = read.view(read_keys_);
  if (is_dropped(request.keyspace)) return read.done({.status = dropped()});
  const auto keep = [&] { return std::make_shared<WaitingRead>(std::move(read)); };
  std::visit(Overloaded{
                 [&](const api::GetRequest& get) {
                   const GroupId single = client::single_group(map, request.keyspace, get);
                   if (single != ctrl::kNoGroup) return send(single, std::move(read));
                   // The request points into the read, which therefore stays until all parts are made.
                   const auto kept = keep();
                   const api::ReadRequest again = kept->view(read_keys_);
                   get_from_many(again, kept->deadline, std::move(kept->done));
                 },
                 [&](const api::ScanRequest&) {
                   const auto kept = keep();
                   const api::ReadRequest again = kept->view(read_keys_);
                   scan(again, kept->deadline, std::move(kept->done));
                 },
                 [&](const api::CountRequest&) { count(request, read.deadline, std::move(read.done)); },
                 [&](const api::RandomKeyRequest&) { random_key(request, 0, read.deadline, std::move(read.done)); },
             },
             request.what);
}

void Router::get_from_many(const api::ReadRequest& request, MonoTime deadline, api::ReadDone done) {
  const auto& get = std::get<api::GetRequest>(request.what);
  Result<std::vector<client::ReadPart>> parts = client::split_get(routes(), request.keyspace, get);
  if (!parts.ok()) return answer_later(std::move(done), parts.status());
  FLUX_PROBE("a read concerns several groups");
  struct Gather {
    std::vector<std::unique_ptr<api::OwnedReadReply>> replies;
    std::vector<api::Item> items;
    api::ReadReply reply;
    size_t left;
    api::ReadDone done;
  };
  auto gather = std::make_shared<Gather>();
  gather->items.resize(get.keys.size());
  gather->left = parts->size();
  gather->done = std::move(done);
  std::vector<std::pair<GroupId, WaitingRead>> reads;
  for (client::ReadPart& part : *parts) {
    auto back = [gather, places = std::move(part.places)](const api::ReadReply& answer) {
      if (!answer.status.ok()) gather->reply.status = answer.status;
      gather->reply.clock = std::max(gather->reply.clock, answer.clock);
      gather->replies.push_back(std::make_unique<api::OwnedReadReply>(answer));
      const api::ReadReply& owned = gather->replies.back()->view();
      for (size_t i = 0; i < places.size() && i < owned.items.size(); ++i) gather->items[places[i]] = owned.items[i];
      if (--gather->left > 0) return;
      gather->reply.items = gather->items;
      gather->done(gather->reply);
    };
    const api::ReadRequest piece{
        .what = api::GetRequest{.keys = part.keys}, .keyspace = request.keyspace, .consistency = request.consistency};
    reads.emplace_back(part.group, WaitingRead(piece, std::move(back), deadline));
  }
  for (auto& [group, read] : reads) send(group, std::move(read));
}

// A page ends with the keys that the group owns in a row; the next one begins behind them.
void Router::scan(const api::ReadRequest& request, MonoTime deadline, api::ReadDone done) {
  api::ScanRequest scan = std::get<api::ScanRequest>(request.what);
  const api::KeyRange range = api::within(request.keyspace, scan.start, scan.end);
  const client::RoutingMap::Run* const run = range.empty() ? nullptr : routes().run_at(range.start);
  if (run == nullptr) return answer_later(std::move(done), {});  // the range is empty: all of a keyspace has owners
  const bool cut = run->end < range.end;
  scan.start = range.start;
  scan.end = cut ? run->end : range.end;
  auto back = [boundary = cut ? run->end : std::string(), done = std::move(done)](const api::ReadReply& page) mutable {
    if (!page.status.ok() || !page.scan_resume.empty() || boundary.empty()) return done(page);
    api::ReadReply more = page;
    more.scan_resume = boundary;
    done(more);
  };
  api::ReadRequest piece = request;
  piece.what = scan;
  send(run->group, WaitingRead(piece, std::move(back), deadline));
}

void Router::count(const api::ReadRequest& request, MonoTime deadline, api::ReadDone done) {
  struct Gather {
    api::ReadReply reply;
    size_t left;
    api::ReadDone done;
  };
  const std::vector<GroupId> groups = routes().groups_of(request.keyspace);
  auto gather = std::make_shared<Gather>(Gather{.reply = {}, .left = groups.size(), .done = std::move(done)});
  for (const GroupId group : groups) {
    auto back = [gather](const api::ReadReply& answer) {
      if (!answer.status.ok()) gather->reply.status = answer.status;
      gather->reply.count += answer.count;
      gather->reply.clock = std::max(gather->reply.clock, answer.clock);
      if (--gather->left == 0) gather->done(gather->reply);
    };
    send(group, WaitingRead(request, std::move(back), deadline));
  }
}

// Some group first; the others in turn if it has no key.
void Router::random_key(const api::ReadRequest& request, size_t tried, MonoTime deadline, api::ReadDone done) {
  const std::vector<GroupId> groups = routes().groups_of(request.keyspace);
  if (groups.empty()) return answer_later(std::move(done), dropped());
  GroupId group = groups[rng_.below(groups.size())];
  if (tried > 0) group = groups[(tried - 1) % groups.size()];
  const bool last = tried >= groups.size();
  auto back = [this, alive = alive_, request, tried, last, deadline,
               done = std::move(done)](const api::ReadReply& answer) mutable {
    if (!answer.status.ok() || !answer.items.empty() || last || !*alive || routes().empty()) return done(answer);
    random_key(request, tried + 1, deadline, std::move(done));
  };
  send(group, WaitingRead(request, std::move(back), deadline));
}

void Router::send(GroupId group, WaitingRead read) {
  if (Group* replica = here(group); replica != nullptr) return replica->submit(std::move(read));
  Worker& owner = node_.owner(group);
  if (&owner == &worker_ || !is_here(group)) return send_away(group, std::move(read));
  read.done = [loop = &worker_.loop(), done = std::move(read.done)](const api::ReadReply& reply) mutable {
    auto owned = std::make_unique<api::OwnedReadReply>(reply);
    loop->post([done = std::move(done), owned = std::move(owned)]() mutable { done(owned->view()); });
  };
  owner.loop().post([&owner, group, read = std::move(read)]() mutable { owner.router().send(group, std::move(read)); });
}

void Router::send_away(GroupId group, WaitingRead read) {
  const NodeId target = ask_whom(group);
  if (target == kNobody) {
    answerers_.answered(group, kNobody, false);
    return reroute(std::move(read));
  }
  if (!read.may_reroute) {
    return read.done({.status = Status(ErrorCode::kWrongShard, "this node has no replica of the group")});
  }
  std::string body;
  Encoder(body).id(group);
  read.encode(body);
  auto kept = std::make_unique<WaitingRead>(std::move(read));
  worker_.call(target, PeerMessage::kRoutedRead, body,
               [this, alive = alive_, group, target, kept = std::move(kept)](Result<std::string_view> answer) mutable {
                 if (!*alive) return;
                 api::OwnedReadReply reply;
                 // Of a read every failure on the way is one that may be tried again.
                 Status status = answer.status();
                 if (answer.ok()) status = reply.decode(*answer);
                 if (status.ok()) status = reply.view().status;
                 const ErrorCode code = status.code();
                 const bool again = client::worth_another_try(code) || !answer.ok();
                 answerers_.answered(group, target, !again);
                 if (again) return reroute(std::move(*kept));
                 if (!status.ok()) return kept->done({.status = status});
                 kept->done(reply.view());
               });
}

// --- Shards on their way ---

void Router::pull(GroupId giver, const kv::ExportRequest& request, Pulled done) {
  if (Group* replica = here(giver); replica != nullptr && replica->halt_reason().ok()) {
    return done(replica->export_shard(request));
  }
  const NodeId target = ask_whom(giver);
  if (target == kNobody) {
    answerers_.answered(giver, kNobody, false);
    return done(Status(ErrorCode::kUnavailable, "nobody is known who has the shard"));
  }
  std::string body;
  Encoder encoder(body);
  encoder.id(giver);
  encoder.raw(kv::encode(request));
  worker_.call(target, PeerMessage::kShardPull, body,
               [this, alive = alive_, giver, target, done = std::move(done)](Result<std::string_view> answer) mutable {
                 Status status = answer.status();
                 std::string_view left;
                 if (answer.ok()) {
                   left = *answer;
                   status = take_status(left);
                 }
                 if (*alive) answerers_.answered(giver, target, status.ok());
                 if (!status.ok()) return done(std::move(status));
                 done(kv::decode_shard_chunk(left));
               });
}

void Router::ask_to_leave(GroupId group, MayLeave done) {
  const NodeId target = ask_whom(group);
  if (target == kNobody) {
    answerers_.answered(group, kNobody, false);
    return done(Status(ErrorCode::kUnavailable, "no leader of the group is known"));
  }
  std::string body;
  Encoder(body).id(group);
  worker_.call(target, PeerMessage::kLeave, body,
               [this, alive = alive_, group, target, done = std::move(done)](Result<std::string_view> answer) mutable {
                 if (!*alive) return;
                 Status status = answer.status();
                 Term term;
                 if (answer.ok()) {
                   std::string_view left = *answer;
                   status = take_status(left);
                   Decoder decoder(left);
                   if (status.ok()) term = decoder.id<Term>();
                   if (status.ok()) status = decoder.finish("the answer to a request to leave");
                 }
                 // A leader that says no has answered too.
                 answerers_.answered(group, target, status.ok() || status.code() == ErrorCode::kPrecondition);
                 if (!status.ok()) return done(std::move(status));
                 done(term);
               });
}

void Router::release(GroupId giver, ShardId shard, ConfigNum num, api::AdminDone done) {
  if (Group* replica = here(giver); replica != nullptr && replica->halt_reason().ok()) {
    return replica->release_shard(shard, num, std::move(done));
  }
  const NodeId target = ask_whom(giver);
  if (target == kNobody) {
    answerers_.answered(giver, kNobody, false);
    return done(Status(ErrorCode::kUnavailable, "nobody is known who has the shard"));
  }
  worker_.call(target, PeerMessage::kShardRelease, encode_release_call({.group = giver, .shard = shard, .num = num}),
               [this, alive = alive_, giver, target, done = std::move(done)](Result<std::string_view> answer) mutable {
                 Status status = answer.status();
                 if (answer.ok()) {
                   std::string_view left = *answer;
                   status = take_status(left);
                 }
                 if (*alive) answerers_.answered(giver, target, status.ok());
                 done(std::move(status));
               });
}

}  // namespace flux::node
