// An outgoing link to one peer on one channel: connects, greets, reconnects with growing pauses, carries messages and
// calls. Messages given while it is down are dropped: whoever needs them to arrive asks again.
//
// Owned by one loop.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/rng.h"
#include "base/status.h"
#include "env/net.h"
#include "net/frame.h"
#include "net/handshake.h"

namespace flux::net {

// Message types below this are the link's own.
inline constexpr uint8_t kHelloType = 1;
inline constexpr uint8_t kHelloAcceptedType = 2;  // body: the acceptor's Hello
inline constexpr uint8_t kHelloRefusedType = 3;   // body: why, for people
inline constexpr uint8_t kReplyType = 4;          // answers a call
inline constexpr uint8_t kPingType = 5;           // asks for a pong; no body
inline constexpr uint8_t kPongType = 6;
inline constexpr uint8_t kFirstUserType = 16;

// OK with the reply's body; kUnavailable: it was not sent; kOutcomeUnknown: it was sent and the link was lost.
using CallDone = absl::AnyInvocable<void(Result<std::string_view>)>;

struct PeerLinkEvents {
  // Whether we talk to who greeted us: OK, or why not, for people. Null: to everybody who is who we wanted.
  std::function<Status(const Hello& theirs)> admit;
  std::function<void()> up;
  // `gone`: nobody listens at the address, or it closed in good order: the process is not there.
  std::function<void(bool gone)> down;
  // The peer refused us, or is not who we wanted; `reason` is for people. The link goes on trying, slowly.
  std::function<void(const Status& reason)> refused;
};

struct PeerLinkOptions {
  size_t frame_bytes_max = 0;
  // Output that waits for the peer to read; more is dropped (and calls refused).
  size_t unsent_bytes_max = 64_MiB;
  Micros connect_timeout = Millis(2000);
  // From the connection to the peer's greeting.
  Micros greeting_timeout = Millis(3000);
  // A link asks for a sign of life this often, and is given up after this much silence: TCP alone would hold on to a
  // peer that vanished for a quarter of an hour, and take minutes to notice that it is back.
  Micros ping_interval = Millis(1000);
  Micros silence_max = Millis(5000);
  Micros pause_min = Millis(20);
  Micros pause_max = Millis(1000);
};

class PeerLink final : public env::StreamHandler {
 public:
  // `hello` is ours. Who is wanted is checked against the peer's greeting: the cluster that `hello` names and the node
  // `expected`; 0 is any.
  PeerLink(env::Loop& loop, env::Network& network, env::Address address, NodeId expected, Hello hello,
           PeerLinkOptions options, Rng rng, PeerLinkEvents events);
  ~PeerLink() override;
  // Open calls stay unanswered: whoever made them is going too.
  void forget_calls() { calls_.clear(); }
  PeerLink(const PeerLink&) = delete;
  PeerLink& operator=(const PeerLink&) = delete;

  void set_address(env::Address address);
  const env::Address& address() const { return address_; }
  bool up() const { return up_; }
  // True when more would only pile up.
  bool congested() const;

  void send(uint8_t type, std::string_view body);
  void call(uint8_t type, std::string_view body, CallDone done);
  // Closes the open frame; at the end of every turn in which send() or call() was used.
  void flush();

  size_t on_data(env::Stream& stream, std::string_view data) override;
  void on_closed(env::Stream& stream, const Status& reason) override;

 private:
  void connect();
  void connected(std::unique_ptr<env::Stream> stream);
  Status on_message(const FrameMessage& message);
  Status on_greeting(const FrameMessage& message);
  void watch();
  void lost(bool gone);
  void retry();

  env::Loop& loop_;
  env::Network& network_;
  env::Address address_;
  const NodeId expected_;
  const Hello hello_;
  const PeerLinkOptions options_;
  Rng rng_;
  const PeerLinkEvents events_;

  std::unique_ptr<env::Stream> stream_;
  // The open frame; moved to the stream when it is complete, for a stream may write its outbox at any moment.
  std::string frame_;
  FrameWriter writer_{frame_};
  bool up_ = false;  // greeted and accepted
  bool refused_ = false;
  bool failing_ = false;  // a protocol error: the stream is on its way out
  Micros pause_;
  env::TimerId retry_timer_;
  env::TimerId watch_timer_;
  MonoTime heard_;            // when the peer last gave a sign of life, or took bytes
  size_t unsent_before_ = 0;  // when we last looked
  uint64_t next_request_ = 1;
  std::unordered_map<uint64_t, CallDone> calls_;
  std::shared_ptr<bool> alive_;  // shared with a pending connect, which may outlive us
};

}  // namespace flux::net
