// Goal: two nodes find each other, refuse strangers, survive garbage, and know what became of a call.
#include <gtest/gtest.h>

#include "env/posix/asio_loop.h"
#include "env/posix/asio_network.h"
#include "env/testing/fake_net.h"
#include "net/peer_acceptor.h"
#include "net/peer_link.h"

namespace flux::net {
namespace {

constexpr uint8_t kEcho = kFirstUserType;
constexpr uint8_t kSilence = kFirstUserType + 1;
constexpr uint8_t kNote = kFirstUserType + 2;

Hello hello_of(uint64_t node) {
  return {.cluster = ClusterId(7),
          .node = NodeId(node),
          .store = node * 11,
          .boot = 1,
          .name = "n",
          .peer_address = "a:1",
          .starts = {node * 13}};
}

TEST(Frame, messages_of_one_turn_are_one_frame) {
  std::string out;
  FrameWriter writer(out);
  writer.message(20, 0, "one");
  writer.message(21, 9, "two");
  writer.finish();
  std::string_view messages;
  for (size_t size = 0; size < out.size(); ++size) {
    EXPECT_EQ(take_frame(out.substr(0, size), 1000, messages).value(), 0u);
  }
  EXPECT_EQ(take_frame(out, 1000, messages).value(), out.size());
  FrameMessage message;
  ASSERT_TRUE(take_message(messages, message).ok());
  EXPECT_EQ(message.body, "one");
  ASSERT_TRUE(take_message(messages, message).ok());
  EXPECT_EQ(message.request_id, 9u);
  EXPECT_TRUE(messages.empty());
}

TEST(Frame, every_flipped_bit_is_noticed) {
  std::string out;
  FrameWriter writer(out);
  writer.message(20, 3, "some payload");
  writer.finish();
  for (size_t bit = 32; bit < out.size() * 8; ++bit) {
    std::string bad = out;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    std::string_view messages;
    EXPECT_EQ(take_frame(bad, 1000, messages).status().code(), ErrorCode::kCorruption) << bit;
  }
  std::string_view messages;
  EXPECT_EQ(take_frame(out, 5, messages).status().code(), ErrorCode::kTooLarge);
}

TEST(Hello, every_truncation_is_refused) {
  const std::string bytes = encode_hello(hello_of(3));
  EXPECT_EQ(decode_hello(bytes).value(), hello_of(3));
  for (size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(decode_hello(bytes.substr(0, size)).ok());
}

// A node that answers kEcho, keeps kSilence waiting and counts kNote.
class Receiver : public PeerReceiver {
 public:
  Result<Hello> greet(const Hello& theirs) override {
    if (theirs.cluster != ClusterId(7)) return Status(ErrorCode::kPrecondition, "another cluster");
    return hello_of(2);
  }
  Status on_peer_message(const std::shared_ptr<PeerConnection>& connection, const FrameMessage& message) override {
    if (message.type == kEcho) connection->reply(message.request_id, message.body);
    if (message.type == kNote) notes += message.body;
    return {};
  }
  Status still_welcome(const Hello&) override {
    return welcome ? Status() : Status(ErrorCode::kPrecondition, "no longer a member");
  }
  std::string notes;
  bool welcome = true;
};

class NetTest : public ::testing::Test {
 protected:
  NetTest() {
    acceptor = PeerAcceptor::listen(network, {&loop}, {"127.0.0.1", 0}, {.frame_bytes_max = 1_MiB}, receiver).value();
    loop.set_turn_end([this] {
      if (link) link->flush();
    });
    loop.call_after(Millis(5000), [this] {
      timed_out = true;
      loop.stop();
    });
  }
  void dial(NodeId expected, Hello hello) {
    link = std::make_unique<PeerLink>(loop, network, acceptor->local(), expected, std::move(hello),
                                      PeerLinkOptions{.frame_bytes_max = 1_MiB}, Rng(1),
                                      PeerLinkEvents{.up = [this] { on_up(); },
                                                     .down = [this](bool gone) { on_down(gone); },
                                                     .refused = [this](const Status& why) { on_refused(why); }});
  }
  env::AsioLoop loop;
  env::AsioNetwork network;
  Receiver receiver;
  std::unique_ptr<PeerAcceptor> acceptor;
  std::unique_ptr<PeerLink> link;
  std::function<void()> on_up = [] {};
  std::function<void(bool)> on_down = [](bool) {};
  std::function<void(const Status&)> on_refused = [](const Status&) {};
  bool timed_out = false;
};

TEST_F(NetTest, calls_are_answered_and_notes_arrive_before_them) {
  std::string answer;
  on_up = [&] {
    link->send(kNote, "a");
    link->send(kNote, "b");
    link->call(kEcho, std::string(100'000, 'x'), [&](Result<std::string_view> reply) {
      answer = reply.value();
      loop.stop();
    });
  };
  dial(NodeId(2), hello_of(1));
  loop.run();
  EXPECT_FALSE(timed_out);
  EXPECT_EQ(answer.size(), 100'000u);
  EXPECT_EQ(receiver.notes, "ab");
}

TEST_F(NetTest, a_call_on_a_lost_link_has_an_unknown_outcome_and_one_before_it_is_up_none) {
  Status early, late;
  on_up = [&] {
    link->call(kSilence, "", [&](Result<std::string_view> reply) {
      late = reply.status();
      loop.stop();
    });
    loop.call_after(Millis(20), [&] { acceptor.reset(); });
  };
  dial(NodeId(2), hello_of(1));
  link->call(kEcho, "", [&](Result<std::string_view> reply) { early = reply.status(); });
  loop.run();
  EXPECT_FALSE(timed_out);
  EXPECT_EQ(early.code(), ErrorCode::kUnavailable);
  EXPECT_EQ(late.code(), ErrorCode::kOutcomeUnknown);
}

TEST_F(NetTest, another_cluster_is_refused_with_a_reason) {
  Status why;
  on_refused = [&](const Status& status) {
    why = status;
    loop.stop();
  };
  Hello hello = hello_of(1);
  hello.cluster = ClusterId(8);
  dial(NodeId(2), hello);
  loop.run();
  EXPECT_FALSE(timed_out);
  EXPECT_NE(why.message().find("another cluster"), std::string::npos) << why.to_string();
}

TEST_F(NetTest, another_node_at_the_address_is_refused) {
  Status why;
  on_refused = [&](const Status& status) {
    why = status;
    loop.stop();
  };
  dial(NodeId(3), hello_of(1));
  loop.run();
  EXPECT_FALSE(timed_out);
  EXPECT_NE(why.message().find("expected node 3"), std::string::npos) << why.to_string();
}

// A peer that does not wait to be accepted: greeting and first frame in one piece.
TEST(Acceptor, the_limit_of_a_greeting_ends_with_it) {
  env::testing::FakeLoop loop;
  env::testing::FakeNetwork network;
  Receiver receiver;
  const auto acceptor = PeerAcceptor::listen(network, {&loop}, {"h", 1}, {.frame_bytes_max = 1_MiB}, receiver).value();
  std::string bytes;
  FrameWriter writer(bytes);
  writer.message(kHelloType, 0, encode_hello(hello_of(1)));
  writer.finish();
  const std::string note(2 * kHelloBytesMax, 'n');
  writer.message(kNote, 0, note);
  writer.finish();
  const auto wire = network.dial();
  wire->give(bytes);
  EXPECT_FALSE(wire->closed());
  EXPECT_EQ(receiver.notes, note);
  // Who has not greeted gets no further than a greeting's length.
  const auto stranger = network.dial();
  stranger->give(bytes.substr(bytes.size() - note.size() - 20));
  EXPECT_TRUE(stranger->closed());
}

class Garbage : public env::StreamHandler {
 public:
  explicit Garbage(env::AsioLoop& loop) : loop_(loop) {}
  size_t on_data(env::Stream&, std::string_view data) override { return data.size(); }
  void on_closed(env::Stream&, const Status&) override {
    closed = true;
    loop_.stop();
  }
  bool closed = false;

 private:
  env::AsioLoop& loop_;
};

// A link on a clock and a network that the test holds.
struct HeldLink {
  HeldLink()
      : link(loop, network, {"far", 1}, NodeId(2), hello_of(1), {.frame_bytes_max = 1_MiB}, Rng(1),
             {.up = [this] { ++ups; }, .down = [this](bool) { ++downs; }, .refused = [](const Status&) {}}) {
    loop.settle();
  }
  std::shared_ptr<env::testing::FakeWire> wire() { return network.dialled.back(); }
  void answer(uint8_t type, std::string_view body) {
    std::string bytes;
    FrameWriter writer(bytes);
    writer.message(type, 0, body);
    writer.finish();
    wire()->give(bytes);
    loop.settle();
  }
  env::testing::FakeLoop loop;
  env::testing::FakeNetwork network;
  int ups = 0;
  int downs = 0;
  PeerLink link;
};

// A peer that was accepted by a dead host's kernel, or lies behind a wire that swallows everything.
TEST(PeerLink, a_peer_that_never_greets_is_tried_again) {
  HeldLink held;
  ASSERT_EQ(held.network.dialled.size(), 1u);
  held.loop.advance(Millis(2900));
  EXPECT_EQ(held.network.dialled.size(), 1u);
  held.loop.advance(Millis(2000));
  EXPECT_EQ(held.network.dialled.size(), 2u);
  held.answer(kHelloAcceptedType, encode_hello(hello_of(2)));
  EXPECT_EQ(held.ups, 1);
}

TEST(PeerLink, a_peer_that_falls_silent_is_given_up_and_one_that_answers_is_not) {
  HeldLink held;
  held.answer(kHelloAcceptedType, encode_hello(hello_of(2)));
  ASSERT_TRUE(held.link.up());
  for (int second = 0; second < 20; ++second) {
    held.loop.advance(Millis(1000));
    held.answer(kPongType, {});
  }
  EXPECT_TRUE(held.link.up());
  EXPECT_EQ(held.network.dialled.size(), 1u);
  held.loop.advance(Millis(7000));
  EXPECT_EQ(held.downs, 1);
  EXPECT_GE(held.network.dialled.size(), 2u);
}

TEST(Acceptor, pings_are_answered_and_long_silence_ends_a_connection) {
  env::testing::FakeLoop loop;
  env::testing::FakeNetwork network;
  Receiver receiver;
  const auto acceptor = PeerAcceptor::listen(network, {&loop}, {"near", 1}, {.frame_bytes_max = 1_MiB}, receiver);
  const auto wire = network.dial();
  std::string bytes;
  FrameWriter writer(bytes);
  writer.message(kHelloType, 0, encode_hello(hello_of(1)));
  writer.message(kPingType, 0, {});
  writer.finish();
  wire->give(bytes);
  loop.settle();
  std::string sent = wire->take();
  std::string_view messages;
  const size_t greeting = take_frame(sent, 1_MiB, messages).value();
  ASSERT_NE(take_frame(std::string_view(sent).substr(greeting), 1_MiB, messages).value(), 0u);
  FrameMessage pong;
  ASSERT_TRUE(take_message(messages, pong).ok());
  EXPECT_EQ(pong.type, kPongType);
  loop.advance(Millis(29'000));
  EXPECT_FALSE(wire->closed());
  loop.advance(Millis(2000));
  EXPECT_TRUE(wire->closed());
}

TEST(Acceptor, who_is_no_longer_welcome_is_let_go_at_the_next_sign_of_life) {
  env::testing::FakeLoop loop;
  env::testing::FakeNetwork network;
  Receiver receiver;
  const auto acceptor = PeerAcceptor::listen(network, {&loop}, {"near", 1}, {.frame_bytes_max = 1_MiB}, receiver);
  const auto wire = network.dial();
  const auto give = [&](uint8_t type, std::string_view body) {
    std::string bytes;
    FrameWriter writer(bytes);
    writer.message(type, 0, body);
    writer.finish();
    wire->give(bytes);
    loop.settle();
  };
  give(kHelloType, encode_hello(hello_of(1)));
  give(kPingType, {});
  EXPECT_FALSE(wire->closed());
  receiver.welcome = false;
  EXPECT_FALSE(wire->closed());
  give(kPingType, {});
  EXPECT_TRUE(wire->closed());
}

TEST_F(NetTest, garbage_closes_the_connection_and_nothing_else) {
  for (const std::string& bytes :
       {std::string("GET / HTTP/1.1\r\n\r\n"), std::string(64, '\xFF'), std::string(64, '\0')}) {
    env::AsioLoop own;
    Receiver other;
    auto port = PeerAcceptor::listen(network, {&own}, {"127.0.0.1", 0}, {.frame_bytes_max = 1_MiB}, other).value();
    Garbage garbage(own);
    std::unique_ptr<env::Stream> stream;
    network.connect(own, port->local(), {}, Millis(1000), [&](Result<std::unique_ptr<env::Stream>> connected) {
      stream = std::move(connected).value();
      stream->set_handler(&garbage);
      stream->send(bytes);
    });
    own.call_after(Millis(3000), [&] { own.stop(); });
    own.run();
    EXPECT_TRUE(garbage.closed);
  }
}

}  // namespace
}  // namespace flux::net
