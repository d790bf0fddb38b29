// FluxKV from C++, in whole: writes a value, reads it back, and counts how often it was run.
//
//   hello_fluxkv [HOST:PORT]   where a node takes clients: fluxkv server --listen-wire HOST:PORT
#include <fmt/core.h>

#include "client/blocking/blocking_client.h"

namespace {

flux::Status hello(const flux::env::Address& node) {
  FLUX_TRY(const auto client, flux::client::BlockingClient::connect(
                                  {.endpoints = {node}, .name = "hello", .request_timeout = flux::Millis(5'000)}));
  FLUX_RETURN_IF_ERROR(client->put("hello", "world"));
  FLUX_TRY(const std::optional<std::string> value, client->get("hello"));
  // Sent again until it is answered, and counted once, whichever node dies meanwhile.
  FLUX_TRY(const int64_t runs, client->increment("hello:runs"));
  fmt::print("hello {}, run {}\n", value.value_or("nobody"), runs);
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  const auto node = flux::env::Address::parse(argc > 1 ? argv[1] : "127.0.0.1:7378");
  const flux::Status status = node.ok() ? hello(*node) : node.status();
  if (!status.ok()) fmt::print(stderr, "hello_fluxkv: {}\n", status.to_string());
  return status.ok() ? 0 : 1;
}
