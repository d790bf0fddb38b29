// A TCP stream on an AsioLoop.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <memory>
#include <string>

#include "env/net.h"
#include "env/posix/asio_loop.h"

namespace flux::env {

class AsioStream final : public Stream {
 public:
  // Takes a connected socket of `loop`'s context.
  AsioStream(AsioLoop& loop, boost::asio::ip::tcp::socket socket, const StreamOptions& options);
  ~AsioStream() override;

  void set_handler(StreamHandler* handler) override;
  std::string& outbox() override;
  void wrote() override;
  size_t unsent_bytes() const override;
  void pause_reading() override;
  void resume_reading() override;
  void close_after_flush() override;
  std::string peer_address() const override;
  std::string local_address() const override;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;  // shared with the system's pending completions
};

}  // namespace flux::env
