#include "env/posix/asio_stream.h"

#include <fmt/core.h>

#include <boost/asio/buffer.hpp>

namespace flux::env {
namespace {

using boost::asio::ip::tcp;
template <int Name>
using TcpOption = boost::asio::detail::socket_option::integer<IPPROTO_TCP, Name>;

// Input taken from one stream before others get their turn.
constexpr size_t kReadBytesPerTurn = 256_KiB;
// A larger buffer is given back to the allocator once it is empty.
constexpr size_t kKeptCapacity = 256_KiB;

}  // namespace

class AsioStream::Impl final : public AsioLoop::Flushable, public std::enable_shared_from_this<Impl> {
 public:
  Impl(AsioStream& owner, AsioLoop& loop, tcp::socket socket, const StreamOptions& options)
      : owner_(&owner), loop_(loop), socket_(std::move(socket)), options_(options) {
    ++loop_.streams();
    boost::system::error_code ignored;
    socket_.non_blocking(true, ignored);
    socket_.set_option(tcp::no_delay(true), ignored);
    // A client whose host vanished is noticed after about ten minutes, as Redis does it (tcp-keepalive 300).
    socket_.set_option(boost::asio::socket_base::keep_alive(true), ignored);
    socket_.set_option(TcpOption<TCP_KEEPIDLE>(300), ignored);
    socket_.set_option(TcpOption<TCP_KEEPINTVL>(100), ignored);
    socket_.set_option(TcpOption<TCP_KEEPCNT>(3), ignored);
    const auto local = socket_.local_endpoint(ignored);
    local_ = Address{.host = local.address().to_string(), .port = local.port()}.to_string();
    const auto peer = socket_.remote_endpoint(ignored);
    peer_ = Address{.host = peer.address().to_string(), .port = peer.port()}.to_string();
  }
  ~Impl() override { --loop_.streams(); }

  void set_handler(StreamHandler* handler) {
    handler_ = handler;
    wait_readable();
  }

  std::string& outbox() { return outbox_; }

  void wrote() {
    if (flush_queued_ || waiting_writable_ || closed_) return;
    flush_queued_ = true;
    loop_.flush_at_turn_end(shared_from_this());
  }

  size_t unsent_bytes() const { return outbox_.size() - sent_; }

  void pause_reading() { paused_ = true; }

  void resume_reading() {
    if (!paused_) return;
    paused_ = false;
    // Input that was held back may be complete already, so the handler hears of it without waiting for more. Inside a
    // call of the handler it is not known yet whether any is left.
    if (delivering_ || !unconsumed_.empty()) {
      loop_.post([self = shared_from_this()] {
        if (!self->closed_ && !self->paused_ && !self->unconsumed_.empty()) self->deliver_unconsumed();
        self->wait_readable();
      });
      return;
    }
    wait_readable();
  }

  void close_after_flush() {
    closing_ = true;
    wrote();
  }

  const std::string& peer() const { return peer_; }
  const std::string& local() const { return local_; }

  // The owner is gone: nothing is delivered any more.
  void detach() {
    owner_ = nullptr;
    handler_ = nullptr;
    shut();
  }

  void flush() override {
    flush_queued_ = false;
    if (closed_ || waiting_writable_) return;
    const bool was_high = unsent_bytes() > options_.high_water_bytes;
    while (sent_ < outbox_.size()) {
      boost::system::error_code error;
      const size_t n = socket_.write_some(boost::asio::buffer(outbox_.data() + sent_, outbox_.size() - sent_), error);
      if (error == boost::asio::error::would_block) return wait_writable();
      if (error == boost::asio::error::interrupted) continue;
      if (error) return finish(Status(ErrorCode::kUnavailable, error.message()));
      sent_ += n;
    }
    outbox_.clear();
    sent_ = 0;
    if (outbox_.capacity() > kKeptCapacity) outbox_.shrink_to_fit();
    if (closing_) return finish({});
    if (was_high || above_) {
      above_ = false;
      if (handler_ != nullptr) handler_->on_drained(*owner_);
    }
  }

 private:
  void wait_readable() {
    if (waiting_readable_ || paused_ || closed_ || handler_ == nullptr) return;
    waiting_readable_ = true;
    socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](const boost::system::error_code& error) {
      self->waiting_readable_ = false;
      if (error || self->closed_ || self->handler_ == nullptr) return;
      self->read_available();
    });
  }

  void wait_writable() {
    above_ = above_ || unsent_bytes() > options_.high_water_bytes;
    waiting_writable_ = true;
    socket_.async_wait(tcp::socket::wait_write, [self = shared_from_this()](const boost::system::error_code& error) {
      self->waiting_writable_ = false;
      if (error || self->closed_) return;
      self->flush();
    });
  }

  void read_available() {
    for (size_t taken = 0; taken < kReadBytesPerTurn && !paused_ && !closed_ && handler_ != nullptr;) {
      // Into the loop's shared buffer when nothing is kept, so that an idle stream owns no memory.
      boost::system::error_code error;
      const size_t kept = unconsumed_.size();
      size_t room = AsioLoop::kScratchBytes;
      size_t n = 0;
      if (kept == 0) {
        n = socket_.read_some(boost::asio::buffer(loop_.scratch(), room), error);
      } else {
        room = std::max(room, std::min<size_t>(kept, 1_MiB));
        unconsumed_.resize(kept + room);
        n = socket_.read_some(boost::asio::buffer(unconsumed_.data() + kept, room), error);
        unconsumed_.resize(kept + (error ? 0 : n));
      }
      if (error == boost::asio::error::would_block) break;
      if (error == boost::asio::error::interrupted) continue;
      if (error == boost::asio::error::eof) return finish({});
      if (error) return finish(Status(ErrorCode::kUnavailable, error.message()));
      taken += n;
      if (kept == 0) {
        const std::string_view data(loop_.scratch(), n);
        const size_t consumed = hand_over(data);
        if (consumed < n && !closed_) unconsumed_.assign(data.substr(consumed));
      } else {
        deliver_unconsumed();
      }
      if (unconsumed_.size() > options_.unconsumed_bytes_max) {
        return finish(Status(ErrorCode::kTooLarge, "input grew over the limit before it was complete"));
      }
      if (n < room) break;  // the socket is empty; asking again would only cost a system call
    }
    wait_readable();
  }

  // How much of it the handler consumed.
  size_t hand_over(std::string_view data) {
    delivering_ = true;
    const size_t consumed = handler_->on_data(*owner_, data);
    delivering_ = false;
    FLUX_CHECK(consumed <= data.size());
    return consumed;
  }

  void deliver_unconsumed() {
    if (handler_ == nullptr) return;
    const size_t consumed = hand_over(unconsumed_);
    if (consumed == unconsumed_.size()) {
      unconsumed_.clear();
      if (unconsumed_.capacity() > kKeptCapacity) unconsumed_.shrink_to_fit();
    } else {
      unconsumed_.erase(0, consumed);
    }
  }

  void finish(Status reason) {
    if (closed_) return;
    shut();
    if (handler_ == nullptr) return;
    loop_.post([self = shared_from_this(), reason = std::move(reason)] {
      StreamHandler* const handler = std::exchange(self->handler_, nullptr);
      if (handler != nullptr) handler->on_closed(*self->owner_, reason);
    });
  }

  void shut() {
    closed_ = true;
    boost::system::error_code ignored;
    socket_.close(ignored);
  }

  AsioStream* owner_;
  AsioLoop& loop_;
  tcp::socket socket_;
  const StreamOptions options_;
  StreamHandler* handler_ = nullptr;
  std::string unconsumed_;
  std::string outbox_;
  size_t sent_ = 0;  // prefix of outbox_ that the system has taken
  bool flush_queued_ = false;
  bool waiting_readable_ = false;
  bool waiting_writable_ = false;
  bool paused_ = false;
  bool delivering_ = false;  // inside a call of the handler's on_data
  bool above_ = false;       // output has been over the high-water mark and on_drained() is owed
  bool closing_ = false;
  bool closed_ = false;
  std::string peer_;
  std::string local_;
};

AsioStream::AsioStream(AsioLoop& loop, tcp::socket socket, const StreamOptions& options)
    : impl_(std::make_shared<Impl>(*this, loop, std::move(socket), options)) {}
AsioStream::~AsioStream() { impl_->detach(); }

void AsioStream::set_handler(StreamHandler* handler) { impl_->set_handler(handler); }
std::string& AsioStream::outbox() { return impl_->outbox(); }
void AsioStream::wrote() { impl_->wrote(); }
size_t AsioStream::unsent_bytes() const { return impl_->unsent_bytes(); }
void AsioStream::pause_reading() { impl_->pause_reading(); }
void AsioStream::resume_reading() { impl_->resume_reading(); }
void AsioStream::close_after_flush() { impl_->close_after_flush(); }
std::string AsioStream::peer_address() const { return impl_->peer(); }
std::string AsioStream::local_address() const { return impl_->local(); }

}  // namespace flux::env
