// Goal: a snapshot is the whole state at one index, however it comes to be, travels, or is cut short.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "engine/memory/memory_engine.h"
#include "engine/snapshot_file.h"
#include "scenario.h"

namespace flux::sim {
namespace {

using env::testing::CrashPolicy;
using env::testing::FsOp;
using node::kControlGroup;
using node::PeerMessage;

api::Expiry in(int64_t millis) { return {.kind = api::Expiry::Kind::kIn, .millis = millis}; }

void snapshots_after_20_kb(size_t, node::NodeOptions& options) { options.snapshot_log_bytes = 20'000; }

bool is(const Passing& passing, PeerMessage type) { return passing.type == static_cast<uint8_t>(type); }

// What every node held after each index, as it went.
class Oracle {
 public:
  explicit Oracle(Nodes& nodes) : nodes_(nodes) {
    states_[Index(0)] = engine::make_memory_engine({})->state_hash().value();
    nodes.watch([this] { look(); });
  }
  uint64_t at(Index index) const {
    EXPECT_TRUE(states_.contains(index)) << index.value();
    return states_.contains(index) ? states_.at(index) : 0;
  }

 private:
  void look() {
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (!nodes_.up(i) || !nodes_.has_group(i) || nodes_.applied(i) == last_[i]) continue;
      last_[i] = nodes_.applied(i);
      const uint64_t hash = nodes_.hash(i);
      EXPECT_EQ(states_.emplace(last_[i], hash).first->second, hash) << "node " << i << " at " << last_[i].value();
    }
  }
  Nodes& nodes_;
  std::map<size_t, Index> last_;
  std::map<Index, uint64_t> states_;
};

// A snapshot file's index and the state in it.
std::pair<Index, uint64_t> read_snapshot(Nodes& nodes, size_t i, const std::string& name) {
  const auto engine = engine::make_memory_engine({});
  const auto reader = engine::SnapshotReader::open(nodes.fs(i), Nodes::snapshot_dir() + "/" + name);
  EXPECT_TRUE(reader.ok()) << reader.status().to_string();
  EXPECT_TRUE(engine->load(**reader).ok());
  return {Index(std::stoull(name.substr(0, 16), nullptr, 16)), engine->state_hash().value()};
}

// The bytes of a snapshot of what a node holds now.
std::string snapshot_bytes(Nodes& nodes, size_t i, GroupId id = kDataGroup) {
  env::testing::FakeFs fs;
  EXPECT_TRUE(fs.create_dirs("dir").ok());
  std::string meta;
  Encoder encoder(meta);
  raft::encode(encoder, nodes.group(i, id).snapshot_meta());
  EXPECT_TRUE(engine::save_snapshot(*nodes.group(i, id).engine().snapshot(), fs, "dir", "file", meta).ok());
  return fs.contents("dir/file");
}

// Has the group's log grow by about a kilobyte.
void grow(Nodes& nodes, size_t through, GroupId id, int i) {
  if (id == kDataGroup) {
    const std::string value(900, static_cast<char>('a' + i % 26));
    ASSERT_TRUE(nodes.put(through, "filler" + std::to_string(i % 8), value).ok());
    return;
  }
  // What the controller refuses is in its log all the same.
  const api::AddNode too_long{.name = std::string(900, 'n'), .peer_address = "10.0.0.99:7380"};
  ASSERT_EQ(nodes.change(through, too_long).status.code(), ErrorCode::kTooLarge);
}

// Has a group's log grow until none of those that are up holds what comes after an index.
void outrun(Nodes& nodes, size_t through, Index victims_last, GroupId id = kDataGroup) {
  const auto holds = [&] {
    for (size_t i = 0; i < nodes.size(); ++i) {
      if (!nodes.up(i) || !nodes.has_group(i, id)) continue;
      if (nodes.group(i, id).core().base_id().index <= victims_last) return true;
    }
    return false;
  };
  for (int i = 0; holds(); ++i) {
    grow(nodes, through, id, i);
    ASSERT_LT(i, 2000) << "the log does not get shorter";
  }
}

// A node that missed more than the logs of both groups hold. It is up again, and has what the others have, from
// snapshots.
void restore_from_snapshot(Nodes& nodes, size_t through, size_t victim) {
  constexpr GroupId kGroups[] = {kControlGroup, kDataGroup};
  std::map<GroupId, Index> last;
  for (const GroupId id : kGroups) last[id] = nodes.group(victim, id).core().last_index();
  nodes.crash(victim);
  for (const GroupId id : kGroups) {
    nodes.until([&] { return nodes.leader(id) != SIZE_MAX; });
    outrun(nodes, through, last[id], id);
  }
  std::set<GroupId> sent;
  nodes.network().set_tap([&](Passing& passing) {
    if (is(passing, PeerMessage::kSnapshotOpen) && passing.to == nodes.address(victim).to_string()) {
      sent.insert(node::decode_snapshot_open(passing.body)->group);
    }
    return Fate::kPass;
  });
  ASSERT_TRUE(nodes.start(victim).ok());
  for (const GroupId id : kGroups) {
    nodes.until([&] { return sent.contains(id) && nodes.status(victim, id).snapshot_index > last[id]; });
  }
  nodes.network().set_tap(nullptr);
  for (const GroupId id : kGroups) nodes.settle(id);
}

// A follower's log ends where the snapshot that it gets ends, with another entry. It has the snapshot on its disk and
// loses its process before the log is dropped: what it then appends and acknowledges must be there after the next
// start.
TEST(Scenario, a_log_that_ends_at_the_snapshot_with_another_entry_is_dropped_at_the_start) {
  Nodes nodes(25, 3, [](size_t, node::NodeOptions& options) {
    options.snapshot_log_bytes = 200;
    options.log_entries_kept = 0;
  });
  const size_t victim = nodes.wait_leader();
  nodes.settle();
  nodes.isolate(victim);
  const Index before_it = nodes.group(victim).core().last_index();
  nodes.begin_write(victim, {api::Put{.key = "lost", .value = "1"}});
  nodes.until([&] { return nodes.group(victim).core().last_index() > before_it; });
  nodes.pass(Millis(100));
  const Index last = nodes.group(victim).core().last_index();
  nodes.kill(victim);
  // The first entry of the next leader stands where the old one has the write that nobody got.
  const size_t leader = nodes.wait_leader();
  auto& worker = static_cast<node::NodeImpl&>(nodes.node(leader)).owner(kDataGroup);
  nodes.until([&] { return nodes.applied(leader) == last; });
  ASSERT_EQ(nodes.group(leader).core().last_index(), last);
  nodes.in_turn(leader, [&] { worker.take_snapshot(nodes.group(leader), [](const auto&) {}); });
  nodes.until([&] { return nodes.group(leader).core().base_id().index == last; });
  // From the moment that the snapshot is on its disk, nothing of its log gets there any more.
  const std::vector<std::string> before = nodes.snapshots(victim);
  bool adopted = false;
  nodes.watch([&] { adopted = adopted || nodes.snapshots(victim) != before; });
  nodes.fs(victim).set_fault([&](env::testing::FsOp op, const std::string& path) {
    const bool log = op == env::testing::FsOp::kSync && path.find("/wal/wal-") != std::string::npos;
    return log && adopted ? Status(ErrorCode::kIo, "no sync") : Status();
  });
  nodes.heal();
  ASSERT_TRUE(nodes.start(victim).ok());
  ASSERT_EQ(nodes.group(victim).core().last_index(), last);
  nodes.until([&] { return !nodes.fatal(victim).ok(); });
  nodes.kill(victim);
  nodes.fs(victim).set_fault(nullptr);
  nodes.watch(nullptr);
  ASSERT_TRUE(nodes.start(victim).ok());
  ASSERT_EQ(nodes.status(victim).snapshot_index, last);
  ASSERT_TRUE(nodes.put(leader, "kept", "1").ok());
  nodes.settle();
  const Index acknowledged = nodes.group(victim).core().last_index();
  ASSERT_GT(acknowledged, last);
  nodes.crash(leader);
  nodes.kill(victim);
  ASSERT_TRUE(nodes.start(victim).ok());
  EXPECT_GE(nodes.group(victim).core().last_index(), acknowledged);
  nodes.wait_leader();
  EXPECT_EQ(nodes.get(victim, "kept").value, "1");
}

// --- What is in it ---------------------------------------------------------------------------------------------------

// Data, deadlines, sessions, shards, what the controller knows, membership: what a snapshot brings is all there is, and
// a snapshot of that is the same again, byte for byte.
TEST(Scenario, R61_snapshot_complete) {
  Nodes nodes(21, 3, snapshots_after_20_kb);
  const size_t first = nodes.wait_leader();
  const size_t second = (first + 1) % 3, third = (first + 2) % 3;
  ASSERT_TRUE(nodes.put(first, "forever", "1").ok());
  ASSERT_TRUE(nodes.put(first, "mortal", "1", in(3'600'000)).ok());
  ASSERT_TRUE(nodes.write(first, {api::OpenSession{.client = 7}}).status.ok());
  ASSERT_TRUE(nodes.write(first, {api::Increment{.key = "n", .delta = 1}}, {.client = 7, .sequence = 1}).status.ok());
  const api::ClusterReply added = nodes.change(first, api::AddNode{.name = "learner", .peer_address = "10.0.0.9:7380"});
  ASSERT_TRUE(added.status.ok()) << added.status.to_string();
  Status learns(ErrorCode::kCancelled, "");
  nodes.in_turn(first, [&] {
    nodes.group(first).change_config(
        {.steps = {{.kind = raft::ConfigStepKind::kAddLearner, .node = added.node}}, .context = {}},
        [&](const Status& status) { learns = status; });
  });
  nodes.until([&] { return learns.ok() && nodes.chart(first)->config->group(kDataGroup)->learners.size() == 1; });
  nodes.settle();
  const WallMillis deadline = nodes.get(first, "mortal").deadline.value();
  const auto expect_alike = [&](size_t a, size_t b) {
    for (const GroupId id : {kControlGroup, kDataGroup}) {
      nodes.settle(id);
      EXPECT_TRUE(snapshot_bytes(nodes, a, id) == snapshot_bytes(nodes, b, id)) << id.value();
    }
  };
  // From the first to the second, and what that one restored to the third.
  nodes.make_leader(first);
  restore_from_snapshot(nodes, first, second);
  expect_alike(second, first);
  nodes.make_leader(second);
  nodes.make_leader(second, kControlGroup);
  restore_from_snapshot(nodes, second, third);
  expect_alike(third, first);
  // And through a restart from its own disk.
  nodes.crash(third);
  ASSERT_TRUE(nodes.start(third).ok());
  expect_alike(third, first);
  nodes.make_leader(third);
  EXPECT_EQ(nodes.get(third, "forever").value, "1");
  EXPECT_EQ(nodes.get(third, "mortal").deadline, deadline);
  EXPECT_EQ(nodes.status(third).learners.size(), 1u);
  std::set<std::string> names;
  nodes.node(third).admin(0).status([&](const api::NodeStatus& status) {
    for (const api::NodeRecord& record : status.nodes) names.insert(record.name);
  });
  EXPECT_EQ(names, (std::set<std::string>{"learner", "n1", "n2", "n3"}));
}

// A node that joined knows the members of its groups from its snapshots alone. Where the disk does not let it read one,
// it does not start; it never starts without members, as if it were new.
TEST(Scenario, R61_a_joined_node_that_cannot_read_its_snapshot_does_not_start) {
  Nodes nodes(23, 3, snapshots_after_20_kb);
  const size_t leader = nodes.wait_leader();
  for (const GroupId id : {kControlGroup, kDataGroup}) {
    outrun(nodes, leader, nodes.group(leader, id).core().last_index(), id);
  }
  const size_t joined = nodes.join(leader);
  nodes.until([&] { return nodes.status(joined, kControlGroup).voters.size() == 4; });
  const api::ClusterReply replaced =
      nodes.change(leader, api::ReplaceNode{.node = nodes.id((leader + 1) % 3), .by = nodes.id(joined)});
  ASSERT_TRUE(replaced.status.ok()) << replaced.status.to_string();
  nodes.wait_plan_done(leader, replaced.plan);
  nodes.crash((leader + 1) % 3);
  const auto is_member = [&] {
    return nodes.status(joined, kControlGroup).voters.size() == 3 && nodes.status(joined).voters.size() == 3;
  };
  nodes.until(is_member);
  for (const GroupId id : {kControlGroup, kDataGroup}) {
    outrun(nodes, leader, nodes.group(leader, id).core().last_index(), id);
  }
  nodes.settle();
  nodes.settle(kControlGroup);
  size_t refused = 0;
  for (const FsOp op : {FsOp::kOpen, FsOp::kRead}) {
    for (uint64_t nth = 1; nth <= 16; ++nth) {
      nodes.crash(joined, env::testing::CrashPolicy::keep_all());
      nodes.fs(joined).fail_once(op, nth, ErrorCode::kIo, ".snap");
      if (!nodes.start(joined).ok()) {
        ++refused;
      } else {
        EXPECT_TRUE(is_member()) << "operation " << nth;
      }
      nodes.fs(joined).set_fault(nullptr);
    }
  }
  EXPECT_GE(refused, 4u);
  nodes.crash(joined);
  ASSERT_TRUE(nodes.start(joined).ok());
  nodes.settle();
}

// A retry that reaches a leader which never saw the first try, only a snapshot from after it.
TEST(Scenario, D02_retry_after_snapshot_restore) {
  Nodes nodes(22, 3, snapshots_after_20_kb);
  const size_t first = nodes.wait_leader();
  const size_t victim = (first + 1) % 3;
  ASSERT_TRUE(nodes.write(first, {api::OpenSession{.client = 7}}).status.ok());
  nodes.settle();
  const std::vector<api::Command> increment = {api::Increment{.key = "n", .delta = 1}};
  nodes.isolate(victim);
  const api::WriteReply once = nodes.write(first, increment, {.client = 7, .sequence = 1});
  ASSERT_EQ(once.results.at(0).integer, 1);
  nodes.heal();
  // The victim must not get the entry itself before it falls behind.
  ASSERT_LT(nodes.group(victim).core().last_index(), once.position.index);
  restore_from_snapshot(nodes, first, victim);
  nodes.make_leader(victim);
  const api::WriteReply again = nodes.write(victim, increment, {.client = 7, .sequence = 1});
  EXPECT_EQ(again.results.at(0).integer, 1);
  EXPECT_EQ(again.position.index, once.position.index);
  EXPECT_EQ(nodes.get(victim, "n").value, "1");
  EXPECT_EQ(nodes.write(victim, increment, {.client = 7, .sequence = 2}).results.at(0).integer, 2);
}

// --- How it comes to be ----------------------------------------------------------------------------------------------

// While snapshots are cut, written and sent, entries go on being applied; each file is the state at its index.
TEST(Scenario, R68_snapshot_vs_apply) {
  Nodes nodes(23, 3, [](size_t, node::NodeOptions& options) { options.snapshot_log_bytes = 6'000; });
  const Oracle oracle(nodes);
  nodes.wait_leader();
  std::set<std::string> checked;
  uint64_t number = 0;
  while (checked.size() < 30) {
    std::vector<Pending<api::WriteReply>> writes;
    for (int i = 0; i < 20; ++i) {
      const std::string key = "k" + std::to_string(++number % 16);
      const std::string value(200, static_cast<char>('a' + number % 26));
      writes.push_back(nodes.begin_write(
          number % 3, {api::Put{.key = key, .value = value}, api::Increment{.key = "n", .delta = 1}}));
    }
    nodes.until([&] { return writes.back()->has_value(); });
    for (size_t i = 0; i < 3; ++i) {
      for (const std::string& name : nodes.snapshots(i)) {
        if (!checked.insert(std::to_string(i) + name).second) continue;
        const auto [index, state] = read_snapshot(nodes, i, name);
        ASSERT_EQ(state, oracle.at(index)) << name << " of node " << i;
      }
    }
    ASSERT_LT(number, 20'000u);
  }
}

// --- How it travels --------------------------------------------------------------------------------------------------

class SnapshotTravel : public ::testing::Test {
 protected:
  // A state of several chunks, and a node that needs it.
  void SetUp() override {
    leader = nodes.wait_leader();
    victim = (leader + 1) % 3;
    nodes.settle();
    last = nodes.group(victim).core().last_index();
    nodes.crash(victim);
    const std::string value(400'000, 'v');
    for (int i = 0; i < 8; ++i) ASSERT_TRUE(nodes.put(leader, "big" + std::to_string(i), value).ok());
    outrun(nodes, leader, nodes.group(leader).core().last_index());
  }
  bool to_victim(const Passing& passing) const { return passing.to == nodes.address(victim).to_string(); }
  void arrives() {
    ASSERT_TRUE(nodes.start(victim).ok());
    nodes.until([&] { return nodes.status(victim).snapshot_index > last; }, Millis(120'000));
    nodes.settle();
    EXPECT_EQ(nodes.hash(victim), nodes.hash(leader));
    const std::vector<std::string> names = nodes.fs(victim).list(Nodes::snapshot_dir()).value();
    for (const std::string& name : names) {
      EXPECT_TRUE(name.ends_with(".snap")) << name << " was left over";
    }
  }

  Nodes nodes{24, 3, [](size_t, node::NodeOptions& options) { options.snapshot_log_bytes = 1'000'000; }};
  size_t leader = 0;
  size_t victim = 0;
  Index last;
};

// A connection that breaks in the middle, chunks that are lost, come twice or in the wrong order: it goes on where it
// was.
TEST_F(SnapshotTravel, R65_snapshot_chunks_lost_dup_reordered) {
  uint64_t chunks = 0;
  std::string second;
  std::vector<std::optional<uint64_t>> begins;  // where each announcement went on
  nodes.network().set_tap([&](Passing& passing) {
    if (!to_victim(passing)) return Fate::kPass;
    if (is(passing, PeerMessage::kSnapshotOpen)) begins.emplace_back();
    if (!is(passing, PeerMessage::kSnapshotChunk)) return Fate::kPass;
    ++chunks;
    if (!begins.back()) begins.back() = node::decode_snapshot_chunk(passing.body)->offset;
    switch (chunks) {
      case 2:
        second = passing.body;
        return Fate::kPass;
      case 3:  // the second again; the third never comes
        passing.body = second;
        return Fate::kPass;
      case 9:
        return Fate::kHold;
      case 15:
        return Fate::kReset;
      default:
        return Fate::kPass;
    }
  });
  arrives();
  ASSERT_GE(begins.size(), 4u) << "announced again after each of the three";
  for (size_t i = 1; i < begins.size(); ++i) EXPECT_GT(begins[i], begins[i - 1]) << "but not sent from the beginning";
}

// A chunk that is wrong under a checksum that is right: nothing of the file is used, and it is sent anew.
TEST_F(SnapshotTravel, R65_a_wrong_chunk_is_found_before_anything_is_loaded) {
  uint64_t wrong = 0;
  nodes.network().set_tap([&](Passing& passing) {
    if (!to_victim(passing) || !is(passing, PeerMessage::kSnapshotChunk) || wrong == 3) return Fate::kPass;
    if (node::decode_snapshot_chunk(passing.body)->offset != 256_KiB) return Fate::kPass;
    ++wrong;
    passing.body[passing.body.size() / 2] ^= 1;
    return Fate::kPass;
  });
  nodes.watch([&] {
    if (nodes.up(victim) && wrong < 3) {
      ASSERT_LE(nodes.applied(victim), last);
    }
  });
  arrives();
  EXPECT_EQ(wrong, 3u);
}

// All bytes are there, but the offer came with a term that is over: it is made again with the next announcement.
TEST_F(SnapshotTravel, an_offer_that_was_not_heard_is_made_again) {
  bool late = false;
  nodes.network().set_tap([&](Passing& passing) {
    if (late || !to_victim(passing) || !is(passing, PeerMessage::kSnapshotOpen)) return Fate::kPass;
    late = true;
    node::SnapshotOpen open = *node::decode_snapshot_open(passing.body);
    open.term = Term(0);
    passing.body = node::encode_snapshot_open(open);
    return Fate::kPass;
  });
  arrives();
  EXPECT_TRUE(late);
}

// Disks that fail on either side: tried again with growing pauses, and nothing is left lying about.
TEST_F(SnapshotTravel, R69_snapshot_send_failure) {
  uint64_t attempts = 0;
  std::vector<MonoTime> opened;
  nodes.network().set_tap([&](Passing& passing) {
    if (to_victim(passing) && is(passing, PeerMessage::kSnapshotOpen)) opened.push_back(nodes.world().now());
    return Fate::kPass;
  });
  // The receiver's: full while the file grows.
  nodes.fs(victim).set_fault([&](FsOp op, const std::string& path) {
    if (op != FsOp::kWrite || !path.ends_with(".incoming")) return Status();
    ++attempts;
    return Status(ErrorCode::kNoSpace, "injected");
  });
  ASSERT_TRUE(nodes.start(victim).ok());
  nodes.pass(Millis(10'000));
  EXPECT_GE(attempts, 3u);
  ASSERT_GE(opened.size(), 3u);
  EXPECT_LE(opened.size(), 12u) << "pauses must grow";
  EXPECT_GT(opened.back() - opened[opened.size() - 2], 4 * (opened[1] - opened[0]));
  EXPECT_LE(nodes.applied(victim), last);
  nodes.fs(victim).set_fault(nullptr);
  nodes.watch(nullptr);
  // The sender's: its file cannot be read in the middle.
  nodes.crash(victim);
  uint64_t reads = 0;
  nodes.fs(leader).set_fault([&](FsOp op, const std::string& path) {
    const bool fails = op == FsOp::kRead && path.ends_with(".snap") && ++reads % 40 == 0 && reads < 200;
    return fails ? Status(ErrorCode::kIo, "injected") : Status();
  });
  arrives();
}

// --- How it is installed ---------------------------------------------------------------------------------------------

struct Tally {
  uint64_t cuts = 0, old_states = 0, new_states = 0;
};

// `over`: the power was to go after more operations than there are.
void cut_while_installing(uint64_t seed, uint64_t operations, Tally& tally, bool& over) {
  Nodes nodes(seed, 3, snapshots_after_20_kb);
  const Oracle oracle(nodes);
  const size_t leader = nodes.wait_leader();
  const size_t victim = (leader + 1) % 3;
  // It has a snapshot of its own already.
  outrun(nodes, leader, Index(1));
  nodes.settle();
  nodes.until([&] { return !nodes.snapshots(victim).empty(); });
  const Index last = nodes.group(victim).core().last_index();
  nodes.crash(victim);
  outrun(nodes, leader, last);
  nodes.settle();
  // Nothing more is written, so that the count of operations means the same place every time.
  bool announced = false;
  nodes.network().set_tap([&](Passing& passing) {
    if (!announced && is(passing, PeerMessage::kSnapshotOpen)) {
      announced = true;
      nodes.fs(victim).stop_after(operations);
    }
    return Fate::kPass;
  });
  ASSERT_TRUE(nodes.start(victim).ok());
  nodes.until([&] { return nodes.fs(victim).stopped() || nodes.status(victim).snapshot_index > last; });
  if (!nodes.fs(victim).stopped()) {
    nodes.pass(Millis(200));
    if (!nodes.fs(victim).stopped()) {
      over = true;
      return;
    }  // it is done before the power goes
  }
  nodes.pass(Millis(100));
  nodes.network().set_tap(nullptr);
  ++tally.cuts;
  nodes.crash(victim, CrashPolicy::random(operations));
  nodes.isolate(victim);
  const Status started = nodes.start(victim);
  ASSERT_TRUE(started.ok()) << "after " << operations << " operations: " << started.to_string();
  ASSERT_TRUE(nodes.group(victim).halt_reason().ok()) << operations;
  const Index found = nodes.applied(victim);
  ASSERT_EQ(nodes.hash(victim), oracle.at(found)) << "after " << operations << " operations, at " << found.value();
  ++(found <= last ? tally.old_states : tally.new_states);
  nodes.heal();
  nodes.settle();
  ASSERT_EQ(nodes.hash(victim), nodes.hash(leader)) << operations;
}

// The name of an installed snapshot could not be made durable, and the process ended over it. The next one sees the
// name; that the state is there once more after a power cut is for it to see to, before it shortens the log.
TEST(Scenario, R63_a_name_is_made_durable_by_the_next_process) {
  Nodes nodes(28, 3, snapshots_after_20_kb);
  const size_t leader = nodes.wait_leader();
  const size_t victim = (leader + 1) % 3;
  nodes.settle();
  const Index last = nodes.group(victim).core().last_index();
  nodes.crash(victim);
  outrun(nodes, leader, last);
  nodes.network().set_tap([&](Passing& passing) {
    if (is(passing, PeerMessage::kSnapshotOpen)) {
      nodes.fs(victim).fail_once(FsOp::kSyncDir, 1, ErrorCode::kIo, Nodes::snapshot_dir());
    }
    return Fate::kPass;
  });
  ASSERT_TRUE(nodes.start(victim).ok());
  nodes.until([&] { return !nodes.group(victim).halt_reason().ok(); });
  nodes.network().set_tap(nullptr);
  nodes.kill(victim);
  nodes.isolate(victim);
  ASSERT_TRUE(nodes.start(victim).ok());
  EXPECT_GT(nodes.applied(victim), last);
  nodes.pass(Millis(100));
  nodes.crash(victim);
  const Status started = nodes.start(victim);
  ASSERT_TRUE(started.ok()) << started.to_string();
  nodes.heal();
  nodes.settle();
}

// The power goes at every single operation of the disk while a snapshot is taken up: the next start finds the state at
// one index, and catches up from there.
TEST(Scenario, R63_snapshot_install_crash) {
  Tally tally;
  for (const uint64_t seed : {uint64_t{25}, uint64_t{3025}, uint64_t{10025}}) {
    SCOPED_TRACE(seed);
    bool over = false;
    for (uint64_t operations = 1; !over && !HasFailure(); ++operations) {
      ASSERT_LT(operations, 400u);
      cut_while_installing(seed, operations, tally, over);
    }
  }
  EXPECT_GT(tally.cuts, 15u);
  EXPECT_GT(tally.old_states, 0u);
  EXPECT_GT(tally.new_states, 0u);
}

}  // namespace
}  // namespace flux::sim
