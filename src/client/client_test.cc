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
    EXPECT_EQ(map.run_at(api::slot_start(slot)).group, owner) << slot;
  }
  EXPECT_EQ(map.group_of("{a}x"), GroupId(2));
  EXPECT_EQ(map.group_of("{b}x"), GroupId(1));
  EXPECT_EQ(map.groups(), (std::vector{GroupId(1), GroupId(2)}));
  EXPECT_EQ(map.run_at("").end, api::slot_start(8192));  // shards of one owner are one run
  EXPECT_EQ(map.run_at(api::slot_start(16383) + "zz").end, "");
}

TEST(RoutingMap, without_a_keyspace_nobody_owns_anything) {
  const RoutingMap map{ctrl::Config()};
  EXPECT_TRUE(map.empty());
  EXPECT_EQ(map.group_of("a"), ctrl::kNoGroup);
  const api::Command commands[] = {api::Delete{.key = "a"}};
  EXPECT_EQ(split_write(map, {.commands = commands}).status().code(), ErrorCode::kUnavailable);
  const std::string_view keys[] = {"a"};
  EXPECT_EQ(split_get(map, {.keys = keys}).status().code(), ErrorCode::kUnavailable);
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
  EXPECT_EQ(std::get<api::DeleteRange>(parts[0].commands[1]).end, "");
  // A piece that is routed anew stays a piece.
  const std::string low = api::slot_start(100), high = api::slot_start(9000);
  const api::Command piece[] = {api::DeleteRange{.start = low, .end = high}};
  EXPECT_EQ(single_group(map, {.commands = piece}), ctrl::kNoGroup);
  EXPECT_EQ(split_write(map, {.commands = piece}).value().size(), 2u);
  const std::string near = api::slot_start(8192);
  const api::Command one[] = {api::DeleteRange{.start = low, .end = near}};
  EXPECT_EQ(single_group(map, {.commands = one}), GroupId(1));
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
  const std::vector<ReadPart> parts = split_get(map, {.keys = keys}).value();
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[0].places, std::vector<size_t>{1});
  EXPECT_EQ(parts[1].places, (std::vector<size_t>{0, 2}));
  EXPECT_EQ(single_group(map, api::GetRequest{.keys = std::span(keys).first(1)}), GroupId(2));
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
