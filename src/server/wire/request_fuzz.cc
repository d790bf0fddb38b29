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
#include "base/codec.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "base/rng.h"
#include "env/testing/fake_net.h"
#include "net/frame.h"
#include "net/peer_link.h"
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

// Makes the checksum of every frame right, as its length says.
void mend(std::string& bytes) {
  for (size_t at = 0; at + net::kFrameHeaderBytes <= bytes.size();) {
    const size_t size = get_fixed_at<uint32_t>(&bytes[at]);
    if (size > bytes.size() - at - net::kFrameHeaderBytes) return;
    put_fixed_at<uint32_t>(&bytes[at + 4], crc32c(std::string_view(bytes).substr(at + net::kFrameHeaderBytes, size)));
    at += net::kFrameHeaderBytes + size;
  }
}

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
  Rng rng(seed);
  while (!bytes.empty()) {
    const size_t piece = piece_max == 0 ? bytes.size() : std::min<size_t>(bytes.size(), rng.between(1, piece_max));
    wire->give(bytes.substr(0, piece));
    bytes.remove_prefix(piece);
  }
  loop.settle();
  Outcome outcome{.answers = {}, .closed = wire->closed()};
  const std::string sent = wire->take();
  for (std::string_view rest = sent; !rest.empty();) {
    std::string_view messages;
    const size_t size = net::take_frame(rest, net::kWireAnswerFrameBytesMax, messages).value();
    FLUX_CHECK(size != 0, "half a frame was sent");
    rest.remove_prefix(size);
    while (!messages.empty()) {
      net::FrameMessage message;
      FLUX_CHECK(net::take_message(messages, message).ok());
      outcome.answers.push_back(fmt::format("{}:{}:", message.type, message.request_id) + std::string(message.body));
    }
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
  if ((data[0] & 32) != 0) mend(bytes);
  std::string all;
  if ((data[0] & 16) != 0) {
    net::FrameWriter writer(all);
    writer.message(net::kHelloType, 0, net::encode_hello({.name = "c", .peer_address = {}, .starts = {}}));
    writer.finish();
  }
  all += bytes;
  const Outcome whole = serve(all, 0, 0), pieces = serve(all, data[0], piece_max);
  // Where a connection is closed for what came behind, answers under way may be dropped.
  FLUX_CHECK(whole.closed == pieces.closed);
  if (!whole.closed) FLUX_CHECK(whole.answers == pieces.answers);
  return 0;
}
