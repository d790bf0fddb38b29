// Goal: whatever a node answers, or does not, the client tells the truth about a request, once.
#include <gtest/gtest.h>

#include <optional>

#include "client/client.h"
#include "env/testing/fake_net.h"
#include "net/testing/frames.h"

namespace flux::client {
namespace {

// A client of one node, which the test plays.
class ClientLinkTest : public ::testing::Test {
 protected:
  ClientLinkTest() { open({}); }
  void open(ClientOptions options) {
    options.endpoints = {{"far", 1}};
    client.reset();  // each takes the loop's hook
    client = std::make_unique<Client>(loop, network, options, Rng(1));
    loop.settle();
  }
  std::shared_ptr<env::testing::FakeWire> wire() { return network.dialled.back(); }
  void give(uint8_t type, uint64_t id, std::string_view body) {
    wire()->give(net::testing::framed(type, id, body));
    loop.settle();
  }
  void greet() {
    give(net::kHelloAcceptedType, 0,
         net::encode_hello(
             {.cluster = net::ClusterId(7), .node = NodeId(1), .name = "n1", .peer_address = {}, .starts = {}}));
  }
  // The ids of the requests of a type that have arrived since the last look.
  std::vector<uint64_t> arrived(net::WireMessage type) {
    const std::string bytes = wire()->take();
    std::vector<uint64_t> ids;
    for (const net::FrameMessage& message : net::testing::messages_of(bytes)) {
      if (message.type == static_cast<uint8_t>(type)) ids.push_back(message.request_id);
    }
    return ids;
  }
  // Makes the loop go on until a request of the type is there.
  uint64_t await(net::WireMessage type) {
    for (int i = 0; i < 1'000; ++i) {
      if (const std::vector<uint64_t> ids = arrived(type); !ids.empty()) return ids.front();
      loop.advance(Millis(1));
    }
    ADD_FAILURE() << "no request";
    return 0;
  }
  void answer_write(uint64_t id, const api::WriteReply& reply, ConfigNum config = {}) {
    std::string body;
    net::begin_wire_answer(body, config, kNobody);
    api::encode_results(body, reply);
    give(net::kReplyType, id, body);
  }
  void refuse(uint64_t id, ErrorCode code) { answer_write(id, {.status = Status(code, "so it says")}); }
  std::shared_ptr<std::optional<Status>> begin_increment(api::SessionRef session = {}) {
    auto outcome = std::make_shared<std::optional<Status>>();
    const api::Command command = api::Increment{.key = "n", .delta = 1};
    client->write({.commands = std::span(&command, 1), .session = session}, [outcome](const api::WriteReply& reply) {
      EXPECT_FALSE(outcome->has_value()) << "answered twice";
      *outcome = reply.status;
    });
    loop.settle();
    return outcome;
  }
  static constexpr api::SessionRef kSession{.client = 9, .sequence = 1};

  env::testing::FakeLoop loop;
  env::testing::FakeNetwork network;
  std::unique_ptr<Client> client;
};

TEST_F(ClientLinkTest, what_was_turned_away_is_asked_again) {
  greet();
  const auto outcome = begin_increment();
  for (const ErrorCode code : {ErrorCode::kNotLeader, ErrorCode::kWrongShard, ErrorCode::kUnavailable}) {
    refuse(await(net::WireMessage::kWrite), code);
    EXPECT_FALSE(outcome->has_value());
  }
  answer_write(await(net::WireMessage::kWrite), {.results = {{.integer = 1, .value = {}}}});
  ASSERT_TRUE(outcome->has_value());
  EXPECT_TRUE((*outcome)->ok()) << (*outcome)->to_string();
}

TEST_F(ClientLinkTest, other_refusals_are_passed_on) {
  greet();
  for (const ErrorCode code : {ErrorCode::kOverloaded, ErrorCode::kOutOfMemory, ErrorCode::kTooLarge,
                               ErrorCode::kSessionExpired, ErrorCode::kCrossShard}) {
    const auto outcome = begin_increment(kSession);
    refuse(await(net::WireMessage::kWrite), code);
    ASSERT_TRUE(outcome->has_value());
    EXPECT_EQ((*outcome)->code(), code);
  }
}

TEST_F(ClientLinkTest, a_write_whose_answer_is_lost_is_sent_again_only_in_a_session) {
  greet();
  const auto once = begin_increment(kSession);
  const auto unsafe = begin_increment();
  EXPECT_EQ(arrived(net::WireMessage::kWrite).size(), 2u);
  wire()->hang_up();
  loop.settle();
  ASSERT_TRUE(unsafe->has_value());
  EXPECT_EQ((*unsafe)->code(), ErrorCode::kOutcomeUnknown);
  EXPECT_FALSE(once->has_value());
  loop.advance(Millis(100));
  greet();
  answer_write(await(net::WireMessage::kWrite), {.results = {{.integer = 1, .value = {}}}});
  ASSERT_TRUE(once->has_value());
  EXPECT_TRUE((*once)->ok());
}

// What the second attempt is told does not say what became of the first.
TEST_F(ClientLinkTest, a_refusal_after_a_lost_answer_is_no_refusal) {
  for (const ErrorCode code : {ErrorCode::kSessionExpired, ErrorCode::kStaleRequest, ErrorCode::kOverloaded}) {
    greet();
    const auto outcome = begin_increment(kSession);
    await(net::WireMessage::kWrite);
    wire()->hang_up();
    loop.settle();
    loop.advance(Millis(100));
    greet();
    refuse(await(net::WireMessage::kWrite), code);
    ASSERT_TRUE(outcome->has_value());
    EXPECT_EQ((*outcome)->code(), ErrorCode::kOutcomeUnknown);
    open({});
  }
}

TEST_F(ClientLinkTest, time_ends_what_nobody_answers) {
  const auto nobody = begin_increment();
  loop.advance(Millis(10'001));
  ASSERT_TRUE(nobody->has_value());
  EXPECT_EQ((*nobody)->code(), ErrorCode::kUnavailable) << "it was never sent";
  open({});
  greet();
  const auto sent = begin_increment();
  const uint64_t id = await(net::WireMessage::kWrite);
  for (int second = 0; second < 10; ++second) {
    loop.advance(Millis(1'000));
    if (!sent->has_value()) give(net::kPongType, 0, {});
  }
  loop.advance(Millis(100));
  ASSERT_TRUE(sent->has_value());
  EXPECT_EQ((*sent)->code(), ErrorCode::kOutcomeUnknown) << "it may be under way";
  answer_write(id, {.results = {{.integer = 1, .value = {}}}});  // too late, and nobody minds
}

TEST_F(ClientLinkTest, nonsense_for_an_answer_is_no_answer) {
  greet();
  std::string no_results;
  net::begin_wire_answer(no_results, ConfigNum(), kNobody);
  api::encode_results(no_results, {});
  for (const std::string_view nonsense :
       {std::string_view(), std::string_view("\1"), std::string_view("\0\0?", 3), std::string_view(no_results)}) {
    const auto outcome = begin_increment();
    give(net::kReplyType, await(net::WireMessage::kWrite), nonsense);
    ASSERT_TRUE(outcome->has_value());
    EXPECT_EQ((*outcome)->code(), ErrorCode::kOutcomeUnknown) << (*outcome)->to_string();
  }
}

// A cluster of a later version: the client does without its map, and does not ask for it all the time.
TEST_F(ClientLinkTest, a_map_that_cannot_be_read_is_asked_for_once) {
  greet();
  std::string map;
  net::begin_wire_answer(map, ConfigNum(5), kNobody);
  give(net::kReplyType, await(net::WireMessage::kMap), map + "from the future");
  const auto asks_for_map = [&](ConfigNum newest) {
    const auto outcome = begin_increment();
    answer_write(await(net::WireMessage::kWrite), {.results = {{.integer = 1, .value = {}}}}, newest);
    EXPECT_TRUE(outcome->has_value() && (*outcome)->ok());
    return !arrived(net::WireMessage::kMap).empty();
  };
  EXPECT_FALSE(asks_for_map(ConfigNum(5)));
  EXPECT_TRUE(asks_for_map(ConfigNum(6)));
}

TEST_F(ClientLinkTest, more_requests_than_it_keeps_are_refused) {
  open({.requests_max = 2});
  begin_increment();
  begin_increment();
  const auto third = begin_increment();
  ASSERT_TRUE(third->has_value());
  EXPECT_EQ((*third)->code(), ErrorCode::kOverloaded);
}

}  // namespace
}  // namespace flux::client
