#include "stream.h"

#include <algorithm>
#include <utility>

namespace flux::sim {
namespace {

// How often bytes that a cut or a dark host holds up try again.
constexpr Micros kRetransmit = Millis(20);
// How often one asks whether a host that fell silent is back, and does not know the connection.
constexpr Micros kProbe = Millis(200);

}  // namespace

void SimStream::set_handler(env::StreamHandler* handler) {
  handler_ = handler;
  if (handler != nullptr && early_end_) return tell_closed(*std::exchange(early_end_, std::nullopt));
  if (!unconsumed_.empty()) schedule_delivery();
}

void SimStream::wrote() {
  if (closed_ || queued_ || loop() == nullptr) return;
  queued_ = true;
  loop()->flush_at_turn_end(shared_from_this());
}

void SimStream::flush() {
  queued_ = false;
  if (closed_) return;
  if (!outbox_.empty()) send(std::exchange(outbox_, {}), false);
  if (closing_) close_both(Status());
}

void SimStream::resume() {
  paused_ = false;
  if (!unconsumed_.empty()) schedule_delivery();
}

void SimStream::close_after_flush() {
  closing_ = true;
  wrote();
}

void SimStream::detach() {
  handler_ = nullptr;
  if (!closed_) close_both(Status());
}

void SimStream::send(std::string bytes, bool end) {
  if (!world_.has_power(host_)) return;
  const std::shared_ptr<SimStream> other = other_.lock();
  if (other == nullptr || other->closed_) return break_later();
  // Bytes of one connection never overtake each other.
  const Micros stalled = loop() == nullptr ? Micros(0) : loop()->stalled();
  last_arrival_ = std::max(last_arrival_, world_.now() + stalled + world_.draw_latency(host_, peer_host_));
  other->in_flight_.push_back({.bytes = std::move(bytes), .end = end, .arrival = last_arrival_});
  other->schedule_pump(last_arrival_);
}

void SimStream::break_later() {
  if (closed_ || std::exchange(breaking_, true)) return;
  const bool dark =
      !world_.has_power(peer_host_) || world_.is_cut(peer_host_, host_) || world_.is_cut(host_, peer_host_);
  world_.after(dark ? kProbe : world_.draw_latency(host_, peer_host_), [self = shared_from_this(), dark] {
    self->breaking_ = false;
    if (dark) return self->break_later();
    self->finish(Status(ErrorCode::kIo, "connection reset by peer"));
  });
}

void SimStream::schedule_pump(MonoTime when) {
  if (std::exchange(pumping_, true)) return;
  world_.at(when, [self = shared_from_this()] { self->pump(); });
}

// Delivers what has arrived, unless the way is cut or nobody can take it now.
void SimStream::pump() {
  pumping_ = false;
  if (in_flight_.empty()) return;
  SimLoop* const ours = loop();
  if (ours == nullptr || closed_) {
    in_flight_.clear();
    if (const std::shared_ptr<SimStream> other = other_.lock()) other->break_later();
    return;
  }
  const auto paused = world_.paused_.find(host_);
  if (paused != world_.paused_.end() && paused->second > world_.now()) return schedule_pump(paused->second);
  if (world_.is_cut(peer_host_, host_)) return schedule_pump(world_.now() + kRetransmit);
  world_.current_host_ = host_;
  ours->run_turn([this] { take_due(); });
  world_.current_host_ = 0;
  if (!in_flight_.empty() && !closed_) schedule_pump(std::max(in_flight_.front().arrival, world_.now()));
}

void SimStream::take_due() {
  bool end = false;
  while (!in_flight_.empty() && in_flight_.front().arrival <= world_.now() && !end) {
    Segment& front = in_flight_.front();
    world_.tell(host_ << 32 | front.bytes.size());
    if (front.bytes.size() > 1 && (reset_armed_ || (world_.chop_ > 0 && world_.rng_.chance(world_.chop_)))) {
      const size_t now = world_.rng_.between(1, front.bytes.size() - 1);
      unconsumed_.append(front.bytes, 0, now);
      front.bytes.erase(0, now);
      front.arrival = world_.now() + Micros(static_cast<int64_t>(world_.rng_.between(1, 300)));
      break;
    }
    unconsumed_ += front.bytes;
    end = front.end;
    in_flight_.pop_front();
  }
  deliver();
  if (reset_armed_ && !closed_) {
    in_flight_.clear();
    if (const std::shared_ptr<SimStream> other = other_.lock()) other->break_later();
    finish(Status(ErrorCode::kIo, "connection reset"));
  } else if (end && !closed_) {
    finish(Status());
  }
}

void SimStream::deliver() {
  if (handler_ == nullptr || paused_ || closed_ || unconsumed_.empty()) return;
  const size_t consumed = handler_->on_data(*facade_, unconsumed_);
  if (closed_ && handler_ == nullptr) return;
  unconsumed_.erase(0, consumed);
  if (unconsumed_.size() > options_.unconsumed_bytes_max) {
    finish(Status(ErrorCode::kTooLarge, "input grew over the limit before it was complete"));
  }
}

void SimStream::schedule_delivery() {
  if (loop() == nullptr) return;
  loop()->post([self = shared_from_this()] { self->deliver(); });
}

void SimStream::close_both(Status reason) {
  send({}, true);
  finish(std::move(reason));
}

void SimStream::finish(Status reason) {
  if (std::exchange(closed_, true)) return;
  if (handler_ != nullptr) return tell_closed(std::move(reason));
  early_end_ = std::move(reason);
}

void SimStream::tell_closed(Status reason) {
  if (loop() == nullptr) return;
  loop()->post([self = shared_from_this(), reason = std::move(reason)] {
    env::StreamHandler* const handler = std::exchange(self->handler_, nullptr);
    if (handler != nullptr) handler->on_closed(*self->facade_, reason);
  });
}

}  // namespace flux::sim
