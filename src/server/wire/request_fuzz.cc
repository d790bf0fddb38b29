// Bytes from a client of the wire protocol as hostile input: the answers are the same however the bytes are cut, every
// call that gets through is answered once, and nothing that is not for clients reaches the store.
// The first byte chooses the cuts, and whether a good greeting stands before the rest and checksums are mended.
#include <fmt/core.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "api/read_codec.h"
#include "api/request_codec.h"
#include "base/log.h"
#include "env/testing/fake_net.h"
#include "net/peer_link.h"
#include "net/testing/frames.h"
#include "net/wire.h"
#include "server/wire/door.h"

namespace {

using namespace flux;

// Answers what it was asked, in a turn of its own.
class EchoKv final : public api::KvService {
 public:
  explicit EchoKv(env::Loop& loop) : loop_(loop) {}
  void write(const api::WriteRequest& request, api::WriteDone done) override {
    api::WriteReply reply;
    for (const api::Command& command : request.commands) {
      FLUX_CHECK(api::is_for_clients(command));
      reply.results.push_back({.applied = true, .integer = static_cast<int64_t>(command.index()), .value = {}});
    }
    loop_.post([reply = std::move(reply), done = std::move(done)]() mutable { done(std::move(reply)); });
  }
  void read(const api::ReadRequest& request, api::ReadDone done) override {
    api::ReadReply reply{.status = {}, .items = {}, .count = request.what.index(), .scan_resume = {}};
    loop_.post([reply, done = std::move(done)]() mutable { done(reply); });
  }

 private:
  env::Loop& loop_;
};

class OneMap final : public api::ClusterMap {
 public:
  ConfigNum config_num() const override { return ConfigNum(1); }
  std::string encoded_config() const override { return "map"; }
  NodeId leader_of(GroupId) const override { return NodeId(1); }
};

struct Outcome {
  std::vector<std::string> answers;  // sorted: some are given at once, others in a turn of their own
  bool closed = false;
  bool operator==(const Outcome&) const = default;
};

Outcome serve(std::string_view bytes, uint64_t seed, size_t piece_max) {
  env::testing::FakeLoop loop;
  env::testing::FakeNetwork network;
  EchoKv kv(loop);
  OneMap map;
  const auto door =
      server::wire::Door::open(
          network, {{.loop = &loop, .kv = &kv}}, map,
          {.listen = {"h", 1},
           .self = {.cluster = net::ClusterId(7), .node = NodeId(1), .name = "n1", .peer_address = {}, .starts = {}}})
          .value();
  const auto wire = network.dial();
  wire->give_in_pieces(bytes, seed, piece_max);
  loop.settle();
  Outcome outcome{.answers = {}, .closed = wire->closed()};
  const std::string sent = wire->take();
  for (const net::FrameMessage& message : net::testing::messages_of(sent)) {
    outcome.answers.push_back(fmt::format("{}:{}:", message.type, message.request_id) + std::string(message.body));
  }
  std::sort(outcome.answers.begin(), outcome.answers.end());
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1 || size > 100'000) return 0;
  static const bool quiet = (log::configure(log::Level::kOff, log::Format::kText, ""), true);
  FLUX_CHECK(quiet);
  const size_t piece_max = 1 + data[0] % 16 * (data[0] % 16);
  std::string bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  if ((data[0] & 32) != 0) net::testing::mend_checksums(bytes);
  std::string all;
  if ((data[0] & 16) != 0) {
    all = net::testing::framed(net::kHelloType, 0, net::encode_hello({.name = "c", .peer_address = {}, .starts = {}}));
  }
  all += bytes;
  const Outcome whole = serve(all, 0, 0), pieces = serve(all, data[0], piece_max);
  // Where a connection is closed for what came behind, answers under way may be dropped.
  FLUX_CHECK(whole.closed == pieces.closed);
  if (!whole.closed) FLUX_CHECK(whole.answers == pieces.answers);
  return 0;
}
