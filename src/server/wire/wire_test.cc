// Goal: what a client of the wire protocol sends is asked of the store as it was meant, each call is answered once, and
// nobody makes the door keep more than its limits.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "api/read_codec.h"
#include "api/request_codec.h"
#include "env/testing/fake_net.h"
#include "net/peer_link.h"
#include "net/testing/frames.h"
#include "net/wire.h"
#include "server/wire/door.h"

namespace flux::server::wire {
namespace {

using net::WireMessage;
using ::testing::HasSubstr;

// Answers in a turn of its own, unless it holds back.
class FakeKv final : public api::KvService {
 public:
  explicit FakeKv(env::Loop& loop) : loop_(loop) {}
  void write(const api::WriteRequest& request, api::WriteDone done) override {
    ++writes;
    api::WriteReply reply;
    for (const api::Command& command : request.commands) {
      const auto* put = std::get_if<api::Put>(&command);
      reply.results.push_back({.applied = true, .integer = 0, .value = put != nullptr ? std::string(put->key) : ""});
    }
    session = request.session;
    reply.position = {.group = GroupId(3), .index = Index(9), .version = Version(8)};
    later([reply = std::move(reply), done = std::move(done)]() mutable { done(std::move(reply)); });
  }
  void read(const api::ReadRequest& request, api::ReadDone done) override {
    keys.clear();
    for (const std::string_view key : std::get<api::GetRequest>(request.what).keys) keys.emplace_back(key);
    later([done = std::move(done)]() mutable {
      const api::Item item{.found = true, .key = "", .value = "v", .version = Version(1), .deadline = std::nullopt};
      done({.status = {},
            .items = std::span(&item, 1),
            .position = {.group = GroupId(3), .index = Index(9), .version = {}}});
    });
  }
  void release() {
    for (env::Task& task : std::exchange(held, {})) task();
  }

  bool holds = false;
  std::vector<env::Task> held;
  int writes = 0;
  std::vector<std::string> keys;
  api::SessionRef session;

 private:
  void later(env::Task task) {
    if (holds) return held.push_back(std::move(task));
    loop_.post(std::move(task));
  }
  env::Loop& loop_;
};

class FakeMap final : public api::ClusterMap {
 public:
  ConfigNum config_num() const override { return ConfigNum(5); }
  std::string encoded_config() const override { return "the map"; }
  NodeId leader_of(GroupId group) const override { return group == GroupId(3) ? NodeId(2) : kNobody; }
};

struct Answered {
  uint64_t id;
  net::WireAnswer words;
};

class WireTest : public ::testing::Test {
 protected:
  WireTest() {
    door =
        Door::open(
            network, {{.loop = &loop, .kv = &kv}}, map,
            {.listen = {"h", 1},
             .self = {.cluster = net::ClusterId(7), .node = NodeId(1), .name = "n1", .peer_address = {}, .starts = {}}})
            .value();
    wire = network.dial();
  }
  static std::string framed(WireMessage type, uint64_t id, std::string_view body) {
    return net::testing::framed(static_cast<uint8_t>(type), id, body);
  }
  void give(std::string_view bytes) {
    wire->give(bytes);
    loop.settle();
  }
  void greet(net::Hello hello = {.name = "c", .peer_address = {}, .starts = {}}) {
    give(net::testing::framed(net::kHelloType, 0, net::encode_hello(hello)));
  }
  // What has come back since the last look; the bytes stay in `taken`.
  std::vector<net::FrameMessage> take() {
    taken = wire->take();
    return net::testing::messages_of(taken);
  }
  std::vector<Answered> answers() {
    std::vector<Answered> all;
    for (const net::FrameMessage& message : take()) {
      EXPECT_EQ(message.type, net::kReplyType);
      all.push_back({.id = message.request_id, .words = net::decode_wire_answer(message.body).value()});
    }
    return all;
  }
  static std::string put(std::string_view key, api::SessionRef session = {}) {
    const api::Command command = api::Put{.key = key, .value = "v"};
    std::string bytes;
    EXPECT_TRUE(api::append_request(bytes, {.commands = std::span(&command, 1), .session = session}).ok());
    return bytes;
  }
  // What a write was refused with.
  Status refusal(std::string_view body) {
    give(framed(WireMessage::kWrite, 77, body));
    const std::vector<Answered> all = answers();
    EXPECT_EQ(all.size(), 1u);
    if (all.size() != 1) return {};
    EXPECT_EQ(all[0].id, 77u);
    api::WriteReply reply;
    EXPECT_TRUE(api::decode_results(all[0].words.body, reply).ok());
    return reply.status;
  }

  env::testing::FakeLoop loop;
  env::testing::FakeNetwork network;
  FakeKv kv{loop};
  FakeMap map;
  std::unique_ptr<Door> door;
  std::shared_ptr<env::testing::FakeWire> wire;
  std::string taken;
};

TEST_F(WireTest, who_greets_is_told_who_is_there) {
  greet();
  const std::vector<net::FrameMessage> all = take();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].type, net::kHelloAcceptedType);
  const net::Hello ours = net::decode_hello(all[0].body).value();
  EXPECT_EQ(ours.cluster, net::ClusterId(7));
  EXPECT_EQ(ours.node, NodeId(1));
  EXPECT_EQ(ours.store, 0u) << "what nodes know each other by is not told";
}

TEST_F(WireTest, who_is_wrong_here_is_told_why) {
  const auto refusal_of = [&](net::Hello hello) {
    wire = network.dial();
    greet(std::move(hello));
    const std::vector<net::FrameMessage> all = take();
    EXPECT_EQ(all.size(), 1u);
    EXPECT_TRUE(wire->closed());
    return all.empty() || all[0].type != net::kHelloRefusedType ? "" : std::string(all[0].body);
  };
  net::Hello node{.cluster = net::ClusterId(7), .node = NodeId(2), .name = "n2", .peer_address = {}, .starts = {}};
  EXPECT_THAT(refusal_of(node), HasSubstr("this port is for clients"));
  net::Hello stranger{.cluster = net::ClusterId(8), .name = "c", .peer_address = {}, .starts = {}};
  EXPECT_THAT(refusal_of(stranger), HasSubstr("this is cluster 0000000000000007"));
  net::Hello future{.protocol = 2, .name = "c", .peer_address = {}, .starts = {}};
  EXPECT_THAT(refusal_of(future), HasSubstr("protocol 2 is not spoken here"));
}

TEST_F(WireTest, writes_reads_and_the_map_are_answered_by_their_ids) {
  greet();
  take();
  kv.holds = true;
  give(framed(WireMessage::kWrite, 1, put("k", {.client = 4, .sequence = 6})));
  const std::string_view keys[] = {"a", "b"};
  std::string read;
  api::OwnedRead({.what = api::GetRequest{.keys = keys}}).encode(read);
  give(framed(WireMessage::kRead, 2, read));
  give(framed(WireMessage::kMap, 3, {}));
  std::vector<Answered> all = answers();
  ASSERT_EQ(all.size(), 1u) << "the map waits for nobody";
  EXPECT_EQ(all[0].id, 3u);
  EXPECT_EQ(all[0].words.config, ConfigNum(5));
  EXPECT_EQ(all[0].words.body, "the map");
  EXPECT_EQ(kv.session.client, 4u);
  EXPECT_EQ(kv.session.sequence, 6u);
  EXPECT_EQ(kv.keys, (std::vector<std::string>{"a", "b"}));
  std::swap(kv.held[0], kv.held[1]);
  kv.release();
  loop.settle();
  all = answers();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].id, 2u) << "as they come";
  api::OwnedReadReply items;
  ASSERT_TRUE(items.decode(all[0].words.body).ok());
  EXPECT_EQ(items.view().items[0].value, "v");
  api::WriteReply results;
  ASSERT_TRUE(api::decode_results(all[1].words.body, results).ok());
  EXPECT_EQ(results.results[0].value, "k");
  for (const Answered& each : all) {
    EXPECT_EQ(each.words.config, ConfigNum(5));
    EXPECT_EQ(each.words.leader, NodeId(2)) << "who leads the group that answered";
  }
  EXPECT_EQ(door->stats().requests, 3u);
}

TEST_F(WireTest, what_is_wrong_is_said_and_costs_one_request) {
  greet();
  take();
  EXPECT_EQ(refusal("").code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(refusal(put("k") + "x").code(), ErrorCode::kInvalidArgument);
  const std::string good = put("k");
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(refusal(std::string_view(good).substr(0, size)).ok()) << size;
  }
  for (const api::Command& own :
       {api::Command(api::ExpireDue{.encoded_key = "k", .deadline = WallMillis(1)}),
        api::Command(api::Control{.bytes = "x"}), api::Command(api::ShardChange{.bytes = "x"}),
        api::Command(api::DeleteRange{.start = "a", .end = "b"}),
        api::Command(api::OpenSession{.client = 1, .opened = WallMillis(1)})}) {
    std::string bytes;
    ASSERT_TRUE(api::append_request(bytes, {.commands = std::span(&own, 1)}).ok());
    EXPECT_THAT(refusal(bytes).message(), HasSubstr("not for clients")) << own.index();
  }
  EXPECT_EQ(kv.writes, 0) << "none of them got through";
  give(framed(WireMessage::kRead, 5, "?"));
  ASSERT_EQ(answers().size(), 1u);
  EXPECT_EQ(refusal(good), Status()) << "the connection is as good as before";
  EXPECT_FALSE(wire->closed());
}

TEST_F(WireTest, what_cannot_be_answered_closes_the_connection) {
  for (const std::string& bytes :
       {framed(WireMessage::kWrite, 0, put("k")), net::testing::framed(99, 1, ""),
        net::testing::framed(net::kReplyType, 1, ""), std::string("GET / HTTP/1.1\r\n\r\n")}) {
    wire = network.dial();
    greet();
    ASSERT_FALSE(wire->closed());
    give(bytes);
    EXPECT_TRUE(wire->closed());
  }
  EXPECT_EQ(door->stats().connections, 1u) << "the first one";
}

TEST_F(WireTest, a_client_that_asks_faster_than_it_is_answered_is_not_read_from) {
  greet();
  take();
  kv.holds = true;
  for (uint64_t id = 1; id <= 5'000; ++id) give(framed(WireMessage::kWrite, id, put("k")));
  EXPECT_EQ(kv.writes, 4096);
  kv.holds = false;
  kv.release();
  loop.settle();
  EXPECT_EQ(kv.writes, 5'000);
  EXPECT_EQ(answers().size(), 5'000u);
}

TEST_F(WireTest, an_answer_to_a_client_that_has_gone_is_dropped) {
  greet();
  kv.holds = true;
  give(framed(WireMessage::kWrite, 1, put("k")));
  wire->hang_up();
  loop.settle();
  EXPECT_EQ(door->stats().connections, 0u);
  kv.release();
  loop.settle();
}

}  // namespace
}  // namespace flux::server::wire
