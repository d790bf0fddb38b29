#include "env/posix/asio_network.h"

#include <fmt/core.h>

#include <algorithm>
#include <boost/asio/ip/tcp.hpp>

#include "base/log.h"
#include "env/posix/asio_loop.h"
#include "env/posix/asio_stream.h"

namespace flux::env {
namespace {

using boost::asio::ip::tcp;
using boost::system::error_code;

// How long accepting rests when the process is out of descriptors or memory, so that it does not spin.
constexpr Micros kAcceptPause = Millis(100);

AsioLoop& asio(Loop& loop) { return static_cast<AsioLoop&>(loop); }

class AsioListener final : public Listener {
 public:
  AsioListener(std::vector<Loop*> loops, const StreamOptions& options, AcceptFn on_accept)
      : state_(std::make_shared<State>(std::move(loops), options, std::move(on_accept))) {}
  ~AsioListener() override {
    state_->stopped = true;
    error_code ignored;
    state_->acceptor.close(ignored);
  }

  Status open(const Address& address) {
    tcp::resolver resolver(state_->acceptor.get_executor());
    error_code error;
    const auto found = resolver.resolve(address.host, std::to_string(address.port), tcp::resolver::passive, error);
    if (error) {
      return Status(ErrorCode::kInvalidArgument, fmt::format("cannot resolve {}: {}", address.host, error.message()));
    }
    const tcp::endpoint endpoint = *found.begin();
    tcp::acceptor& acceptor = state_->acceptor;
    acceptor.open(endpoint.protocol(), error);
    if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor.bind(endpoint, error);
    if (!error) acceptor.listen(1024, error);
    if (error) {
      const bool taken = error == boost::asio::error::address_in_use;
      return Status(taken ? ErrorCode::kPrecondition : ErrorCode::kIo,
                    fmt::format("cannot listen on {}: {}{}", address.to_string(), error.message(),
                                taken ? "; another process has this port, choose another or stop that one" : ""));
    }
    state_->accept_next();
    return {};
  }

  Address local() const override {
    error_code ignored;
    const auto endpoint = state_->acceptor.local_endpoint(ignored);
    return {.host = endpoint.address().to_string(), .port = endpoint.port()};
  }

 private:
  struct State : std::enable_shared_from_this<State> {
    State(std::vector<Loop*> all_loops, const StreamOptions& stream_options, AcceptFn accept)
        : loops(std::move(all_loops)),
          options(stream_options),
          on_accept(std::move(accept)),
          acceptor(asio(*loops.front()).context()) {}

    void accept_next() {
      Loop* const target = *std::min_element(loops.begin(), loops.end(),
                                             [](Loop* a, Loop* b) { return asio(*a).streams() < asio(*b).streams(); });
      acceptor.async_accept(asio(*target).context(), [self = shared_from_this(), target](const error_code& error,
                                                                                         tcp::socket socket) {
        if (self->stopped) return;
        if (error) return self->pause(error);
        if (target == self->loops.front()) {
          self->place(*target, std::move(socket));
        } else {
          target->post([self, target, moved = std::move(socket)]() mutable { self->place(*target, std::move(moved)); });
        }
        self->accept_next();
      });
    }

    void place(Loop& loop, tcp::socket socket) {
      if (stopped) return;
      on_accept(loop, std::make_unique<AsioStream>(asio(loop), std::move(socket), options));
    }

    void pause(const error_code& error) {
      if (error == boost::asio::error::operation_aborted) return;
      log::warn("cannot accept a connection: {} -> no new ones for {} ms", error.message(),
                kAcceptPause.count() / 1000);
      loops.front()->call_after(kAcceptPause, [self = shared_from_this()] {
        if (!self->stopped) self->accept_next();
      });
    }

    std::vector<Loop*> loops;
    StreamOptions options;
    AcceptFn on_accept;
    tcp::acceptor acceptor;
    std::atomic<bool> stopped = false;
  };
  std::shared_ptr<State> state_;  // shared with the pending accept
};

// One attempt to connect: resolve, try each address, stop at the timeout; whatever comes first decides.
struct Attempt : std::enable_shared_from_this<Attempt> {
  Attempt(AsioLoop& on_loop, Address to, const StreamOptions& stream_options, ConnectFn when_done)
      : loop(on_loop),
        address(std::move(to)),
        options(stream_options),
        done(std::move(when_done)),
        resolver(loop.context()),
        socket(loop.context()) {}

  void start(Micros timeout) {
    timer = loop.call_after(timeout, [self = shared_from_this()] {
      self->finish(Status(ErrorCode::kUnavailable, fmt::format("{}: no answer in time", self->address.to_string())));
    });
    error_code error;
    const auto number = boost::asio::ip::make_address(address.host, error);
    if (!error) return try_endpoint({tcp::endpoint(number, address.port)}, 0);
    resolver.async_resolve(
        address.host, std::to_string(address.port),
        [self = shared_from_this()](const error_code& failed, const tcp::resolver::results_type& found) {
          if (failed) return self->fail(failed);
          std::vector<tcp::endpoint> endpoints;
          for (const auto& entry : found) endpoints.push_back(entry.endpoint());
          self->try_endpoint(std::move(endpoints), 0);
        });
  }

  void try_endpoint(std::vector<tcp::endpoint> endpoints, size_t at) {
    if (!done) return;
    const tcp::endpoint endpoint = endpoints.at(at);
    error_code ignored;
    socket.close(ignored);
    socket.async_connect(
        endpoint, [self = shared_from_this(), endpoints = std::move(endpoints), at](const error_code& failed) mutable {
          if (!self->done) return;
          if (!failed) return self->succeed();
          if (at + 1 < endpoints.size()) return self->try_endpoint(std::move(endpoints), at + 1);
          self->fail(failed);
        });
  }

  void succeed() {
    loop.cancel(timer);
    ConnectFn call = std::exchange(done, nullptr);
    call(std::unique_ptr<Stream>(std::make_unique<AsioStream>(loop, std::move(socket), options)));
  }

  void fail(const error_code& error) {
    const bool refused = error == boost::asio::error::connection_refused;
    finish(Status(refused ? ErrorCode::kNotFound : ErrorCode::kUnavailable,
                  fmt::format("{}: {}", address.to_string(), error.message())));
  }

  void finish(Status status) {
    if (!done) return;
    loop.cancel(timer);
    error_code ignored;
    socket.close(ignored);
    resolver.cancel();
    std::exchange(done, nullptr)(std::move(status));
  }

  AsioLoop& loop;
  Address address;
  StreamOptions options;
  ConnectFn done;
  tcp::resolver resolver;
  tcp::socket socket;
  TimerId timer;
};

}  // namespace

Result<std::unique_ptr<Listener>> AsioNetwork::listen(const std::vector<Loop*>& loops, const Address& address,
                                                      const StreamOptions& options, AcceptFn on_accept) {
  FLUX_CHECK(!loops.empty());
  auto listener = std::make_unique<AsioListener>(loops, options, std::move(on_accept));
  FLUX_RETURN_IF_ERROR(listener->open(address));
  return std::unique_ptr<Listener>(std::move(listener));
}

void AsioNetwork::connect(Loop& loop, const Address& address, const StreamOptions& options, Micros timeout,
                          ConnectFn done) {
  std::make_shared<Attempt>(asio(loop), address, options, std::move(done))->start(timeout);
}

}  // namespace flux::env
