#include "node/join.h"

#include <fmt/core.h>

#include <memory>

#include "net/frame.h"
#include "net/peer_link.h"
#include "node/peer_messages.h"

namespace flux::node {
namespace {

constexpr size_t kAnswerBytesMax = 1_MiB;
constexpr Micros kTimeout = Millis(10'000);
constexpr Micros kAttemptTimeout = Millis(2000);
constexpr Micros kAnswerTimeout = Millis(3000);
constexpr Micros kPause = Millis(200);

class Joining final : public env::StreamHandler, public std::enable_shared_from_this<Joining> {
 public:
  using Done = absl::AnyInvocable<void(Result<JoinTicket>)>;
  Joining(env::Loop& loop, env::Network& network, std::vector<env::Address> nodes, std::string name, Done done)
      : loop_(loop),
        network_(network),
        nodes_(std::move(nodes)),
        name_(std::move(name)),
        done_(std::move(done)),
        deadline_(loop.now() + kTimeout) {}

  void attempt() {
    waiting_ = false;
    if (loop_.now() >= deadline_) return finish(last_error_);
    const env::Address& node = nodes_[next_++ % nodes_.size()];
    network_.connect(loop_, node, {.unconsumed_bytes_max = kAnswerBytesMax}, kAttemptTimeout,
                     [self = shared_from_this()](Result<std::unique_ptr<env::Stream>> stream) {
                       if (!stream.ok()) return self->retry(stream.status());
                       self->ask(std::move(stream).value());
                     });
  }

  size_t on_data(env::Stream&, std::string_view data) override {
    size_t consumed = 0;
    while (done_) {
      std::string_view messages;
      const Result<size_t> taken = net::take_frame(data.substr(consumed), kAnswerBytesMax, messages);
      if (!taken.ok()) return retry(taken.status()), data.size();
      if (*taken == 0) return consumed;
      consumed += *taken;
      while (!messages.empty() && done_) {
        net::FrameMessage message;
        if (Status status = net::take_message(messages, message); !status.ok()) return retry(status), data.size();
        on_message(message);
      }
    }
    return data.size();
  }

  void on_closed(env::Stream&, const Status& reason) override {
    retry(reason.ok() ? Status(ErrorCode::kUnavailable, "the node closed the connection") : reason);
  }

 private:
  void ask(std::unique_ptr<env::Stream> stream) {
    stream_ = std::move(stream);
    stream_->set_handler(this);
    net::FrameWriter frame(stream_->outbox());
    frame.message(net::kHelloType, 0,
                  net::encode_hello({.cluster = {}, .node = kNobody, .name = name_, .peer_address = {}}));
    frame.message(static_cast<uint8_t>(PeerMessage::kJoin), 1, encode_join_call({.name = name_}));
    frame.finish();
    stream_->wrote();
    // It may have lost its power before it could answer.
    loop_.call_after(kAnswerTimeout, [self = shared_from_this(), asked = next_] {
      if (self->next_ == asked) self->retry(Status(ErrorCode::kUnavailable, "the node did not answer in time"));
    });
  }

  void on_message(const net::FrameMessage& message) {
    if (message.type == net::kHelloAcceptedType) return;
    if (message.type != net::kReplyType) return retry(Status(ErrorCode::kPrecondition, std::string(message.body)));
    std::string_view body = message.body;
    if (Status status = take_status(body); !status.ok()) return retry(status);
    const Result<JoinReply> reply = decode_join_reply(body);
    if (!reply.ok()) return retry(reply.status());
    JoinTicket ticket{.cluster = reply->cluster, .node = reply->node, .nodes = {}, .met = reply->met};
    for (const api::NodeRecord& record : reply->nodes) {
      ticket.nodes.push_back({.id = record.id, .name = record.name, .address = record.peer_address});
    }
    finish(std::move(ticket));
  }

  void retry(Status why) {
    if (!done_ || std::exchange(waiting_, true)) return;
    last_error_ = std::move(why);
    loop_.post([self = shared_from_this()] { self->stream_.reset(); });
    loop_.call_after(kPause, [self = shared_from_this()] { self->attempt(); });
  }

  void finish(Result<JoinTicket> result) {
    if (!done_) return;
    // The stream must not be destroyed from inside its own callback.
    loop_.post([self = shared_from_this()] { self->stream_.reset(); });
    std::exchange(done_, nullptr)(std::move(result));
  }

  env::Loop& loop_;
  env::Network& network_;
  const std::vector<env::Address> nodes_;
  const std::string name_;
  Done done_;
  const MonoTime deadline_;
  size_t next_ = 0;
  bool waiting_ = false;  // for the next attempt
  std::unique_ptr<env::Stream> stream_;
  Status last_error_{ErrorCode::kUnavailable, "no node answered"};
};

}  // namespace

std::shared_ptr<void> ask_to_join(env::Loop& loop, env::Network& network, const std::vector<env::Address>& nodes,
                                  const std::string& name, absl::AnyInvocable<void(Result<JoinTicket>)> done) {
  auto joining = std::make_shared<Joining>(loop, network, nodes, name, std::move(done));
  joining->attempt();
  return joining;
}

}  // namespace flux::node
