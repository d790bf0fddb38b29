#include "net/peer_acceptor.h"

#include <fmt/core.h>

#include <map>

#include "base/log.h"
#include "net/peer_link.h"

namespace flux::net {
namespace {

class Acceptor;

class Connection final : public PeerConnection,
                         public env::StreamHandler,
                         public std::enable_shared_from_this<Connection> {
 public:
  Connection(Acceptor& acceptor, uint64_t number, env::Loop& loop, std::unique_ptr<env::Stream> stream)
      : acceptor_(acceptor), number_(number), loop_(loop), stream_(std::move(stream)) {}
  ~Connection() override { loop_.cancel(timer_); }

  void start();
  uint64_t number() const { return number_; }
  const Hello& peer() const override { return peer_; }
  env::Loop& loop() override { return loop_; }
  void reply(uint64_t request_id, std::string_view body) override {
    if (closing_) return;
    FrameWriter frame(stream_->outbox());
    frame.message(kReplyType, request_id, body);
    frame.finish();
    stream_->wrote();
    if (open_calls_ > 0) --open_calls_;
    go_on();
  }
  void on_drained(env::Stream&) override { go_on(); }
  size_t on_data(env::Stream& stream, std::string_view data) override;
  void on_closed(env::Stream& stream, const Status& reason) override;

 private:
  Status on_message(const FrameMessage& message);
  Status on_hello(const FrameMessage& message);
  void close(const Status& why);
  void watch();
  bool is_full() const;
  void go_on();

  Acceptor& acceptor_;
  const uint64_t number_;
  env::Loop& loop_;
  std::unique_ptr<env::Stream> stream_;
  Hello peer_;
  bool greeted_ = false;
  bool closing_ = false;
  bool paused_ = false;
  size_t open_calls_ = 0;
  env::TimerId timer_;  // for the greeting, then for silence
  MonoTime heard_;
};

class Acceptor final : public PeerAcceptor {
 public:
  Acceptor(PeerAcceptorOptions options, PeerReceiver& receiver) : options_(options), receiver_(receiver) {}

  Status open(env::Network& network, const std::vector<env::Loop*>& loops, const env::Address& address) {
    FLUX_TRY(listener_,
             network.listen(
                 loops, address, {.unconsumed_bytes_max = options_.frame_bytes_max + kFrameHeaderBytes},
                 [this](env::Loop& loop, std::unique_ptr<env::Stream> stream) { accept(loop, std::move(stream)); }));
    local_ = listener_->local();
    return {};
  }
  env::Address local() const override { return local_; }
  void stop_accepting() override { listener_.reset(); }
  size_t connections() const override {
    const std::lock_guard lock(mutex_);
    return connections_.size();
  }

  void accept(env::Loop& loop, std::unique_ptr<env::Stream> stream) {
    std::shared_ptr<Connection> connection;
    {
      const std::lock_guard lock(mutex_);
      if (connections_.size() >= options_.connections_max) return;  // dropped, and so closed
      connection = std::make_shared<Connection>(*this, ++last_number_, loop, std::move(stream));
      connections_.emplace(connection->number(), connection);
    }
    connection->start();
  }
  void forget(uint64_t number) {
    const std::lock_guard lock(mutex_);
    connections_.erase(number);
  }
  const PeerAcceptorOptions& options() const { return options_; }
  PeerReceiver& receiver() { return receiver_; }

 private:
  const PeerAcceptorOptions options_;
  PeerReceiver& receiver_;
  env::Address local_;
  mutable std::mutex mutex_;
  uint64_t last_number_ = 0;  // guarded by mutex_
  // Guarded by mutex_. In the order of their coming, in which they also end with the acceptor.
  std::map<uint64_t, std::shared_ptr<Connection>> connections_;
  std::unique_ptr<env::Listener> listener_;
};

void Connection::start() {
  stream_->set_handler(this);
  timer_ = loop_.call_after(acceptor_.options().greeting_timeout,
                            [this] { close(Status(ErrorCode::kTimeout, "no greeting in time")); });
}

size_t Connection::on_data(env::Stream&, std::string_view data) {
  if (closing_) return data.size();
  heard_ = loop_.now();
  const auto self = shared_from_this();
  size_t consumed = 0;
  while (true) {
    if (is_full()) {
      paused_ = true;
      stream_->pause_reading();
      return consumed;
    }
    // Before the greeting nobody may make us keep more than a greeting.
    const size_t frame_bytes_max = greeted_ ? acceptor_.options().frame_bytes_max : kHelloBytesMax;
    std::string_view messages;
    const Result<size_t> taken = take_frame(data.substr(consumed), frame_bytes_max, messages);
    if (!taken.ok()) return close(taken.status()), data.size();
    if (*taken == 0) return consumed;
    consumed += *taken;
    while (!messages.empty()) {
      FrameMessage message;
      Status status = take_message(messages, message);
      if (status.ok()) status = on_message(message);
      if (!status.ok()) return close(status), data.size();
    }
  }
}

Status Connection::on_message(const FrameMessage& message) {
  if (!greeted_) return on_hello(message);
  if (message.type == kPingType) {
    FLUX_RETURN_IF_ERROR(acceptor_.receiver().still_welcome(peer_));
    FrameWriter frame(stream_->outbox());
    frame.message(kPongType, 0, {});
    frame.finish();
    stream_->wrote();
    return {};
  }
  if (message.type < kFirstUserType) {
    return Status(ErrorCode::kCorruption, fmt::format("unexpected message type {}", message.type));
  }
  if (message.request_id != 0) ++open_calls_;
  return acceptor_.receiver().on_peer_message(shared_from_this(), message);
}

bool Connection::is_full() const {
  const PeerAcceptorOptions& limits = acceptor_.options();
  return (limits.calls_max != 0 && open_calls_ >= limits.calls_max) ||
         (limits.unsent_bytes_max != 0 && stream_->unsent_bytes() > limits.unsent_bytes_max);
}

void Connection::go_on() {
  if (!paused_ || closing_ || is_full()) return;
  paused_ = false;
  stream_->resume_reading();
}

Status Connection::on_hello(const FrameMessage& message) {
  if (message.type != kHelloType) return Status(ErrorCode::kCorruption, "no greeting");
  FLUX_TRY(peer_, decode_hello(message.body));
  const Result<Hello> ours = acceptor_.receiver().greet(peer_);
  FrameWriter frame(stream_->outbox());
  if (ours.ok()) {
    frame.message(kHelloAcceptedType, 0, encode_hello(*ours));
  } else {
    frame.message(kHelloRefusedType, 0, ours.status().message());
  }
  frame.finish();
  stream_->wrote();
  if (!ours.ok()) return ours.status().with(fmt::format("refused node '{}'", peer_.name));
  loop_.cancel(timer_);
  greeted_ = true;
  watch();
  return {};
}

void Connection::watch() {
  if (loop_.now() - heard_ < acceptor_.options().silence_max) {
    timer_ = loop_.call_at(heard_ + acceptor_.options().silence_max, [this] { watch(); });
    return;
  }
  log::warn("peer connection from {}: nothing was heard for long -> dropped", stream_->peer_address());
  closing_ = true;
  acceptor_.forget(number_);  // the last thing it does: this is gone now
}

void Connection::close(const Status& why) {
  if (closing_) return;
  closing_ = true;
  log::warn("peer connection from {}: {} -> closed", stream_->peer_address(), why.to_string());
  stream_->close_after_flush();
}

void Connection::on_closed(env::Stream&, const Status&) {
  closing_ = true;
  loop_.cancel(timer_);
  const std::shared_ptr<Connection> self = shared_from_this();  // to the end of this function
  acceptor_.forget(number_);
}

}  // namespace

Result<std::unique_ptr<PeerAcceptor>> PeerAcceptor::listen(env::Network& network, const std::vector<env::Loop*>& loops,
                                                           const env::Address& address, PeerAcceptorOptions options,
                                                           PeerReceiver& receiver) {
  auto acceptor = std::make_unique<Acceptor>(options, receiver);
  FLUX_RETURN_IF_ERROR(acceptor->open(network, loops, address));
  return std::unique_ptr<PeerAcceptor>(std::move(acceptor));
}

}  // namespace flux::net
