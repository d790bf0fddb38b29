#include "env/net.h"

#include <fmt/core.h>

#include <charconv>

namespace flux::env {

Result<Address> Address::parse(std::string_view text) {
  const auto bad = [&](std::string_view why) {
    return Status(ErrorCode::kInvalidArgument,
                  fmt::format("'{}' {}; expected HOST:PORT, like 127.0.0.1:6379", text, why));
  };
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return bad("has no port");
  std::string_view host = text.substr(0, colon);
  const std::string_view port_text = text.substr(colon + 1);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return bad("looks like an IPv6 address without [brackets]");
  }
  if (host.empty()) return bad("has no host");
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(port_text.data(), port_text.data() + port_text.size(), port);
  if (port_text.empty() || error != std::errc() || end != port_text.data() + port_text.size()) {
    return bad("has a port that is not a number from 0 to 65535");
  }
  return Address{.host = std::string(host), .port = port};
}

std::string Address::to_string() const {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
}

}  // namespace flux::env
