// Goal: a shard moves with its keys, their versions and deadlines and the sessions that wrote them, once, whatever
// comes late, twice or never, and wherever a group stops and starts again.
#include <gtest/gtest.h>

#include <functional>

#include "engine/testing/engine_fixture.h"
#include "kv/testing/shard_group.h"

namespace flux::kv::testing {
namespace {

using engine::testing::TemporaryDir;

constexpr engine::RocksOptions kSmall{
    .block_cache_bytes = 1_MiB, .write_buffers_bytes = 512_KiB, .write_buffer_bytes = 64_KiB};

// Group 1 owns both shards; shard 2 goes to group 2, by plan 7. A second replica of each is on RocksDB.
class ShardMoveTest : public ::testing::Test {
 protected:
  ShardMoveTest() {
    EXPECT_TRUE(a.configure(1, {cut(Cut::kOwn, 1), cut(Cut::kOwn, 2)}));
    EXPECT_TRUE(b.configure(1, {}));
    b.now_ms -= 500;  // its clock is behind
  }
  ~ShardMoveTest() override {
    for (ShardGroup* group : {&a, &b}) {
      group->expect_replicas_agree();
      group->expect_log_makes_the_same();
    }
  }

  void begin_copy(ShardGroup& from, ShardGroup& to, uint64_t plan = 7) {
    EXPECT_TRUE(from.did(BeginFeed{ShardId(2), plan, 1}));
    EXPECT_TRUE(to.did(BeginStaging{ShardId(2), kMiddle, "", GroupId(from.id), plan, 1}));
  }
  void hand_over(uint64_t num) {
    EXPECT_TRUE(a.configure(num, {cut(Cut::kOwn, 1), cut(Cut::kGive, 2, 2)}));
    EXPECT_TRUE(b.configure(num, {cut(Cut::kOwn, 2, 1)}));
  }
  void hand_back(uint64_t num) {
    EXPECT_TRUE(b.configure(num, {cut(Cut::kGive, 2, 1)}));
    EXPECT_TRUE(a.configure(num, {cut(Cut::kOwn, 1), cut(Cut::kOwn, 2, 2)}));
  }
  static void clean_up(ShardGroup& from, ShardGroup& to, uint64_t num) {
    EXPECT_TRUE(from.did(Release{ShardId(2), ConfigNum(num)}));
    erase_all(from, 2);
    EXPECT_TRUE(to.did(Confirm{ShardId(2), ConfigNum(num)}));
  }
  // Without a copy ahead.
  void move_to_b(uint64_t num) {
    hand_over(num);
    pull_all(a, b, 2, num);
    clean_up(a, b, num);
  }
  void move_to_a(uint64_t num) {
    hand_back(num);
    pull_all(b, a, 2, num);
    clean_up(b, a, num);
  }
  void fill(ShardGroup& group, uint64_t keys) {
    for (uint64_t i = 0; i < keys; ++i) group.set(high_key(i), "value " + std::to_string(i));
  }

  TemporaryDir dir;
  std::unique_ptr<engine::RocksStore> store = std::move(engine::RocksStore::open(dir.path() + "/db", kSmall)).value();
  ShardGroup a{1, store.get()};
  ShardGroup b{2, store.get()};
};

TEST_F(ShardMoveTest, a_shard_is_copied_ahead_and_handed_over) {
  fill(a, 100);
  a.run(api::Put{.key = low_key(1), .value = "stays"});
  begin_copy(a, b);
  for (int i = 0; i < 3; ++i) pull_once(a, b, 2);
  // The owner serves on: what is copied already changes, and what is not.
  for (uint64_t i = 0; i < 100; i += 3) a.set(high_key(i), "changed");
  for (uint64_t i = 1; i < 100; i += 3) a.run(api::Delete{.key = high_key(i)});
  fill(a, 1);
  a.set(high_key(200), "new");
  EXPECT_EQ(b.get(high_key(2)), "(elsewhere)") << "what is staged is not seen";
  EXPECT_EQ(b.count(), 0u);
  pull_all(a, b, 2);
  EXPECT_EQ(b.hash(kMiddle), a.hash(kMiddle));
  a.set(high_key(300), "late");
  hand_over(2);
  EXPECT_EQ(b.state(2), "pulling");
  pull_all(a, b, 2, 2);
  EXPECT_EQ(b.state(2), "gcing");
  EXPECT_EQ(b.hash(kMiddle), a.hash(kMiddle));
  EXPECT_EQ(b.get(high_key(300)), "late");
  EXPECT_EQ(b.get(high_key(1)), "(none)");
  EXPECT_EQ(b.count(), b.machine().key_count());
  EXPECT_EQ(a.count(), 1u);
  clean_up(a, b, 2);
  EXPECT_EQ(b.state(2), "serving");
  EXPECT_EQ(a.state(2), "absent");
  EXPECT_EQ(a.machine().key_count(), 1u);
  EXPECT_EQ(a.engine().approximate_count(engine::Family::kFeed, "", ""), 0u);
  EXPECT_TRUE(a.machine().settled() && b.machine().settled());
}

TEST_F(ShardMoveTest, a_shard_moves_without_a_copy_ahead) {
  fill(a, 100);
  const uint64_t before = a.hash(kMiddle);
  move_to_b(2);
  EXPECT_EQ(b.hash(kMiddle), before);
  EXPECT_EQ(a.machine().key_count(), 0u);
}

TEST_F(ShardMoveTest, an_empty_shard_moves) {
  begin_copy(a, b);
  EXPECT_TRUE(pull_once(a, b, 2));
  hand_over(2);
  EXPECT_TRUE(pull_once(a, b, 2, 2));
  clean_up(a, b, 2);
  EXPECT_EQ(b.get(high_key(1)), "(none)");
}

// M01: a request that the giver has answered runs no second time at the receiver.
TEST_F(ShardMoveTest, M01_dedupe_moves_with_shard) {
  const std::string key = high_key(1);
  a.run(api::OpenSession{.client = 9});
  const api::Command increment = api::Increment{.key = key, .delta = 1};
  const api::WriteReply first = a.ask(increment, 9, 1);
  ASSERT_EQ(first.results.at(0).integer, 1);
  move_to_b(2);
  const api::WriteReply again = b.ask(increment, 9, 1);
  EXPECT_EQ(again.results, first.results);
  EXPECT_EQ(again.position, first.position);
  EXPECT_EQ(b.get(key), "1");
  EXPECT_EQ(b.ask(increment, 9, 2).results.at(0).integer, 2);
}

// M32: both sides' replies are kept, as far as the window goes.
TEST_F(ShardMoveTest, M32_session_merge) {
  const std::string here = high_key(1), there = low_key(1);
  EXPECT_TRUE(a.configure(2, {cut(Cut::kGive, 1, 2), cut(Cut::kOwn, 2)}));
  EXPECT_TRUE(b.configure(2, {cut(Cut::kOwn, 1, 1)}));
  pull_all(a, b, 1, 2);
  EXPECT_TRUE(a.did(Release{ShardId(1), ConfigNum(2)}));
  erase_all(a, 1);
  EXPECT_TRUE(b.did(Confirm{ShardId(1), ConfigNum(2)}));

  const api::Command at_a = api::Increment{.key = here, .delta = 1};
  const api::Command at_b = api::Increment{.key = there, .delta = 1};
  for (const uint64_t client : {7u, 9u}) a.run(api::OpenSession{.client = client});
  for (const uint64_t client : {9u, 11u}) b.run(api::OpenSession{.client = client});
  for (const uint64_t sequence : {1u, 3u, 5u}) a.ask(at_a, 9, sequence);
  for (const uint64_t sequence : {2u, 4u}) b.ask(at_b, 9, sequence);
  b.ask(at_b, 11, 1);
  a.ask(at_a, 7, 1);
  EXPECT_TRUE(a.configure(3, {cut(Cut::kGive, 2, 2)}));
  EXPECT_TRUE(b.configure(3, {cut(Cut::kOwn, 1), cut(Cut::kOwn, 2, 1)}));
  pull_all(a, b, 2, 3, 100);
  EXPECT_EQ(b.machine().session_count(), 3u);
  const std::string before = b.get(here) + b.get(there);
  for (const uint64_t sequence : {1u, 3u, 5u}) EXPECT_TRUE(b.ask(at_a, 9, sequence).status.ok());
  for (const uint64_t sequence : {2u, 4u}) EXPECT_TRUE(b.ask(at_b, 9, sequence).status.ok());
  EXPECT_TRUE(b.ask(at_b, 11, 1).status.ok());
  EXPECT_TRUE(b.ask(at_a, 7, 1).status.ok());
  EXPECT_EQ(b.get(here) + b.get(there), before);
  b.reload();
  EXPECT_TRUE(b.ask(at_a, 9, 3).status.ok());
  EXPECT_EQ(b.get(here) + b.get(there), before);
}

TEST_F(ShardMoveTest, a_reply_behind_the_others_window_is_refused_not_run) {
  const std::string key = high_key(1);
  a.run(api::OpenSession{.client = 9});
  b.run(api::OpenSession{.client = 9});
  const api::Command increment = api::Increment{.key = key, .delta = 1};
  a.ask(increment, 9, 1);
  const api::Command open = api::OpenSession{.client = 1};
  for (uint64_t sequence = 10; sequence < 12 + api::kSessionWindow; ++sequence) b.ask(open, 9, sequence);
  move_to_b(2);
  EXPECT_EQ(b.ask(increment, 9, 1).status.code(), ErrorCode::kStaleRequest);
  EXPECT_EQ(b.get(key), "1");
}

TEST_F(ShardMoveTest, a_reply_that_the_giver_has_forgotten_is_refused_not_run) {
  const std::string key = high_key(1);
  a.run(api::OpenSession{.client = 9});
  b.run(api::OpenSession{.client = 9});
  const api::Command increment = api::Increment{.key = key, .delta = 1};
  for (uint64_t sequence = 1; sequence <= 1 + api::kSessionWindow; ++sequence) a.ask(increment, 9, sequence);
  const std::string before = a.get(key);
  move_to_b(2);
  EXPECT_EQ(b.ask(increment, 9, 1).status.code(), ErrorCode::kStaleRequest);
  EXPECT_TRUE(b.ask(increment, 9, 2).status.ok());
  EXPECT_EQ(b.get(key), before);
}

TEST(ShardSessions, the_least_recently_used_makes_room_for_those_that_come) {
  const api::StateLimits four{.sessions_max = 4};
  ShardGroup from(1, nullptr, four), to(2, nullptr, four);
  EXPECT_TRUE(from.configure(1, {cut(Cut::kOwn, 2)}));
  EXPECT_TRUE(to.configure(1, {}));
  for (const uint64_t client : {1u, 2u, 3u}) {
    to.run(api::OpenSession{.client = client, .opened = WallMillis(client)});
  }
  from.now_ms += 100;
  for (const uint64_t client : {11u, 12u, 13u}) {
    from.run(api::OpenSession{.client = client, .opened = WallMillis(client)});
  }
  EXPECT_TRUE(from.configure(2, {cut(Cut::kGive, 2, 2)}));
  EXPECT_TRUE(to.configure(2, {cut(Cut::kOwn, 2, 1)}));
  pull_all(from, to, 2, 2, 1);
  EXPECT_EQ(to.machine().session_count(), 4u);
  const std::string key = high_key(1);
  for (const uint64_t client : {3u, 11u, 12u, 13u}) {
    EXPECT_TRUE(to.ask(api::Put{.key = key}, client, 1).status.ok()) << client;
  }
  EXPECT_EQ(to.ask(api::Put{.key = key}, 2, 1).status.code(), ErrorCode::kSessionExpired);
  to.expect_log_makes_the_same();
}

// A session that one side has forgotten ends with the move: what it has run might run again.
TEST(ShardSessions, one_that_the_giver_has_forgotten_ends) {
  // The receiver has room for more: it is not for want of room that the session ends there.
  ShardGroup from(1, nullptr, {.sessions_max = 2}), to(2, nullptr, {.sessions_max = 8});
  EXPECT_TRUE(from.configure(1, {cut(Cut::kOwn, 2)}));
  EXPECT_TRUE(to.configure(1, {}));
  const std::string key = high_key(1);
  const api::Command increment = api::Increment{.key = key, .delta = 1};
  for (ShardGroup* each : {&from, &to}) each->run(api::OpenSession{.client = 9, .opened = WallMillis(10)});
  ASSERT_TRUE(from.ask(increment, 9, 1).status.ok());
  for (const uint64_t client : {5u, 6u}) from.run(api::OpenSession{.client = client, .opened = WallMillis(20)});
  // Has not reached the giver yet, which therefore cannot have forgotten it.
  to.run(api::OpenSession{.client = 7, .opened = WallMillis(30)});
  EXPECT_TRUE(from.configure(2, {cut(Cut::kGive, 2, 2)}));
  EXPECT_TRUE(to.configure(2, {cut(Cut::kOwn, 2, 1)}));
  to.reload();
  pull_all(from, to, 2, 2, 1);
  to.reload();
  EXPECT_EQ(to.ask(increment, 9, 1).status.code(), ErrorCode::kSessionExpired);
  EXPECT_EQ(to.get(key), "1");
  for (const uint64_t client : {5u, 6u, 7u}) EXPECT_TRUE(to.ask(increment, client, 1).status.ok()) << client;
  to.expect_log_makes_the_same();
}

TEST(ShardSessions, one_that_the_receiver_has_forgotten_does_not_come_back) {
  const api::StateLimits two{.sessions_max = 2};
  ShardGroup from(1, nullptr, two), to(2, nullptr, two);
  EXPECT_TRUE(from.configure(1, {cut(Cut::kOwn, 2)}));
  EXPECT_TRUE(to.configure(1, {cut(Cut::kOwn, 1)}));
  const std::string key = low_key(1);
  const api::Command increment = api::Increment{.key = key, .delta = 1};
  for (ShardGroup* each : {&from, &to}) each->run(api::OpenSession{.client = 9, .opened = WallMillis(10)});
  ASSERT_TRUE(to.ask(increment, 9, 1).status.ok());
  for (const uint64_t client : {5u, 6u}) to.run(api::OpenSession{.client = client, .opened = WallMillis(5)});
  // There is room again: it is not for want of room that the session stays away.
  for (const uint64_t client : {5u, 6u}) to.run(api::CloseSession{.client = client});
  from.now_ms += 100;
  from.run(api::OpenSession{.client = 7, .opened = WallMillis(30)});
  to.reload();
  EXPECT_TRUE(from.configure(2, {cut(Cut::kGive, 2, 2)}));
  EXPECT_TRUE(to.configure(2, {cut(Cut::kOwn, 1), cut(Cut::kOwn, 2, 1)}));
  pull_all(from, to, 2, 2, 1);
  EXPECT_EQ(to.ask(increment, 9, 1).status.code(), ErrorCode::kSessionExpired);
  EXPECT_EQ(to.get(key), "1");
  EXPECT_TRUE(to.ask(increment, 7, 1).status.ok());
  to.expect_log_makes_the_same();
}

// A third group takes the shard: what the first has forgotten it learns through the second.
TEST(ShardSessions, what_was_forgotten_is_known_two_moves_later) {
  const api::StateLimits two{.sessions_max = 2};
  ShardGroup first(1, nullptr, two), second(2, nullptr, two), third(3, nullptr, two);
  EXPECT_TRUE(first.configure(1, {cut(Cut::kOwn, 2)}));
  EXPECT_TRUE(second.configure(1, {}));
  EXPECT_TRUE(third.configure(2, {}));
  const std::string key = high_key(1);
  const api::Command increment = api::Increment{.key = key, .delta = 1};
  for (ShardGroup* each : {&first, &third}) each->run(api::OpenSession{.client = 9, .opened = WallMillis(10)});
  ASSERT_TRUE(first.ask(increment, 9, 1).status.ok());
  for (const uint64_t client : {5u, 6u}) first.run(api::OpenSession{.client = client, .opened = WallMillis(20)});
  EXPECT_TRUE(first.configure(2, {cut(Cut::kGive, 2, 2)}));
  EXPECT_TRUE(second.configure(2, {cut(Cut::kOwn, 2, 1)}));
  pull_all(first, second, 2, 2);
  EXPECT_TRUE(first.did(Release{ShardId(2), ConfigNum(2)}));
  EXPECT_TRUE(second.did(Confirm{ShardId(2), ConfigNum(2)}));
  EXPECT_TRUE(second.configure(3, {cut(Cut::kGive, 2, 3)}));
  EXPECT_TRUE(third.configure(3, {cut(Cut::kOwn, 2, 2)}));
  pull_all(second, third, 2, 3);
  EXPECT_EQ(third.ask(increment, 9, 1).status.code(), ErrorCode::kSessionExpired);
  EXPECT_EQ(third.get(key), "1");
}

// M07: what is all here is served, while the giver still has its copy.
TEST_F(ShardMoveTest, M07_request_in_gcing) {
  fill(a, 10);
  hand_over(2);
  pull_all(a, b, 2, 2);
  ASSERT_EQ(b.state(2), "gcing");
  EXPECT_EQ(b.get(high_key(3)), "value 3");
  EXPECT_TRUE(b.set(high_key(3), "mine"));
  EXPECT_EQ(b.get(high_key(3)), "mine");
  EXPECT_EQ(b.shard(ApplyConfig{ConfigNum(3), {cut(Cut::kGive, 2, 1)}}).code, ErrorCode::kPrecondition)
      << "not before the giver has confirmed";
  clean_up(a, b, 2);
  EXPECT_EQ(b.get(high_key(3)), "mine");
}

// M08: a piece that is brought again, after a restart too, overwrites nothing.
TEST_F(ShardMoveTest, M08_insert_replayed) {
  fill(a, 60);
  hand_over(2);
  std::vector<Import> pieces;
  while (b.state(2) == "pulling") {
    const ExportRequest request = next_request(b, 2, 2, 300);
    pieces.push_back(import_of(request, a.machine().export_chunk(request).value()));
    EXPECT_TRUE(b.did(pieces.back()));
    EXPECT_FALSE(b.did(pieces.back())) << "twice";
  }
  EXPECT_GT(pieces.size(), 5u);
  for (uint64_t i = 0; i < 60; ++i) b.set(high_key(i), "newer");
  b.run(api::Delete{.key = high_key(7)});
  const uint64_t before = b.hash();
  for (const bool settled : {false, true}) {
    b.reload();
    for (const Import& piece : pieces) EXPECT_FALSE(b.did(piece));
    EXPECT_EQ(b.hash(), before);
    if (!settled) clean_up(a, b, 2);
  }
}

// M09: a piece of an earlier move of the same shard does not fit a later one.
TEST_F(ShardMoveTest, M09_insert_after_next_config) {
  fill(a, 5);
  hand_over(2);
  const ExportRequest request = next_request(b, 2, 2, 100'000);
  const Import late = import_of(request, a.machine().export_chunk(request).value());
  pull_all(a, b, 2, 2);
  clean_up(a, b, 2);
  move_to_a(3);
  for (uint64_t i = 0; i < 5; ++i) a.set(high_key(i), "newer");
  hand_over(4);
  EXPECT_EQ(b.info(2)->cursor, late.chunk.from) << "it stands where the piece begins";
  EXPECT_FALSE(b.did(late));
  pull_all(a, b, 2, 4);
  EXPECT_EQ(b.get(high_key(1)), "newer");
  clean_up(a, b, 4);
}

// M10: the giver keeps all until the receiver has it; M12: and both end well when an answer is lost.
TEST_F(ShardMoveTest, M10_gc_before_confirmation) {
  fill(a, 30);
  hand_over(2);
  pull_once(a, b, 2, 2, 300);
  EXPECT_EQ(b.shard(Confirm{ShardId(2), ConfigNum(2)}).code, ErrorCode::kPrecondition);
  EXPECT_EQ(a.shard(EraseSome{ShardId(2), 100}).integer, 0);
  EXPECT_EQ(a.machine().key_count(), 30u);
  pull_all(a, b, 2, 2);
  EXPECT_TRUE(a.did(Release{ShardId(2), ConfigNum(2)}));
  erase_all(a, 2);
  EXPECT_FALSE(a.did(Release{ShardId(2), ConfigNum(2)})) << "asked again, for the answer was lost";
  EXPECT_TRUE(b.did(Confirm{ShardId(2), ConfigNum(2)}));
  EXPECT_FALSE(b.did(Confirm{ShardId(2), ConfigNum(2)}));
}

// M13: a replica that is behind gives nothing that is not frozen; M14: nor does one asked for a configuration to come.
TEST_F(ShardMoveTest, M13_pull_from_stale_leader) {
  fill(a, 20);
  const size_t behind = a.log.size();
  a.set(high_key(5), "newest");
  hand_over(2);
  const auto old_engine = engine::make_memory_engine({});
  const auto old = a.make(*old_engine);
  for (size_t i = 0; i < behind; ++i) ASSERT_TRUE(old->apply(a.log[i], nullptr).ok());
  ASSERT_TRUE(old->commit().ok());
  EXPECT_EQ(old->export_chunk(next_request(b, 2, 2)).status().code(), ErrorCode::kUnavailable);
  for (size_t i = behind; i < a.log.size(); ++i) ASSERT_TRUE(old->apply(a.log[i], nullptr).ok());
  ASSERT_TRUE(old->commit().ok());
  // Now it is another replica of the same, and either may give the next piece.
  while (b.state(2) == "pulling") {
    const ExportRequest request = next_request(b, 2, 2, 300);
    EXPECT_EQ(old->export_chunk(request).value(), a.machine().export_chunk(request).value());
    EXPECT_TRUE(b.did(import_of(request, old->export_chunk(request).value())));
  }
  EXPECT_EQ(b.get(high_key(5)), "newest");
}

TEST_F(ShardMoveTest, M14_pull_future_config) {
  fill(a, 5);
  EXPECT_TRUE(b.configure(2, {cut(Cut::kOwn, 2, 1)}));
  EXPECT_EQ(a.machine().export_chunk(next_request(b, 2, 2)).status().code(), ErrorCode::kUnavailable);
  EXPECT_TRUE(a.configure(2, {cut(Cut::kOwn, 1), cut(Cut::kGive, 2, 2)}));
  pull_all(a, b, 2, 2);
  clean_up(a, b, 2);
  EXPECT_EQ(a.machine().export_chunk({.shard = ShardId(2), .num = ConfigNum(2), .bytes_max = 100}).status().code(),
            ErrorCode::kNotFound);
}

// While it is copied ahead, pieces may come from replicas that are behind each other: older values, but no gaps.
TEST_F(ShardMoveTest, a_copy_ahead_may_come_from_a_replica_that_is_behind) {
  const auto old_engine = engine::make_memory_engine({});
  fill(a, 40);
  begin_copy(a, b);
  const auto old = a.make(*old_engine);
  size_t applied = 0;
  Rng chance(5);
  const auto catch_up = [&](size_t to) {
    for (; applied < to; ++applied) ASSERT_TRUE(old->apply(a.log[applied], nullptr).ok());
    ASSERT_TRUE(old->commit().ok());
  };
  size_t refused = 0, given = 0;
  for (int round = 0; round < 300; ++round) {
    const std::string key = high_key(chance.below(40));
    if (chance.chance(0.3)) {
      a.run(api::Delete{.key = key});
    } else {
      a.set(key, std::to_string(round));
    }
    if (chance.chance(0.3)) catch_up(applied + chance.below(a.log.size() - applied + 1));
    const ExportRequest request = next_request(b, 2, 0, 200);
    const Result<ShardChunk> chunk =
        chance.chance(0.5) ? old->export_chunk(request) : a.machine().export_chunk(request);
    chunk.ok() ? ++given : ++refused;
    if (chunk.ok()) b.did(import_of(request, *chunk));
  }
  EXPECT_GT(refused, 10u);
  EXPECT_GT(given, 50u);
  hand_over(2);
  pull_all(a, b, 2, 2);
  EXPECT_EQ(b.hash(kMiddle), a.hash(kMiddle));
}

// M19: there and back and there again: nothing of an earlier stay is seen.
TEST_F(ShardMoveTest, M19_a_b_a_in_three_configs) {
  fill(a, 30);
  move_to_b(2);
  b.run(api::Delete{.key = high_key(1)});
  b.set(high_key(2), "b's");
  move_to_a(3);
  EXPECT_EQ(a.get(high_key(1)), "(none)");
  EXPECT_EQ(a.get(high_key(2)), "b's");
  a.set(high_key(3), "a's");
  begin_copy(a, b, 8);
  pull_all(a, b, 2);
  a.run(api::Delete{.key = high_key(4)});
  hand_over(4);
  pull_all(a, b, 2, 4);
  clean_up(a, b, 4);
  EXPECT_EQ(b.get(high_key(3)), "a's");
  EXPECT_EQ(b.get(high_key(4)), "(none)");
  EXPECT_EQ(b.count(), 28u);
}

TEST_F(ShardMoveTest, a_shard_comes_back_only_when_its_old_copy_has_gone) {
  fill(a, 30);
  hand_over(2);
  pull_all(a, b, 2, 2);
  EXPECT_TRUE(a.did(Release{ShardId(2), ConfigNum(2)}));
  EXPECT_TRUE(b.did(Confirm{ShardId(2), ConfigNum(2)}));
  EXPECT_TRUE(a.did(EraseSome{ShardId(2), 10}));
  EXPECT_TRUE(b.configure(3, {cut(Cut::kGive, 2, 1)}));
  const ApplyConfig back{ConfigNum(3), {cut(Cut::kOwn, 1), cut(Cut::kOwn, 2, 2)}};
  EXPECT_EQ(a.shard(back).code, ErrorCode::kPrecondition);
  EXPECT_EQ(a.shard(BeginStaging{ShardId(2), kMiddle, "", GroupId(2), 9, 1}).code, ErrorCode::kPrecondition);
  erase_all(a, 2);
  EXPECT_TRUE(a.did(back));
  pull_all(b, a, 2, 3);
  EXPECT_EQ(a.count(), 30u);
}

// M24: deadlines move unchanged; what expires on the way is not seen again.
TEST_F(ShardMoveTest, M24_ttl_expires_in_flight) {
  const std::string soon = high_key(1), later = high_key(2), swept = high_key(3);
  const auto at = [](uint64_t ms) {
    return api::Expiry{.kind = api::Expiry::Kind::kAt, .millis = int64_t(kStart + ms)};
  };
  a.set(soon, "v", at(1000));
  a.set(later, "v", at(900'000));
  a.set(swept, "v", at(1000));
  begin_copy(a, b);
  pull_all(a, b, 2);
  EXPECT_EQ(b.machine().due(WallMillis(kStart + 5000), 10).value().size(), 0u) << "not its to expire yet";
  a.now_ms = kStart + 2000;
  EXPECT_TRUE(
      a.run(api::ExpireDue{.encoded_key = api::encoded_key({}, swept), .deadline = WallMillis(kStart + 1000)}).applied);
  hand_over(2);
  pull_all(a, b, 2, 2);
  EXPECT_EQ(b.machine().next_deadline(), WallMillis(0)) << "unknown, now that more is served";
  EXPECT_GE(b.machine().last_version(), version_at(WallMillis(kStart + 2000))) << "b's own clock is behind";
  EXPECT_EQ(b.get(soon), "(none)");
  EXPECT_EQ(b.get(swept), "(none)");
  EXPECT_EQ(b.get(later), "v");
  EXPECT_EQ(b.outcome.items[0].deadline, WallMillis(kStart + 900'000));
  const auto due = b.machine().due(WallMillis(kStart + 5000), 10).value();
  ASSERT_EQ(due.size(), 1u);
  EXPECT_EQ(due[0].encoded_key, api::encoded_key({}, soon));
  EXPECT_TRUE(
      b.run(api::ExpireDue{.encoded_key = api::encoded_key({}, soon), .deadline = WallMillis(kStart + 1000)}).applied);
  EXPECT_EQ(b.count(), 1u);
}

// M25: a piece that was made before a key was deleted, and comes after, brings nothing back.
TEST_F(ShardMoveTest, M25_tombstone_vs_late_chunk) {
  fill(a, 10);
  begin_copy(a, b);
  const ExportRequest first = next_request(b, 2, 0, 100'000);
  const Import early = import_of(first, a.machine().export_chunk(first).value());
  a.run(api::Delete{.key = high_key(3)});
  // The early piece first: the feed tells of the deletion.
  EXPECT_TRUE(b.did(early));
  pull_all(a, b, 2);
  EXPECT_EQ(b.hash(kMiddle), a.hash(kMiddle));
  // Again, late.
  EXPECT_FALSE(b.did(early));
  hand_over(2);
  EXPECT_FALSE(b.did(early));
  pull_all(a, b, 2, 2);
  EXPECT_FALSE(b.did(early));
  EXPECT_EQ(b.get(high_key(3)), "(none)");
}

// A piece of a replica that is behind may hold an older value than was copied; the newer one stays.
TEST_F(ShardMoveTest, an_older_version_overwrites_nothing) {
  fill(a, 3);
  const auto old_engine = engine::make_memory_engine({});
  const auto old = a.make(*old_engine);
  begin_copy(a, b);
  for (const Entry& entry : a.log) ASSERT_TRUE(old->apply(entry, nullptr).ok());
  ASSERT_TRUE(old->commit().ok());
  pull_all(a, b, 2);
  const ExportRequest start{.shard = ShardId(2), .plan = 7, .step = 1, .bytes_max = 10'000};
  a.set(high_key(1), "newer");
  pull_all(a, b, 2);
  const uint64_t before = b.hash();
  ShardChunk chunk = old->export_chunk(start).value();
  ASSERT_EQ(chunk.items.size(), 3u);
  chunk.from = chunk.next = b.info(2)->cursor;
  EXPECT_TRUE(b.did(import_of(start, chunk)));
  EXPECT_EQ(b.hash(), before);
}

TEST_F(ShardMoveTest, a_piece_made_ahead_may_come_after_the_configuration) {
  fill(a, 50);
  begin_copy(a, b);
  pull_once(a, b, 2, 0, 300);
  const ExportRequest request = next_request(b, 2, 0, 300);
  const Import late = import_of(request, a.machine().export_chunk(request).value());
  a.run(api::Delete{.key = high_key(3)});
  hand_over(2);
  EXPECT_TRUE(b.did(late));
  pull_all(a, b, 2, 2, 300);
  EXPECT_EQ(b.hash(kMiddle), a.hash(kMiddle));
}

// M26, M28: every state is read back from the engine at every step, and the move goes on from there.
TEST_F(ShardMoveTest, M26_chunked_pull_crash) {
  fill(a, 40);
  a.run(api::OpenSession{.client = 9});
  a.ask(api::Put{.key = high_key(1), .value = "x"}, 9, 1);
  const auto reload = [&] {
    const std::vector<ShardInfo> at_a(a.machine().shards().begin(), a.machine().shards().end());
    const std::vector<ShardInfo> at_b(b.machine().shards().begin(), b.machine().shards().end());
    a.reload();
    b.reload();
    const auto same = [](std::vector<ShardInfo> before, std::span<const ShardInfo> after) {
      for (ShardInfo& each : before) each.operations = 0;
      return std::equal(before.begin(), before.end(), after.begin(), after.end());
    };
    EXPECT_TRUE(same(at_a, a.machine().shards()));
    EXPECT_TRUE(same(at_b, b.machine().shards()));
  };
  begin_copy(a, b);
  reload();
  for (uint64_t i = 0; !pull_once(a, b, 2, 0, 150); ++i) {
    if (i % 2 == 0) a.set(high_key(i), "changed");
    reload();
  }
  a.set(high_key(3), "last");
  hand_over(2);
  reload();
  while (!pull_once(a, b, 2, 2, 60)) reload();
  reload();
  EXPECT_EQ(b.state(2), "gcing");
  EXPECT_EQ(b.hash(kMiddle), a.hash(kMiddle));
  EXPECT_TRUE(a.did(Release{ShardId(2), ConfigNum(2)}));
  reload();
  while (a.state(2) == "erasing") {
    EXPECT_TRUE(a.did(EraseSome{ShardId(2), 7}));
    reload();
  }
  EXPECT_TRUE(b.did(Confirm{ShardId(2), ConfigNum(2)}));
  reload();
  EXPECT_EQ(b.ask(api::Put{.key = high_key(1), .value = "x"}, 9, 1).position.group, GroupId(1)) << "the first answer";
}

// M28: a snapshot in each state makes the same group elsewhere, in the other kind of engine too.
TEST_F(ShardMoveTest, M28_snapshot_in_each_state) {
  const auto copies_agree = [&](ShardGroup& group) {
    env::testing::FakeFs fs;
    ASSERT_TRUE(engine::save_snapshot(*group.engine().snapshot(), fs, "snap", "s", "").ok());
    const auto other_engine = std::move(store->engine(GroupId(99))).value();
    ASSERT_TRUE(other_engine->load(*std::move(engine::SnapshotReader::open(fs, "snap/s")).value()).ok());
    const auto other = group.make(*other_engine);
    EXPECT_EQ(other->config_num(), group.machine().config_num());
    const auto& mine = group.machine().shards();
    const auto theirs = other->shards();
    ASSERT_EQ(theirs.size(), mine.size());
    for (size_t i = 0; i < theirs.size(); ++i) {
      ShardInfo info = mine[i];
      info.operations = 0;
      EXPECT_EQ(theirs[i], info);
    }
    EXPECT_EQ(other_engine->state_hash().value(), group.engine().state_hash().value());
  };
  fill(a, 30);
  begin_copy(a, b);
  pull_once(a, b, 2, 0, 300);
  a.set(high_key(1), "changed");
  const auto both = [&](const std::string& at_a, const std::string& at_b) {
    EXPECT_EQ(a.state(2), at_a);
    EXPECT_EQ(b.state(2), at_b);
    copies_agree(a);
    copies_agree(b);
  };
  both("serving", "staged");
  hand_over(2);
  both("be_pulling", "pulling");
  pull_all(a, b, 2, 2);
  both("be_pulling", "gcing");
  EXPECT_TRUE(a.did(Release{ShardId(2), ConfigNum(2)}));
  both("erasing", "gcing");
  erase_all(a, 2);
  EXPECT_TRUE(b.did(Confirm{ShardId(2), ConfigNum(2)}));
  both("absent", "serving");
}

// M36: from memory to RocksDB and the other way; the second replica of each group holds the same bytes all along.
TEST_F(ShardMoveTest, M36_engine_mismatch) {
  for (uint64_t i = 0; i < 300; ++i) {
    a.set(high_key(i), std::string(i * 3, 'x'),
          i % 3 == 0 ? api::Expiry{.kind = api::Expiry::Kind::kIn, .millis = 900'000} : api::Expiry{});
  }
  const uint64_t before = a.hash(kMiddle);
  begin_copy(a, b);
  pull_all(a, b, 2, 0, 5000);
  a.expect_replicas_agree();
  b.expect_replicas_agree();
  hand_over(2);
  pull_all(a, b, 2, 2);
  b.expect_replicas_agree();
  EXPECT_EQ(b.hash(kMiddle), before);
  const auto rocks = std::move(store->engine(GroupId(50))).value();
  const auto replica = b.make(*rocks);
  for (const Entry& entry : b.log) ASSERT_TRUE(replica->apply(entry, nullptr).ok());
  ASSERT_TRUE(replica->commit().ok());
  EXPECT_EQ(engine::content_hash(*rocks->snapshot(), engine::Family::kData, kMiddle, "").value(), before);
  clean_up(a, b, 2);
}

TEST_F(ShardMoveTest, what_is_erased_as_a_whole_is_copied_anew) {
  fill(a, 60);
  begin_copy(a, b);
  pull_all(a, b, 2);
  EXPECT_EQ(b.machine().key_count(), 60u);
  EXPECT_EQ(a.run(api::DeleteAll{}).integer, 60);
  a.set(high_key(3), "after");
  const ExportRequest request = next_request(b, 2);
  const ShardChunk chunk = a.machine().export_chunk(request).value();
  EXPECT_TRUE(chunk.start_over);
  EXPECT_FALSE(chunk.caught_up);
  EXPECT_TRUE(b.did(import_of(request, chunk)));
  EXPECT_EQ(b.machine().key_count(), 0u);
  pull_all(a, b, 2);
  EXPECT_EQ(b.hash(kMiddle), a.hash(kMiddle));
  // The same between the last look and the hand-over.
  EXPECT_EQ(a.run(api::DeleteAll{}).integer, 1);
  a.set(high_key(4), "last");
  hand_over(2);
  pull_all(a, b, 2, 2);
  EXPECT_EQ(b.hash(kMiddle), a.hash(kMiddle));
  EXPECT_EQ(b.count(), 1u);
}

TEST_F(ShardMoveTest, a_large_copy_that_starts_over_is_erased_in_pieces) {
  const uint64_t keys = api::kEraseKeysMax + 5;
  fill(a, keys);
  begin_copy(a, b);
  pull_all(a, b, 2, 0, 1 << 20);
  EXPECT_TRUE(a.did(EndFeed{ShardId(2), 7, 1}));
  EXPECT_TRUE(a.did(BeginFeed{ShardId(2), 7, 1}));
  const ExportRequest request = next_request(b, 2);
  const Import import = import_of(request, a.machine().export_chunk(request).value());
  EXPECT_TRUE(import.chunk.start_over);
  EXPECT_EQ(b.shard(import).integer, static_cast<int64_t>(api::kEraseKeysMax));
  EXPECT_EQ(b.info(2)->cursor, request.from) << "the same piece once more";
  EXPECT_EQ(b.shard(import).integer, 5);
  EXPECT_EQ(b.info(2)->cursor, import.chunk.next);
  EXPECT_EQ(b.machine().key_count(), 0u);
}

TEST_F(ShardMoveTest, a_step_that_is_given_up_leaves_nothing) {
  fill(a, 40);
  begin_copy(a, b);
  pull_once(a, b, 2, 0, 800);
  EXPECT_GT(b.machine().key_count(), 0u);
  EXPECT_FALSE(b.did(EndStaging{ShardId(2), 6, 1})) << "of another plan";
  EXPECT_TRUE(b.did(EndStaging{ShardId(2), 7, 1}));
  EXPECT_TRUE(a.did(EndFeed{ShardId(2), 7, 1}));
  EXPECT_TRUE(b.machine().settled());
  EXPECT_EQ(a.machine().export_chunk({.shard = ShardId(2), .plan = 7, .step = 1, .bytes_max = 9}).status().code(),
            ErrorCode::kNotFound);
  erase_all(b, 2);
  EXPECT_EQ(b.machine().key_count(), 0u);
  EXPECT_EQ(b.engine().approximate_count(engine::Family::kMeta, kShardPrefix, "shard0"), 0u);
}

TEST_F(ShardMoveTest, a_feed_is_trimmed_behind_its_reader) {
  fill(a, 40);
  begin_copy(a, b);
  pull_once(a, b, 2, 0, 400);
  for (int round = 0; round < 20; ++round) {
    fill(a, 10);
    pull_once(a, b, 2, 0, 600);
    const MoveCursor& cursor = b.info(2)->cursor;
    a.did(TrimFeed{ShardId(2), cursor.feed_epoch, cursor.feed_next});
    EXPECT_LT(a.info(2)->feed_length, 40u);
  }
  hand_over(2);
  pull_all(a, b, 2, 2);
  EXPECT_EQ(b.hash(kMiddle), a.hash(kMiddle));
}

TEST_F(ShardMoveTest, a_copy_of_another_group_is_begun_anew) {
  fill(a, 30);
  EXPECT_TRUE(a.did(BeginFeed{ShardId(2), 7, 1}));
  EXPECT_TRUE(b.did(BeginStaging{ShardId(2), kMiddle, "", GroupId(3), 7, 1}));
  // It looks as if it had read all of this group's feed.
  MoveCursor elsewhere{.copied_all = true, .feed_epoch = a.info(2)->feed_epoch, .feed_next = 1};
  ShardChunk stale{.next = elsewhere, .items = {{.key = api::encoded_key({}, high_key(500)), .record = {}}}};
  stale.items[0].record = std::string("\0\1\2\3\4\5\6\7\0x", 10);
  EXPECT_TRUE(b.did(Import{ShardId(2), 7, 1, stale}));
  EXPECT_EQ(b.machine().key_count(), 1u);
  hand_over(2);
  pull_all(a, b, 2, 2);
  EXPECT_EQ(b.get(high_key(500)), "(none)");
  EXPECT_EQ(b.hash(kMiddle), a.hash(kMiddle));
}

TEST_F(ShardMoveTest, pieces_that_are_wrong_are_refused_as_a_whole) {
  fill(a, 3);
  hand_over(2);
  const ExportRequest request = next_request(b, 2, 2, 100'000);
  const ShardChunk good = a.machine().export_chunk(request).value();
  const uint64_t before = b.engine().state_hash().value();
  const auto code = [&](const std::function<void(ShardChunk&)>& spoil) {
    ShardChunk bad = good;
    spoil(bad);
    const api::CommandResult result = b.shard(import_of(request, bad));
    EXPECT_FALSE(result.applied);
    EXPECT_EQ(b.machine().key_count(), 0u);
    return result.code;
  };
  EXPECT_EQ(code([](ShardChunk& c) { c.items[1].key = api::encoded_key({}, low_key(1)); }), ErrorCode::kCorruption);
  EXPECT_EQ(code([](ShardChunk& c) { c.items[2].record = "short"; }), ErrorCode::kCorruption);
  EXPECT_EQ(code([](ShardChunk& c) { c.next.copied_all = false; }), ErrorCode::kCorruption);
  EXPECT_EQ(code([](ShardChunk& c) { c.sessions.push_back({.client = 1, .last_use = c.clock + 1}); }),
            ErrorCode::kCorruption);
  EXPECT_EQ(code([](ShardChunk& c) { c.sessions.push_back({.client = 1, .replies = {{1, "x"}}}); }),
            ErrorCode::kCorruption);
  EXPECT_EQ(code([](ShardChunk& c) { c.start_over = true; }), ErrorCode::kCorruption);
  EXPECT_EQ(code([](ShardChunk& c) { c.clock = Version(UINT64_MAX); }), ErrorCode::kCorruption);
  EXPECT_EQ(code([](ShardChunk& c) { c.num = ConfigNum(3); }), ErrorCode::kOk) << "of another time: no effect";
  EXPECT_NE(b.engine().state_hash().value(), before) << "its log went on";
  EXPECT_TRUE(b.did(import_of(request, good)));
  EXPECT_EQ(b.state(2), "gcing");
}

}  // namespace
}  // namespace flux::kv::testing
