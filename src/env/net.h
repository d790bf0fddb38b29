// Byte streams between processes.
//
// Streams deliver into a handler and collect output until the end of the turn, when each stream that was written to
// makes one system call. All of it belongs to the loop it was opened on.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "env/loop.h"

namespace flux::env {

struct Address {
  std::string host;  // a name or a number; IPv6 without brackets
  uint16_t port = 0;

  // "host:port" or "[v6]:port". kInvalidArgument says what is wrong with it.
  static Result<Address> parse(std::string_view text);
  std::string to_string() const;
  bool operator==(const Address&) const = default;
};

class Stream;

// What a stream delivers to. Must outlive its stream.
class StreamHandler {
 public:
  virtual ~StreamHandler() = default;
  // `data` is everything received and not yet consumed, in one piece, valid during the call. Returns how many bytes
  // were consumed; the rest is given again with more behind it. Not called again before more arrives.
  virtual size_t on_data(Stream& stream, std::string_view data) = 0;
  // The stream is finished, by the other side (`reason` OK: orderly), by an error, or because unconsumed input grew
  // over the limit (kTooLarge). Called once, never from inside a call of the handler's into the stream. The stream may
  // be destroyed here.
  virtual void on_closed(Stream& stream, const Status& reason) = 0;
  // Output fell back under the low-water mark after send() had returned kAbove.
  virtual void on_drained(Stream&) {}
};

struct StreamOptions {
  size_t unconsumed_bytes_max = 64u << 20;  // input kept for a handler that waits for more of it
  size_t high_water_bytes = 4u << 20;       // output above which the writer should hold back
};

// Destroying it drops unsent output and closes at once.
class Stream {
 public:
  virtual ~Stream() = default;

  virtual void set_handler(StreamHandler* handler) = 0;
  // The output to append to; written at the end of the turn. Call wrote() after appending.
  virtual std::string& outbox() = 0;
  virtual void wrote() = 0;
  void send(std::string_view data) { outbox().append(data), wrote(); }
  // Bytes accepted and not yet taken by the operating system.
  virtual size_t unsent_bytes() const = 0;
  // While paused no input is delivered; the other side is held back by its full window.
  virtual void pause_reading() = 0;
  virtual void resume_reading() = 0;
  // Sends what is in the outbox, then closes; on_closed follows.
  virtual void close_after_flush() = 0;
  virtual std::string peer_address() const = 0;
  virtual std::string local_address() const = 0;
};

// Stops accepting when destroyed.
class Listener {
 public:
  virtual ~Listener() = default;
  // The address it is bound to, with the port the system chose where 0 was asked for.
  virtual Address local() const = 0;
};

using AcceptFn = std::function<void(Loop&, std::unique_ptr<Stream>)>;
using ConnectFn = absl::AnyInvocable<void(Result<std::unique_ptr<Stream>>)>;

class Network {
 public:
  virtual ~Network() = default;
  // Accepts on loops[0] and places each stream on the loop that has the fewest; `on_accept` runs there and must set a
  // handler. REQUIRES: loops is not empty, and every loop outlives the listener.
  // Errors: kInvalidArgument for an address that does not resolve, kPrecondition for one in use, kIo.
  virtual Result<std::unique_ptr<Listener>> listen(const std::vector<Loop*>& loops, const Address& address,
                                                   const StreamOptions& options, AcceptFn on_accept) = 0;
  // Calls `done` on `loop` once, within `timeout`. Errors: kNotFound when the host answered that nobody listens there
  // (the process is gone), kUnavailable for all else.
  virtual void connect(Loop& loop, const Address& address, const StreamOptions& options, Micros timeout,
                       ConnectFn done) = 0;
};

}  // namespace flux::env
