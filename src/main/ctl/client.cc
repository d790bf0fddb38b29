#include "main/ctl/client.h"

#include <fmt/core.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/buffer.hpp>
#include <boost/beast/http.hpp>
#include <cerrno>
#include <charconv>
#include <cstring>

namespace flux::main::ctl {
namespace {

timeval to_timeval(Micros time) { return {.tv_sec = time.count() / 1'000'000, .tv_usec = time.count() % 1'000'000}; }

Status system_error(const env::Address& address, int error) {
  return Status(ErrorCode::kUnavailable, fmt::format("{}: {}", address.to_string(), std::strerror(error)));
}

}  // namespace

Result<std::unique_ptr<Socket>> Socket::connect(const env::Address& address, Micros timeout) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int failed = ::getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found);
  if (failed != 0) {
    return Status(ErrorCode::kInvalidArgument, fmt::format("{}: {}", address.to_string(), ::gai_strerror(failed)));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, ::freeaddrinfo);
  int error = ECONNREFUSED;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    const int fd = ::socket(each->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return system_error(address, errno);
    const timeval limit = to_timeval(timeout);
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));  // bounds connect() too
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (::connect(fd, each->ai_addr, each->ai_addrlen) == 0) return std::unique_ptr<Socket>(new Socket(fd));
    error = errno == EINPROGRESS ? ETIMEDOUT : errno;
    ::close(fd);
  }
  return system_error(address, error);
}

Socket::~Socket() { ::close(fd_); }

Status Socket::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Status(ErrorCode::kUnavailable, std::strerror(errno));
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

Result<std::string> Socket::read() {
  std::string out(64_KiB, '\0');
  while (true) {
    const ssize_t n = ::recv(fd_, out.data(), out.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return Status(ErrorCode::kUnavailable, "no answer in time");
    if (n < 0) return Status(ErrorCode::kUnavailable, std::strerror(errno));
    out.resize(static_cast<size_t>(n));
    return out;
  }
}

Result<HttpReply> http(const env::Address& address, std::string_view method, std::string_view path,
                       std::string_view body, Micros timeout) {
  namespace beast = boost::beast::http;
  FLUX_TRY(const std::unique_ptr<Socket> socket, Socket::connect(address, timeout));
  FLUX_RETURN_IF_ERROR(
      socket->write(fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: "
                                "application/json\r\nContent-Length: {}\r\n\r\n{}",
                                method, path, address.to_string(), body.size(), body)));
  beast::response_parser<beast::string_body> parser;
  parser.eager(true);
  std::string received;
  boost::system::error_code error;
  while (!parser.is_done()) {
    FLUX_TRY(const std::string more, socket->read());
    if (more.empty())
      return Status(ErrorCode::kUnavailable, "the connection was closed before the answer was complete");
    received += more;
    const size_t taken = parser.put(boost::asio::buffer(received), error);
    received.erase(0, taken);
    if (error && error != beast::error::need_more) {
      return Status(ErrorCode::kCorruption, fmt::format("{} does not answer in HTTP", address.to_string()));
    }
  }
  return HttpReply{.status = static_cast<int>(parser.get().result_int()), .body = parser.get().body()};
}

Result<std::unique_ptr<RespClient>> RespClient::connect(const env::Address& address, Micros timeout) {
  FLUX_TRY(std::unique_ptr<Socket> socket, Socket::connect(address, timeout));
  return std::unique_ptr<RespClient>(new RespClient(std::move(socket)));
}

Result<RespValue> RespClient::call(const std::vector<std::string>& arguments) {
  std::string request;
  append_request(request, std::vector<std::string_view>(arguments.begin(), arguments.end()));
  FLUX_RETURN_IF_ERROR(socket_->write(request));
  buffer_.erase(0, at_);
  at_ = 0;
  return read_value(0);
}

Status RespClient::fill() {
  FLUX_TRY(const std::string more, socket_->read());
  if (more.empty())
    return Status(ErrorCode::kOutcomeUnknown, "the connection was closed before the answer was complete");
  buffer_ += more;
  return {};
}

Result<std::string> RespClient::read_line() {
  size_t end = buffer_.find("\r\n", at_);
  while (end == std::string::npos) {
    FLUX_RETURN_IF_ERROR(fill());
    end = buffer_.find("\r\n", at_);
  }
  std::string line = buffer_.substr(at_, end - at_);
  at_ = end + 2;
  return line;
}

Result<RespValue> RespClient::read_value(int depth) {
  FLUX_TRY(const std::string line, read_line());
  const auto not_resp = [] { return Status(ErrorCode::kCorruption, "the server does not answer in RESP"); };
  if (line.empty() || depth > 8) return not_resp();
  const std::string rest = line.substr(1);
  RespValue value;
  if (line[0] == '+' || line[0] == '-') {
    value.kind = line[0] == '+' ? RespValue::Kind::kSimple : RespValue::Kind::kError;
    value.text = rest;
    return value;
  }
  const auto [stop, failed] = std::from_chars(rest.data(), rest.data() + rest.size(), value.integer);
  if (failed != std::errc()) return not_resp();
  if (line[0] == ':') {
    value.kind = RespValue::Kind::kInteger;
  } else if (value.integer < 0) {
    value.kind = RespValue::Kind::kNull;
  } else if (line[0] == '$') {
    const auto size = static_cast<size_t>(value.integer);
    while (buffer_.size() - at_ < size + 2) FLUX_RETURN_IF_ERROR(fill());
    value.kind = RespValue::Kind::kBulk;
    value.text = buffer_.substr(at_, size);
    at_ += size + 2;
  } else if (line[0] == '*') {
    value.kind = RespValue::Kind::kArray;
    for (int64_t i = 0; i < value.integer; ++i) {
      FLUX_TRY(RespValue item, read_value(depth + 1));
      value.items.push_back(std::move(item));
    }
  } else {
    return not_resp();
  }
  return value;
}

void append_request(std::string& out, const std::vector<std::string_view>& arguments) {
  fmt::format_to(std::back_inserter(out), "*{}\r\n", arguments.size());
  for (const std::string_view argument : arguments) {
    fmt::format_to(std::back_inserter(out), "${}\r\n", argument.size());
    out.append(argument);
    out.append("\r\n");
  }
}

size_t skip_reply(std::string_view data, size_t at, bool& error) {
  const size_t end = data.find('\n', at);
  if (end == std::string_view::npos) return 0;
  const char type = data[at];
  error = type == '-';
  if (type == '+' || type == '-' || type == ':' || type == '_') return end + 1;
  int64_t size = 0;
  const auto [stop, failed] = std::from_chars(data.data() + at + 1, data.data() + end, size);
  if (failed != std::errc() || (type != '$' && type != '*')) return SIZE_MAX;
  size_t next = end + 1;
  if (type == '$') {
    if (size >= 0) next += static_cast<size_t>(size) + 2;
    return next <= data.size() ? next : 0;
  }
  for (int64_t i = 0; i < size; ++i) {
    bool ignored = false;
    next = skip_reply(data, next, ignored);
    if (next == 0 || next == SIZE_MAX) return next;
  }
  return next;
}

}  // namespace flux::main::ctl
