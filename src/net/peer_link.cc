#include "net/peer_link.h"

#include <fmt/core.h>

#include <algorithm>

namespace flux::net {

PeerLink::PeerLink(env::Loop& loop, env::Network& network, env::Address address, NodeId expected, Hello hello,
                   PeerLinkOptions options, Rng rng, PeerLinkEvents events)
    : loop_(loop),
      network_(network),
      address_(std::move(address)),
      expected_(expected),
      hello_(std::move(hello)),
      options_(options),
      rng_(rng),
      events_(std::move(events)),
      pause_(options.pause_min),
      alive_(std::make_shared<bool>(true)) {
  connect();
}

PeerLink::~PeerLink() {
  *alive_ = false;
  loop_.cancel(retry_timer_);
  loop_.cancel(watch_timer_);
  for (auto& [id, done] : calls_) done(Status(ErrorCode::kOutcomeUnknown, "the link was closed before the answer"));
}

void PeerLink::set_address(env::Address address) {
  if (address == address_) return;
  address_ = std::move(address);
  pause_ = options_.pause_min;
}

bool PeerLink::congested() const { return stream_ == nullptr || stream_->unsent_bytes() > options_.unsent_bytes_max; }

void PeerLink::connect() {
  network_.connect(loop_, address_, {.unconsumed_bytes_max = options_.frame_bytes_max + kFrameHeaderBytes},
                   options_.connect_timeout, [this, alive = alive_](Result<std::unique_ptr<env::Stream>> stream) {
                     if (!*alive) return;
                     if (stream.ok()) return connected(std::move(stream).value());
                     events_.down(stream.status().code() == ErrorCode::kNotFound);
                     retry();
                   });
}

void PeerLink::connected(std::unique_ptr<env::Stream> stream) {
  stream_ = std::move(stream);
  refused_ = false;
  failing_ = false;
  stream_->set_handler(this);
  FrameWriter hello(stream_->outbox());
  hello.message(kHelloType, 0, encode_hello(hello_));
  hello.finish();
  stream_->wrote();
  heard_ = loop_.now();
  unsent_before_ = 0;
  watch_timer_ = loop_.call_after(options_.ping_interval, [this] { watch(); });
}

void PeerLink::watch() {
  const size_t unsent = stream_->unsent_bytes();
  if (unsent < unsent_before_) heard_ = loop_.now();  // it takes what we send, and may have much of it before it
  unsent_before_ = unsent;
  if (loop_.now() - heard_ >= (up_ ? options_.silence_max : options_.greeting_timeout)) return lost(false);
  if (up_ && unsent == 0) {
    writer_.message(kPingType, 0, {});
    flush();
  }
  watch_timer_ = loop_.call_after(options_.ping_interval, [this] { watch(); });
}

void PeerLink::send(uint8_t type, std::string_view body) {
  if (!up_ || congested()) return;
  writer_.message(type, 0, body);
  if (writer_.bytes() > options_.frame_bytes_max / 2) flush();
}

void PeerLink::call(uint8_t type, std::string_view body, CallDone done) {
  if (!up_ || congested()) {
    return done(Status(ErrorCode::kUnavailable, up_ ? "the link to the peer is full" : "the peer cannot be reached"));
  }
  const uint64_t id = next_request_++;
  calls_.emplace(id, std::move(done));
  writer_.message(type, id, body);
  if (writer_.bytes() > options_.frame_bytes_max / 2) flush();
}

void PeerLink::flush() {
  if (!writer_.open()) return;
  writer_.finish();
  if (stream_ != nullptr) {
    std::string& outbox = stream_->outbox();
    outbox.empty() ? outbox.swap(frame_) : void(outbox.append(frame_));
    stream_->wrote();
  }
  frame_.clear();
}

size_t PeerLink::on_data(env::Stream& stream, std::string_view data) {
  if (failing_) return data.size();
  heard_ = loop_.now();
  size_t consumed = 0;
  Status status;
  while (status.ok()) {
    std::string_view messages;
    const Result<size_t> taken = take_frame(data.substr(consumed), options_.frame_bytes_max, messages);
    if (!taken.ok()) {
      status = taken.status();
      break;
    }
    if (*taken == 0) return consumed;
    consumed += *taken;
    while (status.ok() && !messages.empty()) {
      FrameMessage message;
      status = take_message(messages, message);
      if (status.ok()) status = on_message(message);
    }
  }
  failing_ = true;
  events_.refused(status.with(fmt::format("link to {}", address_.to_string())));
  refused_ = true;
  stream.close_after_flush();
  return data.size();
}

Status PeerLink::on_message(const FrameMessage& message) {
  if (!up_) return on_greeting(message);
  if (message.type == kPongType) return {};
  if (message.type != kReplyType) {
    return Status(ErrorCode::kCorruption, fmt::format("unexpected message type {}", message.type));
  }
  const auto it = calls_.find(message.request_id);
  if (it == calls_.end()) return Status(ErrorCode::kCorruption, "a reply that nobody asked for");
  CallDone done = std::move(it->second);
  calls_.erase(it);
  done(message.body);
  return {};
}

Status PeerLink::on_greeting(const FrameMessage& message) {
  if (message.type == kHelloRefusedType) return Status(ErrorCode::kPrecondition, std::string(message.body));
  if (message.type != kHelloAcceptedType) return Status(ErrorCode::kCorruption, "not a port that FluxKV listens on");
  FLUX_TRY(const Hello theirs, decode_hello(message.body));
  const bool same_cluster = hello_.cluster == ClusterId() || theirs.cluster == hello_.cluster;
  if (!same_cluster || (expected_ != kNobody && theirs.node != expected_)) {
    return Status(ErrorCode::kPrecondition,
                  fmt::format("expected node {:x} there, found node {:x} ('{}'){}", expected_.value(),
                              theirs.node.value(), theirs.name, same_cluster ? "" : " of another cluster"));
  }
  if (events_.admit) FLUX_RETURN_IF_ERROR(events_.admit(theirs));
  up_ = true;
  pause_ = options_.pause_min;
  events_.up();
  return {};
}

void PeerLink::on_closed(env::Stream&, const Status& reason) { lost(reason.ok() && !refused_); }

void PeerLink::lost(bool gone) {
  loop_.cancel(watch_timer_);
  const bool was_up = std::exchange(up_, false);
  writer_.finish();
  frame_.clear();
  stream_.reset();
  std::unordered_map<uint64_t, CallDone> calls;
  calls.swap(calls_);
  for (auto& [id, done] : calls) done(Status(ErrorCode::kOutcomeUnknown, "the link was lost before the answer"));
  if (was_up) events_.down(gone);
  retry();
}

void PeerLink::retry() {
  if (refused_) pause_ = options_.pause_max;
  const auto jitter = Micros(static_cast<int64_t>(rng_.below(static_cast<uint64_t>(pause_.count()) + 1)));
  retry_timer_ = loop_.call_after(pause_ / 2 + jitter / 2, [this] { connect(); });
  pause_ = std::min(pause_ * 2, options_.pause_max);
}

}  // namespace flux::net
