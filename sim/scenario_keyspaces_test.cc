// Goal: keyspaces keep their keys apart and in their order, while shards are cut and move, and when they come and go.
#include <gtest/gtest.h>

#include "api/keyspace.h"
#include "scenario_shards.h"

namespace flux::sim {
namespace {

using node::kControlGroup;

// Two groups, no balancing, and one keyspace more.
class ScenarioKeyspaces : public ::testing::Test {
 protected:
  void start(Nodes::Adjust adjust) {
    nodes = std::make_unique<Nodes>(130, 3, std::move(adjust));
    balance(*nodes, "off");
  }

  api::KeyspaceRef create(const api::CreateKeyspace& request) {
    wait_quiet(*nodes);
    const size_t asked = created_++ % nodes->size();
    const api::ClusterReply reply = nodes->change(asked, request);
    EXPECT_TRUE(reply.status.ok()) << reply.status.to_string();
    EXPECT_TRUE(find(asked, request.name)) << "who was asked knows it when the answer comes";
    nodes->until([&] {
      for (size_t i = 0; i < nodes->size(); ++i) {
        if (!find(i, request.name)) return false;
      }
      return true;
    });
    return *find(0, request.name);
  }
  std::optional<api::KeyspaceRef> find(size_t i, const std::string& name) {
    const ctrl::Keyspace* found = nodes->chart(i)->config->keyspace(name);
    return found != nullptr ? std::optional(found->ref()) : std::nullopt;
  }

  Pending<api::WriteReply> begin_write(size_t through, api::KeyspaceRef keyspace, const api::Command& command) {
    auto pending = std::make_shared<std::optional<api::WriteReply>>();
    nodes->in_turn(through, [&] {
      nodes->node(through).kv(0).write({.commands = std::span(&command, 1), .keyspace = keyspace},
                                       [pending](api::WriteReply reply) { *pending = std::move(reply); });
    });
    return pending;
  }
  api::WriteReply write(size_t through, api::KeyspaceRef keyspace, const api::Command& command) {
    const auto pending = begin_write(through, keyspace, command);
    nodes->until([&] { return pending->has_value(); });
    return pending->value_or(api::WriteReply{.status = Status(ErrorCode::kCancelled, "no answer")});
  }
  void put(api::KeyspaceRef keyspace, const std::string& key, const std::string& value) {
    const api::WriteReply reply = write(writes_++ % nodes->size(), keyspace, api::Put{.key = key, .value = value});
    ASSERT_TRUE(reply.status.ok()) << reply.status.to_string();
  }

  struct Page {
    Status status;
    std::vector<std::pair<std::string, std::string>> items;
    uint64_t count = 0;
    std::string resume;
  };
  Page read(size_t through, const api::ReadRequest& request) {
    auto pending = std::make_shared<std::optional<Page>>();
    nodes->in_turn(through, [&] {
      nodes->node(through).kv(0).read(request, [pending](const api::ReadReply& reply) {
        Page page{.status = reply.status, .items = {}, .count = reply.count, .resume = std::string(reply.scan_resume)};
        for (const api::Item& item : reply.items) page.items.emplace_back(item.key, item.value);
        *pending = std::move(page);
      });
    });
    nodes->until([&] { return pending->has_value(); });
    return pending->value_or(Page{.status = Status(ErrorCode::kCancelled, "no answer"), .items = {}, .resume = {}});
  }
  // All keys of a keyspace, a page through each node in turn; `between` happens between pages.
  std::vector<std::pair<std::string, std::string>> scan(api::KeyspaceRef keyspace, size_t keys_max,
                                                        const std::function<void()>& between = nullptr) {
    std::vector<std::pair<std::string, std::string>> all;
    std::string start;
    for (size_t through = 0;; ++through) {
      const Page page =
          read(through % nodes->size(),
               {.what = api::ScanRequest{.start = start, .keys_max = keys_max, .values = true}, .keyspace = keyspace});
      EXPECT_TRUE(page.status.ok()) << page.status.to_string();
      all.insert(all.end(), page.items.begin(), page.items.end());
      if (page.resume.empty() || !page.status.ok()) return all;
      start = page.resume;
      if (between) between();
    }
  }
  uint64_t count(api::KeyspaceRef keyspace) {
    return read(0, {.what = api::CountRequest{}, .keyspace = keyspace}).count;
  }
  // What the engines of a node's data groups hold in a range.
  uint64_t held(size_t i, const api::KeyRange& range) {
    uint64_t keys = 0;
    for (const GroupId id : {kOne, kTwo}) {
      if (!nodes->has_group(i, id)) continue;
      for (auto it = nodes->group(i, id).engine().iterate(engine::Family::kData, range.start, range.end); it->valid();
           it->next()) {
        ++keys;
      }
    }
    return keys;
  }
  ctrl::Keyspace known(const std::string& name) { return *nodes->chart(0)->config->keyspace(name); }

  std::unique_ptr<Nodes> nodes;

 private:
  size_t created_ = 0;
  size_t writes_ = 0;
};

// A scan goes on while its keyspace is cut at keys that exist and the parts change groups under it: every key once, in
// order. What the neighbours hold under the same names is never seen.
TEST_F(ScenarioKeyspaces, a_scan_in_order_outlasts_cuts_and_moves) {
  start(with(2, 3, 2));
  const api::KeyspaceRef ordered = create({.name = "ordered", .kind = "range", .split_at = {"k50"}});
  const api::KeyspaceRef other = create({.name = "other", .kind = "range"});
  std::vector<std::pair<std::string, std::string>> expected;
  for (int i = 10; i < 100; ++i) {
    const std::string key = "k" + std::to_string(i);
    put(ordered, key, "ordered");
    put(other, key, "other");
    put({}, key, "default");
    expected.emplace_back(key, "ordered");
  }
  int turn = 0;
  const auto reshape = [&] {
    wait_quiet(*nodes);
    const ctrl::Keyspace keyspace = known("ordered");
    const ctrl::Shard& last = keyspace.shards.back();
    const auto split = [&](const std::string& at) {
      const api::ClusterReply reply = nodes->change(0, api::SplitShard{.shard = keyspace.lookup(at).id, .at = at});
      ASSERT_TRUE(reply.status.ok()) << reply.status.to_string();
    };
    switch (turn++) {
      case 0:  // at keys that exist, behind and before where the scan stands
        return split("k30");
      case 1:
        return split("k12");
      case 2:
      case 4:
      case 5: {
        const GroupId to = last.group == kOne ? kTwo : kOne;
        nodes->wait_plan_done(0, begin_move(*nodes, last.id, to));
        return;
      }
      case 3: {
        const api::ClusterReply reply =
            nodes->change(0, api::MergeShards{.left = keyspace.shards[0].id, .right = keyspace.shards[1].id});
        ASSERT_TRUE(reply.status.ok()) << reply.status.to_string();
        return;
      }
      default:
        return;
    }
  };
  EXPECT_EQ(scan(ordered, 7, reshape), expected);
  EXPECT_GE(turn, 6);
  wait_quiet(*nodes);
  EXPECT_EQ(scan(ordered, 7), expected);
  for (const api::KeyspaceRef keyspace : {ordered, other, api::KeyspaceRef()}) {
    EXPECT_EQ(scan(keyspace, 1000).size(), 90u);
    EXPECT_EQ(count(keyspace), 90u);
  }
}

// What moves with a shard of keys in order: values, versions and deadlines, written on meanwhile.
TEST_F(ScenarioKeyspaces, a_shard_of_keys_in_order_moves_under_writes) {
  start(with(2, 3, 2));
  const api::KeyspaceRef ordered = create({.name = "ordered", .kind = "range"});
  const ShardId shard = known("ordered").shards.front().id;
  std::map<std::string, std::string> expected;
  for (int i = 0; i < 50; ++i) {
    const std::string key = "key/" + std::to_string(i);
    put(ordered, key, expected[key] = "before");
  }
  ASSERT_TRUE(
      write(0, ordered, api::SetExpiry{.key = "key/7", .expiry = {.kind = api::Expiry::Kind::kIn, .millis = 20'000}})
          .status.ok());
  const GroupId from = known("ordered").shards.front().group;
  const uint64_t plan = begin_move(*nodes, shard, from == kOne ? kTwo : kOne);
  for (int i = 0; nodes->plan_state(0, plan) != ctrl::PlanState::kDone; ++i) {
    ASSERT_LT(i, 5000);
    const std::string key = "key/" + std::to_string(i % 60);
    if (key != "key/7") put(ordered, key, expected[key] = std::to_string(i));
  }
  wait_quiet(*nodes);
  EXPECT_NE(known("ordered").shards.front().group, from);
  std::map<std::string, std::string> found;
  for (const auto& [key, value] : scan(ordered, 9)) found.emplace(key, value);
  EXPECT_EQ(found, expected);
  nodes->pass(Millis(21'000));
  EXPECT_EQ(scan(ordered, 100).size(), expected.size() - 1) << "the deadline has moved along";
  for (size_t i = 0; i < nodes->size(); ++i) EXPECT_EQ(held(i, api::keyspace_range(ordered)), expected.size() - 1);
}

// A keyspace that is dropped is erased in its groups; who still asks is told so for good, and one that is created under
// the old name has none of the old keys.
TEST_F(ScenarioKeyspaces, a_dropped_keyspace_is_gone) {
  start([](size_t, node::NodeOptions& options) {
    options.groups = 2;
    options.replication = 3;
    options.shards = 2;
    options.shard_erase_keys = 10;
  });
  const api::KeyspaceRef first = create({.name = "orders", .kind = "range", .split_at = {"m"}});
  for (int i = 0; i < 60; ++i) put(first, (i % 2 == 0 ? "a" : "z") + std::to_string(i), "old");
  put({}, "stays", "1");
  wait_quiet(*nodes);
  ASSERT_TRUE(nodes->change(0, api::DropKeyspace{.name = "orders"}).status.ok());
  // Whoever has it open: some are on their way, some ask nodes that know.
  const auto late = begin_write(1, first, api::Put{.key = "late", .value = "1"});
  wait_quiet(*nodes);
  nodes->until([&] { return late->has_value(); });
  for (size_t i = 0; i < nodes->size(); ++i) {
    EXPECT_EQ(write(i, first, api::Put{.key = "a", .value = "1"}).status.code(), ErrorCode::kNotFound);
    EXPECT_EQ(read(i, {.what = api::ScanRequest{}, .keyspace = first}).status.code(), ErrorCode::kNotFound);
    EXPECT_EQ(read(i, {.what = api::CountRequest{}, .keyspace = first}).status.code(), ErrorCode::kNotFound);
    EXPECT_EQ(read(i, {.what = api::RandomKeyRequest{}, .keyspace = first}).status.code(), ErrorCode::kNotFound);
  }
  const auto erased = [&] {
    for (size_t i = 0; i < nodes->size(); ++i) {
      if (held(i, api::keyspace_range(first)) != 0) return false;
    }
    return true;
  };
  nodes->until(erased);
  const api::KeyspaceRef second = create({.name = "orders", .kind = "hash", .shards = 2});
  EXPECT_NE(second.id, first.id);
  EXPECT_EQ(count(second), 0u);
  put(second, "a0", "new");
  EXPECT_EQ(scan(second, 10), (std::vector<std::pair<std::string, std::string>>{{"a0", "new"}}));
  EXPECT_EQ(write(0, first, api::Put{.key = "a0", .value = "lost"}).status.code(), ErrorCode::kNotFound);
  EXPECT_EQ(nodes->get(0, "stays").value, "1");
}

// FLUSHDB and FLUSHALL, with keyspaces over several groups.
TEST_F(ScenarioKeyspaces, one_is_emptied_or_all) {
  start(with(2, 3, 4));
  const api::KeyspaceRef ordered = create({.name = "ordered", .kind = "range", .split_at = {"k5"}});
  const api::KeyspaceRef hashed = create({.name = "hashed", .shards = 4});
  const api::KeyspaceRef all[] = {{}, ordered, hashed};
  const auto fill = [&] {
    for (const api::KeyspaceRef keyspace : all) {
      for (int i = 0; i < 10; ++i) put(keyspace, "k" + std::to_string(i), "v");
    }
  };
  fill();
  const api::KeyRange range = api::keyspace_range(ordered);
  ASSERT_TRUE(write(1, ordered, api::DeleteRange{.start = range.start, .end = range.end}).status.ok());
  EXPECT_EQ(count(ordered), 0u);
  EXPECT_EQ(count(hashed), 10u);
  EXPECT_EQ(count({}), 10u);
  fill();
  ASSERT_TRUE(write(2, ordered, api::DeleteAll{}).status.ok());
  for (const api::KeyspaceRef keyspace : all) EXPECT_EQ(count(keyspace), 0u);
}

// Keys in order have no slots: the middle of the bytes, or of the load, is a key.
TEST_F(ScenarioKeyspaces, a_large_shard_of_keys_in_order_is_split_in_its_middle) {
  start(with_limits({.split_bytes = 40'000}));
  const api::KeyspaceRef ordered = create({.name = "ordered", .kind = "range"});
  const std::string common = "tenants/0000000042/orders/";
  for (int i = 100; i < 200; ++i) put(ordered, common + std::to_string(i), std::string(500, 'v'));
  balance(*nodes, "load");
  nodes->until([&] { return known("ordered").shards.size() > 1; });
  const std::string cut = known("ordered").shards[1].start;
  EXPECT_GT(cut, common + "130");
  EXPECT_LT(cut, common + "170");
  EXPECT_EQ(scan(ordered, 1000).size(), 100u);
}

TEST_F(ScenarioKeyspaces, a_busy_shard_of_keys_in_order_is_split_where_its_load_is_halved) {
  start(with_limits({.split_operations = 50, .cost_min = 20}));
  const api::KeyspaceRef ordered = create({.name = "ordered", .kind = "range"});
  balance(*nodes, "load");
  // Of a thousand keys, ten are busy.
  for (int i = 0; i < 100; ++i) put(ordered, "quiet/" + std::to_string(i), "v");
  for (int round = 0; known("ordered").shards.size() < 2 && round < 300; ++round) {
    for (int i = 0; i < 10; ++i) put(ordered, "busy/" + std::to_string(i), std::to_string(round));
  }
  ASSERT_GE(known("ordered").shards.size(), 2u);
  bool within = false;
  for (const ctrl::Shard& shard : known("ordered").shards) {
    within = within || (shard.start > "busy/0" && shard.start < "busy/9");
  }
  EXPECT_TRUE(within) << "the cut is among the busy keys";
}

}  // namespace
}  // namespace flux::sim
