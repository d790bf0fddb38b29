#include "client/blocking/blocking_client.h"

#include <pthread.h>

#include <algorithm>
#include <future>
#include <random>
#include <utility>

#include "api/limits.h"
#include "client/split.h"

namespace flux::client {
namespace {

// A session that was not used for so long may be forgotten before its next request gets there.
constexpr Micros kSessionAgeMax = Micros(api::kSessionIdleMax) / 2;

uint64_t entropy() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

// Whether the request may be made in a session: it has keys, all in one place.
bool fits_session(const api::WriteRequest& request) {
  const bool has_keys = std::none_of(request.commands.begin(), request.commands.end(), [](const api::Command& command) {
    return std::holds_alternative<api::DeleteAll>(command) || std::holds_alternative<api::OpenSession>(command) ||
           std::holds_alternative<api::CloseSession>(command);
  });
  api::WriteRequest in_session = request;
  in_session.session = {.client = 1, .sequence = 1};
  return has_keys && check_session(in_session).ok();
}

}  // namespace

BlockingClient::BlockingClient(ClientOptions options)
    : rng_(entropy()), client_(std::make_unique<Client>(loop_, network_, std::move(options), Rng(entropy()))) {}

Result<std::unique_ptr<BlockingClient>> BlockingClient::connect(ClientOptions options) {
  if (options.endpoints.empty()) return Status(ErrorCode::kInvalidArgument, "no address of a node is given");
  const Micros patience = options.request_timeout;
  std::unique_ptr<BlockingClient> client(new BlockingClient(std::move(options)));
  auto known = std::make_shared<std::promise<void>>();
  client->client_->on_first_map([known] { known->set_value(); });
  client->thread_ = std::thread([loop = &client->loop_] { loop->run(); });
  pthread_setname_np(client->thread_.native_handle(), "flux-client");
  if (known->get_future().wait_for(patience) != std::future_status::ready) {
    client->stop();
    const Status& why = client->client_->refusal();
    return Status(ErrorCode::kUnavailable, "no node answered in time; the endpoints should be those of --listen-wire" +
                                               (why.ok() ? std::string() : " (" + why.message() + ")"));
  }
  return client;
}

BlockingClient::~BlockingClient() { stop(); }

void BlockingClient::stop() {
  if (!thread_.joinable()) return;
  loop_.stop();
  thread_.join();
}

api::WriteReply BlockingClient::send(const api::WriteRequest& request) {
  std::promise<api::WriteReply> answer;
  loop_.post([this, &request, &answer] {
    client_->write(request, [&answer](api::WriteReply reply) { answer.set_value(std::move(reply)); });
  });
  return answer.get_future().get();
}

std::unique_ptr<api::OwnedReadReply> BlockingClient::read(const api::ReadRequest& request) {
  std::promise<std::unique_ptr<api::OwnedReadReply>> answer;
  loop_.post([this, &request, &answer] {
    client_->read(request, [&answer](const api::ReadReply& reply) {
      answer.set_value(std::make_unique<api::OwnedReadReply>(reply));
    });
  });
  return answer.get_future().get();
}

std::optional<api::KeyspaceRef> BlockingClient::keyspace(std::string_view name) {
  std::promise<std::optional<api::KeyspaceRef>> answer;
  loop_.post([this, name, &answer] { answer.set_value(client_->keyspace(name)); });
  return answer.get_future().get();
}

Result<BlockingClient::Session> BlockingClient::take_session() {
  Session session;
  {
    const std::lock_guard lock(mutex_);
    // The one used last first: those behind it grow old together.
    if (!idle_.empty() && loop_.precise_now() - idle_.back().used < kSessionAgeMax) {
      session = idle_.back();
      idle_.pop_back();
      return session;
    }
    idle_.clear();
    do session.client = rng_.next();
    while (session.client == 0);
  }
  const api::Command open = api::OpenSession{.client = session.client, .opened = {}};
  const api::WriteReply reply = send({.commands = std::span(&open, 1)});
  // Whatever became of it, the request that it is for has not been sent.
  if (!reply.status.ok()) {
    return Status(is_indeterminate(reply.status.code()) ? ErrorCode::kUnavailable : reply.status.code(),
                  "a session could not be opened: " + reply.status.message());
  }
  return session;
}

void BlockingClient::give_back(Session session) {
  const std::lock_guard lock(mutex_);
  session.used = loop_.precise_now();
  idle_.push_back(session);
}

api::WriteReply BlockingClient::write(const api::WriteRequest& request) {
  if (request.session.client != 0 || !fits_session(request)) return send(request);
  Result<Session> session = take_session();
  if (!session.ok()) return {.status = session.status()};
  api::WriteRequest once = request;
  once.session = {.client = session->client, .sequence = session->next++};
  api::WriteReply reply = send(once);
  if (reply.status.code() != ErrorCode::kSessionExpired) give_back(*session);
  return reply;
}

api::CommandResult BlockingClient::run(const api::Command& command, Status& status) {
  api::WriteReply reply = write({.commands = std::span(&command, 1)});
  status = std::move(reply.status);
  if (!status.ok()) return {};
  api::CommandResult result = std::move(reply.results.at(0));
  if (result.code != ErrorCode::kOk) status = Status(result.code, result.value);
  return result;
}

Result<std::optional<std::string>> BlockingClient::get(std::string_view key) {
  const std::unique_ptr<api::OwnedReadReply> reply = read({.what = api::GetRequest{.keys = std::span(&key, 1)}});
  const api::ReadReply& view = reply->view();
  if (!view.status.ok()) return view.status;
  if (view.items.size() != 1) return Status(ErrorCode::kCorruption, "the answer has another number of values than one");
  if (!view.items[0].found) return std::optional<std::string>();
  return std::optional(std::string(view.items[0].value));
}

Status BlockingClient::put(std::string_view key, std::string_view value, api::Expiry expiry) {
  Status status;
  run(api::Put{.key = key, .value = value, .expiry = expiry}, status);
  return status;
}

Result<bool> BlockingClient::erase(std::string_view key) {
  Status status;
  const api::CommandResult result = run(api::Delete{.key = key}, status);
  if (!status.ok()) return status;
  return result.applied;
}

Result<int64_t> BlockingClient::increment(std::string_view key, int64_t delta) {
  Status status;
  const api::CommandResult result = run(api::Increment{.key = key, .delta = delta}, status);
  if (!status.ok()) return status;
  return result.integer;
}

}  // namespace flux::client
