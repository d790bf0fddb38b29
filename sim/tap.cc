#include "tap.h"

#include <utility>

#include "net/frame.h"

namespace flux::sim {
namespace {

constexpr size_t kAnyFrame = size_t{1} << 30;

class TappedStream final : public env::Stream {
 public:
  TappedStream(const TappedNetwork& network, uint64_t from, std::string to, std::unique_ptr<env::Stream> stream)
      : network_(network), from_(from), to_(std::move(to)), stream_(std::move(stream)) {}

  void set_handler(env::StreamHandler* handler) override { stream_->set_handler(handler); }
  std::string& outbox() override { return outbox_; }
  void wrote() override {
    if (!network_.tap() && held_.empty()) {
      std::string& out = stream_->outbox();
      out.empty() ? out.swap(outbox_) : void(out.append(outbox_));
      outbox_.clear();
      return stream_->wrote();
    }
    std::string_view left = outbox_;
    while (!left.empty() && !reset_) {
      std::string_view messages;
      const Result<size_t> taken = net::take_frame(left, kAnyFrame, messages);
      FLUX_CHECK(taken.ok() && *taken > 0, "a node sends whole frames");
      left.remove_prefix(*taken);
      while (!messages.empty() && !reset_) {
        net::FrameMessage message;
        FLUX_CHECK(net::take_message(messages, message).ok());
        pass({.from = from_,
              .to = to_,
              .type = message.type,
              .request_id = message.request_id,
              .body = std::string(message.body),
              .replays = {}});
      }
    }
    outbox_.clear();
  }
  size_t unsent_bytes() const override { return stream_->unsent_bytes(); }
  void pause_reading() override { stream_->pause_reading(); }
  void resume_reading() override { stream_->resume_reading(); }
  void close_after_flush() override { stream_->close_after_flush(); }
  std::string peer_address() const override { return stream_->peer_address(); }
  std::string local_address() const override { return stream_->local_address(); }

 private:
  void pass(Passing passing) {
    const Fate fate = network_.tap() ? network_.tap()(passing) : Fate::kPass;
    switch (fate) {
      case Fate::kDrop:
        return;
      case Fate::kReset:
        reset_ = true;
        return stream_->close_after_flush();
      case Fate::kHold:
        held_.push_back(std::move(passing));
        return;
      case Fate::kPass:
      case Fate::kTwice:
      case Fate::kDamage:
        break;
    }
    put(passing, passing.body);
    if (fate == Fate::kDamage) {
      std::string& out = stream_->outbox();
      out[out.size() - passing.body.size() + passing.damage] ^= 1;
    }
    if (fate == Fate::kTwice) put(passing, passing.body);
    for (const std::string& old : passing.replays) put(passing, old);
    for (const Passing& held : held_) put(held, held.body);
    held_.clear();
    stream_->wrote();
  }
  void put(const Passing& passing, std::string_view body) {
    net::FrameWriter frame(stream_->outbox());
    frame.message(passing.type, passing.request_id, body);
    frame.finish();
  }

  const TappedNetwork& network_;
  const uint64_t from_;
  const std::string to_;
  const std::unique_ptr<env::Stream> stream_;
  std::string outbox_;
  std::vector<Passing> held_;
  bool reset_ = false;
};

}  // namespace

void TappedNetwork::connect(env::Loop& loop, const env::Address& address, const env::StreamOptions& options,
                            Micros timeout, env::ConnectFn done) {
  const uint64_t from = static_cast<SimLoop&>(loop).host();
  network_.connect(
      loop, address, options, timeout,
      [this, from, to = address.to_string(),
       done = std::move(done)](Result<std::unique_ptr<env::Stream>> stream) mutable {
        if (!stream.ok()) return done(stream.status());
        done(std::unique_ptr<env::Stream>(std::make_unique<TappedStream>(*this, from, to, std::move(stream).value())));
      });
}

}  // namespace flux::sim
