// One end of a simulated connection.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "world.h"

namespace flux::sim {

// The ends know each other weakly; what keeps one alive is its facade, or bytes on their way to it.
class SimStream final : public std::enable_shared_from_this<SimStream> {
 public:
  SimStream(SimLoop& loop, uint64_t peer_host, const env::StreamOptions& options)
      : world_(loop.world()), slot_(loop.slot()), host_(loop.host()), peer_host_(peer_host), options_(options) {}

  void pair_with(const std::shared_ptr<SimStream>& other) { other_ = other; }
  void set_facade(env::Stream* facade) { facade_ = facade; }
  void set_handler(env::StreamHandler* handler);
  std::string& outbox() { return outbox_; }
  void wrote();
  void flush();
  void pause() { paused_ = true; }
  void resume();
  void close_after_flush();
  // The facade is gone.
  void detach();
  // The connection breaks in the middle of what arrives next.
  void arm_reset() { reset_armed_ = true; }
  bool between(uint64_t one, uint64_t other) const {
    return (host_ == one && peer_host_ == other) || (host_ == other && peer_host_ == one);
  }

 private:
  struct Segment {
    std::string bytes;
    bool end;
    MonoTime arrival;
  };
  SimLoop* loop() const { return world_.loop(slot_); }
  void send(std::string bytes, bool end);
  void schedule_pump(MonoTime when);
  void pump();
  void take_due();
  void deliver();
  void schedule_delivery();
  void close_both(Status reason);
  // The network says that the other end is no more.
  void break_later();
  void finish(Status reason);
  void tell_closed(Status reason);

  World& world_;
  const size_t slot_;
  const uint64_t host_;
  const uint64_t peer_host_;
  const env::StreamOptions options_;
  env::Stream* facade_ = nullptr;
  env::StreamHandler* handler_ = nullptr;
  std::weak_ptr<SimStream> other_;
  std::deque<Segment> in_flight_;  // towards us
  bool pumping_ = false;           // an event will look at in_flight_
  MonoTime last_arrival_;          // of what we sent
  std::string unconsumed_;
  std::string outbox_;
  std::optional<Status> early_end_;  // came before there was a handler to tell
  bool queued_ = false;
  bool paused_ = false;
  bool closing_ = false;
  bool closed_ = false;
  bool breaking_ = false;
  bool reset_armed_ = false;
};

// What a process holds; destroying it closes the connection.
class StreamFacade final : public env::Stream {
 public:
  StreamFacade(std::shared_ptr<SimStream> end, std::string local, std::string peer)
      : end_(std::move(end)), local_(std::move(local)), peer_(std::move(peer)) {
    end_->set_facade(this);
  }
  ~StreamFacade() override { end_->detach(); }
  void set_handler(env::StreamHandler* handler) override { end_->set_handler(handler); }
  std::string& outbox() override { return end_->outbox(); }
  void wrote() override { end_->wrote(); }
  size_t unsent_bytes() const override { return end_->outbox().size(); }
  void pause_reading() override { end_->pause(); }
  void resume_reading() override { end_->resume(); }
  void close_after_flush() override { end_->close_after_flush(); }
  std::string peer_address() const override { return peer_; }
  std::string local_address() const override { return local_; }

 private:
  const std::shared_ptr<SimStream> end_;
  const std::string local_;
  const std::string peer_;
};

}  // namespace flux::sim
