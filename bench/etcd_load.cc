// etcd_load: a load driver for etcd's v3 API, of the same make as `fluxctl bench`: one thread, the same event loop and
// sockets, the same keys, values and result. Closed loop: every connection keeps --pipeline requests under way.
//
// gRPC is spoken on libnghttp2 and the messages are encoded here, because a driver that shares two cores with three
// servers must not cost as much as they do (bench/README.md has the comparison with the gRPC library).
#include <fmt/core.h>
#include <nghttp2/nghttp2.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <cstring>
#include <memory>

#include "base/histogram.h"
#include "base/rng.h"
#include "env/posix/asio_loop.h"
#include "env/posix/asio_network.h"
#include "main/ctl/bench_values.h"

namespace flux::bench {
namespace {

struct Options {
  std::string endpoints = "127.0.0.1:2379";
  uint64_t connections = 50;
  uint64_t pipeline = 1;
  double seconds = 10;
  double warmup_seconds = 1;
  double read_ratio = 0.5;
  uint64_t key_space = 100'000;
  uint64_t key_size = 16;
  uint64_t value_size = 128;
  bool load = false;
  uint64_t seed = 1;
};

// --- The two messages of etcdserverpb that are needed, as protocol buffers ----------------------------------------
//
//   message RangeRequest  { bytes key = 1; }                    serializable (7) is left out: the read is linearizable
//   message RangeResponse { repeated KeyValue kvs = 2; }
//   message PutRequest    { bytes key = 1; bytes value = 2; }

constexpr int kKeyField = 1;
constexpr int kValueField = 2;
constexpr int kKvsField = 2;
constexpr size_t kPrefixBytes = 5;  // of a gRPC message: compressed or not (1), length (4, big endian)

void append_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

void append_bytes(std::string& out, int field, std::string_view bytes) {
  append_varint(out, static_cast<uint64_t>(field) << 3 | 2);
  append_varint(out, bytes.size());
  out.append(bytes);
}

// Writes the prefix for the message that follows its place at the front of `out`.
void seal(std::string& out) {
  const size_t length = out.size() - kPrefixBytes;
  out[0] = 0;
  for (size_t i = 0; i < 4; ++i) out[1 + i] = static_cast<char>(length >> (24 - 8 * i));
}

bool read_varint(std::string_view& in, uint64_t& value) {
  value = 0;
  for (int shift = 0; shift < 64 && !in.empty(); shift += 7) {
    const auto byte = static_cast<uint8_t>(in.front());
    in.remove_prefix(1);
    value |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if ((byte & 0x80) == 0) return true;
  }
  return false;
}

// How many fields numbered `field` the sealed message has; -1 if it is not a message of varints and bytes.
int count_fields(std::string_view in, uint64_t field) {
  if (in.size() < kPrefixBytes || in[0] != 0) return -1;
  in.remove_prefix(kPrefixBytes);
  int found = 0;
  while (!in.empty()) {
    uint64_t tag = 0;
    uint64_t value = 0;
    if (!read_varint(in, tag) || !read_varint(in, value)) return -1;
    if ((tag & 7) == 2) {
      if (value > in.size()) return -1;
      in.remove_prefix(value);
    } else if ((tag & 7) != 0) {
      return -1;
    }
    if (tag >> 3 == field) ++found;
  }
  return found;
}

// --- One connection ---------------------------------------------------------------------------------------------

class Driver;

// One of a connection's places for a request.
struct Request {
  std::string out;  // the sealed request
  size_t sent = 0;  // of `out`
  std::string in;   // the sealed response, as far as it has come
  std::string grpc_status;
  std::string grpc_message;
  MonoTime since;
  bool read = false;
};

class Connection final : public env::StreamHandler {
 public:
  Connection(Driver& driver, std::unique_ptr<env::Stream> stream, const std::string& authority);
  ~Connection() override { nghttp2_session_del(session_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Fills all places.
  void start();
  size_t on_data(env::Stream&, std::string_view data) override;
  void on_closed(env::Stream&, const Status& reason) override;

 private:
  static int on_header(nghttp2_session* session, const nghttp2_frame* frame, const uint8_t* name, size_t name_size,
                       const uint8_t* value, size_t value_size, uint8_t flags, void* self);
  static int on_chunk(nghttp2_session* session, uint8_t flags, int32_t stream, const uint8_t* data, size_t size,
                      void* self);
  static int on_stream_close(nghttp2_session* session, int32_t stream, uint32_t error, void* self);
  static ssize_t give_body(nghttp2_session* session, int32_t stream, uint8_t* buffer, size_t size, uint32_t* flags,
                           nghttp2_data_source* source, void* self);
  void submit(Request& request);
  // Moves what the session has to say to the stream.
  void pump();

  Driver& driver_;
  std::unique_ptr<env::Stream> stream_;
  const std::string authority_;
  nghttp2_session* session_ = nullptr;
  std::vector<Request> requests_;
};

// --- All connections ----------------------------------------------------------------------------------------------

class Driver {
 public:
  explicit Driver(const Options& options) : options_(options), rng_(options.seed), values_(options.value_size) {}

  Status run(const std::vector<env::Address>& servers) {
    for (uint64_t i = 0; i < options_.connections; ++i) {
      const env::Address& server = servers[i % servers.size()];
      network_.connect(loop_, server, {}, Millis(5000), [this, server](Result<std::unique_ptr<env::Stream>> stream) {
        if (!stream.ok()) return fail(stream.status());
        connections_.push_back(std::make_unique<Connection>(*this, std::move(stream).value(), server.to_string()));
        if (connections_.size() == options_.connections) start();
      });
    }
    loop_.run();
    connections_.clear();
    return failure_;
  }

  bool wants_more() const { return !stopping_ && (!options_.load || next_key_ < options_.key_space); }

  // Fills in what is asked and how long it has been.
  void next(Request& request) {
    request.read = !options_.load && rng_.unit() < options_.read_ratio;
    const uint64_t rank = options_.load ? next_key_++ : rng_.below(options_.key_space);
    key_.clear();
    fmt::format_to(std::back_inserter(key_), "key:{:0{}}", rank, options_.key_size - 4);
    request.out.assign(kPrefixBytes, '\0');
    append_bytes(request.out, kKeyField, key_);
    if (!request.read) append_bytes(request.out, kValueField, values_.of(rank));
    seal(request.out);
    request.sent = 0;
    request.in.clear();
    request.grpc_status.clear();
    request.grpc_message.clear();
    request.since = loop_.precise_now();
    ++under_way_;
  }

  void answered(const Request& request, uint32_t http_error) {
    --under_way_;
    const std::string error = error_of(request, http_error);
    if (!error.empty()) {
      ++errors_;
      if (first_error_.empty()) first_error_ = error;
    } else if (const MonoTime now = loop_.precise_now(); now >= measured_from_) {
      (request.read ? reads_ : writes_).record(static_cast<uint64_t>((now - request.since).count()));
      last_answer_ = now;
    }
    check_end();
  }

  void fail(const Status& status) {
    if (failure_.ok()) failure_ = status;
    loop_.stop();
  }

  uint64_t pipeline() const { return options_.pipeline; }

  boost::json::object result() const {
    const double seconds = static_cast<double>((last_answer_ - measured_from_).count()) / 1e6;
    const uint64_t done = reads_.count() + writes_.count();
    return {{"ops_per_second", seconds > 0 ? static_cast<double>(done) / seconds : 0},
            {"seconds", seconds},
            {"errors", errors_},
            {"first_error", first_error_},
            {"reads", latency_json(reads_)},
            {"writes", latency_json(writes_)}};
  }

 private:
  static std::string error_of(const Request& request, uint32_t http_error) {
    if (http_error != 0) return fmt::format("HTTP/2: {}", nghttp2_http2_strerror(http_error));
    if (request.grpc_status != "0") return fmt::format("gRPC {}: {}", request.grpc_status, request.grpc_message);
    if (!request.read) return count_fields(request.in, kKvsField) < 0 ? "not a PutResponse" : "";
    return count_fields(request.in, kKvsField) != 1 ? "a key that was written is not there" : "";
  }

  static boost::json::object latency_json(const Histogram& histogram) {
    return {{"count", histogram.count()},         {"mean_us", histogram.mean()},
            {"p50_us", histogram.quantile(0.5)},  {"p90_us", histogram.quantile(0.9)},
            {"p99_us", histogram.quantile(0.99)}, {"p999_us", histogram.quantile(0.999)},
            {"max_us", histogram.max()}};
  }

  void start() {
    measured_from_ = loop_.precise_now();
    if (!options_.load) {
      measured_from_ = measured_from_ + Micros(static_cast<int64_t>(options_.warmup_seconds * 1e6));
      loop_.call_at(measured_from_ + Micros(static_cast<int64_t>(options_.seconds * 1e6)), [this] {
        stopping_ = true;
        loop_.call_after(Millis(5000),
                         [this] { fail(Status(ErrorCode::kUnavailable, "the server stopped answering")); });
        check_end();
      });
    }
    last_answer_ = measured_from_;
    for (const auto& connection : connections_) connection->start();
  }

  void check_end() {
    if (under_way_ == 0 && !wants_more()) loop_.stop();
  }

  const Options& options_;
  Rng rng_;
  env::AsioLoop loop_;
  env::AsioNetwork network_;
  std::vector<std::unique_ptr<Connection>> connections_;
  const main::ctl::BenchValues values_;
  std::string key_;
  uint64_t next_key_ = 0;
  uint64_t under_way_ = 0;
  MonoTime measured_from_;
  MonoTime last_answer_;
  bool stopping_ = false;
  Histogram reads_;
  Histogram writes_;
  uint64_t errors_ = 0;
  std::string first_error_;
  Status failure_;
};

Connection::Connection(Driver& driver, std::unique_ptr<env::Stream> stream, const std::string& authority)
    : driver_(driver), stream_(std::move(stream)), authority_(authority), requests_(driver.pipeline()) {
  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_session_callbacks_new(&callbacks);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_chunk);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
  nghttp2_session_client_new(&session_, callbacks, this);
  nghttp2_session_callbacks_del(callbacks);
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, nullptr, 0);
  stream_->set_handler(this);
}

void Connection::start() {
  for (Request& request : requests_) {
    if (driver_.wants_more()) submit(request);
  }
  pump();
}

void Connection::submit(Request& request) {
  driver_.next(request);
  const auto header = [](std::string_view name, std::string_view value) {
    // libnghttp2 reads through these pointers and copies.
    return nghttp2_nv{const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(name.data())),   // NOLINT
                      const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(value.data())),  // NOLINT
                      name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
  };
  const std::array<nghttp2_nv, 6> headers = {
      header(":method", "POST"),
      header(":scheme", "http"),
      header(":path", request.read ? "/etcdserverpb.KV/Range" : "/etcdserverpb.KV/Put"),
      header(":authority", authority_),
      header("content-type", "application/grpc"),
      header("te", "trailers"),
  };
  const nghttp2_data_provider body{.source = {.ptr = &request}, .read_callback = give_body};
  const int32_t stream = nghttp2_submit_request(session_, nullptr, headers.data(), headers.size(), &body, &request);
  if (stream < 0) driver_.fail(Status(ErrorCode::kUnavailable, nghttp2_strerror(stream)));
}

ssize_t Connection::give_body(nghttp2_session*, int32_t, uint8_t* buffer, size_t size, uint32_t* flags,
                              nghttp2_data_source* source, void*) {
  Request& request = *static_cast<Request*>(source->ptr);
  const size_t count = std::min(size, request.out.size() - request.sent);
  std::memcpy(buffer, request.out.data() + request.sent, count);
  request.sent += count;
  if (request.sent == request.out.size()) *flags |= NGHTTP2_DATA_FLAG_EOF;
  return static_cast<ssize_t>(count);
}

int Connection::on_header(nghttp2_session* session, const nghttp2_frame* frame, const uint8_t* name, size_t name_size,
                          const uint8_t* value, size_t value_size, uint8_t, void*) {
  auto* const request = static_cast<Request*>(nghttp2_session_get_stream_user_data(session, frame->hd.stream_id));
  if (request == nullptr) return 0;
  const std::string_view key(reinterpret_cast<const char*>(name), name_size);
  const std::string_view text(reinterpret_cast<const char*>(value), value_size);
  if (key == "grpc-status") request->grpc_status = text;
  if (key == "grpc-message") request->grpc_message = text;
  return 0;
}

int Connection::on_chunk(nghttp2_session* session, uint8_t, int32_t stream, const uint8_t* data, size_t size, void*) {
  auto* const request = static_cast<Request*>(nghttp2_session_get_stream_user_data(session, stream));
  if (request != nullptr) request->in.append(reinterpret_cast<const char*>(data), size);
  return 0;
}

int Connection::on_stream_close(nghttp2_session* session, int32_t stream, uint32_t error, void* self) {
  auto& connection = *static_cast<Connection*>(self);
  auto* const request = static_cast<Request*>(nghttp2_session_get_stream_user_data(session, stream));
  if (request == nullptr) return 0;
  connection.driver_.answered(*request, error);
  if (connection.driver_.wants_more()) connection.submit(*request);
  return 0;
}

size_t Connection::on_data(env::Stream&, std::string_view data) {
  const ssize_t taken = nghttp2_session_mem_recv(session_, reinterpret_cast<const uint8_t*>(data.data()), data.size());
  if (taken < 0) {
    driver_.fail(Status(ErrorCode::kCorruption, nghttp2_strerror(static_cast<int>(taken))));
    return data.size();
  }
  pump();
  return static_cast<size_t>(taken);
}

void Connection::on_closed(env::Stream&, const Status& reason) {
  driver_.fail(Status(ErrorCode::kUnavailable, "the server closed a connection: " + reason.to_string()));
}

void Connection::pump() {
  const uint8_t* data = nullptr;
  for (;;) {
    const ssize_t size = nghttp2_session_mem_send(session_, &data);
    if (size < 0) return driver_.fail(Status(ErrorCode::kUnavailable, nghttp2_strerror(static_cast<int>(size))));
    if (size == 0) break;
    stream_->outbox().append(reinterpret_cast<const char*>(data), static_cast<size_t>(size));
  }
  stream_->wrote();
}

int main_of(int argc, char** argv) {
  Options options;
  CLI::App app{"etcd_load: load etcd over gRPC and measure it; prints JSON"};
  const auto number = [&](const char* name, uint64_t& value, uint64_t low, uint64_t high, const char* help) {
    app.add_option(name, value, help)->check(CLI::Range(low, high))->capture_default_str();
  };
  app.add_option("--endpoints", options.endpoints, "HOST:PORT,...; connections go to them in turn")
      ->capture_default_str();
  number("--connections", options.connections, 1, 100'000, "TCP connections");
  number("--pipeline", options.pipeline, 1, 10'000, "Requests under way per connection");
  number("--key-space", options.key_space, 1, 10'000'000'000, "Different keys");
  number("--key-size", options.key_size, 5, 60'000, "Bytes of a key");
  number("--value-size", options.value_size, 0, 1u << 20, "Bytes of a value");
  number("--seed", options.seed, 0, UINT64_MAX / 2, "Of the random choices");
  app.add_option("--seconds", options.seconds, "How long to measure")->check(CLI::Range(0.1, 86400.0));
  app.add_option("--warmup", options.warmup_seconds, "Seconds before measuring")->check(CLI::Range(0.0, 3600.0));
  app.add_option("--read-ratio", options.read_ratio, "Share of Ranges; the rest are Puts")->check(CLI::Range(0.0, 1.0));
  app.add_flag("--load", options.load, "Put every key once, in order, and stop");
  CLI11_PARSE(app, argc, argv);
  if (fmt::format("{}", options.key_space - 1).size() > options.key_size - 4) {
    fmt::print(stderr, "etcd_load: --key-size {} cannot hold 'key:' and the number of a key\n", options.key_size);
    return 2;
  }
  std::vector<env::Address> servers;
  for (const std::string& text : CLI::detail::split(options.endpoints, ',')) {
    const Result<env::Address> address = env::Address::parse(text);
    if (!address.ok()) {
      fmt::print(stderr, "etcd_load: {}\n", address.status().message());
      return 2;
    }
    servers.push_back(address.value());
  }
  Driver driver(options);
  const Status status = driver.run(servers);
  if (!status.ok()) {
    fmt::print(stderr, "etcd_load: {}\n", status.message());
    return 1;
  }
  fmt::print("{}\n", boost::json::serialize(driver.result()));
  return 0;
}

}  // namespace
}  // namespace flux::bench

int main(int argc, char** argv) { return flux::bench::main_of(argc, argv); }
