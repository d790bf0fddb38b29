// Bytes from a peer as hostile input, before and after the greeting: messages are the same however the bytes are cut, a
// frame is one that a writer could have written, and nobody who has not greeted makes us keep more than a greeting.
// The first byte chooses the cuts, and whether a good greeting stands before the rest and checksums are mended.
#include <cstdint>

#include "base/log.h"
#include "base/rng.h"
#include "env/testing/fake_net.h"
#include "net/peer_acceptor.h"
#include "net/peer_link.h"
#include "net/testing/frames.h"

namespace {

using namespace flux;

constexpr size_t kFrameBytesMax = 16_KiB;

net::Hello hello_of(uint64_t node) {
  return {
      .cluster = net::ClusterId(7), .node = NodeId(node), .store = 5, .boot = 1, .name = "n", .peer_address = "a:1"};
}

std::string greeting(uint8_t type) { return net::testing::framed(type, 0, net::encode_hello(hello_of(1))); }

// What it is told it writes down, with lengths, so that two stories differ when two messages do.
class Diary final : public net::PeerReceiver {
 public:
  Result<net::Hello> greet(const net::Hello& theirs) override {
    FLUX_CHECK(net::decode_hello(net::encode_hello(theirs)).value() == theirs);
    if (theirs.cluster != net::ClusterId(7)) return Status(ErrorCode::kPrecondition, "another cluster");
    greeted = true;
    return hello_of(2);
  }
  Status still_welcome(const net::Hello&) override { return {}; }
  Status on_peer_message(const std::shared_ptr<net::PeerConnection>& from, const net::FrameMessage& message) override {
    FLUX_CHECK(greeted, "a message before the greeting");
    FLUX_CHECK(message.type >= net::kFirstUserType);
    note(message);
    if (message.request_id != 0) from->reply(message.request_id, message.body);
    return {};
  }
  void note(const net::FrameMessage& message) {
    story += fmt::format("{}:{}:{}:", message.type, message.request_id, message.body.size());
    story += message.body;
  }
  bool greeted = false;
  std::string story;
};

struct Outcome {
  std::string story;
  std::string sent;
  bool closed = false;
  bool operator==(const Outcome&) const = default;
};

// As a node that is connected to.
Outcome accept(std::string_view bytes, uint64_t seed, size_t piece_max) {
  env::testing::FakeLoop loop;
  env::testing::FakeNetwork network;
  Diary diary;
  const auto acceptor =
      net::PeerAcceptor::listen(network, {&loop}, {"h", 1}, {.frame_bytes_max = kFrameBytesMax}, diary).value();
  const auto wire = network.dial();
  wire->give_in_pieces(bytes, seed, piece_max);
  const size_t kept_max = diary.greeted ? kFrameBytesMax : net::kHelloBytesMax;
  FLUX_CHECK(piece_max == 0 || wire->kept_bytes_max() <= kept_max + net::kFrameHeaderBytes + piece_max);
  Outcome outcome{.story = diary.story, .sent = wire->sent(), .closed = wire->closed()};
  loop.advance(Millis(5'000));
  FLUX_CHECK(diary.greeted || wire->closed(), "a stranger is still there");
  return outcome;
}

// As a node that connected, and waits for the answer to one call.
Outcome link(std::string_view bytes, uint64_t seed, size_t piece_max) {
  env::testing::FakeLoop loop;
  env::testing::FakeNetwork network;
  Outcome outcome;
  int answers = 0;
  {
    net::PeerLink* at = nullptr;
    net::PeerLink one(loop, network, {"h", 1}, NodeId(1), hello_of(2), {.frame_bytes_max = kFrameBytesMax}, Rng(1),
                      {.up =
                           [&] {
                             outcome.story += "up.";
                             at->call(net::kFirstUserType, "?", [&](Result<std::string_view> reply) {
                               ++answers;
                               outcome.story +=
                                   reply.ok() ? std::string(*reply) : std::string(to_string(reply.status().code()));
                             });
                           },
                       .down = [&](bool) { outcome.story += "down."; },
                       .refused = [&](const Status& why) { outcome.story += why.to_string(); }});
    at = &one;
    loop.set_turn_end([&] { one.flush(); });
    loop.settle();
    const auto wire = network.dialled.front();
    wire->give_in_pieces(bytes, seed, piece_max);
    outcome.closed = wire->closed();
    if (outcome.closed) FLUX_CHECK(!one.up());
  }
  FLUX_CHECK(answers == (outcome.story.starts_with("up.") ? 1 : 0), "{} answers to one call", answers);
  return outcome;
}

// A frame that is taken is what a writer makes of its messages.
void round_trip(std::string_view bytes) {
  std::string_view messages;
  const Result<size_t> taken = net::take_frame(bytes, kFrameBytesMax, messages);
  if (!taken.ok() || *taken == 0) return;
  FLUX_CHECK(*taken <= bytes.size());
  std::string again;
  net::FrameWriter writer(again);
  while (!messages.empty()) {
    net::FrameMessage message;
    if (!net::take_message(messages, message).ok()) return;
    writer.message(message.type, message.request_id, message.body);
  }
  writer.finish();
  std::string_view first(bytes.substr(0, *taken)), second;
  FLUX_CHECK(net::take_frame(again, kFrameBytesMax, second).value() == again.size());
  // A varint may be written longer than it need be; nothing else has two spellings.
  FLUX_CHECK(again == first || again.size() < first.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1 || size > 100'000) return 0;
  static const bool quiet = (log::configure(log::Level::kOff, log::Format::kText, ""), true);
  FLUX_CHECK(quiet);
  const size_t piece_max = 1 + data[0] % 16 * (data[0] % 16);
  const bool greets = (data[0] & 16) != 0;
  const bool mended = (data[0] & 32) != 0;
  std::string bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  if (mended) net::testing::mend_checksums(bytes);
  round_trip(bytes);
  const std::string to_acceptor = (greets ? greeting(net::kHelloType) : "") + bytes;
  FLUX_CHECK(accept(to_acceptor, 0, 0) == accept(to_acceptor, data[0], piece_max));
  const std::string to_link = (greets ? greeting(net::kHelloAcceptedType) : "") + bytes;
  FLUX_CHECK(link(to_link, 0, 0) == link(to_link, data[0], piece_max));
  return 0;
}
