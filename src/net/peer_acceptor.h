// The incoming side: accepts connections on the peer port, greets, hands on messages, sends replies back the same way.
//
// Owned by the loop of each connection; PeerAcceptor itself may be shared by several loops once it is built.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string_view>

#include "env/net.h"
#include "net/frame.h"
#include "net/handshake.h"

namespace flux::net {

// One accepted connection; lives until it is closed.
class PeerConnection {
 public:
  virtual ~PeerConnection() = default;
  virtual const Hello& peer() const = 0;
  virtual env::Loop& loop() = 0;
  // Answers a call. On the connection's loop.
  virtual void reply(uint64_t request_id, std::string_view body) = 0;
};

class PeerReceiver {
 public:
  virtual ~PeerReceiver() = default;
  // Whether to talk to this peer: OK with our own greeting, or why not, for people. Any loop.
  virtual Result<Hello> greet(const Hello& theirs) = 0;
  // Asked with every sign of life, on the connection's loop: an error closes the connection, and the next greeting says
  // why.
  virtual Status still_welcome(const Hello& theirs) = 0;
  // A message or call of type kFirstUserType or above, on the connection's loop. Keep `connection` only as weak_ptr. An
  // error closes the connection.
  virtual Status on_peer_message(const std::shared_ptr<PeerConnection>& connection, const FrameMessage& message) = 0;
};

struct PeerAcceptorOptions {
  size_t frame_bytes_max = 0;
  Micros greeting_timeout = Millis(5000);
  // A connection that is silent for so long is of a peer that vanished: links ask for signs of life much more often.
  Micros silence_max = Millis(30'000);
  size_t connections_max = 1024;
  // A connection with so many calls unanswered, or so many bytes that wait for the other side to read, is not read from
  // until there are fewer. 0: no limit, for those who may be trusted.
  size_t calls_max = 0;
  size_t unsent_bytes_max = 0;
};

class PeerAcceptor {
 public:
  static Result<std::unique_ptr<PeerAcceptor>> listen(env::Network& network, const std::vector<env::Loop*>& loops,
                                                      const env::Address& address, PeerAcceptorOptions options,
                                                      PeerReceiver& receiver);
  virtual ~PeerAcceptor() = default;
  virtual env::Address local() const = 0;
  // No more connections; those that are open go on.
  virtual void stop_accepting() = 0;
  // Any thread.
  virtual size_t connections() const = 0;
};

}  // namespace flux::net
