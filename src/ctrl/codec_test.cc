// Goal: one spelling for every value, and no bytes that break the reader (docs/formats/ctrl.md).
#include <gtest/gtest.h>

#include "base/rng.h"
#include "ctrl/testing/controller.h"

namespace flux::ctrl {
namespace {

using namespace testing;

std::string hex(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) out += fmt::format("{:02x}", static_cast<unsigned>(static_cast<uint8_t>(c)));
  return out;
}

std::vector<Command> one_of_each() {
  return {
      {.expected = ConfigNum(300), .body = Join{{{.id = GroupId(3), .voters = {NodeId(1), NodeId(2)}, .weight = 2}}}},
      {.body = leave({1, 2})},
      {.body = Move{.shard = ShardId(5), .to = GroupId(2), .pin = true}},
      {.body = Split{.shard = ShardId(5), .at = {"\x10\x00", 2}}},
      {.body = Merge{.left = ShardId(5), .right = ShardId(6)}},
      {.body = CreateKeyspace{.name = "k", .kind = KeyspaceKind::kRange, .replication = 3, .split_at = {"m"}}},
      {.body = DropKeyspace{"k"}},
      {.body = node(7)},
      {.body = DrainNode{NodeId(7)}},
      {.body = RemoveNode{NodeId(7)}},
      {.body = ReplaceNode{.node = NodeId(7), .by = NodeId(8)}},
      {.body = SetReplication{"k", 5}},
      {.body = Rebalance{.shards = true, .replicas = false}},
      {.body = SetBalance{BalanceMode::kLoad}},
      {.body = ControlPlan{PlanId(4), PlanVerb::kCancel}},
      {.body = ReportProgress{.plan = PlanId(4),
                              .step = 1,
                              .phase = StepPhase::kFailed,
                              .bytes_done = 9,
                              .bytes_total = 10,
                              .keys_done = 2,
                              .reason = "disk"}},
      {.body = HandOver{.plan = PlanId(4), .step = 1}},
      {.body = Settled{.group = GroupId(2), .num = ConfigNum(6)}},
      {.body = ReportGroup{.group = GroupId(2), .entry = Index(8), .voters = {NodeId(1)}, .learners = {NodeId(2)}}},
      {.body = AnnounceNode{.record = node(7).record, .cores = 4}},
      {.body = ReportSilent{.nodes = {NodeId(2), NodeId(5)}, .lost = {NodeId(5)}}},
      {.body = SetLimits{{.moves_max = 8, .moves_per_group_max = 0, .changes_max = 2}}},
      {.body = SetGroups{.by_cores = true}},
  };
}

TEST(Codec, golden_commands) {
  const std::vector<std::string> golden = {
      "01ac020101030201020002",
      "010002020102",
      "010003050201",
      "01000405021000",
      "0100050506",
      "010006016b02030001016d",
      "010007016b",
      "01000807026e37076e373a3733383000000004",
      "01000907",
      "01000a07",
      "01000b0708",
      "01000c016b05",
      "01000d0100",
      "01000e03",
      "01000f0403",
      "010010040108090a02046469736b",
      "0100110401",
      "0100120206",
      "010013020801010102",
      "01001407026e37076e373a3733383000000004",
      "0100150202050105",
      "010016080002",
      "01001701",
  };
  const std::vector<Command> commands = one_of_each();
  ASSERT_EQ(commands.size(), std::variant_size_v<CommandBody>);
  ASSERT_EQ(golden.size(), commands.size());
  for (size_t i = 0; i < commands.size(); ++i) {
    EXPECT_EQ(commands[i].body.index(), i);
    EXPECT_EQ(hex(encode_command(commands[i])), golden[i]) << name_of(commands[i]);
  }
}

TEST(Codec, commands_round_trip_and_nothing_shorter_or_longer_is_one) {
  for (const Command& command : one_of_each()) {
    const std::string bytes = encode_command(command);
    EXPECT_EQ(encode_command(decode_command(bytes).value()), bytes);
    for (size_t size = 0; size < bytes.size(); ++size) {
      EXPECT_EQ(decode_command(bytes.substr(0, size)).status().code(), ErrorCode::kCorruption);
    }
    EXPECT_EQ(decode_command(bytes + '\0').status().code(), ErrorCode::kCorruption);
  }
  EXPECT_EQ(decode_command({"\x02\x00\x0d", 3}).status().code(), ErrorCode::kUnsupported);
  EXPECT_EQ(decode_command(std::string(kCommandBytesMax + 1, '\1')).status().code(), ErrorCode::kTooLarge);
}

// A cluster in the middle of many things.
Controller busy_controller() {
  Controller controller;
  controller.ok(join({1, 2, 3}));
  controller.run();
  controller.ok(hash_keyspace("default", 12));
  controller.ok(Settled{.group = GroupId(1), .num = controller.config().num});
  controller.run();
  controller.ok(CreateKeyspace{.name = "r", .kind = KeyspaceKind::kRange, .replication = 1, .split_at = {"m"}});
  controller.run();
  const PlanId plan = controller.ok(leave({2})).plan;
  controller.ok(ReportProgress{.plan = plan, .phase = StepPhase::kReady, .bytes_done = 5, .bytes_total = 6});
  controller.ok(HandOver{.plan = plan});
  controller.ok(DrainNode{NodeId(1)});
  return controller;
}

TEST(Codec, outcomes_round_trip) {
  for (const Outcome& outcome :
       {Outcome{.config = ConfigNum(7), .plan = PlanId(3), .node = NodeId(4), .group = GroupId(2), .note = "so"},
        Outcome{.status = Status(ErrorCode::kPrecondition, "not now"), .config = ConfigNum(7)}}) {
    const std::string bytes = encode_outcome(outcome);
    const Outcome again = decode_outcome(bytes).value();
    EXPECT_EQ(encode_outcome(again), bytes);
    EXPECT_EQ(again.status.message(), outcome.status.message());
    for (size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(decode_outcome(bytes.substr(0, size)).ok());
  }
}

TEST(Codec, golden_configuration) {
  Controller controller(1);
  controller.ok(join({1}, 1));
  controller.run();
  controller.ok(hash_keyspace("d", 2, 1));
  EXPECT_EQ(hex(encode_config(controller.config())),
            "01050101026e31076e313a3733383000000001040101010201030101010100010101030164010100020100010202200001");
  EXPECT_EQ(hex(*controller.state().history.delta(controller.config().num)),
            "010500000101030164010100020100010202200001");
}

TEST(Codec, state_survives_a_snapshot_and_refuses_any_other_bytes) {
  Controller controller = busy_controller();
  const std::string bytes = controller.bytes();
  const State again = decode_state(bytes).value();
  EXPECT_EQ(encode_state(again), bytes);
  EXPECT_EQ(again.config(), controller.config());
  EXPECT_EQ(again.plans, controller.state().plans);
  for (size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(decode_state(bytes.substr(0, size)).ok());
  Rng rng(3);
  for (int round = 0; round < 20'000; ++round) {
    std::string wrong = bytes;
    for (uint64_t changes = rng.between(1, 3); changes > 0; --changes) {
      wrong[rng.below(wrong.size())] = static_cast<char>(rng.next());
    }
    if (Result<State> state = decode_state(wrong); state.ok()) {
      EXPECT_EQ(encode_state(*state), wrong);
      next_actions(*state);
    }
  }
}

TEST(History, goes_from_each_configuration_to_the_next) {
  Controller controller = busy_controller();
  const History& history = controller.state().history;
  EXPECT_EQ(history.oldest(), ConfigNum(0));
  Config config;
  while (config.num < history.newest().num) {
    const std::string_view delta = history.delta(config.num + 1).value();
    apply_delta(config, from_bytes<ConfigDelta>(delta, "delta").value());
    EXPECT_TRUE(config.validate().ok());
    EXPECT_EQ(config, history.query(config.num).value());
    EXPECT_EQ(config, decode_config(encode_config(config)).value());
  }
  EXPECT_EQ(config, controller.config());
  EXPECT_EQ(history.query(config.num + 1).status().code(), ErrorCode::kNotFound);
  EXPECT_EQ(history.delta(ConfigNum(0)).status().code(), ErrorCode::kNotFound);
}

TEST(History, is_bounded) {
  for (const History::Limits limits : {History::Limits{.configs = 10}, History::Limits{.bytes = 300}}) {
    History history;
    Config config;
    std::vector<Config> all{config};
    for (uint64_t i = 1; i <= 100; ++i) {
      config.num = ConfigNum(i);
      config.nodes[NodeId(i % 7 + 1)] = {.record = node(i % 7 + 1).record, .cores = static_cast<uint32_t>(i)};
      history.push(config, limits);
      all.push_back(config);
      EXPECT_LE(history.newest().num - history.oldest(), limits.configs);
    }
    EXPECT_GT(history.oldest(), ConfigNum(80));
    EXPECT_EQ(history.query(history.oldest() - 1).status().code(), ErrorCode::kNotFound);
    for (uint64_t i = history.oldest().value(); i <= 100; ++i) EXPECT_EQ(history.query(ConfigNum(i)).value(), all[i]);
    History again = from_bytes<History>(to_bytes(history), "history").value();
    ASSERT_TRUE(again.restore().ok());
    EXPECT_EQ(to_bytes(again), to_bytes(history));
    EXPECT_EQ(again.newest(), config);
    // Both fold the same ones at the same time.
    for (uint64_t i = 101; i <= 140; ++i) {
      config.num = ConfigNum(i);
      config.nodes[NodeId(1)].cores = static_cast<uint32_t>(i);
      history.push(config, limits);
      again.push(config, limits);
      EXPECT_EQ(to_bytes(again), to_bytes(history));
    }
  }
}

}  // namespace
}  // namespace flux::ctrl
