// Goal: whole nodes keep their promises in the one schedule that each test is about: what a wire, a disk, a clock or an
// operator does at the worst moment.
#include "scenario.h"

#include <gtest/gtest.h>

#include <map>

#include "api/limits.h"
#include "net/frame.h"
#include "raft/message_codec.h"

namespace flux::sim {
namespace {

using env::testing::CrashPolicy;
using node::kControlGroup;
using node::PeerMessage;

api::Expiry in(int64_t millis) { return {.kind = api::Expiry::Kind::kIn, .millis = millis}; }

// What raft_message() has read, back into the bytes.
void rewrite(Passing& passing, GroupId group, const raft::Message& message) {
  passing.body.clear();
  Encoder(passing.body).id(group);
  raft::encode(message, passing.body);
}

// --- The wire --------------------------------------------------------------------------------------------------------

// A frame that changed on the way ends the connection, and nothing of it is appended.
TEST(Scenario, R35_entry_crc_bad_from_peer) {
  Nodes nodes(1, 3);
  const size_t leader = nodes.wait_leader();
  const size_t victim = (leader + 1) % 3;
  nodes.settle();
  bool harm = true;
  uint64_t damaged = 0, greetings = 0;
  nodes.network().set_tap([&](Passing& passing) {
    if (passing.from != nodes.host_id(leader) || passing.to != nodes.address(victim).to_string()) return Fate::kPass;
    if (passing.type == net::kHelloType) ++greetings;
    const size_t at = passing.body.find("precious");
    if (!harm || at == std::string::npos) return Fate::kPass;
    ++damaged;
    passing.damage = at;
    return Fate::kDamage;
  });
  const api::WriteReply written = nodes.write(leader, {api::Put{.key = "k", .value = "precious"}});
  ASSERT_TRUE(written.status.ok());
  nodes.until([&] { return damaged >= 3; });
  EXPECT_GE(greetings, 2u) << "each damaged frame ends a connection";
  EXPECT_LT(nodes.group(victim).core().last_index(), written.position.index);
  harm = false;
  nodes.settle();
  EXPECT_EQ(nodes.get(victim, "k", api::Consistency::kStale).value, "precious");
  EXPECT_EQ(nodes.hash(victim), nodes.hash(leader));
}

// An entry that one replica cannot apply stops that replica, at that entry, also after a restart; it is never skipped.
// Whoever waits there is told; the others go on.
TEST(Scenario, R37_apply_error_deterministic) {
  Nodes nodes(2, 3);
  const size_t leader = nodes.wait_leader();
  const size_t victim = (leader + 1) % 3;
  nodes.settle();
  Index poison;
  bool unheard = false;  // what the victim asks of the leader
  nodes.network().set_tap([&](Passing& passing) {
    GroupId group;
    std::optional<raft::Message> message = raft_message(passing, group);
    if (passing.from == nodes.host_id(victim) && unheard) {
      const bool asks = message && std::holds_alternative<raft::ReadIndex>(message->body);
      return asks || passing.type == static_cast<uint8_t>(PeerMessage::kWrite) ? Fate::kDrop : Fate::kPass;
    }
    if (passing.to != nodes.address(victim).to_string()) return Fate::kPass;
    raft::Append* append = message ? std::get_if<raft::Append>(&message->body) : nullptr;
    if (append == nullptr) return Fate::kPass;
    for (Entry& entry : append->entries) {
      if (entry.data.view().find("poison") == std::string_view::npos) continue;
      std::string data(entry.data.view());
      data.at(kv::kEntryHeaderBytes + 6) = 0x63;  // an operation that no version knows, under a checksum that is right
      entry.data = SharedBytes(std::move(data));
      poison = entry.index;
    }
    rewrite(passing, group, *message);
    return Fate::kPass;
  });
  // A read whose confirmation cannot come, and a write that is on its way, when the replica stops.
  unheard = true;
  const auto read = nodes.begin_get(victim, "k");
  const auto write = nodes.begin_write(victim, {api::Put{.key = "w", .value = "1"}});
  ASSERT_TRUE(nodes.put(leader, "k", "poison").ok());
  nodes.until([&] { return !nodes.group(victim).halt_reason().ok(); });
  const auto stale = nodes.begin_get(victim, "k", api::Consistency::kStale);
  nodes.until([&] { return read->has_value() && write->has_value() && stale->has_value(); });
  EXPECT_FALSE((*read)->status.ok());
  EXPECT_FALSE((*write)->status.ok());
  EXPECT_EQ((*stale)->status.code(), ErrorCode::kUnavailable);
  EXPECT_EQ(nodes.applied(victim) + 1, poison);
  unheard = false;
  ASSERT_TRUE(nodes.put(leader, "k", "later").ok());
  EXPECT_EQ(nodes.get(victim, "k").status.code(), ErrorCode::kUnavailable);
  EXPECT_EQ(nodes.put(victim, "k", "x").code(), ErrorCode::kUnavailable);
  // Its engine may hold half an entry, which no snapshot may make a beginning of.
  Status snapshot;
  auto& worker = static_cast<node::NodeImpl&>(nodes.node(victim)).owner(kDataGroup);
  worker.take_snapshot(nodes.group(victim),
                       [&](const Result<node::SavedSnapshot>& saved) { snapshot = saved.status(); });
  EXPECT_EQ(snapshot.code(), ErrorCode::kUnavailable);

  nodes.crash(victim);
  ASSERT_TRUE(nodes.start(victim).ok());
  nodes.until([&] { return !nodes.group(victim).halt_reason().ok(); });
  EXPECT_EQ(nodes.applied(victim) + 1, poison);
  EXPECT_EQ(nodes.get(leader, "k").value, "later");
}

// What commands do wrong is part of the log: the same answer and the same state everywhere.
TEST(Scenario, R37_a_command_that_fails_fails_alike_on_every_replica) {
  Nodes nodes(3, 3);
  const size_t leader = nodes.wait_leader();
  ASSERT_TRUE(nodes.put(leader, "text", "abc").ok());
  const auto reply = nodes.write(leader, {api::Put{.key = "a", .value = "1"}, api::Increment{.key = "text", .delta = 1},
                                          api::IncrementFloat{.key = "text", .delta = "1"},
                                          api::SetRange{.key = "a", .offset = api::kValueBytesMax, .value = "x"},
                                          api::Increment{.key = "a", .delta = 1}});
  ASSERT_TRUE(reply.status.ok()) << reply.status.to_string();
  EXPECT_EQ(reply.results.at(1).code, ErrorCode::kNotInteger);
  EXPECT_EQ(reply.results.at(2).code, ErrorCode::kNotFloat);
  EXPECT_EQ(reply.results.at(3).code, ErrorCode::kTooLarge);
  EXPECT_EQ(reply.results.at(4).integer, 2);
  nodes.settle();
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(nodes.hash(i), nodes.hash(leader)) << i;
}

// --- Membership ------------------------------------------------------------------------------------------------------

// Somebody on a bare connection who says a greeting and one consensus message.
class Stranger final : public env::StreamHandler {
 public:
  Stranger(Nodes& nodes, const env::Address& to, const net::Hello& hello, const raft::Message& message)
      : loop_(nodes.world(), 99, clock_) {
    nodes.world().network().connect(loop_, to, {}, Millis(1000), [=, this](Result<std::unique_ptr<env::Stream>> got) {
      if (!got.ok()) return;
      stream_ = std::move(got).value();
      stream_->set_handler(this);
      std::string body;
      Encoder(body).id(kDataGroup);
      raft::encode(message, body);
      net::FrameWriter frame(stream_->outbox());
      frame.message(net::kHelloType, 0, net::encode_hello(hello));
      frame.message(static_cast<uint8_t>(PeerMessage::kRaft), 0, body);
      frame.finish();
      stream_->wrote();
    });
  }
  size_t on_data(env::Stream&, std::string_view data) override { return data.size(); }
  void on_closed(env::Stream&, const Status&) override { closed = true; }
  bool closed = false;

 private:
  Clock clock_;
  SimLoop loop_;
  std::unique_ptr<env::Stream> stream_;
};

// A node that was removed and a new one at its address: what is meant for the old one never reaches the new one, and
// the old one is no longer listened to.
TEST(Scenario, R58_new_node_same_address) {
  Nodes nodes(4, 4, [](size_t, node::NodeOptions& options) { options.replication = 3; });
  size_t leader = nodes.wait_leader();
  const size_t old = nodes.has_group((leader + 1) % 4) ? (leader + 1) % 4 : (leader + 2) % 4;
  size_t other = (leader + 3) % 4;
  if (other == old || !nodes.has_group(other)) other = (leader + 2) % 4;
  ASSERT_TRUE(nodes.put(leader, "k", "1").ok());
  nodes.pass(Millis(1'000));  // all have told their addresses
  nodes.settle();
  const NodeId old_id = nodes.id(old);
  const env::Address there = nodes.address(old);
  nodes.crash(old);
  // Its replica goes to the node that has none; nobody counts on it then.
  const api::ClusterReply drained = nodes.change(leader, api::DrainNode{.node = old_id});
  ASSERT_TRUE(drained.status.ok()) << drained.status.to_string();
  nodes.wait_plan_done(leader, drained.plan);
  ASSERT_TRUE(nodes.change(leader, api::RemoveNode{.node = old_id}).status.ok());
  nodes.until([&] { return !nodes.group(leader, kControlGroup).core().membership().contains(old_id); });
  const api::ClusterReply added = nodes.change(leader, api::AddNode{.name = "n5", .peer_address = there.to_string()});
  ASSERT_TRUE(added.status.ok()) << added.status.to_string();
  ASSERT_NE(added.node, old_id);
  const size_t fresh = nodes.add_host("n5", there);
  const node::JoinTicket ticket = nodes.ticket_for(leader, "n5");
  // A member that slept through it wakes up with a directory that knows the old node at that address.
  nodes.crash(other);
  ASSERT_TRUE(nodes.start(fresh, &ticket).ok());
  ASSERT_TRUE(nodes.start(other).ok());
  nodes.until([&] { return nodes.group(leader, kControlGroup).core().membership().voters.contains(added.node); });
  // And it takes the place of another in the group that has the data.
  const api::ClusterReply moved = nodes.change(leader, api::DrainNode{.node = nodes.id(other)});
  ASSERT_TRUE(moved.status.ok()) << moved.status.to_string();
  nodes.wait_plan_done(leader, moved.plan);
  nodes.until([&] { return !nodes.has_group(other) && nodes.has_group(fresh); });
  leader = nodes.wait_leader();
  nodes.settle();
  const Term term = nodes.group(fresh).core().term();

  // A frame for the old identity, from a member.
  const node::Identity& member = nodes.node(other).identity();
  const net::Hello hello{.cluster = member.cluster,
                         .node = member.node,
                         .store = member.store,
                         .boot = member.boot,
                         .name = member.name,
                         .peer_address = nodes.address(other).to_string()};
  const raft::Message for_old{.from = member.node, .to = old_id, .term = Term(1000), .body = raft::Heartbeat{}};
  const Stranger frame(nodes, there, hello, for_old);
  nodes.until([&] { return frame.closed; });
  // The old node itself, alive at another address.
  net::Hello ghost = hello;
  ghost.node = old_id;
  const raft::Message from_old{.from = old_id,
                               .to = added.node,
                               .term = Term(1000),
                               .body = raft::Vote{.pre = false, .transfer = true, .last = {Index(1000), Term(999)}}};
  const Stranger voice(nodes, there, ghost, from_old);
  nodes.until([&] { return voice.closed; });
  nodes.pass(Millis(2000));
  EXPECT_EQ(nodes.group(fresh).core().term(), term);
  EXPECT_EQ(nodes.leader(), leader);
  EXPECT_EQ(nodes.get(fresh, "k").value, "1");
  EXPECT_EQ(nodes.hash(fresh), nodes.hash(leader));
}

// --- Expiry ----------------------------------------------------------------------------------------------------------

// A time to live becomes a moment when the log takes it, and that moment is the same on replicas whose clocks differ
// and on one that applies the entry much later.
TEST(Scenario, D08_ttl_absolute_deadline) {
  Nodes nodes(7, 3);
  nodes.set_wall_offset(1, 5'000);
  nodes.set_wall_offset(2, -5'000);
  for (size_t leader = 0; leader < 3; ++leader) {
    nodes.make_leader(leader);
    const std::string key = "k" + std::to_string(leader);
    const WallMillis before = nodes.loop(leader).wall_now();
    ASSERT_TRUE(nodes.put(leader, key, "v", in(60'000)).ok());
    nodes.settle();
    const WallMillis deadline = nodes.get(leader, key, api::Consistency::kStale).deadline.value();
    EXPECT_GE(deadline, before + 60'000) << "never early by the clock of who stamped it";
    const size_t late = (leader + 1) % 3;
    nodes.crash(late);
    nodes.pass(Millis(3'000));
    ASSERT_TRUE(nodes.start(late).ok());
    nodes.settle();
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(nodes.get(i, key, api::Consistency::kStale).deadline, deadline) << i;
      EXPECT_EQ(nodes.hash(i), nodes.hash(leader)) << i;
    }
  }
}

// A new leader neither ends a life early nor gives one back.
TEST(Scenario, D10_ttl_failover) {
  Nodes nodes(8, 3);
  const size_t first = nodes.wait_leader();
  ASSERT_TRUE(nodes.put(first, "k", "v", in(10'000)).ok());
  // Others end before it, so that the sweep has looked.
  for (const int64_t millis : {3'000, 6'000, 9'000, 9'700}) {
    ASSERT_TRUE(nodes.put(first, "sooner" + std::to_string(millis), "v", in(millis)).ok());
  }
  nodes.settle();
  const WallMillis deadline = nodes.get(first, "k").deadline.value();
  nodes.crash(first);
  const size_t second = nodes.wait_leader();
  ASSERT_TRUE(nodes.start(first).ok());
  const auto wall = [&](size_t i) { return nodes.loop(i).wall_now(); };
  uint64_t reads = 0;
  while (wall(second) + 200 < deadline) {
    const Seen seen = nodes.get(reads++ % 3, "k");
    ASSERT_TRUE(seen.status.ok());
    ASSERT_TRUE(seen.value.has_value()) << deadline - wall(second) << " ms early";
    EXPECT_EQ(seen.deadline, deadline);
    nodes.pass(Millis(100));
  }
  EXPECT_GT(reads, 20u);
  nodes.until([&] { return wall(second) >= deadline; });
  // Through the leader at once; through the others once they see that it has said so.
  const size_t last = nodes.wait_leader();
  for (const size_t i : {last, (last + 1) % 3, (last + 2) % 3}) EXPECT_EQ(nodes.get(i, "k").value, std::nullopt) << i;
}

// What a leader with a fast clock has shown to be gone stays gone under one with a slow clock.
TEST(Scenario, D09_nothing_revives_under_a_slower_clock) {
  Nodes nodes(9, 3);
  const size_t fast = nodes.wait_leader();
  const size_t slow = (fast + 1) % 3;
  ASSERT_TRUE(nodes.put(fast, "k", "v", in(4'000)).ok());
  nodes.settle();
  nodes.set_wall_offset(fast, 60'000);
  nodes.set_wall_offset(slow, -60'000);
  ASSERT_EQ(nodes.get(fast, "k").value, std::nullopt);
  nodes.crash(fast);
  nodes.wait_leader();
  nodes.make_leader(slow);
  EXPECT_EQ(nodes.get(slow, "k").value, std::nullopt);
  EXPECT_EQ(nodes.get(slow, "k", api::Consistency::kStale).value, std::nullopt);
}

// --- Nodes that come and go ------------------------------------------------------------------------------------------

api::AddNode addition(uint64_t number) {
  return {.name = "n" + std::to_string(number), .peer_address = "10.0.0." + std::to_string(number) + ":7380"};
}
const raft::Membership& controllers(Nodes& nodes, size_t i) {
  return nodes.group(i, kControlGroup).core().membership();
}
// Names and ids of the nodes that there are, as one of them knows it.
std::map<std::string, NodeId> present(Nodes& nodes, size_t asked) {
  std::map<std::string, NodeId> names;
  for (const auto& [id, node] : nodes.chart(asked)->config->nodes) {
    if (node.state == ctrl::NodeState::kRemoved) continue;
    EXPECT_TRUE(names.emplace(node.record.name, id).second) << node.record.name << " is there twice";
  }
  return names;
}

// The controller's log says who is added, and its leader is lost before it could change the members: the next one does.
TEST(Scenario, an_addition_that_broke_off_can_be_tried_again_or_undone) {
  Nodes nodes(41, 3);
  const size_t first = nodes.wait_leader(kControlGroup);
  const size_t asked = (first + 1) % 3;
  nodes.settle(kControlGroup);
  nodes.network().set_tap([&](Passing& passing) {
    GroupId group;
    const std::optional<raft::Message> message = raft_message(passing, group);
    const raft::Append* append = message ? std::get_if<raft::Append>(&message->body) : nullptr;
    if (append == nullptr || group != kControlGroup || passing.from != nodes.host_id(first)) return Fate::kPass;
    const bool changes_members = std::any_of(append->entries.begin(), append->entries.end(),
                                             [](const Entry& entry) { return entry.type == EntryType::kConfig; });
    return changes_members ? Fate::kDrop : Fate::kPass;
  });
  const auto added = nodes.begin_change(asked, addition(4));
  nodes.until([&] { return present(nodes, asked).contains("n4"); });
  ASSERT_FALSE(controllers(nodes, asked).contains(NodeId(4)));
  nodes.crash(first);
  nodes.network().set_tap(nullptr);
  nodes.until([&] { return controllers(nodes, asked).contains(NodeId(4)); });
  EXPECT_EQ(nodes.change(asked, addition(4)).status.code(), ErrorCode::kAlreadyExists);
  ASSERT_TRUE(nodes.start(first).ok());
  nodes.settle(kControlGroup);
  EXPECT_TRUE(controllers(nodes, first).contains(NodeId(4)));

  ASSERT_TRUE(nodes.change(asked, addition(5)).status.ok());
  const api::RemoveNode remove{.node = NodeId(5)};
  EXPECT_TRUE(nodes.change(asked, remove).status.ok());
  EXPECT_EQ(nodes.change(asked, remove).status.code(), ErrorCode::kNotFound);
  EXPECT_EQ(nodes.change(asked, addition(5)).node, NodeId(6)) << "an id is never given out again";
  nodes.until([&] { return controllers(nodes, asked).contains(NodeId(6)); });
  EXPECT_FALSE(controllers(nodes, asked).contains(NodeId(5)));
}

// An addition is asked for twice before the first is done: one name, one node.
TEST(Scenario, two_additions_of_one_name_make_one_member) {
  Nodes nodes(42, 3);
  std::vector<Pending<api::ClusterReply>> answers;
  for (size_t i = 0; i < 3; ++i) answers.push_back(nodes.begin_change(i, addition(4)));
  nodes.until(
      [&] { return std::all_of(answers.begin(), answers.end(), [](const auto& a) { return a->has_value(); }); });
  size_t added = 0;
  for (const auto& answer : answers) {
    if ((*answer)->status.ok()) {
      ++added;
    } else {
      EXPECT_EQ((*answer)->status.code(), ErrorCode::kAlreadyExists);
    }
  }
  EXPECT_EQ(added, 1u);
  nodes.pass(Millis(1'000));
  nodes.settle(kControlGroup);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(nodes.status(i, kControlGroup).learners, std::vector<NodeId>{NodeId(4)});
    EXPECT_EQ(nodes.ticket_for(i, "n4").node, NodeId(4));
  }
}

// Nodes are added through a leader of the controller that hands over, and through the next.
TEST(Scenario, an_id_given_while_leadership_moves_is_nobody_elses) {
  Nodes nodes(44, 3);
  const size_t old = nodes.wait_leader(kControlGroup);
  const size_t next = (old + 1) % 3;
  nodes.settle(kControlGroup);
  nodes.group(old, kControlGroup).transfer(nodes.id(next), [](const Status&) {});
  const auto first = nodes.begin_change(old, addition(6));
  nodes.until([&] { return nodes.group(next, kControlGroup).leads(); });
  // What the old leader passes on to the new one comes late.
  nodes.world().slow_link(nodes.host_id(old), nodes.host_id(next), Millis(200));
  const auto second = nodes.begin_change(next, addition(7));
  nodes.until([&] { return first->has_value() && second->has_value(); });
  nodes.settle(kControlGroup);
  EXPECT_TRUE((*first)->status.ok() || is_indeterminate((*first)->status.code())) << (*first)->status.to_string();
  EXPECT_TRUE((*second)->status.ok()) << (*second)->status.to_string();
  EXPECT_NE((*first)->node, (*second)->node);
  const std::map<std::string, NodeId> names = present(nodes, next);
  EXPECT_EQ(names.at("n7"), (*second)->node);
  if ((*first)->status.ok()) {
    EXPECT_EQ(names.at("n6"), (*first)->node);
  }
  nodes.until([&] { return controllers(nodes, next).members().size() == names.size(); });
  for (const auto& [name, id] : names) EXPECT_TRUE(controllers(nodes, next).contains(id)) << name;
}

// A node is removed while it is being made a member, and the change cannot be taken back: the controller goes on until
// it is out.
TEST(Scenario, a_removal_overtaken_by_the_addition_goes_on) {
  Nodes nodes(43, 3);
  const size_t leader = nodes.wait_leader(kControlGroup);
  nodes.settle(kControlGroup);
  ASSERT_TRUE(nodes.change(leader, addition(4)).status.ok());
  nodes.until([&] { return controllers(nodes, leader).contains(NodeId(4)); });
  const raft::Core& core = nodes.group(leader, kControlGroup).core();
  ASSERT_GT(core.membership_index(), core.commit_index());
  ASSERT_TRUE(nodes.change(leader, api::RemoveNode{.node = NodeId(4)}).status.ok());
  nodes.until([&] {
    for (size_t i = 0; i < 3; ++i) {
      if (controllers(nodes, i).contains(NodeId(4))) return false;
    }
    return true;
  });
  nodes.settle(kControlGroup);
  EXPECT_FALSE(present(nodes, leader).contains("n4"));
}

// --- Leases ----------------------------------------------------------------------------------------------------------

// A node is held up between the moment its lease was good and the moment it answers: it asks a quorum instead.
TEST(Scenario, R45_a_lease_read_is_checked_again_before_it_is_answered) {
  Nodes nodes(14, 3, [](size_t, node::NodeOptions& options) { options.read_consistency = api::Consistency::kLease; });
  const size_t old = nodes.wait_leader();
  const size_t other = (old + 1) % 3;
  ASSERT_TRUE(nodes.put(old, "k", "old").ok());
  nodes.pass(Millis(1'000));
  nodes.isolate(old);
  EXPECT_EQ(nodes.get(old, "k", api::Consistency::kLease).value, "old") << "nobody else can lead yet";
  nodes.loop(old).held_up = Millis(10'000);
  const auto held_up = nodes.begin_get(old, "k", api::Consistency::kLease);
  // A newer leader, and a newer value, while it sleeps.
  nodes.until([&] { return nodes.leader() != SIZE_MAX && nodes.leader() != old; });
  ASSERT_TRUE(nodes.put(other, "k", "new").ok());
  nodes.loop(old).held_up = Micros(0);
  nodes.until([&] { return held_up->has_value(); });
  EXPECT_FALSE((*held_up)->status.ok());
  EXPECT_FALSE(nodes.get(old, "k", api::Consistency::kLease).status.ok());
  nodes.heal();
  nodes.settle();
  EXPECT_EQ(nodes.get(old, "k", api::Consistency::kLease).value, "new");
}

// --- Disks -----------------------------------------------------------------------------------------------------------

// Every node loses its power at once, in the middle of writes through all of them: what was acknowledged is there.
TEST(Scenario, S01_power_cut_of_every_node) {
  Nodes nodes(10, 3, [](size_t, node::NodeOptions& options) { options.snapshot_log_bytes = 4'000; });
  std::map<std::string, std::string> acknowledged;
  uint64_t number = 0;
  for (uint64_t round = 0; round < 12; ++round) {
    nodes.wait_leader();
    std::vector<std::pair<std::string, Pending<api::WriteReply>>> writes;
    const uint64_t wanted = 1 + nodes.world().rng().below(30);
    const auto answered = [&] {
      return static_cast<uint64_t>(std::count_if(writes.begin(), writes.end(), [](const auto& write) {
        return write.second->has_value() && (*write.second)->status.ok();
      }));
    };
    while (answered() < wanted) {
      const std::string key = "k" + std::to_string(++number);
      writes.emplace_back(key, nodes.begin_write(number % 3, {api::Put{.key = key, .value = key}}));
      if (number % 5 == 0) nodes.pass(Micros(static_cast<int64_t>(nodes.world().rng().below(3000))));
    }
    const uint64_t seed = nodes.world().rng().next();
    for (size_t i = 0; i < 3; ++i) {
      nodes.crash(i, round % 2 == 0 ? CrashPolicy::drop_all() : CrashPolicy::random(seed + i));
    }
    for (const auto& [key, reply] : writes) {
      if (reply->has_value() && (*reply)->status.ok()) acknowledged[key] = key;
    }
    for (size_t i = 0; i < 3; ++i) ASSERT_TRUE(nodes.start(i).ok());
  }
  const size_t leader = nodes.wait_leader();
  for (const auto& [key, value] : acknowledged) ASSERT_EQ(nodes.get(leader, key).value, value) << key;
  EXPECT_GT(acknowledged.size(), 100u);
  nodes.settle();
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(nodes.hash(i), nodes.hash(leader));
}

// One disk of three is lost for good, after the power of all: everything acknowledged is on the other two. The node
// that comes back empty has forgotten its promises and helps nobody to lead.
TEST(Scenario, S01_loss_of_one_disk) {
  for (size_t lost = 0; lost < 3; ++lost) {
    Nodes nodes(15 + lost, 3);
    nodes.wait_leader();
    nodes.settle();
    for (int i = 0; i < 30; ++i) {
      const std::string key = "k" + std::to_string(i);
      ASSERT_TRUE(nodes.put(static_cast<size_t>(i) % 3, key, key).ok());
    }
    for (size_t i = 0; i < 3; ++i) nodes.crash(i);
    nodes.fs(lost).format();
    const size_t one = (lost + 1) % 3, two = (lost + 2) % 3;
    ASSERT_TRUE(nodes.start(lost).ok());
    ASSERT_TRUE(nodes.start(one).ok());
    nodes.pass(Millis(10'000));
    EXPECT_EQ(nodes.leader(), SIZE_MAX) << "elected with a vote that was forgotten";
    ASSERT_TRUE(nodes.start(two).ok());
    nodes.until([&] { return nodes.leader() != SIZE_MAX; });
    EXPECT_NE(nodes.leader(), lost);
    for (int i = 0; i < 30; ++i) {
      const std::string key = "k" + std::to_string(i);
      ASSERT_EQ(nodes.get(nodes.leader(), key).value, key);
    }
  }
}

// A directory comes back as it was before its last start, or the one before that. What it promised since is gone, so
// that nobody takes its vote, however often it is started before it meets the others.
TEST(Scenario, an_older_copy_of_a_directory_helps_nobody_to_lead) {
  for (int starts_since = 1; starts_since <= 2; ++starts_since) {
    for (int starts_alone = 0; starts_alone <= 3; ++starts_alone) {
      Nodes nodes(40, 3);
      const size_t leader = nodes.wait_leader();
      const size_t old = (leader + 1) % 3, behind = (leader + 2) % 3;
      ASSERT_TRUE(nodes.put(leader, "k", "1").ok());
      nodes.settle();
      nodes.crash(old);
      std::unique_ptr<env::testing::FakeFs> copy = nodes.fs(old).clone();
      for (int i = 0; i < starts_since; ++i) {
        if (nodes.up(old)) nodes.crash(old);
        ASSERT_TRUE(nodes.start(old).ok());
        nodes.until([&] { return nodes.converged(); });
        nodes.pass(Millis(3'000));  // all have met
      }
      nodes.make_leader(leader);
      nodes.isolate(behind);
      ASSERT_TRUE(nodes.put(leader, "k", "2").ok()) << "with the vote of the node that is to forget it";
      nodes.crash(leader);
      nodes.crash(old);
      nodes.heal();
      nodes.set_disk(old, std::move(copy));
      nodes.isolate(old);
      for (int i = 0; i < starts_alone; ++i) {
        ASSERT_TRUE(nodes.start(old).ok());
        nodes.pass(Millis(1'000));
        nodes.crash(old);
      }
      nodes.heal();
      ASSERT_TRUE(nodes.start(old).ok());
      nodes.pass(Millis(10'000));
      EXPECT_EQ(nodes.leader(), SIZE_MAX)
          << "elected with a vote that was forgotten, after " << starts_since << " and " << starts_alone << " starts";
      ASSERT_TRUE(nodes.start(leader).ok());
      nodes.until([&] { return nodes.leader() != SIZE_MAX; });
      EXPECT_NE(nodes.leader(), old);
      EXPECT_EQ(nodes.get(nodes.leader(), "k").value, "2");
    }
  }
}

// A log with a hole does not vote: with one good node beside it there is no leader; with two there is.
TEST(Scenario, S04_node_with_rot_does_not_vote) {
  Nodes nodes(11, 3);
  const size_t leader = nodes.wait_leader();
  const size_t rotten = (leader + 1) % 3, good = (leader + 2) % 3;
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(nodes.put(leader, "k" + std::to_string(i), std::string(600, 'x')).ok());
  nodes.settle();
  for (size_t i = 0; i < 3; ++i) nodes.crash(i);
  std::string log;
  const std::vector<std::string> names = nodes.fs(rotten).list("/data/wal").value();
  for (const std::string& name : names) {
    if (nodes.fs(rotten).contents("/data/wal/" + name).find("xxxx") != std::string::npos) log = "/data/wal/" + name;
  }
  ASSERT_NE(log, "");
  nodes.fs(rotten).flip_bit(log, 8 * (nodes.fs(rotten).contents(log).find("xxxx") + 100));
  ASSERT_TRUE(nodes.start(rotten).ok());
  ASSERT_TRUE(nodes.start(good).ok());
  EXPECT_EQ(nodes.group(rotten).halt_reason().code(), ErrorCode::kDataLoss);
  nodes.pass(Millis(10'000));
  EXPECT_EQ(nodes.leader(), SIZE_MAX);
  EXPECT_EQ(nodes.put(rotten, "k", "1").code(), ErrorCode::kUnavailable);
  ASSERT_TRUE(nodes.start(leader).ok());
  nodes.until([&] { return nodes.leader() != SIZE_MAX; });
  EXPECT_EQ(nodes.get(good, "k19").value, std::string(600, 'x'));
}

// The first failed sync is the node's last word: nothing is acknowledged on the strength of a second try.
TEST(Scenario, S05_no_answer_after_a_failed_sync) {
  Nodes nodes(12, 1);
  nodes.wait_leader();
  ASSERT_TRUE(nodes.put(0, "a", "1").ok());
  nodes.settle();
  nodes.fs(0).fail_once(env::testing::FsOp::kSync, 1, ErrorCode::kIo, "/wal/");
  const auto first = nodes.begin_write(0, {api::Put{.key = "b", .value = "1"}});
  nodes.until([&] { return !nodes.fatal(0).ok(); });
  const auto second = nodes.begin_write(0, {api::Put{.key = "c", .value = "1"}});
  nodes.pass(Millis(3'000));
  EXPECT_FALSE(first->has_value() && (*first)->status.ok());
  EXPECT_FALSE(second->has_value() && (*second)->status.ok());
  nodes.crash(0);
  ASSERT_TRUE(nodes.start(0).ok());
  nodes.wait_leader();
  EXPECT_EQ(nodes.get(0, "a").value, "1");
}

// --fsync no: what was acknowledged may be gone after a power cut, and the node says so beforehand.
TEST(Scenario, without_sync_a_power_cut_may_lose_what_was_acknowledged) {
  Nodes nodes(13, 1, [](size_t, node::NodeOptions& options) { options.fsync = node::FsyncMode::kNo; });
  nodes.wait_leader();
  ASSERT_TRUE(nodes.put(0, "a", "1").ok());
  std::vector<std::string> warnings;
  nodes.node(0).admin(0).status([&](const api::NodeStatus& status) { warnings = status.warnings; });
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("unsafe"), std::string::npos);
  nodes.crash(0, CrashPolicy::drop_all());
  const Status started = nodes.start(0);
  if (!started.ok()) {
    EXPECT_EQ(started.code(), ErrorCode::kDataLoss) << started.to_string();
    return;
  }
  nodes.wait_leader();
  EXPECT_EQ(nodes.get(0, "a").value, std::nullopt);
}

}  // namespace
}  // namespace flux::sim
