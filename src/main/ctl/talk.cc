#include "main/ctl/talk.h"

#include "history/command.h"
#include "main/ctl/client.h"

namespace flux::main::ctl {
namespace {

using history::Kind;
using history::Operation;
using history::Outcome;

std::vector<std::string> request_of(const Operation& operation) {
  switch (operation.kind) {
    case Kind::kGet:
      return {"GET", operation.key};
    case Kind::kSet:
      return {"SET", operation.key, operation.argument};
    case Kind::kSetNx:
      return {"SETNX", operation.key, operation.argument};
    case Kind::kGetSet:
      return {"GETSET", operation.key, operation.argument};
    case Kind::kDelete:
      return {"DEL", operation.key};
    case Kind::kAdd:
      return {"INCRBY", operation.key, operation.argument};
    case Kind::kAppend:
      return {"APPEND", operation.key, operation.argument};
    case Kind::kExpire:
      break;  // nobody asks for it
  }
  return {};
}

// What an answer says of the operation. An error that may have happened all the same begins with UNKNOWN; every other
// is definite.
void take_answer(Operation& operation, const RespValue& answer) {
  switch (answer.kind) {
    case RespValue::Kind::kError:
      operation.outcome = answer.text.starts_with("UNKNOWN") ? Outcome::kUnknown : Outcome::kFailed;
      return;
    case RespValue::Kind::kInteger:
      operation.result = std::to_string(answer.integer);
      break;
    case RespValue::Kind::kBulk:
      operation.result = answer.text;
      break;
    default:
      break;
  }
  operation.outcome = Outcome::kOk;
}

class RespTalker final : public Talker {
 public:
  RespTalker(const std::vector<env::Address>& servers, uint64_t first, Micros timeout)
      : servers_(servers), next_(first), timeout_(timeout) {}

  bool connected() override {
    if (connection_ != nullptr) return true;
    Result<std::unique_ptr<RespClient>> connection = RespClient::connect(servers_[next_++ % servers_.size()], timeout_);
    if (connection.ok()) connection_ = std::move(connection).value();
    return connection_ != nullptr;
  }
  void ask(Operation& operation) override {
    const Result<RespValue> answer = connection_->call(request_of(operation));
    if (answer.ok()) return take_answer(operation, *answer);
    operation.outcome = Outcome::kUnknown;
    connection_.reset();  // a late answer must not be taken for the next one's
  }

 private:
  const std::vector<env::Address>& servers_;
  uint64_t next_;
  const Micros timeout_;
  std::unique_ptr<RespClient> connection_;
};

Outcome outcome_of(const Status& status) {
  if (status.ok()) return Outcome::kOk;
  return is_indeterminate(status.code()) ? Outcome::kUnknown : Outcome::kFailed;
}

class WireTalker final : public Talker {
 public:
  explicit WireTalker(std::shared_ptr<client::BlockingClient> client) : client_(std::move(client)) {}

  bool connected() override { return true; }
  void ask(Operation& operation) override {
    if (operation.kind == Kind::kGet) {
      Result<std::optional<std::string>> value = client_->get(operation.key);
      operation.outcome = outcome_of(value.status());
      if (value.ok()) operation.result = std::move(value).value();
      return;
    }
    const api::Command command = history::command_of(operation.kind, operation.key, operation.argument);
    const api::WriteReply reply = client_->write({.commands = std::span(&command, 1)});
    operation.outcome = outcome_of(reply.status);
    if (!reply.status.ok()) return;
    if (reply.results.at(0).code != ErrorCode::kOk) {
      operation.outcome = Outcome::kFailed;
    } else {
      operation.result = history::result_of(operation.kind, reply.results[0]);
    }
  }

 private:
  const std::shared_ptr<client::BlockingClient> client_;
};

}  // namespace

std::unique_ptr<Talker> make_resp_talker(const std::vector<env::Address>& servers, uint64_t first, Micros timeout) {
  return std::make_unique<RespTalker>(servers, first, timeout);
}

std::unique_ptr<Talker> make_wire_talker(std::shared_ptr<client::BlockingClient> client) {
  return std::make_unique<WireTalker>(std::move(client));
}

}  // namespace flux::main::ctl
