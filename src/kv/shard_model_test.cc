// Goal: whatever is written while shards move, split and merge between three groups, in whatever order and however
// often everything reaches them, each key is where its configuration says, once, with its last value.
#include <gtest/gtest.h>

#include <deque>
#include <map>

#include "engine/testing/engine_fixture.h"
#include "kv/testing/shard_group.h"

namespace flux::kv::testing {
namespace {

using engine::testing::TemporaryDir;

constexpr engine::RocksOptions kSmall{
    .block_cache_bytes = 1_MiB, .write_buffers_bytes = 512_KiB, .write_buffer_bytes = 64_KiB};
constexpr uint64_t kGroups = 3;
constexpr uint64_t kKeys = 60;

struct Range {
  std::string start;
  std::string end;
  uint64_t group = 0;
};
using Config = std::map<uint64_t, Range>;  // by shard

struct Plan {
  uint64_t id = 0;  // 0: none
  uint64_t shard = 0;
  uint64_t from = 0;
  uint64_t to = 0;
};

// Three groups, whoever decides where shards go, and what the keys should hold.
class World {
 public:
  World(uint64_t seed, engine::RocksStore* store) : chance_(seed) {
    for (uint64_t id = 1; id <= kGroups; ++id) {
      groups_.push_back(std::make_unique<ShardGroup>(id, store));
      groups_.back()->now_ms += chance_.below(2000);
      for (uint64_t client = 1; client <= 3; ++client) groups_.back()->run(api::OpenSession{.client = client});
    }
    Config first;
    for (uint64_t i = 1; i <= 4; ++i) {
      first[i] = {.start = i == 1 ? "" : api::slot_start(static_cast<uint16_t>((i - 1) * 4096)),
                  .end = i == 4 ? "" : api::slot_start(static_cast<uint16_t>(i * 4096)),
                  .group = i % kGroups + 1};
    }
    configs_.push_back({});
    configs_.push_back(first);
  }

  void step() {
    const uint64_t what = chance_.below(100);
    if (what < 55) return write();
    if (what < 85) return work(group(chance_.between(1, kGroups)));
    if (what < 90) return decide();
    if (what < 94) return retry();
    if (what < 98) return repeat();
    group(chance_.between(1, kGroups)).reload();
  }

  // Everything that was begun is brought to its end, and all is as it should be.
  void settle() {
    plan_ = {};
    for (int round = 0; !quiet(); ++round) {
      ASSERT_LT(round, 3000) << "it never comes to rest";
      for (auto& each : groups_) work(*each);
    }
    uint64_t keys = 0;
    for (auto& each : groups_) {
      keys += each->machine().key_count();
      each->expect_replicas_agree();
      EXPECT_EQ(each->engine().approximate_count(engine::Family::kFeed, "", ""), 0u);
      size_t owned = 0;
      for (const auto& [shard, range] : configs_.back()) owned += range.group == each->id;
      EXPECT_EQ(each->machine().shards().size(), owned);
    }
    EXPECT_EQ(keys, oracle_.size()) << "M35: no key is lost, and none is in two places";
    for (const auto& [key, expected] : oracle_) {
      ShardGroup* const at = server_of(key);
      ASSERT_NE(at, nullptr);
      EXPECT_EQ(at->get(key), expected.value) << key;
      EXPECT_EQ(at->outcome.items.at(0).version, expected.version) << key;
    }
    for (const auto& [shard, range] : configs_.back()) {
      EXPECT_TRUE(group(range.group).machine().serves(range.start, range.end));
    }
  }
  void expect_logs_make_the_same() {
    for (auto& each : groups_) each->expect_log_makes_the_same();
  }

  size_t moves = 0, recuts = 0, started_over = 0, without_effect = 0, away = 0, kept_answers = 0;

 private:
  struct Expected {
    std::string value;
    Version version;
  };
  struct Asked {
    std::string key;
    uint64_t sequence = 0;
    api::WriteReply reply;
  };

  ShardGroup& group(uint64_t id) { return *groups_.at(id - 1); }
  // Null while the key's shard is handed over.
  ShardGroup* server_of(const std::string& key) {
    ShardGroup* found = nullptr;
    for (auto& each : groups_) {
      if (!each->machine().serves(api::encoded_key({}, key))) continue;
      EXPECT_EQ(found, nullptr) << "two groups serve " << key;
      found = each.get();
    }
    return found;
  }
  std::string some_key() { return "key" + std::to_string(chance_.below(kKeys)); }

  void write() {
    if (chance_.chance(0.004)) return erase_everything_of_one();
    const std::string key = some_key();
    ShardGroup* const at = server_of(key);
    ShardGroup& wrong = group(chance_.between(1, kGroups));
    if (&wrong != at) {
      ++away;
      EXPECT_EQ(wrong.ask(api::Put{.key = key, .value = "lost"}).status.code(), ErrorCode::kWrongShard);
      EXPECT_EQ(wrong.get(key), "(elsewhere)");
    }
    if (at == nullptr) return;
    if (chance_.chance(0.25)) {
      const api::WriteReply reply = at->ask(api::Delete{.key = key});
      EXPECT_EQ(reply.results.at(0).integer, static_cast<int64_t>(oracle_.erase(key)));
      return;
    }
    const std::string text = std::to_string(++written_) + ",";
    if (chance_.chance(0.4)) {
      const uint64_t client = chance_.between(1, 3);
      const api::WriteReply reply = at->ask(api::Append{.key = key, .value = text}, client, ++sequence_);
      std::deque<Asked>& asked = asked_[client];
      asked.push_back({.key = key, .sequence = sequence_, .reply = reply});
      if (asked.size() > 20) asked.pop_front();
      note(key, oracle_[key].value + text, reply);
      return;
    }
    const bool for_a_while = chance_.chance(0.3);
    note(key, text,
         at->ask(api::Put{.key = key,
                          .value = text,
                          .expiry = {.kind = for_a_while ? api::Expiry::Kind::kIn : api::Expiry::Kind::kClear,
                                     .millis = 90'000'000}}));
  }
  void note(const std::string& key, std::string value, const api::WriteReply& reply) {
    ASSERT_TRUE(reply.status.ok()) << reply.status.to_string();
    Expected& expected = oracle_[key];
    EXPECT_GT(reply.position.version, expected.version) << "the version of " << key << " goes back";
    expected = {.value = std::move(value), .version = reply.position.version};
  }
  void erase_everything_of_one() {
    ShardGroup& at = group(chance_.between(1, kGroups));
    // By the parts that it serves: who asks for more is told that he is mistaken.
    const auto table = at.machine().shards();
    for (const ShardInfo& shard : std::vector(table.begin(), table.end())) {
      if (!shard.served()) continue;
      const size_t erased = std::erase_if(oracle_, [&](const auto& each) {
        const std::string key = api::encoded_key({}, each.first);
        return key >= shard.start && (shard.end.empty() || key < shard.end);
      });
      const api::DeleteRange range{.start = shard.start, .end = shard.end};
      EXPECT_EQ(at.run(range).integer, static_cast<int64_t>(erased));
    }
  }
  // One of a client's last requests again, wherever its key is now.
  void retry() {
    const uint64_t client = chance_.between(1, 3);
    const std::deque<Asked>& known = asked_[client];
    if (known.empty()) return;
    const Asked& asked = known[chance_.below(known.size())];
    ShardGroup* const at = server_of(asked.key);
    if (at == nullptr) return;
    const api::WriteReply reply = at->ask(api::Append{.key = asked.key, .value = "twice"}, client, asked.sequence);
    EXPECT_EQ(reply.results, asked.reply.results);
    EXPECT_EQ(reply.position, asked.reply.position);
    kept_answers += asked.reply.position.group != GroupId(at->id);
  }

  void send(ShardGroup& to, const ShardCommand& command) {
    sent_.emplace_back(to.id, command);
    if (sent_.size() > 200) sent_.pop_front();
    const api::CommandResult result = to.shard(command);
    EXPECT_TRUE(result.code == ErrorCode::kOk || result.code == ErrorCode::kPrecondition) << result.value;
    without_effect += !result.applied;
  }
  // Something that was sent before comes again.
  void repeat() {
    if (sent_.empty()) return;
    const auto [to, command] = sent_[chance_.below(sent_.size())];
    send(group(to), command);
  }

  // What a group's leader would do next, by the state of its shards alone.
  void work(ShardGroup& at) {
    if (at.machine().config_num().value() + 1 < configs_.size()) {
      const uint64_t num = at.machine().config_num().value() + 1;
      send(at, ApplyConfig{.num = ConfigNum(num), .cuts = cuts_of(at.id, num)});
    }
    const std::vector<ShardInfo> shards(at.machine().shards().begin(), at.machine().shards().end());
    for (const ShardInfo& info : shards) {
      if (info.feed && info.served() && info.feed_plan != plan_.id) {
        send(at, EndFeed{info.shard, info.feed_plan, info.feed_step});
      }
      switch (info.state) {
        case ShardState::kServing:
        case ShardState::kBePulling:
          break;
        case ShardState::kStaged:
          info.plan == plan_.id ? pull(at, info, ConfigNum(0)) : send(at, EndStaging{info.shard, info.plan, info.step});
          break;
        case ShardState::kPulling:
          pull(at, info, info.since);
          break;
        case ShardState::kGcing: {
          ShardGroup& giver = group(info.peer.value());
          send(giver, Release{info.shard, info.since});
          send(at, Confirm{info.shard, info.since});
          break;
        }
        case ShardState::kErasing:
          send(at, EraseSome{info.shard, static_cast<uint32_t>(chance_.between(1, 9))});
          break;
      }
    }
    if (plan_.id != 0 && plan_.from == at.id) send(at, BeginFeed{ShardId(plan_.shard), plan_.id, 1});
    if (plan_.id != 0 && plan_.to == at.id && at.info(plan_.shard) == nullptr) {
      const Range& range = configs_.back().at(plan_.shard);
      send(at, BeginStaging{ShardId(plan_.shard), range.start, range.end, GroupId(plan_.from), plan_.id, 1});
    }
  }
  void pull(ShardGroup& at, const ShardInfo& info, ConfigNum num) {
    const ExportRequest request{.shard = info.shard,
                                .num = num,
                                .plan = info.plan,
                                .step = info.step,
                                .from = info.cursor,
                                .bytes_max = chance_.below(600)};
    ShardGroup& giver = group(info.peer.value());
    const Result<ShardChunk> chunk = giver.machine().export_chunk(request);
    if (!chunk.ok()) return;
    started_over += chunk->start_over;
    if (chance_.chance(0.3) && info.feed_plan == plan_.id) {
      send(giver, TrimFeed{info.shard, info.cursor.feed_epoch, info.cursor.feed_next});
    }
    const Import import{.shard = info.shard, .plan = info.plan, .step = info.step, .chunk = *chunk};
    // Lost on its way, or late: it may come as a repetition.
    chance_.chance(0.2) ? sent_.emplace_back(at.id, import), void() : send(at, import);
  }

  std::vector<ShardCut> cuts_of(uint64_t id, uint64_t num) {
    std::vector<ShardCut> cuts;
    const Config& before = configs_[num - 1];
    for (const auto& [shard, range] : configs_[num]) {
      const auto old = before.find(shard);
      uint64_t owner_before = old == before.end() ? 0 : old->second.group;
      for (const auto& [other, was] : before) {
        if (was.start <= range.start && (was.end.empty() || range.start < was.end)) owner_before = was.group;
      }
      const ShardCut cut{.shard = ShardId(shard), .start = range.start, .end = range.end, .peer = GroupId(range.group)};
      if (range.group == id) {
        cuts.push_back(cut);
        cuts.back().peer = GroupId(owner_before);
      } else if (owner_before == id) {
        cuts.push_back(cut);
        cuts.back().kind = Cut::kGive;
      }
    }
    return cuts;
  }

  // The next configuration, once all groups have settled the one before; or a copy ahead of it.
  void decide() {
    for (auto& each : groups_) {
      if (each->machine().config_num().value() + 1 != configs_.size() || !each->machine().settled()) return;
    }
    if (plan_.id != 0) {
      if (chance_.chance(0.5)) return;
      if (chance_.chance(0.3)) {  // given up
        plan_ = {};
        return;
      }
      Config next = configs_.back();
      next[plan_.shard].group = plan_.to;
      configs_.push_back(next);
      plan_ = {};
      ++moves;
      return;
    }
    Config next = configs_.back();
    auto chosen = std::next(next.begin(), static_cast<int64_t>(chance_.below(next.size())));
    const uint64_t to = chosen->second.group % kGroups + 1;
    switch (chance_.below(4)) {
      case 0:
        plan_ = {.id = ++plans_, .shard = chosen->first, .from = chosen->second.group, .to = to};
        return;
      case 1:
        chosen->second.group = to;
        ++moves;
        break;
      case 2: {
        const std::string at = api::slot_start(static_cast<uint16_t>(chance_.below(api::kSlotCount)));
        Range& left = chosen->second;
        if (next.size() > 8 || at <= left.start || (!left.end.empty() && left.end <= at)) return;
        next[++shards_] = {.start = at, .end = left.end, .group = left.group};
        left.end = at;
        ++recuts;
        break;
      }
      default: {
        const auto right = std::find_if(next.begin(), next.end(), [&](const auto& each) {
          return !each.second.start.empty() && each.second.start == chosen->second.end &&
                 each.second.group == chosen->second.group;
        });
        if (right == next.end()) return;
        chosen->second.end = right->second.end;
        next.erase(right);
        ++recuts;
        break;
      }
    }
    configs_.push_back(next);
  }

  bool quiet() {
    for (auto& each : groups_) {
      if (each->machine().config_num().value() + 1 != configs_.size()) return false;
      for (const ShardInfo& info : each->machine().shards()) {
        if (info.state != ShardState::kServing || info.feed) return false;
      }
    }
    return true;
  }

  Rng chance_;
  std::vector<std::unique_ptr<ShardGroup>> groups_;
  std::vector<Config> configs_;  // by number
  Plan plan_;
  uint64_t plans_ = 0;
  uint64_t shards_ = 4;
  std::map<std::string, Expected> oracle_;
  std::map<uint64_t, std::deque<Asked>> asked_;  // by client
  std::deque<std::pair<uint64_t, ShardCommand>> sent_;
  uint64_t sequence_ = 0;
  uint64_t written_ = 0;
};

TEST(ShardModel, M35_shard_conservation) {
  const char* const more = std::getenv("FLUX_SEEDS");
  const uint64_t seeds = more == nullptr ? 6 : std::strtoull(more, nullptr, 10);
  size_t moves = 0, recuts = 0, started_over = 0, kept_answers = 0;
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    TemporaryDir dir;
    const auto store = std::move(engine::RocksStore::open(dir.path() + "/db", kSmall)).value();
    World world(seed, store.get());
    world.settle();
    for (int round = 0; round < 15; ++round) {
      for (int i = 0; i < 300; ++i) world.step();
      world.settle();
      if (::testing::Test::HasFailure()) return;
    }
    world.expect_logs_make_the_same();
    moves += world.moves;
    recuts += world.recuts;
    started_over += world.started_over;
    kept_answers += world.kept_answers;
    EXPECT_GT(world.without_effect, 100u);
    EXPECT_GT(world.away, 100u);
  }
  EXPECT_GT(moves, seeds * 10);
  EXPECT_GT(recuts, seeds * 3);
  EXPECT_GT(started_over, seeds / 4);
  EXPECT_GT(kept_answers, seeds * 3);
}

}  // namespace
}  // namespace flux::kv::testing
