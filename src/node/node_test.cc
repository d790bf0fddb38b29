// Goal: what a node keeps on its disk and says to other nodes comes back as it was or not at all, and the controller's
// state machine is the same on every replica, however often it begins anew from what its engine holds.
#include <gtest/gtest.h>

#include <memory>

#include "base/codec.h"
#include "engine/memory/memory_engine.h"
#include "env/testing/fake_fs.h"
#include "kv/entry_codec.h"
#include "kv/state_machine.h"
#include "node/cluster_view.h"
#include "node/control_machine.h"
#include "node/peer_messages.h"
#include "node/replicas.h"
#include "node/requests.h"
#include "node/shard_load.h"
#include "node/snapshots.h"

namespace flux::node {
namespace {

std::string hex(std::string_view bytes) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const char each : bytes) {
    const auto byte = static_cast<uint8_t>(each);
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

// --- The file of replicas
// ---------------------------------------------------------------------------------------------

std::map<GroupId, ReplicaRecord> some_replicas() {
  return {
      {GroupId(1),
       {.here = true, .born = ConfigNum(4), .known_from = Index(9), .founders = {NodeId(1), NodeId(3)}, .spoken = {}}},
      {GroupId(7),
       {.here = false,
        .born = ConfigNum(300),
        .known_from = Index(70'000),
        .founders = {},
        .spoken = {.term = Term(5), .vote = NodeId(2)}}}};
}

// Magic; format 1; length of the body; two groups: number, here or not, born, known from, term, vote, founders; crc32c.
TEST(Replicas, golden_bytes) {
  EXPECT_EQ(hex(encode_replicas(some_replicas())),
            "464c55585245504c"
            "01000000"
            "14"
            "02"
            "01"
            "01"
            "04"
            "09"
            "00"
            "00"
            "02"
            "01"
            "03"
            "07"
            "02"
            "ac02"
            "f0a204"
            "05"
            "02"
            "00"
            "f57047cc");
}

TEST(Replicas, come_back_as_they_were_or_not_at_all) {
  const std::string bytes = encode_replicas(some_replicas());
  EXPECT_EQ(decode_replicas(bytes).value(), some_replicas());
  EXPECT_TRUE(decode_replicas(encode_replicas({})).value().empty());
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(decode_replicas(bytes.substr(0, size)).status().code(), ErrorCode::kCorruption) << size;
  }
  for (size_t at = 0; at < bytes.size(); ++at) {
    std::string wrong = bytes;
    wrong[at] = static_cast<char>(wrong[at] ^ 0x10);
    EXPECT_FALSE(decode_replicas(wrong).ok()) << at;
  }
}

TEST(Replicas, are_durable_once_they_are_put) {
  env::testing::FakeFs fs;
  ASSERT_TRUE(fs.create_dirs("/data").ok());
  Replicas replicas = Replicas::open(fs, "/data").value();
  EXPECT_TRUE(replicas.all().empty());
  for (const auto& [group, record] : some_replicas()) ASSERT_TRUE(replicas.put(group, record).ok());
  fs.crash(env::testing::CrashPolicy::drop_all());
  Replicas again = Replicas::open(fs, "/data").value();
  EXPECT_EQ(again.all(), some_replicas());
  EXPECT_EQ(*again.find(GroupId(7)), some_replicas().at(GroupId(7)));
  EXPECT_EQ(again.find(GroupId(2)), nullptr);
  // What could not be made durable is not believed in either.
  fs.fail_once(env::testing::FsOp::kSync, 1, ErrorCode::kIo, "replicas");
  EXPECT_FALSE(again.put(GroupId(2), {}).ok());
  EXPECT_EQ(again.all(), some_replicas());
}

// --- The controller's state machine ----------------------------------------------------------------------------------

// A replica of group 0: its engine, and the state machines on it.
class ControlReplica {
 public:
  ControlReplica() { begin_anew(); }

  // As a restart does, or a snapshot that was loaded.
  void begin_anew() {
    control_ = std::make_unique<ControlMachine>();
    machine_ = std::make_unique<kv::StateMachine>(GroupId(0), *engine_, api::StateLimits{}, control_.get());
    ASSERT_TRUE(machine_->load().ok());
  }
  ctrl::Outcome apply(std::string_view command_bytes) {
    const api::Command commands[] = {api::Control{.bytes = command_bytes}};
    std::string bytes;
    kv::begin_entry(bytes);
    EXPECT_TRUE(api::append_request(bytes, {.commands = commands}).ok());
    kv::stamp_entry(bytes, version_at(WallMillis(1'000'000 + machine_->applied().index.value())));
    const Entry entry{.index = machine_->applied().index + 1,
                      .term = Term(1),
                      .type = EntryType::kCommand,
                      .data = SharedBytes(std::move(bytes))};
    std::vector<api::WriteReply> replies;
    EXPECT_TRUE(machine_->apply(entry, &replies).ok());
    EXPECT_TRUE(machine_->commit().ok());
    const api::CommandResult& result = replies.at(0).results.at(0);
    ctrl::Outcome outcome = ctrl::decode_outcome(result.value).value();
    EXPECT_EQ(result.applied, outcome.status.ok());
    return outcome;
  }
  ctrl::Outcome apply(const ctrl::CommandBody& body) {
    return apply(ctrl::encode_command({.expected = {}, .body = body}));
  }
  std::string state() const { return ctrl::encode_state(control_->state()); }
  uint64_t kept() const { return engine_->state_hash().value(); }
  // Commands that are kept beside the state.
  size_t commands_kept() const {
    size_t count = 0;
    auto it = engine_->iterate(engine::Family::kMeta, "rider/log/", {});
    for (; it->valid() && it->key().starts_with("rider/log/"); it->next()) ++count;
    return count;
  }
  bool take_changed() { return control_->take_changed(); }
  kv::StateMachine& machine() { return *machine_; }
  ControlMachine& control() { return *control_; }
  engine::Engine& engine() { return *engine_; }

 private:
  std::unique_ptr<engine::Engine> engine_ = engine::make_memory_engine({});
  std::unique_ptr<ControlMachine> control_;
  std::unique_ptr<kv::StateMachine> machine_;
};

ctrl::CommandBody add_node(uint64_t id) {
  return ctrl::AddNode{.record = {.id = NodeId(id),
                                  .name = "n" + std::to_string(id),
                                  .peer_address = "10.0.0." + std::to_string(id) + ":7380",
                                  .resp_address = std::string(200, 'r'),
                                  .http_address = std::string(200, 'h')}};
}

// The engine holds the same bytes wherever the same log was applied, also where the state was read back from it in
// between; and the commands are folded at the same entries.
TEST(ControlMachine, folds_at_the_same_entry_on_every_replica) {
  ControlReplica steady;
  ControlReplica restarted;
  size_t folds = 0;
  size_t kept = 0;
  for (uint64_t i = 1; i <= 400; ++i) {
    ASSERT_TRUE(steady.apply(add_node(i)).status.ok());
    ASSERT_TRUE(restarted.apply(add_node(i)).status.ok());
    ASSERT_EQ(steady.kept(), restarted.kept()) << "after command " << i;
    ASSERT_EQ(steady.commands_kept(), restarted.commands_kept()) << "after command " << i;
    folds += steady.commands_kept() < kept ? 1U : 0U;
    kept = steady.commands_kept();
    if (i % 3 == 0 || kept == 0) {
      const std::string before = restarted.state();
      restarted.begin_anew();
      ASSERT_EQ(restarted.state(), before) << "after command " << i;
    }
  }
  EXPECT_GE(folds, 2u);
  EXPECT_EQ(steady.state(), restarted.state());
}

// What was refused, or is no command at all, leaves nothing behind but the answer.
TEST(ControlMachine, refused_commands_leave_no_trace) {
  ControlReplica replica;
  ASSERT_TRUE(replica.apply(add_node(1)).status.ok());
  const std::string state = replica.state();
  const size_t kept = replica.commands_kept();
  EXPECT_TRUE(replica.take_changed());
  EXPECT_EQ(replica.apply(add_node(1)).status.code(), ErrorCode::kAlreadyExists);
  EXPECT_EQ(replica.apply(ctrl::RemoveNode{NodeId(9)}).status.code(), ErrorCode::kNotFound);
  EXPECT_FALSE(replica.apply("no command").status.ok());
  EXPECT_FALSE(replica.apply("").status.ok());
  const std::string good = ctrl::encode_command({.expected = {}, .body = add_node(2)});
  for (size_t size = 1; size < good.size(); ++size) EXPECT_FALSE(replica.apply(good.substr(0, size)).status.ok());
  EXPECT_FALSE(replica.take_changed());
  EXPECT_EQ(replica.state(), state);
  EXPECT_EQ(replica.commands_kept(), kept);
  const ctrl::Command late{.expected = ConfigNum(77), .body = add_node(2)};
  EXPECT_FALSE(replica.apply(ctrl::encode_command(late)).status.ok());
  EXPECT_EQ(replica.state(), state);
  replica.begin_anew();
  EXPECT_EQ(replica.state(), state);
  EXPECT_TRUE(replica.take_changed()) << "after a load nobody knows what has changed";
}

// A replica that has lost one of the commands, or a piece of the state, does not start with the rest.
TEST(ControlMachine, what_is_missing_is_found) {
  ControlReplica replica;
  for (uint64_t i = 1; i <= 100; ++i) ASSERT_TRUE(replica.apply(add_node(i)).status.ok());
  ASSERT_GE(replica.commands_kept(), 3u);
  std::vector<std::pair<std::string, std::string>> records;
  auto it = replica.engine().iterate(engine::Family::kMeta, "rider/", {});
  for (; it->valid() && it->key().starts_with("rider/"); it->next()) {
    records.emplace_back(it->key(), it->value());
  }
  ASSERT_EQ(records.size(), replica.commands_kept() + 1) << "and the state";
  const auto load_without = [&](size_t missing, size_t cut) {
    const auto engine = engine::make_memory_engine({});
    engine::Batch batch;
    for (size_t i = 0; i < records.size(); ++i) {
      if (i == missing) continue;
      std::string_view value = records[i].second;
      if (i == cut) value.remove_suffix(1);
      batch.put(engine::Family::kMeta, records[i].first, value);
    }
    EXPECT_TRUE(engine->write(std::move(batch)).ok());
    ControlMachine machine;
    return machine.load(*engine);
  };
  EXPECT_TRUE(load_without(SIZE_MAX, SIZE_MAX).ok());
  for (size_t i = 0; i < records.size(); ++i) {
    EXPECT_EQ(load_without(SIZE_MAX, i).code(), ErrorCode::kCorruption) << records[i].first;
    const bool at_an_end = i == 0 || i + 2 >= records.size();  // only the engine's own sums tell of the last one
    if (at_an_end) continue;
    EXPECT_FALSE(load_without(i, SIZE_MAX).ok()) << records[i].first;
  }
}

class WaitersTest : public testing::Test {
 protected:
  static EntryId entry(uint64_t index, uint64_t term) { return {.index = Index(index), .term = Term(term)}; }
  // One waiter, known by its number.
  static std::vector<WriteWaiter> one(size_t number) {
    std::vector<WriteWaiter> waiters;
    waiters.push_back({.done = [](const api::WriteReply&) {}, .deadline = {}, .bytes = number});
    return waiters;
  }
  static std::vector<size_t> numbers(const std::vector<WriteWaiter>& waiters) {
    std::vector<size_t> result;
    for (const WriteWaiter& waiter : waiters) result.push_back(waiter.bytes);
    return result;
  }
  std::vector<size_t> resolve(EntryId id) {
    std::vector<WriteWaiter> found = waiters_.resolve(id, lost_);
    return numbers(found);
  }
  std::vector<size_t> add(EntryId id, size_t number) { return numbers(waiters_.add(id, one(number))); }

  using Numbers = std::vector<size_t>;
  Waiters waiters_;
  std::vector<WriteWaiter> lost_;
};

TEST_F(WaitersTest, another_leaders_entry_at_the_place_is_a_definite_loss) {
  EXPECT_EQ(add(entry(5, 2), 1), Numbers());
  EXPECT_EQ(add(entry(6, 2), 2), Numbers());
  EXPECT_FALSE(waiters_.waits_for(entry(4, 2)));
  EXPECT_EQ(resolve(entry(5, 2)), Numbers{1});
  EXPECT_EQ(numbers(lost_), Numbers());
  EXPECT_EQ(resolve(entry(6, 3)), Numbers());
  EXPECT_EQ(numbers(lost_), Numbers{2});
  EXPECT_TRUE(waiters_.empty());
}

TEST_F(WaitersTest, what_left_the_log_before_the_node_led_again_is_unknown) {
  EXPECT_EQ(add(entry(5, 2), 1), Numbers());
  EXPECT_EQ(add(entry(6, 2), 2), Numbers());
  EXPECT_EQ(add(entry(7, 2), 3), Numbers());
  EXPECT_EQ(add(entry(6, 4), 4), (Numbers{3, 2})) << "the first may still be in the log";
  EXPECT_EQ(resolve(entry(5, 2)), Numbers{1});
  EXPECT_EQ(resolve(entry(6, 4)), Numbers{4});
  EXPECT_EQ(numbers(lost_), Numbers());
}

TEST_F(WaitersTest, a_snapshot_hides_what_it_was_made_of) {
  EXPECT_EQ(add(entry(5, 2), 1), Numbers());
  EXPECT_EQ(add(entry(6, 2), 2), Numbers());
  EXPECT_EQ(numbers(waiters_.take_through(Index(5))), Numbers{1});
  EXPECT_EQ(resolve(entry(6, 2)), Numbers{2});
}

TEST(PeerMessages, a_release_comes_back_as_it_was_or_not_at_all) {
  const ReleaseCall call{.group = GroupId(3), .shard = ShardId(300), .num = ConfigNum(70'000)};
  const std::string bytes = encode_release_call(call);
  EXPECT_EQ(hex(bytes), "03ac02f0a204");
  const ReleaseCall again = decode_release_call(bytes).value();
  EXPECT_EQ(again.group, call.group);
  EXPECT_EQ(again.shard, call.shard);
  EXPECT_EQ(again.num, call.num);
  for (size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(decode_release_call(bytes.substr(0, size)).ok());
  EXPECT_FALSE(decode_release_call(bytes + '\0').ok());
}

// --- The controller in the words of the API
// ---------------------------------------------------------------------------

// Two nodes with a group each, a keyspace of four shards, one of them on its way.
ChartPtr some_chart() {
  ctrl::State state;
  const auto apply = [&](const ctrl::CommandBody& body) {
    const ctrl::Outcome outcome = ctrl::apply(state, {.expected = {}, .body = body});
    EXPECT_TRUE(outcome.status.ok()) << outcome.status.to_string();
  };
  for (uint64_t i = 1; i <= 3; ++i) apply(add_node(i));
  apply(ctrl::Join{{{.id = ctrl::kAnyGroup, .replicas = 2}, {.id = ctrl::kAnyGroup, .replicas = 2}}});
  for (uint64_t i = 1; i <= 2; ++i) apply(ctrl::Settled{.group = GroupId(i), .num = state.config().num});
  apply(ctrl::CreateKeyspace{.name = std::string(api::kDefaultKeyspaceName), .replication = 2, .slot_ranges = 4});
  for (uint64_t i = 1; i <= 2; ++i) apply(ctrl::Settled{.group = GroupId(i), .num = state.config().num});
  apply(ctrl::SetBalance{ctrl::BalanceMode::kOff});
  const ctrl::Shard& shard = state.config().keyspace(api::kDefaultKeyspaceName)->shards.front();
  apply(ctrl::Move{.shard = shard.id, .to = shard.group == GroupId(1) ? GroupId(2) : GroupId(1), .pin = true});
  apply(ctrl::ReportProgress{
      .plan = ctrl::PlanId(1), .phase = ctrl::StepPhase::kCopying, .bytes_done = 5, .bytes_total = 6});
  apply(ctrl::RemoveNode{[&] {
    for (const auto& [id, node] : state.config().nodes) {
      const auto has = [&, node_id = id](const auto& group) { return group.second.has(node_id); };
      if (std::none_of(state.config().groups.begin(), state.config().groups.end(), has)) return id;
    }
    apply(add_node(4));
    return NodeId(4);
  }()});
  return make_chart(state, Index(20), Chart());
}

TEST(ClusterView, describe_shows_what_there_is) {
  const ChartPtr chart = some_chart();
  const api::ClusterView view = describe(*chart->config, *chart);
  EXPECT_EQ(view.config, chart->config->num);
  EXPECT_EQ(view.balance, "off");
  ASSERT_GE(view.nodes.size(), 3u);
  uint64_t replicas = 0, leaders = 0, removed = 0;
  for (const api::NodeView& node : view.nodes) {
    replicas += node.replicas;
    leaders += node.leaders;
    removed += node.state == "removed" ? 1U : 0U;
    EXPECT_EQ(node.record.name, "n" + std::to_string(node.record.id.value()));
  }
  EXPECT_EQ(replicas, 4u);
  EXPECT_EQ(leaders, 2u);
  EXPECT_EQ(removed, 1u);
  ASSERT_EQ(view.groups.size(), 2u);
  for (const api::GroupView& group : view.groups) {
    EXPECT_EQ(group.state, "serving");
    EXPECT_EQ(group.voters.size(), 2u);
    EXPECT_EQ(group.shards, 2u);
    EXPECT_EQ(group.settled, group.changed);
  }
  ASSERT_EQ(view.keyspaces.size(), 1u);
  EXPECT_EQ(view.keyspaces[0].kind, "hash");
  EXPECT_EQ(view.keyspaces[0].shards, 4u);
  ASSERT_EQ(view.shards.size(), 4u);
  EXPECT_TRUE(view.shards[0].pinned);
  EXPECT_FALSE(view.shards[1].pinned);
  EXPECT_EQ(view.shards[0].start, "");
  EXPECT_EQ(view.shards[0].end, view.shards[1].start);
  EXPECT_EQ(view.shards[3].end, "");
  ASSERT_EQ(view.plans.size(), 1u);
  EXPECT_EQ(view.plans[0].kind, "move");
  EXPECT_EQ(view.plans[0].state, "running");
  ASSERT_EQ(view.plans[0].steps.size(), 1u);
  EXPECT_EQ(view.plans[0].steps[0].phase, "copying");
  EXPECT_EQ(view.plans[0].steps[0].bytes_done, 5u);
  EXPECT_NE(view.plans[0].steps[0].what.find("shard 1: group"), std::string::npos) << view.plans[0].steps[0].what;
  // Of an older configuration only what it was.
  ctrl::Config older = *chart->config;
  older.num = older.num - 1;
  EXPECT_TRUE(describe(older, *chart).plans.empty());
}

TEST(ClusterView, to_command_names_what_is_wrong_and_what_is_allowed) {
  const Chart chart;
  const auto refused = [&](const api::ClusterRequest& request) {
    return to_command({.request = request, .expected = {}}, chart).status();
  };
  const Status mode = refused(api::SetBalance{.mode = "sometimes"});
  EXPECT_EQ(mode.code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(mode.message(), "'sometimes' is no mode of balance; one of off, shards, load");
  const Status verb = refused(api::ControlPlan{.plan = 1, .verb = ""});
  EXPECT_EQ(verb.message(), "'' is no verb for a plan; one of pause, resume, cancel");
  const std::string only(api::kDefaultKeyspaceName);
  const Status kind = refused(api::CreateKeyspace{.name = only, .kind = "HASH"});
  EXPECT_EQ(kind.message(), "'HASH' is no kind of keyspace; one of hash, range");
  EXPECT_EQ(refused(api::CreateKeyspace{.name = "another"}).code(), ErrorCode::kUnavailable) << "before the first one";
  EXPECT_EQ(refused(api::CreateKeyspace{.name = "0"}).code(), ErrorCode::kUnavailable);
  EXPECT_EQ(refused(api::DropKeyspace{.name = only}).code(), ErrorCode::kPrecondition);
}

TEST(ClusterView, to_command_fills_in_what_was_left_out) {
  const ChartPtr chart = some_chart();
  const auto command = [&](const api::ClusterRequest& request) {
    return to_command({.request = request, .expected = ConfigNum(5)}, *chart).value();
  };
  EXPECT_EQ(command(api::Rebalance{}).expected, ConfigNum(5));
  const auto join = std::get<ctrl::Join>(command(api::AddGroup{}).body);
  ASSERT_EQ(join.groups.size(), 1u);
  EXPECT_EQ(join.groups[0].id, ctrl::kAnyGroup);
  EXPECT_EQ(join.groups[0].replicas, 2u) << "as many as the default keyspace wants";
  const auto chosen = std::get<ctrl::Join>(command(api::AddGroup{.id = GroupId(9), .voters = {NodeId(1)}}).body);
  EXPECT_EQ(chosen.groups[0].id, GroupId(9));
  EXPECT_EQ(chosen.groups[0].voters, std::set<NodeId>{NodeId(1)});
  EXPECT_EQ(chosen.groups[0].replicas, 0u);
  const std::string only(api::kDefaultKeyspaceName);
  const auto ranges =
      std::get<ctrl::CreateKeyspace>(command(api::CreateKeyspace{.name = only, .kind = "range", .shards = 7}).body);
  EXPECT_EQ(ranges.slot_ranges, 0u) << "only a hashed one has slots";
  EXPECT_EQ(ranges.replication, 2u);
  EXPECT_EQ(std::get<ctrl::AddNode>(command(api::AddNode{.name = "x"}).body).record.id, kNobody);
}

// --- Who is who ------------------------------------------------------------------------------------------------------

// Who has lost what it promised before a node came is refused by that node too: it was told whom the others had met.
TEST(KnownPeers, what_others_have_met_counts) {
  env::testing::FakeFs fs;
  ASSERT_TRUE(fs.create_dirs("/data").ok());
  const auto hello = [](uint64_t store, uint64_t boot, std::vector<uint64_t> starts) {
    net::Hello words{.node = NodeId(2), .name = "n2"};
    words.store = store, words.boot = boot, words.starts = std::move(starts);
    return words;
  };
  {
    const auto known = KnownPeers::open(fs, "/data").value();
    ASSERT_TRUE(known->learn({{NodeId(2), {.store = 7, .boot = 3, .start = 9}}}).ok());
    EXPECT_EQ(known->admit(hello(8, 1, {5})).code(), ErrorCode::kPrecondition) << "another disk";
  }
  fs.crash(env::testing::CrashPolicy::drop_all());
  const auto known = KnownPeers::open(fs, "/data").value();
  EXPECT_EQ(known->admit(hello(8, 4, {5})).code(), ErrorCode::kPrecondition) << "it is known after a power cut";
  EXPECT_EQ(known->admit(hello(7, 2, {1, 2})).code(), ErrorCode::kPrecondition) << "an older copy";
  EXPECT_TRUE(known->admit(hello(7, 4, {9, 11})).ok());
  // What was met here counts more than what is told.
  ASSERT_TRUE(known->learn({{NodeId(2), {.store = 8, .boot = 9, .start = 1}}}).ok());
  EXPECT_EQ(known->all().at(NodeId(2)), (MetPeer{.store = 7, .boot = 4, .start = 11}));
}

TEST(KnownPeers, a_join_is_answered_with_whom_the_others_have_met) {
  const JoinReply reply{.cluster = net::ClusterId(5),
                        .node = NodeId(4),
                        .nodes = {{.id = NodeId(1), .name = "n1", .peer_address = "h:1"}},
                        .met = {{NodeId(1), {.store = 3, .boot = 2, .start = 77}}}};
  const std::string bytes = encode_join_reply(reply);
  const JoinReply again = decode_join_reply(bytes).value();
  EXPECT_EQ(again.met, reply.met);
  EXPECT_EQ(again.nodes, reply.nodes);
  for (size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(decode_join_reply(bytes.substr(0, size)).ok());
}

// --- Snapshots that arrive -------------------------------------------------------------------------------------------

// A snapshot that was not taken when it was offered comes again by its last byte. It has been verified by then, and may
// be about to be adopted: nothing of it may be written any more, or a power cut takes it.
TEST(Snapshots, one_that_is_offered_again_is_not_written_again) {
  env::testing::FakeFs fs;
  ASSERT_TRUE(fs.create_dirs("/snapshots").ok());
  SnapshotStore store(fs, "/snapshots");
  const auto engine = engine::make_memory_engine({.hash_seed = 1});
  const EntryId last{.index = Index(7), .term = Term(3)};
  const auto prepared = [&](GroupId group) { return store.restore(group, *engine); };
  ASSERT_TRUE(prepared(GroupId(1)).ok());
  ASSERT_TRUE(prepared(GroupId(2)).ok());
  raft::SnapshotMeta meta{.last = last, .membership = {}};
  meta.membership.voters = {NodeId(1)};
  const SavedSnapshot saved = store.save(GroupId(1), *engine->snapshot(), meta).value();
  const std::string bytes = fs.contents(saved.path);
  const SnapshotOpen open{.group = GroupId(2), .term = Term(3), .last = last, .bytes = bytes.size()};
  ASSERT_EQ(store.open_incoming(open).value(), 0u);
  ASSERT_TRUE(store.receive({.group = GroupId(2), .last = last, .offset = 0, .bytes = bytes}).value());
  ASSERT_TRUE(store.verify_incoming(GroupId(2), last).ok());
  const uint64_t written = fs.counts().bytes_written;
  const uint64_t offset = store.open_incoming(open).value();
  EXPECT_EQ(offset, bytes.size() - 1);
  const SnapshotChunk again{
      .group = GroupId(2), .last = last, .offset = offset, .bytes = std::string_view(bytes).substr(offset)};
  EXPECT_TRUE(store.receive(again).value()) << "it is offered again";
  EXPECT_FALSE(store.receive(again).value()) << "once";
  EXPECT_EQ(fs.counts().bytes_written, written);
  ASSERT_TRUE(store.adopt(GroupId(2), last).ok());
  EXPECT_EQ(store.newest(GroupId(2)).value()->meta.last, last);
}

// --- Loads -----------------------------------------------------------------------------------------------------------

TEST(LoadReports, come_back_as_they_were_or_not_at_all) {
  LoadReport report{.group = GroupId(3), .shards = {}};
  report.shards[ShardId(5)] = {.bytes = 1'000, .operations_per_second = 70, .middle = std::string("\x10\x00", 2)};
  report.shards[ShardId(9)] = {};
  const std::string bytes = encode_load_report(report);
  EXPECT_EQ(hex(bytes),
            "01"
            "03"
            "02"
            "05"
            "e807"
            "46"
            "021000"
            "09"
            "00"
            "00"
            "00");
  const LoadReport again = decode_load_report(bytes).value();
  EXPECT_EQ(encode_load_report(again), bytes);
  for (size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(decode_load_report(bytes.substr(0, size)).ok());
  for (uint64_t i = 10; i < 10 + kLoadReportShardsMax; ++i) report.shards[ShardId(i)] = {};
  EXPECT_EQ(decode_load_report(encode_load_report(report)).status().code(), ErrorCode::kTooLarge);
}

}  // namespace
}  // namespace flux::node
