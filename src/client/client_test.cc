// Goal: every key finds its owner, a request of many groups is cut and put together without a loss, and what must be
// whole is refused rather than cut.
#include <gtest/gtest.h>

#include "client/retry.h"
#include "client/routing_map.h"
#include "client/split.h"

namespace flux::client {
namespace {

// Slots below 8192 to group 1, those above to group 2, the last 16 to group 1 again.
RoutingMap two_groups() {
  ctrl::Config config;
  config.num = ConfigNum(7);
  ctrl::Keyspace& keyspace = config.keyspaces[KeyspaceId(1)];
  keyspace = {.id = KeyspaceId(1), .name = "default"};
  keyspace.shards = {{.id = ShardId(1), .start = "", .group = GroupId(1)},
                     {.id = ShardId(2), .start = api::slot_start(4096), .group = GroupId(1)},
                     {.id = ShardId(3), .start = api::slot_start(8192), .group = GroupId(2)},
                     {.id = ShardId(4), .start = api::slot_start(16368), .group = GroupId(1)}};
  return RoutingMap(config);
}

// Keys by the slots of their hash tags: {a} 15495, {b} 3300, {c} 7365, {d} 11298.
TEST(RoutingMap, every_slot_has_its_owner) {
  const RoutingMap map = two_groups();
  for (uint16_t slot = 0; slot < api::kSlotCount; ++slot) {
    const GroupId owner(slot < 8192 || slot >= 16368 ? 1 : 2);
    EXPECT_EQ(map.group_of(Slot(slot)), owner) << slot;
    EXPECT_EQ(map.run_at(api::slot_start(slot))->group, owner) << slot;
  }
  EXPECT_EQ(map.group_of("{a}x"), GroupId(2));
  EXPECT_EQ(map.group_of("{b}x"), GroupId(1));
  EXPECT_EQ(map.groups(), (std::vector{GroupId(1), GroupId(2)}));
  EXPECT_EQ(map.run_at("")->end, api::slot_start(8192));  // shards of one owner are one run
  EXPECT_EQ(map.run_at(api::slot_start(16383) + "zz")->end, api::slot_start(api::kSlotCount));
  EXPECT_EQ(map.run_at(api::slot_start(api::kSlotCount)), nullptr);
}

TEST(RoutingMap, without_a_keyspace_nobody_owns_anything) {
  const RoutingMap map{ctrl::Config()};
  EXPECT_TRUE(map.empty());
  EXPECT_EQ(map.group_of("a"), ctrl::kNoGroup);
  const api::Command commands[] = {api::Delete{.key = "a"}};
  EXPECT_EQ(split_write(map, {.commands = commands}).status().code(), ErrorCode::kUnavailable);
  const std::string_view keys[] = {"a"};
  EXPECT_EQ(split_get(map, {}, {.keys = keys}).status().code(), ErrorCode::kUnavailable);
  for (const api::Command& all : {api::Command(api::DeleteAll{}), api::Command(api::DeleteRange{.start = "x"})}) {
    EXPECT_EQ(single_group(map, {.commands = std::span(&all, 1)}), ctrl::kNoGroup);
    EXPECT_EQ(split_write(map, {.commands = std::span(&all, 1)}).status().code(), ErrorCode::kUnavailable);
  }
}

TEST(Split, commands_go_to_their_owners_and_answers_come_back_in_order) {
  const RoutingMap map = two_groups();
  const api::Command commands[] = {api::Put{.key = "{a}", .value = "1"}, api::Put{.key = "{b}", .value = "2"},
                                   api::Put{.key = "{d}", .value = "3"}};
  EXPECT_EQ(single_group(map, {.commands = std::span(commands).subspan(1, 1)}), GroupId(1));
  EXPECT_EQ(single_group(map, {.commands = commands}), ctrl::kNoGroup);
  const std::vector<WritePart> parts = split_write(map, {.commands = commands}).value();
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[0].places, std::vector<size_t>{1});
  EXPECT_EQ(parts[1].places, (std::vector<size_t>{0, 2}));
  WriteMerge merge(3, 2);
  api::WriteReply second;
  second.results = {{.integer = 10}, {.integer = 30}};
  merge.add(parts[1], second);
  EXPECT_FALSE(merge.complete());
  api::WriteReply first;
  first.results = {{.integer = 20}};
  merge.add(parts[0], first);
  const api::WriteReply reply = merge.take();
  ASSERT_TRUE(reply.status.ok());
  EXPECT_EQ(reply.results[0].integer, 10);
  EXPECT_EQ(reply.results[1].integer, 20);
  EXPECT_EQ(reply.results[2].integer, 30);
}

TEST(Split, what_must_be_whole_is_refused) {
  const RoutingMap map = two_groups();
  const api::Command pair[] = {api::Put{.key = "{a}", .value = "1"}, api::Put{.key = "{b}", .value = "2"}};
  EXPECT_EQ(split_write(map, {.commands = pair, .all_or_nothing = true}).status().code(), ErrorCode::kCrossShard);
  const api::Command copy[] = {api::Copy{.source = "{a}", .destination = "{b}"}};
  EXPECT_EQ(split_write(map, {.commands = copy}).status().code(), ErrorCode::kCrossShard);
  const api::Command near[] = {api::Copy{.source = "{a}1", .destination = "{a}2"}};
  EXPECT_EQ(split_write(map, {.commands = near}).value().size(), 1u);
}

TEST(Split, a_request_in_a_session_has_one_slot) {
  const api::Command pair[] = {api::Put{.key = "{a}", .value = "1"}, api::Put{.key = "{d}", .value = "2"}};
  EXPECT_TRUE(check_session({.commands = pair}).ok());
  const api::SessionRef session{.client = 7, .sequence = 1};
  EXPECT_EQ(check_session({.commands = pair, .session = session}).code(), ErrorCode::kCrossShard);
  const api::Command near[] = {api::Put{.key = "{a}1", .value = "1"},
                               api::Copy{.source = "{a}1", .destination = "{a}2"}};
  EXPECT_TRUE(check_session({.commands = near, .session = session}).ok());
  const api::Command far[] = {api::Copy{.source = "{a}1", .destination = "{b}"}};
  EXPECT_EQ(check_session({.commands = far, .session = session}).code(), ErrorCode::kCrossShard);
  const api::Command open[] = {api::OpenSession{.client = 7}};
  EXPECT_TRUE(check_session({.commands = open}).ok());
}

TEST(Split, what_is_erased_is_cut_where_owners_change) {
  const RoutingMap map = two_groups();
  const api::Command all[] = {api::DeleteAll{}};
  const std::vector<WritePart> parts = split_write(map, {.commands = all}).value();
  ASSERT_EQ(parts.size(), 2u);
  ASSERT_EQ(parts[0].commands.size(), 2u);  // group 1 has both ends
  EXPECT_FALSE(parts[0].bound());
  EXPECT_EQ(std::get<api::DeleteRange>(parts[0].commands[0]).end, api::slot_start(8192));
  EXPECT_EQ(std::get<api::DeleteRange>(parts[1].commands[0]).start, api::slot_start(8192));
  EXPECT_EQ(std::get<api::DeleteRange>(parts[1].commands[0]).end, api::slot_start(16368));
  EXPECT_EQ(std::get<api::DeleteRange>(parts[0].commands[1]).end, api::slot_start(api::kSlotCount));
  // A piece that is routed anew stays a piece.
  const std::string low = api::slot_start(100), high = api::slot_start(9000);
  const api::Command piece[] = {api::DeleteRange{.start = low, .end = high}};
  EXPECT_EQ(single_group(map, {.commands = piece}), ctrl::kNoGroup);
  EXPECT_EQ(split_write(map, {.commands = piece}).value().size(), 2u);
  const std::string near = api::slot_start(8192);
  const api::Command one[] = {api::DeleteRange{.start = low, .end = near}};
  EXPECT_EQ(single_group(map, {.commands = one}), GroupId(1));
}

// The default keyspace at group 1; 2, in order, cut at "m" between 1 and 2; 3, a hash keyspace, at group 3.
RoutingMap three_keyspaces() {
  ctrl::Config config;
  config.keyspaces[KeyspaceId(1)] = {
      .id = KeyspaceId(1), .name = "default", .shards = {{.id = ShardId(1), .start = "", .group = GroupId(1)}}};
  config.keyspaces[KeyspaceId(2)] = {.id = KeyspaceId(2),
                                     .name = "orders",
                                     .kind = ctrl::KeyspaceKind::kRange,
                                     .shards = {{.id = ShardId(2), .start = "", .group = GroupId(1)},
                                                {.id = ShardId(3), .start = "m", .group = GroupId(2)}}};
  config.keyspaces[KeyspaceId(3)] = {
      .id = KeyspaceId(3), .name = "other", .shards = {{.id = ShardId(4), .start = "", .group = GroupId(3)}}};
  return RoutingMap(config);
}
constexpr api::KeyspaceRef kOrders{.id = KeyspaceId(2), .kind = api::KeyspaceKind::kRange};
constexpr api::KeyspaceRef kOther{.id = KeyspaceId(3), .kind = api::KeyspaceKind::kHash};

TEST(RoutingMap, each_keyspace_has_its_owners) {
  const RoutingMap map = three_keyspaces();
  EXPECT_EQ(map.group_of("z"), GroupId(1));
  EXPECT_EQ(map.group_of(kOrders, "a"), GroupId(1));
  EXPECT_EQ(map.group_of(kOrders, "lzz"), GroupId(1));
  EXPECT_EQ(map.group_of(kOrders, "m"), GroupId(2));
  EXPECT_EQ(map.group_of(kOther, "m"), GroupId(3));
  EXPECT_EQ(map.groups(), (std::vector{GroupId(1), GroupId(2), GroupId(3)}));
  EXPECT_EQ(map.groups_of(kOrders), (std::vector{GroupId(1), GroupId(2)}));
  EXPECT_EQ(map.groups_of({}), (std::vector{GroupId(1)}));
  EXPECT_TRUE(map.has(kOrders));
  EXPECT_FALSE(map.has({.id = KeyspaceId(2), .kind = api::KeyspaceKind::kHash}));
  EXPECT_FALSE(map.has({.id = KeyspaceId(4), .kind = api::KeyspaceKind::kHash}));
  EXPECT_EQ(map.group_of({.id = KeyspaceId(4), .kind = api::KeyspaceKind::kHash}, "a"), ctrl::kNoGroup);
  EXPECT_EQ(map.runs_in("", "").size(), 4u);
  EXPECT_EQ(map.runs_in(api::encoded_key(kOrders, "a"), api::encoded_key(kOrders, "m")).size(), 1u);
  EXPECT_EQ(map.runs_in(api::encoded_key(kOrders, "a"), api::encoded_key(kOrders, "n")).size(), 2u);
}

TEST(Split, requests_are_cut_within_their_keyspace) {
  const RoutingMap map = three_keyspaces();
  const api::Command pair[] = {api::Put{.key = "a", .value = "1"}, api::Put{.key = "z", .value = "2"}};
  EXPECT_EQ(single_group(map, {.commands = pair}), GroupId(1));
  EXPECT_EQ(single_group(map, {.commands = pair, .keyspace = kOrders}), ctrl::kNoGroup);
  EXPECT_EQ(single_group(map, {.commands = pair, .keyspace = kOther}), GroupId(3));
  const std::vector<WritePart> parts = split_write(map, {.commands = pair, .keyspace = kOrders}).value();
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[1].group, GroupId(2));
  EXPECT_EQ(parts[1].places, std::vector<size_t>{1});
  const std::string_view keys[] = {"z", "a"};
  EXPECT_EQ(single_group(map, {}, {.keys = keys}), GroupId(1));
  EXPECT_EQ(single_group(map, kOrders, {.keys = keys}), ctrl::kNoGroup);
  EXPECT_EQ(split_get(map, kOrders, {.keys = keys}).value().size(), 2u);
  // What a keyspace has that is gone is nobody's.
  const api::KeyspaceRef gone{.id = KeyspaceId(9), .kind = api::KeyspaceKind::kHash};
  EXPECT_EQ(split_write(map, {.commands = pair, .keyspace = gone}).status().code(), ErrorCode::kUnavailable);
  EXPECT_EQ(split_get(map, gone, {.keys = keys}).status().code(), ErrorCode::kUnavailable);
  const api::KeyRange nothing = api::keyspace_range(gone);
  const api::Command erase[] = {api::DeleteRange{.start = nothing.start, .end = nothing.end}};
  EXPECT_EQ(split_write(map, {.commands = erase}).status().code(), ErrorCode::kUnavailable);
}

TEST(Split, everything_is_erased_in_every_keyspace) {
  const RoutingMap map = three_keyspaces();
  const api::Command all[] = {api::DeleteAll{}};
  EXPECT_EQ(single_group(map, {.commands = all}), ctrl::kNoGroup);
  const std::vector<WritePart> parts = split_write(map, {.commands = all}).value();
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(parts[0].commands.size(), 2u);  // the default keyspace, and orders before "m"
  EXPECT_EQ(std::get<api::DeleteRange>(parts[0].commands[1]).end, api::encoded_key(kOrders, "m"));
  // Of one keyspace.
  const api::KeyRange orders = api::keyspace_range(kOrders);
  const api::Command one[] = {api::DeleteRange{.start = orders.start, .end = orders.end}};
  EXPECT_EQ(split_write(map, {.commands = one}).value().size(), 2u);
  const api::KeyRange other = api::keyspace_range(kOther);
  const api::Command whole[] = {api::DeleteRange{.start = other.start, .end = other.end}};
  EXPECT_EQ(single_group(map, {.commands = whole}), GroupId(3));
}

TEST(Split, a_request_in_a_session_has_one_key_where_keys_are_in_order) {
  const api::SessionRef session{.client = 7, .sequence = 1};
  const api::Command same[] = {api::Put{.key = "a", .value = "1"}, api::Increment{.key = "a"}};
  const api::Command near[] = {api::Put{.key = "{a}1", .value = "1"}, api::Put{.key = "{a}2", .value = "1"}};
  EXPECT_TRUE(check_session({.commands = same, .keyspace = kOrders, .session = session}).ok());
  EXPECT_EQ(check_session({.commands = near, .keyspace = kOrders, .session = session}).code(), ErrorCode::kCrossShard);
  EXPECT_TRUE(check_session({.commands = near, .keyspace = kOther, .session = session}).ok());
}

TEST(Split, what_has_no_key_concerns_every_group_and_adds_up) {
  const RoutingMap map = two_groups();
  const api::Command commands[] = {api::OpenSession{.client = 3}};
  const std::vector<WritePart> parts = split_write(map, {.commands = commands}).value();
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_TRUE(parts[0].bound());
  WriteMerge merge(1, 2);
  for (const WritePart& part : parts) {
    api::WriteReply reply;
    reply.results = {{.applied = part.group == GroupId(1), .integer = 5}};
    merge.add(part, reply);
  }
  const api::WriteReply reply = merge.take();
  EXPECT_EQ(reply.results[0].integer, 10);
  EXPECT_TRUE(reply.results[0].applied);
}

TEST(Split, D18_an_error_is_definite_only_if_no_part_took_effect) {
  const RoutingMap map = two_groups();
  const api::Command commands[] = {api::Put{.key = "{a}", .value = "1"}, api::Put{.key = "{b}", .value = "2"}};
  const std::vector<WritePart> parts = split_write(map, {.commands = commands}).value();
  const Status refused(ErrorCode::kOverloaded, "full");
  const Status lost(ErrorCode::kOutcomeUnknown, "who knows");
  const auto outcome = [&](const Status& first, const Status& second) {
    WriteMerge merge(2, 2);
    for (const auto& [at, status] : {std::pair(0, first), std::pair(1, second)}) {
      api::WriteReply reply{.status = status};
      if (status.ok()) reply.results.resize(1);
      merge.add(parts[static_cast<size_t>(at)], std::move(reply));
    }
    return merge.take().status.code();
  };
  EXPECT_EQ(outcome({}, {}), ErrorCode::kOk);
  EXPECT_EQ(outcome(refused, refused), ErrorCode::kOverloaded);
  EXPECT_EQ(outcome(refused, {}), ErrorCode::kOutcomeUnknown);
  EXPECT_EQ(outcome({}, refused), ErrorCode::kOutcomeUnknown);
  EXPECT_EQ(outcome(refused, lost), ErrorCode::kOutcomeUnknown);
}

TEST(Split, keys_to_read_are_cut_by_owner) {
  const RoutingMap map = two_groups();
  const std::string_view keys[] = {"{a}", "{b}", "{a}2"};
  const std::vector<ReadPart> parts = split_get(map, {}, {.keys = keys}).value();
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[0].places, std::vector<size_t>{1});
  EXPECT_EQ(parts[1].places, (std::vector<size_t>{0, 2}));
  EXPECT_EQ(single_group(map, {}, api::GetRequest{.keys = std::span(keys).first(1)}), GroupId(2));
}

TEST(Retry, pauses_grow_and_differ_and_have_an_end) {
  Rng rng(1);
  EXPECT_GE(retry_pause(0, rng), kRetryFirst / 2);
  EXPECT_LE(retry_pause(0, rng), kRetryFirst);
  for (uint32_t attempts : {10u, 16u, 1000u, UINT32_MAX}) {
    EXPECT_GE(retry_pause(attempts, rng), kRetryMost / 2);
    EXPECT_LE(retry_pause(attempts, rng), kRetryMost);
  }
  EXPECT_NE(retry_pause(10, rng), retry_pause(10, rng));
}

}  // namespace
}  // namespace flux::client
