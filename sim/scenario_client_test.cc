// Goal: a program that uses the C++ client finds who serves its keys, through every change of the cluster, and is told
// the truth about its writes.
#include <gtest/gtest.h>

#include <set>

#include "api/limits.h"
#include "client/client.h"
#include "scenario_shards.h"

namespace flux::sim {
namespace {

using node::PeerMessage;

// A program on a machine of its own.
class Program {
 public:
  static constexpr uint64_t kHost = 100;
  Program(Nodes& nodes, const std::vector<size_t>& told, Micros timeout = Millis(10'000))
      : nodes_(nodes),
        loop_(nodes.world(), kHost, clock_),
        client_(loop_, nodes.network(), options(nodes, told, timeout), Rng(nodes.world().rng().next())) {}

  client::Client& client() { return client_; }
  Pending<api::WriteReply> begin(const api::Command& command, api::SessionRef session = {}) {
    auto pending = std::make_shared<std::optional<api::WriteReply>>();
    loop_.post([this, command, session, pending] {
      client_.write({.commands = std::span(&command, 1), .session = session}, [pending](api::WriteReply reply) {
        EXPECT_FALSE(pending->has_value()) << "answered twice";
        *pending = std::move(reply);
      });
    });
    return pending;
  }
  api::WriteReply write(const api::Command& command, api::SessionRef session = {}) {
    const auto pending = begin(command, session);
    nodes_.until([&] { return pending->has_value(); });
    return pending->value_or(api::WriteReply{.status = Status(ErrorCode::kCancelled, "no answer")});
  }
  Pending<Seen> begin_get(const std::string& key) {
    auto pending = std::make_shared<std::optional<Seen>>();
    loop_.post([this, key, pending] {
      const std::string_view view = key;
      client_.read({.what = api::GetRequest{.keys = std::span(&view, 1)}}, [pending](const api::ReadReply& reply) {
        EXPECT_FALSE(pending->has_value()) << "answered twice";
        Seen seen{.status = reply.status, .value = {}, .deadline = {}};
        if (reply.status.ok() && reply.items[0].found) seen.value = std::string(reply.items[0].value);
        *pending = std::move(seen);
      });
    });
    return pending;
  }
  Seen get(const std::string& key) {
    const auto pending = begin_get(key);
    nodes_.until([&] { return pending->has_value(); });
    return pending->value_or(Seen{.status = Status(ErrorCode::kCancelled, "no answer"), .value = {}, .deadline = {}});
  }
  void wait_map() {
    nodes_.until([&] { return client_.config_num() != ConfigNum(); });
  }

 private:
  static client::ClientOptions options(Nodes& nodes, const std::vector<size_t>& told, Micros timeout) {
    client::ClientOptions options{.endpoints = {}, .name = "program", .request_timeout = timeout};
    for (const size_t i : told) options.endpoints.push_back(nodes.wire_address(i));
    return options;
  }

  Nodes& nodes_;
  const Clock clock_;
  SimLoop loop_;
  client::Client client_;
};

// Told of one node only, it finds all of them, and soon nothing that it asks is passed on from node to node.
TEST(ScenarioClient, requests_go_straight_to_leaders) {
  Nodes nodes(301, 3, with(6, 3, 12));
  Program program(nodes, {1});
  program.wait_map();
  const auto ask_all = [&] {
    for (int i = 0; i < 60; ++i) {
      const std::string key = "k" + std::to_string(i);
      EXPECT_TRUE(program.write(api::Put{.key = key, .value = "v"}).status.ok());
      EXPECT_EQ(program.get(key).value, "v");
    }
  };
  ask_all();
  size_t passed_on = 0;
  nodes.network().set_tap([&](Passing& passing) {
    for (const PeerMessage type : {PeerMessage::kWrite, PeerMessage::kRoutedWrite, PeerMessage::kRoutedRead}) {
      if (is(passing, type)) ++passed_on;
    }
    return Fate::kPass;
  });
  ask_all();
  EXPECT_EQ(passed_on, 0u);
  // A leader that hands over is known after one answer.
  const size_t old = nodes.wait_leader(kOne);
  nodes.make_leader((old + 1) % 3, kOne);
  ask_all();
  passed_on = 0;
  ask_all();
  EXPECT_EQ(passed_on, 0u);
}

// All that it knew is elsewhere, and some of the nodes that it knew are gone.
TEST(ScenarioClient, a_map_from_yesterday_is_made_new) {
  Nodes nodes(302, 6, with(2, 3, 4));
  balance(nodes, "off");
  Program program(nodes, {0, 1, 2});
  program.wait_map();
  for (int i = 0; i < 40; ++i) {
    EXPECT_TRUE(program.write(api::Put{.key = "k" + std::to_string(i), .value = "1"}).status.ok());
  }
  const ConfigNum before = program.client().config_num();
  const std::set<NodeId> givers = nodes.chart(0)->config->group(kOne)->voters;
  for (const ShardId shard : shards_of(nodes, 0, kOne)) begin_move(nodes, shard, kTwo);
  wait_quiet(nodes);
  size_t killed = 0;
  for (size_t i = 0; i < 6 && killed < 1; ++i) {
    if (givers.contains(nodes.id(i)) && nodes.leader(node::kControlGroup) != i) nodes.kill(i), ++killed;
  }
  for (int i = 0; i < 40; ++i) {
    const std::string key = "k" + std::to_string(i);
    EXPECT_EQ(program.get(key).value, "1");
    EXPECT_TRUE(program.write(api::Put{.key = key, .value = "2"}).status.ok());
  }
  const size_t asked = somebody(nodes);
  nodes.until([&] { return program.client().config_num() == nodes.chart(asked)->config->num; });
  EXPECT_GT(program.client().config_num(), before);
}

// Whoever dies, and whatever answer is lost with it: the request is sent again, and takes effect once.
TEST(ScenarioClient, a_write_in_a_session_counts_once_whoever_dies) {
  Nodes nodes(303, 3);
  Program program(nodes, {0, 1, 2}, Millis(30'000));
  program.wait_map();
  constexpr uint64_t kSession = 7;
  ASSERT_TRUE(program.write(api::OpenSession{.client = kSession, .opened = {}}).status.ok());
  Rng rng(303);
  size_t lost = 0;
  for (uint64_t sequence = 1; sequence <= 40; ++sequence) {
    const auto pending =
        program.begin(api::Increment{.key = "n", .delta = 1}, {.client = kSession, .sequence = sequence});
    // Anywhere between the first byte and the answer.
    nodes.pass(Micros(static_cast<int64_t>(rng.below(3'000))));
    const size_t dying = nodes.wait_leader();
    if (!pending->has_value()) ++lost;
    nodes.kill(dying);
    nodes.until([&] { return pending->has_value(); });
    ASSERT_TRUE((*pending)->status.ok()) << (*pending)->status.to_string();
    EXPECT_EQ((*pending)->results.at(0).integer, static_cast<int64_t>(sequence));
    ASSERT_TRUE(nodes.start(dying).ok());
    nodes.settle();
  }
  EXPECT_GT(lost, 10u) << "most deaths came too late to matter";
  EXPECT_EQ(program.get("n").value, "40");
}

// Its answer is lost, and sending it again might count twice: the program is told so, and decides. Reads just go on.
TEST(ScenarioClient, without_a_session_a_lost_answer_is_unknown) {
  Nodes nodes(304, 3);
  Program program(nodes, {0, 1, 2});
  program.wait_map();
  ASSERT_TRUE(program.write(api::Increment{.key = "n", .delta = 1}).status.ok());
  const size_t leader = nodes.wait_leader();
  nodes.settle();
  const Index index = nodes.group(leader).core().last_index() + 1;
  nodes.network().set_tap(drop_append_results);
  const auto counted = program.begin(api::Increment{.key = "n", .delta = 1});
  nodes.until([&] { return nodes.group(leader).core().last_index() >= index; });
  nodes.kill(leader);
  nodes.network().set_tap(nullptr);
  const auto read = program.begin_get("n");
  nodes.until([&] { return counted->has_value() && read->has_value(); });
  EXPECT_EQ((*counted)->status.code(), ErrorCode::kOutcomeUnknown) << (*counted)->status.to_string();
  EXPECT_TRUE((*read)->status.ok()) << (*read)->status.to_string();
  const std::optional<std::string> value = program.get("n").value;
  EXPECT_TRUE(value == "1" || value == "2") << value.value_or("nothing");
}

TEST(ScenarioClient, the_largest_key_and_value_pass_and_one_byte_more_is_refused) {
  Nodes nodes(306, 3, [](size_t, node::NodeOptions& options) { options.wal_segment_bytes = 64_MiB; });
  Program program(nodes, {0, 1, 2});
  program.wait_map();
  const std::string key(api::kKeyBytesMax, 'k'), value(api::kValueBytesMax, 'v');
  EXPECT_TRUE(program.write(api::Put{.key = key, .value = value}).status.ok());
  EXPECT_TRUE(program.get(key).value == value) << "not printed: it is long";
  EXPECT_EQ(program.write(api::Put{.key = key, .value = value + "v"}).status.code(), ErrorCode::kTooLarge);
  EXPECT_EQ(program.write(api::Put{.key = key + "k", .value = value}).status.code(), ErrorCode::kTooLarge);
  EXPECT_TRUE(program.get(key).value == value) << "not printed: it is long";
}

TEST(ScenarioClient, nobody_there_is_a_definite_error_and_not_for_ever) {
  Nodes nodes(305, 3);
  Program program(nodes, {0, 1, 2}, Millis(4'000));
  program.wait_map();
  for (size_t i = 0; i < 3; ++i) nodes.kill(i);
  nodes.pass(Millis(100));
  const api::WriteReply reply = program.write(api::Put{.key = "k", .value = "v"});
  EXPECT_EQ(reply.status.code(), ErrorCode::kUnavailable) << reply.status.to_string();
  EXPECT_EQ(program.get("k").status.code(), ErrorCode::kUnavailable);
  for (size_t i = 0; i < 3; ++i) ASSERT_TRUE(nodes.start(i).ok());
  nodes.settle();
  EXPECT_TRUE(program.write(api::Put{.key = "k", .value = "v"}).status.ok());
  EXPECT_EQ(program.get("k").value, "v");
}

}  // namespace
}  // namespace flux::sim
