// A loop whose time stands still until a test moves it, and connections whose far end a test holds: for doors and
// parsers that must not care how their bytes arrive. Deterministic; one thread.
//
// Streams deliver as the real ones do (env/net.h): what a handler leaves is given again with more behind it, a paused
// stream is given again what it kept when it resumes, and input over the limit closes the stream.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "env/net.h"
#include "env/timers.h"

namespace flux::env::testing {

class FakeStream;

class FakeLoop final : public Loop {
 public:
  MonoTime now() const override { return now_; }
  WallMillis wall_now() const override { return WallMillis(static_cast<uint64_t>(now_.since_start().count() / 1000)); }
  MonoTime precise_now() const override { return now_; }
  void post(Task task) override { posted_.push_back(std::move(task)); }
  TimerId call_at(MonoTime when, Task task) override { return timers_.add(when, std::move(task)); }
  void cancel(TimerId timer) override { timers_.cancel(timer); }
  void set_turn_end(Task hook) override { turn_end_ = std::move(hook); }

  // Runs turns until nothing is left to do at this moment.
  void settle();
  // Moves time on, stopping at every timer on the way.
  void advance(Micros by);

 private:
  friend class FakeStream;
  bool turn();

  MonoTime now_{Micros(1'000'000)};
  Timers timers_;
  std::vector<Task> posted_;
  Task turn_end_;
  std::vector<std::weak_ptr<class FakeWire>> to_flush_;
};

// The far end of a stream.
class FakeWire final : public std::enable_shared_from_this<FakeWire> {
 public:
  // Bytes arrive in one piece, in a turn of their own.
  void give(std::string_view bytes);
  // In pieces of at most so many bytes, which the seed draws; 0: all at once.
  void give_in_pieces(std::string_view bytes, uint64_t seed, size_t piece_max);
  // The far end closes in good order.
  void hang_up();
  // What has been sent to the far end so far.
  const std::string& sent() const { return sent_; }
  // Takes what has been sent.
  std::string take() { return std::exchange(sent_, {}); }
  // Whether the stream was closed, by whichever side.
  bool closed() const { return closed_; }
  // The most bytes that were ever kept for a handler that waited for more.
  size_t kept_bytes_max() const { return kept_bytes_max_; }

 private:
  friend class FakeStream;
  friend class FakeLoop;
  friend class FakeNetwork;
  FakeWire(FakeLoop& loop, const StreamOptions& options) : loop_(loop), options_(options) {}
  void pump();
  void deliver();
  void flush();
  void finish(Status reason);

  FakeLoop& loop_;
  const StreamOptions options_;
  FakeStream* stream_ = nullptr;
  StreamHandler* handler_ = nullptr;
  std::string arrived_;     // not looked at yet
  std::string unconsumed_;  // looked at and left
  std::string outbox_;
  std::string sent_;
  size_t kept_bytes_max_ = 0;
  bool paused_ = false;
  bool redeliver_ = false;  // resumed since the handler last saw unconsumed_
  bool closing_ = false;
  bool hung_up_ = false;
  bool closed_ = false;
};

class FakeStream final : public Stream {
 public:
  explicit FakeStream(std::shared_ptr<FakeWire> wire) : wire_(std::move(wire)) { wire_->stream_ = this; }
  ~FakeStream() override;
  void set_handler(StreamHandler* handler) override;
  std::string& outbox() override { return wire_->outbox_; }
  void wrote() override { wire_->loop_.to_flush_.push_back(wire_); }
  size_t unsent_bytes() const override { return wire_->outbox_.size(); }
  void pause_reading() override { wire_->paused_ = true; }
  void resume_reading() override;
  void close_after_flush() override;
  std::string peer_address() const override { return "far:1"; }
  std::string local_address() const override { return "near:1"; }

 private:
  std::shared_ptr<FakeWire> wire_;
};

class FakeNetwork final : public Network {
 public:
  Result<std::unique_ptr<Listener>> listen(const std::vector<Loop*>& loops, const Address& address,
                                           const StreamOptions& options, AcceptFn on_accept) override;
  // The wire of each such connection is in `dialled`.
  void connect(Loop& loop, const Address& address, const StreamOptions& options, Micros timeout,
               ConnectFn done) override;

  // Connects to the newest listener.
  std::shared_ptr<FakeWire> dial();
  std::vector<std::shared_ptr<FakeWire>> dialled;

 private:
  FakeLoop* loop_ = nullptr;
  StreamOptions options_;
  AcceptFn on_accept_;
};

}  // namespace flux::env::testing
