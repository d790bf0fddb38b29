// Connections: bytes in through Beast's parser, one request at a time, bytes out through its serializer.
#include "server/http/door.h"

#include <fmt/core.h>

#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <map>
#include <optional>

#include "server/http/routes.h"

namespace flux::server::http {
namespace {

namespace beast = boost::beast::http;

constexpr uint32_t kHeaderBytesMax = 8 * 1024;
constexpr uint64_t kBodyBytesMax = 64 * 1024;
// A request must be complete this long after its connection was opened or its predecessor was answered.
constexpr Micros kRequestTimeout = Millis(10'000);

class Connection final : public env::StreamHandler, public std::enable_shared_from_this<Connection> {
 public:
  Connection(env::Loop& loop, api::AdminService& admin, const DoorOptions& options, std::unique_ptr<env::Stream> stream,
             std::function<void()> on_closed)
      : loop_(loop), admin_(admin), options_(options), stream_(std::move(stream)), on_closed_(std::move(on_closed)) {}

  void start() {
    begin_request();
    stream_->set_handler(this);
  }

  size_t on_data(env::Stream&, std::string_view data) override {
    if (closing_) return data.size();
    if (answering_) return 0;
    size_t consumed = 0;
    while (consumed < data.size() && !parser_->is_done()) {
      boost::system::error_code error;
      const std::string_view rest = data.substr(consumed);
      const size_t n = parser_->put(boost::asio::buffer(rest.data(), rest.size()), error);
      consumed += n;
      if (error == beast::error::need_more) {
        // Beast wants header lines in one piece: what it left comes again with more behind it.
        if (data.size() - consumed > kHeaderBytesMax) return reject(431, "the header is too large"), data.size();
        return consumed;
      }
      if (error == beast::error::header_limit) return reject(431, "the header is too large"), data.size();
      if (error == beast::error::body_limit) return reject(413, "the body is too large"), data.size();
      if (error) return reject(400, "not a valid HTTP request: " + error.message()), data.size();
      // Beast 1.81 asserts, and so ends the process, when the last chunk arrives in pieces: "0\r\n", then "\r".
      if (parser_->is_header_done() && parser_->chunked()) {
        return reject(411, "a body needs a Content-Length; chunks are not taken"), data.size();
      }
      if (n == 0) return consumed;
    }
    if (parser_->is_done()) answer();
    return consumed;
  }

  void on_closed(env::Stream&, const Status&) override {
    closing_ = true;
    loop_.cancel(timeout_);
    const auto self = shared_from_this();
    stream_.reset();
    on_closed_();
  }

 private:
  void begin_request() {
    head_ = false;
    parser_.emplace();
    parser_->eager(false);  // stops behind the header
    parser_->header_limit(kHeaderBytesMax);
    parser_->body_limit(kBodyBytesMax);
    loop_.cancel(timeout_);
    timeout_ = loop_.call_after(kRequestTimeout, [this] { close(); });
  }

  void answer() {
    const auto& message = parser_->get();
    loop_.cancel(timeout_);
    const std::string_view target(message.target().data(), message.target().size());
    Request request;
    request.method = std::string(message.method_string());
    request.body = message.body();
    keep_alive_ = message.keep_alive();
    head_ = message.method() == beast::verb::head;
    // What stands behind this request waits; send() lets it come.
    answering_ = true;
    stream_->pause_reading();
    if (Status status = parse_target(target, request); !status.ok()) return send(error_response(status));
    route(request, admin_, options_,
          [self = shared_from_this()](Response response) { self->send(std::move(response)); });
  }

  void reject(int status, const std::string& why) {
    Response response = error_response(Status(ErrorCode::kInvalidArgument, why));
    response.status = status;
    keep_alive_ = false;
    send(std::move(response));
  }

  void send(Response response) {
    if (closing_) return;
    beast::response<beast::string_body> message{static_cast<beast::status>(response.status), 11};
    message.set(beast::field::server, "fluxkv");
    message.set(beast::field::content_type, response.content_type);
    message.set(beast::field::cache_control, "no-store");
    message.set("X-Content-Type-Options", "nosniff");
    message.keep_alive(keep_alive_);
    message.body() = std::move(response.body);
    message.prepare_payload();
    if (head_) message.body().clear();
    std::string bytes = fmt::format("HTTP/1.1 {} {}\r\n", response.status,
                                    std::string_view(message.reason().data(), message.reason().size()));
    for (const auto& field : message) {
      bytes += fmt::format("{}: {}\r\n", std::string_view(field.name_string().data(), field.name_string().size()),
                           std::string_view(field.value().data(), field.value().size()));
    }
    bytes += "\r\n";
    stream_->send(bytes);
    stream_->send(message.body());
    if (!keep_alive_) return close();
    begin_request();
    if (std::exchange(answering_, false)) stream_->resume_reading();
  }

  void close() {
    if (closing_) return;
    closing_ = true;
    stream_->close_after_flush();
  }

  env::Loop& loop_;
  api::AdminService& admin_;
  const DoorOptions& options_;
  std::unique_ptr<env::Stream> stream_;
  std::function<void()> on_closed_;
  std::optional<beast::request_parser<beast::string_body>> parser_;
  env::TimerId timeout_;
  bool answering_ = false;
  bool keep_alive_ = true;
  bool head_ = false;
  bool closing_ = false;
};

class DoorImpl final : public Door {
 public:
  DoorImpl(env::Loop& loop, api::AdminService& admin, DoorOptions options)
      : loop_(loop), admin_(admin), options_(std::move(options)) {}

  Status open(env::Network& network) {
    FLUX_TRY(listener_,
             network.listen({&loop_}, options_.listen, {.unconsumed_bytes_max = kBodyBytesMax + kHeaderBytesMax},
                            [this](env::Loop&, std::unique_ptr<env::Stream> stream) { accept(std::move(stream)); }));
    return {};
  }
  env::Address local() const override { return listener_->local(); }

 private:
  void accept(std::unique_ptr<env::Stream> stream) {
    if (connections_.size() >= options_.connections_max) return;  // dropped, and so closed
    const uint64_t id = next_id_++;
    auto connection = std::make_shared<Connection>(loop_, admin_, options_, std::move(stream),
                                                   [this, id] { connections_.erase(id); });
    connections_.emplace(id, connection);
    connection->start();
  }

  env::Loop& loop_;
  api::AdminService& admin_;
  const DoorOptions options_;
  std::map<uint64_t, std::shared_ptr<Connection>> connections_;
  uint64_t next_id_ = 1;
  std::unique_ptr<env::Listener> listener_;
};

}  // namespace

Result<std::unique_ptr<Door>> Door::open(env::Network& network, env::Loop& loop, api::AdminService& admin,
                                         DoorOptions options) {
  auto door = std::make_unique<DoorImpl>(loop, admin, std::move(options));
  FLUX_RETURN_IF_ERROR(door->open(network));
  return std::unique_ptr<Door>(std::move(door));
}

}  // namespace flux::server::http
