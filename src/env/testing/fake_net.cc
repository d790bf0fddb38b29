#include "env/testing/fake_net.h"

#include <algorithm>
#include <utility>

#include "base/rng.h"

namespace flux::env::testing {

// --- Loop ------------------------------------------------------------------------------------------------------------

bool FakeLoop::turn() {
  std::vector<Task> tasks = std::exchange(posted_, {});
  while (Task task = timers_.take_due(now_)) tasks.push_back(std::move(task));
  const bool some = !tasks.empty() || !to_flush_.empty();
  for (Task& task : tasks) task();
  if (turn_end_) turn_end_();
  for (const auto& wire : std::exchange(to_flush_, {})) {
    if (const auto alive = wire.lock()) alive->flush();
  }
  return some;
}

void FakeLoop::settle() {
  while (turn()) {
  }
}

void FakeLoop::advance(Micros by) {
  const MonoTime until = now_ + by;
  settle();
  while (timers_.earliest() <= until) {
    now_ = std::max(now_, timers_.earliest());
    settle();
  }
  now_ = until;
}

// --- Wire ------------------------------------------------------------------------------------------------------------

void FakeWire::give(std::string_view bytes) {
  if (closed_) return;
  arrived_ += bytes;
  loop_.post([self = shared_from_this()] { self->pump(); });
  loop_.settle();
}

void FakeWire::give_in_pieces(std::string_view bytes, uint64_t seed, size_t piece_max) {
  Rng rng(seed);
  while (!bytes.empty()) {
    const size_t piece = piece_max == 0 ? bytes.size() : std::min<size_t>(bytes.size(), rng.between(1, piece_max));
    give(bytes.substr(0, piece));
    bytes.remove_prefix(piece);
  }
}

void FakeWire::hang_up() {
  hung_up_ = true;
  loop_.post([self = shared_from_this()] { self->pump(); });
  loop_.settle();
}

void FakeWire::pump() {
  if (paused_ || closed_ || handler_ == nullptr) return;
  if (std::exchange(redeliver_, false) && !unconsumed_.empty()) deliver();
  if (paused_ || closed_) return;
  if (!arrived_.empty()) {
    unconsumed_ += std::exchange(arrived_, {});
    deliver();
  }
  kept_bytes_max_ = std::max(kept_bytes_max_, unconsumed_.size());
  if (unconsumed_.size() > options_.unconsumed_bytes_max) {
    return finish(Status(ErrorCode::kTooLarge, "input grew over the limit before it was complete"));
  }
  if (hung_up_ && arrived_.empty() && !paused_) finish({});
}

void FakeWire::deliver() {
  // A copy of exactly this size, so that a sanitizer sees a handler that reads past its input.
  const std::vector<char> data(unconsumed_.begin(), unconsumed_.end());
  const size_t consumed = handler_->on_data(*stream_, std::string_view(data.data(), data.size()));
  FLUX_CHECK(consumed <= unconsumed_.size());
  unconsumed_.erase(0, consumed);
}

void FakeWire::flush() {
  if (closed_) return;
  sent_ += std::exchange(outbox_, {});
  if (closing_) finish({});
}

void FakeWire::finish(Status reason) {
  if (std::exchange(closed_, true)) return;
  loop_.post([self = shared_from_this(), reason = std::move(reason)] {
    StreamHandler* const handler = std::exchange(self->handler_, nullptr);
    if (handler != nullptr) handler->on_closed(*self->stream_, reason);
  });
}

// --- Stream ----------------------------------------------------------------------------------------------------------

FakeStream::~FakeStream() {
  wire_->handler_ = nullptr;
  wire_->stream_ = nullptr;
  wire_->closed_ = true;
}

void FakeStream::set_handler(StreamHandler* handler) {
  wire_->handler_ = handler;
  wire_->loop_.post([wire = wire_] { wire->pump(); });
}

void FakeStream::resume_reading() {
  if (!std::exchange(wire_->paused_, false)) return;
  wire_->redeliver_ = true;
  wire_->loop_.post([wire = wire_] { wire->pump(); });
}

void FakeStream::close_after_flush() {
  wire_->closing_ = true;
  wrote();
}

// --- Network ---------------------------------------------------------------------------------------------------------

namespace {

class FakeListener final : public Listener {
 public:
  explicit FakeListener(Address address) : address_(std::move(address)) {}
  Address local() const override { return address_; }

 private:
  const Address address_;
};

}  // namespace

Result<std::unique_ptr<Listener>> FakeNetwork::listen(const std::vector<Loop*>& loops, const Address& address,
                                                      const StreamOptions& options, AcceptFn on_accept) {
  loop_ = static_cast<FakeLoop*>(loops.front());
  options_ = options;
  on_accept_ = std::move(on_accept);
  return std::unique_ptr<Listener>(std::make_unique<FakeListener>(address));
}

void FakeNetwork::connect(Loop& loop, const Address&, const StreamOptions& options, Micros, ConnectFn done) {
  const std::shared_ptr<FakeWire> wire(new FakeWire(static_cast<FakeLoop&>(loop), options));
  dialled.push_back(wire);
  loop.post(
      [wire, done = std::move(done)]() mutable { done(std::unique_ptr<Stream>(std::make_unique<FakeStream>(wire))); });
}

std::shared_ptr<FakeWire> FakeNetwork::dial() {
  const std::shared_ptr<FakeWire> wire(new FakeWire(*loop_, options_));
  on_accept_(*loop_, std::make_unique<FakeStream>(wire));
  loop_->settle();
  return wire;
}

}  // namespace flux::env::testing
