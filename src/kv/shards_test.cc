// Goal: a group serves what its shards cover and nothing else, whatever its log brings, in whatever order.
#include "kv/shards.h"

#include <gtest/gtest.h>

#include <set>

#include "kv/config_cuts.h"
#include "kv/testing/shard_group.h"

namespace flux::kv::testing {
namespace {

// A group that owns everything, in two shards.
class ShardsTest : public ::testing::Test {
 protected:
  ShardsTest() { EXPECT_TRUE(group.configure(1, {cut(Cut::kOwn, 1), cut(Cut::kOwn, 2)})); }

  ErrorCode refusal(const ShardCommand& command) {
    const uint64_t before = group.hash();
    const std::vector<ShardInfo> table(group.machine().shards().begin(), group.machine().shards().end());
    const api::CommandResult result = group.shard(command);
    EXPECT_FALSE(result.applied);
    EXPECT_EQ(group.hash(), before);
    EXPECT_TRUE(
        std::equal(table.begin(), table.end(), group.machine().shards().begin(), group.machine().shards().end()));
    return result.code;
  }
  ErrorCode refusal(uint64_t num, std::vector<ShardCut> cuts) {
    return refusal(ApplyConfig{.num = ConfigNum(num), .cuts = std::move(cuts)});
  }

  WallMillis deadline_of(std::string_view key) {
    group.get(key);
    return group.outcome.items.at(0).deadline.value();
  }

  ShardGroup group{1};
};

TEST(Shards, a_group_owns_nothing_before_its_first_configuration) {
  ShardGroup group(1);
  EXPECT_EQ(group.ask(api::Put{.key = "a", .value = "1"}).status.code(), ErrorCode::kWrongShard);
  EXPECT_EQ(group.get("a"), "(elsewhere)");
  EXPECT_EQ(group.count(), 0u);
  EXPECT_TRUE(group.run(api::OpenSession{.client = 1}).applied);
  EXPECT_EQ(group.ask(api::DeleteAll{}).status.code(), ErrorCode::kWrongShard);
  EXPECT_TRUE(group.machine().take_shards_changed()) << "what to do follows from the table, so it is looked at once";
  EXPECT_FALSE(group.machine().take_shards_changed());
  EXPECT_TRUE(group.configure(1, {cut(Cut::kOwn, 1)}));
  EXPECT_TRUE(group.machine().take_shards_changed());
  EXPECT_TRUE(group.set(low_key(1), "1"));
  EXPECT_FALSE(group.set(high_key(1), "1"));
}

TEST(Shards, a_group_without_sharding_refuses_them) {
  const auto engine = engine::make_memory_engine({});
  StateMachine machine(GroupId(0), *engine);
  ASSERT_TRUE(machine.load().ok());
  EXPECT_TRUE(machine.serves("any"));
  EXPECT_TRUE(machine.serves("", ""));
  EXPECT_TRUE(machine.shards().empty());
}

// M04: what is not newer than the newest applied does nothing.
TEST_F(ShardsTest, M04_stale_config_entry) {
  EXPECT_TRUE(group.configure(3, {cut(Cut::kOwn, 1), cut(Cut::kOwn, 2)}));
  for (const uint64_t num : {1u, 2u, 3u}) EXPECT_EQ(refusal(num, {}), ErrorCode::kOk) << num;
  EXPECT_EQ(group.machine().config_num(), ConfigNum(3));
  EXPECT_EQ(group.state(2), "serving");
  EXPECT_EQ(group.info(2)->since, ConfigNum(1)) << "a shard that stays keeps its record";
}

TEST_F(ShardsTest, a_configuration_that_would_lose_data_is_refused) {
  group.set(high_key(1), "1");
  EXPECT_EQ(refusal(2, {}), ErrorCode::kPrecondition);
  EXPECT_EQ(refusal(2, {cut(Cut::kOwn, 1)}), ErrorCode::kPrecondition);
  EXPECT_EQ(refusal(2, {cut(Cut::kOwn, 1), cut(Cut::kOwn, 2, 5)}), ErrorCode::kPrecondition) << "two owners";
  ShardCut part = cut(Cut::kOwn, 2);
  part.start = api::slot_start(9000);
  EXPECT_EQ(refusal(2, {cut(Cut::kOwn, 1), part}), ErrorCode::kPrecondition) << "a hole";
  part.start = api::slot_start(8000);
  EXPECT_EQ(refusal(2, {cut(Cut::kOwn, 1), part}), ErrorCode::kInvalidArgument) << "an overlap";
  EXPECT_EQ(refusal(2, {cut(Cut::kOwn, 1), cut(Cut::kGive, 2, 1)}), ErrorCode::kInvalidArgument) << "to itself";
  EXPECT_EQ(refusal(2, {cut(Cut::kOwn, 1), cut(Cut::kGive, 2, 0)}), ErrorCode::kInvalidArgument) << "to nobody";
  ShardCut again = cut(Cut::kOwn, 2);
  again.shard = ShardId(1);
  EXPECT_EQ(refusal(2, {cut(Cut::kOwn, 1), again}), ErrorCode::kInvalidArgument) << "one shard twice";
  EXPECT_EQ(group.get(high_key(1)), "1");
}

TEST_F(ShardsTest, splits_and_merges_move_no_data) {
  for (uint64_t i = 0; i < 50; ++i) group.set(high_key(i), std::to_string(i));
  const uint64_t before = group.hash();
  ShardCut left = cut(Cut::kOwn, 2);
  ShardCut right = cut(Cut::kOwn, 3);
  left.end = right.start = api::slot_start(12'000);
  EXPECT_TRUE(group.configure(2, {cut(Cut::kOwn, 1, 1), left, right}));
  EXPECT_EQ(group.machine().shards().size(), 3u);
  EXPECT_EQ(group.info(3)->since, ConfigNum(2));
  EXPECT_EQ(group.info(1)->since, ConfigNum(1));
  for (uint64_t i = 0; i < 50; ++i) EXPECT_EQ(group.get(high_key(i)), std::to_string(i));
  ShardCut all = cut(Cut::kOwn, 1);
  all.end.clear();
  EXPECT_TRUE(group.configure(3, {all}));
  EXPECT_EQ(group.machine().shards().size(), 1u);
  EXPECT_EQ(group.hash(), before);
  EXPECT_TRUE(group.machine().serves("", ""));
  group.expect_log_makes_the_same();
}

TEST_F(ShardsTest, a_shard_that_is_being_copied_is_not_cut_anew) {
  EXPECT_TRUE(group.did(BeginFeed{ShardId(2), 7, 1}));
  ShardCut left = cut(Cut::kOwn, 2);
  ShardCut right = cut(Cut::kOwn, 3);
  left.end = right.start = api::slot_start(12'000);
  EXPECT_EQ(refusal(2, {cut(Cut::kOwn, 1), left, right}), ErrorCode::kPrecondition);
  EXPECT_TRUE(group.did(EndFeed{ShardId(2), 7, 1}));
  EXPECT_TRUE(group.configure(2, {cut(Cut::kOwn, 1), left, right}));
}

// M05: a shard that was given away is not served, and does not answer from its sessions either.
TEST_F(ShardsTest, M05_request_in_bepulling) {
  group.run(api::OpenSession{.client = 9});
  const std::string key = high_key(1), ours = low_key(1);
  const api::Command increment = api::Increment{.key = key, .delta = 1};
  ASSERT_EQ(group.ask(increment, 9, 1).results.at(0).integer, 1);
  EXPECT_TRUE(group.configure(2, {cut(Cut::kOwn, 1), cut(Cut::kGive, 2, 5)}));
  EXPECT_EQ(group.state(2), "be_pulling");
  EXPECT_FALSE(group.machine().settled());
  const uint64_t frozen = group.hash(kMiddle);
  EXPECT_EQ(group.ask(increment, 9, 1).status.code(), ErrorCode::kWrongShard);
  EXPECT_EQ(group.ask(increment, 9, 2).status.code(), ErrorCode::kWrongShard);
  EXPECT_EQ(group.get(key), "(elsewhere)");
  for (const api::Command& command :
       {api::Command(api::Put{.key = key}), api::Command(api::Delete{.key = key}),
        api::Command(api::Append{.key = key, .value = "x"}), api::Command(api::SetExpiry{.key = key}),
        api::Command(api::IncrementFloat{.key = key, .delta = "1"}),
        api::Command(api::SetRange{.key = key, .offset = 1, .value = "x"}),
        api::Command(api::Copy{.source = ours, .destination = key}),
        api::Command(api::Copy{.source = key, .destination = ours})}) {
    EXPECT_EQ(group.ask(command).status.code(), ErrorCode::kWrongShard);
  }
  EXPECT_EQ(group.hash(kMiddle), frozen);
}

TEST_F(ShardsTest, a_request_runs_as_a_whole_or_not_at_all) {
  EXPECT_TRUE(group.configure(2, {cut(Cut::kOwn, 1), cut(Cut::kGive, 2, 5)}));
  const std::string ours = low_key(1), theirs = high_key(1);
  const api::Command commands[] = {api::Put{.key = ours, .value = "1"}, api::Put{.key = theirs, .value = "1"}};
  EXPECT_EQ(group.apply({.commands = commands}).status.code(), ErrorCode::kWrongShard);
  EXPECT_EQ(group.get(ours), "(none)");
  const std::string bytes = encode(Release{ShardId(2), ConfigNum(2)});
  const api::Command mixed[] = {api::Put{.key = ours, .value = "1"}, api::ShardChange{.bytes = bytes}};
  EXPECT_EQ(group.apply({.commands = mixed}).status.code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(group.state(2), "be_pulling");
}

// M06: nor is one that is on its way, and nobody sees it empty.
TEST_F(ShardsTest, M06_request_in_pulling) {
  ShardGroup other(2);
  EXPECT_TRUE(other.configure(2, {cut(Cut::kOwn, 2, 1)}));
  EXPECT_EQ(other.state(2), "pulling");
  EXPECT_EQ(other.get(high_key(1)), "(elsewhere)");
  EXPECT_FALSE(other.set(high_key(1), "1"));
  EXPECT_EQ(other.ask(api::Delete{.key = high_key(1)}).status.code(), ErrorCode::kWrongShard);
}

// M18: the shards that stay are served all the time.
TEST_F(ShardsTest, M18_unaffected_shards) {
  const std::string key = low_key(1);
  EXPECT_TRUE(group.set(key, "1"));
  EXPECT_TRUE(group.did(BeginFeed{ShardId(2), 7, 1}));
  EXPECT_TRUE(group.set(key, "2"));
  EXPECT_EQ(group.info(2)->feed_length, 0u);
  EXPECT_TRUE(group.configure(2, {cut(Cut::kOwn, 1), cut(Cut::kGive, 2, 5)}));
  EXPECT_TRUE(group.set(key, "3"));
  EXPECT_EQ(group.get(key), "3");
  EXPECT_TRUE(group.did(Release{ShardId(2), ConfigNum(2)}));
  EXPECT_TRUE(group.set(key, "4"));
  erase_all(group, 2);
  EXPECT_EQ(group.get(key), "4");
  EXPECT_GT(group.info(1)->operations, 5u);
}

// Where a shard is busy is known from its last operations, reads and writes alike.
TEST_F(ShardsTest, the_middle_of_a_load_is_where_the_operations_are) {
  EXPECT_EQ(group.machine().busy_middle(ShardId(1)), "") << "nothing is known yet";
  std::vector<std::string> keys;
  for (uint64_t i = 0; i < 200; ++i) keys.push_back(low_key(i));
  std::sort(keys.begin(), keys.end(),
            [](const auto& a, const auto& b) { return api::encoded_key({}, a) < api::encoded_key({}, b); });
  // Nine of ten operations are among the last tenth of the keys.
  for (uint64_t i = 0; i < 4'000; ++i) group.set(keys[i % 10 == 0 ? i * 7 % keys.size() : 180 + i % 20], "v");
  const std::string middle = group.machine().busy_middle(ShardId(1));
  EXPECT_GE(middle, api::encoded_key({}, keys[180]));
  EXPECT_LE(middle, api::encoded_key({}, keys[199]));
  EXPECT_EQ(group.machine().busy_middle(ShardId(2)), "");
  // What was busy long ago is forgotten.
  for (uint64_t i = 0; i < 4'000; ++i) EXPECT_NE(group.get(keys[i % 20]), "(elsewhere)");
  EXPECT_LE(group.machine().busy_middle(ShardId(1)), api::encoded_key({}, keys[20]));
}

// M10, M11: a giver deletes only what was given with the configuration named, and says so again to whoever asks again.
TEST_F(ShardsTest, M11_gc_dup_reordered) {
  for (uint64_t i = 0; i < 20; ++i) group.set(high_key(i), "v", {.kind = api::Expiry::Kind::kIn, .millis = 9'000'000});
  EXPECT_EQ(refusal(Release{ShardId(2), ConfigNum(1)}), ErrorCode::kPrecondition) << "it is served";
  EXPECT_EQ(refusal(Release{ShardId(2), ConfigNum(2)}), ErrorCode::kPrecondition) << "not applied here yet";
  EXPECT_TRUE(group.configure(2, {cut(Cut::kOwn, 1), cut(Cut::kGive, 2, 5)}));
  EXPECT_EQ(refusal(Release{ShardId(2), ConfigNum(1)}), ErrorCode::kPrecondition) << "of another configuration";
  EXPECT_EQ(refusal(EraseSome{ShardId(2), 5}), ErrorCode::kOk) << "not released yet";
  EXPECT_TRUE(group.did(Release{ShardId(2), ConfigNum(2)}));
  EXPECT_EQ(group.state(2), "erasing");
  EXPECT_EQ(refusal(Release{ShardId(2), ConfigNum(2)}), ErrorCode::kOk);
  EXPECT_EQ(group.shard(EraseSome{ShardId(2), 5}).integer, 5);
  EXPECT_EQ(group.machine().key_count(), 15u);
  EXPECT_EQ(group.count(), 0u);
  erase_all(group, 2);
  EXPECT_EQ(refusal(Release{ShardId(2), ConfigNum(2)}), ErrorCode::kOk);
  EXPECT_EQ(refusal(EraseSome{ShardId(2), 5}), ErrorCode::kOk);
  EXPECT_EQ(group.machine().key_count(), 0u);
  EXPECT_EQ(group.machine().due(WallMillis(UINT64_MAX - 1), 10).value().size(), 0u);
  EXPECT_EQ(group.machine().next_deadline(), WallMillis(UINT64_MAX)) << "no deadline is left behind";
  EXPECT_EQ(refusal(Confirm{ShardId(2), ConfigNum(2)}), ErrorCode::kOk);
}

TEST_F(ShardsTest, a_dropped_shard_is_erased_with_its_feed) {
  group.did(BeginFeed{ShardId(2), 7, 1});
  for (uint64_t i = 0; i < 20; ++i) group.set(high_key(i), "v");
  EXPECT_TRUE(group.configure(2, {cut(Cut::kOwn, 1), cut(Cut::kDrop, 2)}));
  EXPECT_EQ(group.state(2), "erasing");
  EXPECT_TRUE(group.machine().settled());
  EXPECT_EQ(group.engine().approximate_count(engine::Family::kFeed, "", ""), 0u);
  // It cannot be owned again before it has gone.
  EXPECT_EQ(refusal(3, {cut(Cut::kOwn, 1), cut(Cut::kOwn, 2)}), ErrorCode::kPrecondition);
  EXPECT_EQ(refusal(BeginStaging{ShardId(2), kMiddle, "", GroupId(5), 8, 1}), ErrorCode::kPrecondition);
  erase_all(group, 2);
  EXPECT_TRUE(group.configure(3, {cut(Cut::kOwn, 1), cut(Cut::kOwn, 2)}));
  EXPECT_EQ(group.get(high_key(1)), "(none)");
}

// M22: a group that comes back begins clean.
TEST_F(ShardsTest, M22_a_group_that_comes_back_begins_clean) {
  for (uint64_t i = 0; i < 5; ++i) group.set(high_key(i), "old");
  EXPECT_TRUE(group.configure(2, {cut(Cut::kDrop, 1), cut(Cut::kDrop, 2)}));
  group.reload();
  EXPECT_EQ(refusal(3, {cut(Cut::kOwn, 2)}), ErrorCode::kPrecondition);
  erase_all(group, 1);
  erase_all(group, 2);
  EXPECT_TRUE(group.configure(3, {cut(Cut::kOwn, 2)}));
  EXPECT_EQ(group.count(), 0u);
  for (uint64_t i = 0; i < 5; ++i) EXPECT_EQ(group.get(high_key(i)), "(none)");
}

TEST_F(ShardsTest, reads_see_what_is_served_only) {
  for (uint64_t i = 0; i < 10; ++i) group.set(low_key(i), "v"), group.set(high_key(i), "v");
  Rng rng(3);
  ReadOutcome outcome;
  const auto scan = [&](std::string_view start, std::string_view end) {
    group.machine().read({.what = api::ScanRequest{.start = start, .end = end, .keys_max = 100}}, WallMillis(0), rng,
                         outcome);
    return outcome.status.ok() ? outcome.items.size() : 999;
  };
  EXPECT_EQ(scan("", ""), 20u) << "over the border of two shards";
  EXPECT_TRUE(group.configure(2, {cut(Cut::kOwn, 1), cut(Cut::kGive, 2, 5)}));
  EXPECT_EQ(scan("", ""), 999u);
  EXPECT_EQ(outcome.status.code(), ErrorCode::kWrongShard);
  EXPECT_EQ(scan("", kMiddle), 10u);
  EXPECT_EQ(scan(kMiddle, ""), 999u);
  EXPECT_EQ(group.count(), 10u);
  for (int i = 0; i < 50; ++i) {
    group.machine().read({.what = api::RandomKeyRequest{}}, WallMillis(0), rng, outcome);
    ASSERT_EQ(outcome.items.size(), 1u);
    EXPECT_LT(api::encoded_key({}, outcome.items[0].key), kMiddle);
  }
}

TEST_F(ShardsTest, what_is_on_its_way_is_not_erased) {
  for (uint64_t i = 0; i < 10; ++i) {
    group.set(low_key(i), "v", {.kind = api::Expiry::Kind::kIn, .millis = 9'000'000});
    group.set(high_key(i), "v");
  }
  EXPECT_TRUE(group.configure(2, {cut(Cut::kOwn, 1), cut(Cut::kGive, 2, 5)}));
  const uint64_t frozen = group.hash(kMiddle);
  EXPECT_EQ(group.ask(api::DeleteAll{}).status.code(), ErrorCode::kWrongShard) << "who sent it knows an older map";
  EXPECT_EQ(group.machine().key_count(), 20u);
  EXPECT_EQ(group.run(api::DeleteRange{.start = "", .end = kMiddle}).integer, 10);
  EXPECT_EQ(group.hash(), frozen);
  EXPECT_EQ(group.machine().key_count(), 10u);
  EXPECT_EQ(group.engine().approximate_count(engine::Family::kExpiry, "", ""), 0u);
}

TEST_F(ShardsTest, the_sweep_passes_over_what_is_not_served) {
  const std::string ours = low_key(1), theirs = high_key(1);
  group.set(theirs, "v", {.kind = api::Expiry::Kind::kAt, .millis = kStart + 100});
  group.set(ours, "v", {.kind = api::Expiry::Kind::kAt, .millis = kStart + 200});
  EXPECT_TRUE(group.configure(2, {cut(Cut::kOwn, 1), cut(Cut::kGive, 2, 5)}));
  EXPECT_EQ(group.machine().due(WallMillis(kStart + 150), 10).value().size(), 0u);
  EXPECT_EQ(group.machine().next_deadline(), WallMillis(kStart + 200))
      << "it does not ask for the same again and again";
  const auto due = group.machine().due(WallMillis(kStart + 300), 10).value();
  ASSERT_EQ(due.size(), 1u);
  EXPECT_EQ(due[0].encoded_key, api::encoded_key({}, ours));
  group.now_ms = kStart + 1000;
  EXPECT_FALSE(
      group.run(api::ExpireDue{.encoded_key = api::encoded_key({}, theirs), .deadline = WallMillis(kStart + 100)})
          .applied);
  EXPECT_TRUE(group.run(api::ExpireDue{.encoded_key = api::encoded_key({}, ours), .deadline = WallMillis(kStart + 200)})
                  .applied);
  EXPECT_EQ(group.machine().key_count(), 1u);
}

TEST_F(ShardsTest, a_feed_names_every_change_of_its_shard) {
  const std::string key = high_key(1), other = high_key(2);
  group.set(key, "before");
  EXPECT_TRUE(group.did(BeginFeed{ShardId(2), 7, 1}));
  EXPECT_EQ(refusal(BeginFeed{ShardId(2), 7, 1}), ErrorCode::kOk) << "it is on already";
  const auto length = [&] { return group.info(2)->feed_length; };
  group.set(key, "1");
  group.run(api::Append{.key = key, .value = "2"});
  EXPECT_EQ(length(), 2u);
  group.run(api::Copy{.source = key, .destination = other, .remove_source = true});
  EXPECT_EQ(length(), 4u);
  group.run(api::SetExpiry{.key = other, .expiry = {.kind = api::Expiry::Kind::kIn, .millis = 5}});
  const WallMillis deadline = deadline_of(other);
  group.now_ms += 10;
  EXPECT_TRUE(group.run(api::ExpireDue{.encoded_key = api::encoded_key({}, other), .deadline = deadline}).applied);
  EXPECT_EQ(length(), 6u);
  group.run(api::Delete{.key = key});  // there is none
  EXPECT_EQ(length(), 6u);
  const Version epoch = group.info(2)->feed_epoch;
  EXPECT_FALSE(group.did(TrimFeed{ShardId(2), epoch + 1, 3})) << "another numbering";
  EXPECT_FALSE(group.did(TrimFeed{ShardId(2), epoch, 99}));
  EXPECT_TRUE(group.did(TrimFeed{ShardId(2), epoch, 3}));
  EXPECT_FALSE(group.did(TrimFeed{ShardId(2), epoch, 2}));
  EXPECT_EQ(length(), 4u);
  group.reload();
  EXPECT_EQ(length(), 4u);
  EXPECT_EQ(group.info(2)->feed_first, 3u);
  EXPECT_TRUE(group.did(BeginFeed{ShardId(2), 8, 1})) << "of another plan";
  EXPECT_EQ(length(), 0u);
  EXPECT_FALSE(group.did(EndFeed{ShardId(2), 7, 1}));
  EXPECT_TRUE(group.did(EndFeed{ShardId(2), 8, 1}));
  EXPECT_EQ(group.engine().approximate_count(engine::Family::kFeed, "", ""), 0u);
}

TEST(Feeds, a_full_feed_is_numbered_anew) {
  const auto engine = engine::make_memory_engine({});
  Shards shards(10);
  Draft draft(*engine, &shards);
  shards.put(draft, {.shard = ShardId(1), .start = "", .end = "", .cursor = {}});
  shards.begin_feed(draft, ShardId(1), 7, 1, Version(100));
  const auto change = [&](int i) {
    const std::string key = "k" + std::to_string(i);
    draft.store(key, {.version = Version(101), .deadline = {}, .value = "v"}, draft.find(key).value());
  };
  for (int i = 0; i < 10; ++i) change(i);
  EXPECT_EQ(shards.find(ShardId(1))->feed_length, 10u);
  change(10);
  EXPECT_EQ(shards.find(ShardId(1))->feed_length, 0u);
  EXPECT_EQ(shards.find(ShardId(1))->feed_epoch, Version(101));
  change(11);
  ASSERT_TRUE(draft.write().ok());
  EXPECT_EQ(engine->approximate_count(engine::Family::kFeed, "", ""), 2u) << "its head and one record";
  Shards again(10);
  ASSERT_TRUE(again.load(*engine).ok());
  EXPECT_EQ(*again.find(ShardId(1)), *shards.find(ShardId(1)));
}

std::vector<ShardCommand> one_of_each() {
  const MoveCursor some{.copied_through = "key", .feed_epoch = Version(9), .feed_next = 300};
  ShardChunk chunk{.from = some,
                   .next = {.copied_all = true, .session_next = 7, .sessions_done = true},
                   .num = ConfigNum(4),
                   .caught_up = true,
                   .clock = Version(1'000'000),
                   .items = {{.key = "aa", .record = "bytes"}, {.key = "bb", .record = {}}},
                   .sessions = {{.client = 1, .last_use = Version(8), .low = 2, .replies = {{3, "r"}, {400, ""}}}}};
  return {ApplyConfig{ConfigNum(3), {cut(Cut::kOwn, 1, 300), cut(Cut::kGive, 2, 5), cut(Cut::kDrop, 2)}},
          BeginFeed{ShardId(1), 2, 3},
          TrimFeed{ShardId(1), Version(9), 300},
          EndFeed{ShardId(1), 2, 3},
          BeginStaging{ShardId(1), "a", "b", GroupId(2), 3, 4},
          EndStaging{ShardId(1), 2, 3},
          Import{ShardId(1), 2, 3, chunk},
          Release{ShardId(1), ConfigNum(2)},
          Confirm{ShardId(1), ConfigNum(2)},
          EraseSome{ShardId(1), 1000}};
}

TEST(ShardCommand, has_one_spelling_and_every_truncation_is_refused) {
  for (const ShardCommand& command : one_of_each()) {
    const std::string bytes = encode(command);
    const Result<ShardCommand> again = decode_shard_command(bytes);
    ASSERT_TRUE(again.ok()) << again.status().to_string();
    EXPECT_EQ(*again, command);
    for (size_t size = 0; size < bytes.size(); ++size) {
      EXPECT_EQ(decode_shard_command(bytes.substr(0, size)).status().code(), ErrorCode::kCorruption) << size;
    }
    EXPECT_EQ(decode_shard_command(bytes + "x").status().code(), ErrorCode::kCorruption);
  }
  EXPECT_EQ(decode_shard_command("\x63").status().code(), ErrorCode::kUnsupported);
  const ExportRequest request{.shard = ShardId(1), .num = ConfigNum(2), .plan = 3, .step = 4, .bytes_max = 500};
  EXPECT_EQ(decode_export_request(encode(request)).value(), request);
}

TEST(ShardCommand, golden_bytes) {
  EXPECT_EQ(encode(BeginFeed{ShardId(1), 2, 3}), std::string("\x02\x01\x02\x03", 4));
  EXPECT_EQ(encode(ApplyConfig{ConfigNum(3), {{Cut::kGive, ShardId(1), "a", "", GroupId(2)}}}),
            std::string("\x01\x03\x01\x02\x01\x01"
                        "a\0\x02",
                        9));
  const ShardChunk chunk{.from = {},
                         .next = {.copied_through = "k", .feed_epoch = Version(2), .feed_next = 1},
                         .clock = Version(5),
                         .items = {{.key = "k", .record = "r"}},
                         .sessions = {{.client = 7, .opened = WallMillis(3), .last_use = Version(4), .low = 2}},
                         .sessions_forgotten = WallMillis(6)};
  EXPECT_EQ(encode(chunk), std::string("\0\0\0\0\0"              // from
                                       "\x01k\0\x02\x01\0"       // next
                                       "\0\0\x05\0\0\0\0\0\0\0"  // num, flags, clock
                                       "\x01\x01k\x01\x01r"      // items
                                       "\x06\x01"                // sessions forgotten, sessions
                                       "\x07\0\0\0\0\0\0\0\x03\x04\0\0\0\0\0\0\0\x02\0",
                                       48));
}

}  // namespace
}  // namespace flux::kv::testing
