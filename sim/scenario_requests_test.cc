// Goal: whoever sent a request is told what became of it, through every change of leaders.
#include "scenario.h"

#include <gtest/gtest.h>

namespace flux::sim {
namespace {

// The leader dies when its followers have the write and the client has no answer. The retry finds it done.
TEST(Scenario, D01_retry_on_new_leader) {
  Nodes nodes(5, 3);
  const size_t first = nodes.wait_leader();
  ASSERT_TRUE(nodes.write(first, {api::OpenSession{.client = 7}}).status.ok());
  nodes.settle();
  const std::vector<api::Command> increment = {api::Increment{.key = "n", .delta = 1}};
  for (const size_t i : {(first + 1) % 3, (first + 2) % 3}) {
    nodes.world().cut(nodes.host_id(i), nodes.host_id(first));
  }
  const auto unanswered = nodes.begin_write(first, increment, {.client = 7, .sequence = 1});
  const Index index = nodes.group(first).core().last_index();
  nodes.until([&] {
    return nodes.group((first + 1) % 3).core().last_index() >= index &&
           nodes.group((first + 2) % 3).core().last_index() >= index;
  });
  ASSERT_FALSE(unanswered->has_value());
  nodes.crash(first);
  nodes.heal();
  const size_t second = nodes.wait_leader();
  ASSERT_EQ(nodes.get(second, "n").value, "1") << "the write is in the log";
  const api::WriteReply retried = nodes.write(second, increment, {.client = 7, .sequence = 1});
  ASSERT_TRUE(retried.status.ok());
  EXPECT_EQ(retried.results.at(0).integer, 1);
  EXPECT_EQ(retried.position.index, index) << "the answer of the first time";
  EXPECT_EQ(nodes.get(second, "n").value, "1");
  // And on the one after that, which applies the log anew.
  ASSERT_TRUE(nodes.start(first).ok());
  nodes.settle();
  nodes.make_leader(first);
  EXPECT_EQ(nodes.write(first, increment, {.client = 7, .sequence = 1}).results.at(0).integer, 1);
  EXPECT_EQ(nodes.write(first, increment, {.client = 7, .sequence = 2}).results.at(0).integer, 2);
}

// A leader that loses its quorum, a link that is lost under a forwarded write: the outcome is unknown. No leader: a
// definite refusal, and what was refused never happens.
TEST(Scenario, D18_error_mapping) {
  Nodes nodes(6, 3);
  const size_t leader = nodes.wait_leader();
  const size_t follower = (leader + 1) % 3;
  // A follower passes it on; the client sees no redirect.
  ASSERT_TRUE(nodes.put(follower, "k", "0").ok());

  nodes.isolate(leader);
  const auto proposed = nodes.begin_write(leader, {api::Put{.key = "proposed", .value = "1"}});
  nodes.until([&] { return proposed->has_value(); });
  EXPECT_EQ((*proposed)->status.code(), ErrorCode::kOutcomeUnknown);
  EXPECT_FALSE(nodes.group(leader).leads());
  const auto parked = nodes.begin_write(leader, {api::Put{.key = "parked", .value = "1"}});
  const auto read = nodes.begin_get(leader, "k");
  nodes.until([&] { return parked->has_value() && read->has_value(); });
  EXPECT_EQ((*parked)->status.code(), ErrorCode::kUnavailable);
  EXPECT_FALSE(is_indeterminate((*parked)->status.code()));
  EXPECT_FALSE((*read)->status.ok());
  nodes.heal();
  nodes.settle();
  EXPECT_EQ(nodes.get(follower, "parked").value, std::nullopt);

  // The leader gets a forwarded write and its answer is lost with the process. It should lead: none is handed
  // leadership.
  nodes.until([&] {
    const size_t leads = nodes.leader();
    return leads != SIZE_MAX && nodes.id(leads) == nodes.chart(leads)->config->group(kDataGroup)->leader;
  });
  nodes.settle();
  const size_t next = nodes.wait_leader();
  const size_t asked = (next + 1) % 3;
  ASSERT_TRUE(nodes.put(asked, "k", "0").ok()) << "so that there is a connection";
  nodes.world().cut(nodes.host_id(next), nodes.host_id(asked));
  const auto forwarded = nodes.begin_write(asked, {api::Put{.key = "forwarded", .value = "1"}});
  nodes.until([&] { return forwarded->has_value(); });
  EXPECT_EQ((*forwarded)->status.code(), ErrorCode::kOutcomeUnknown);
  nodes.heal();
  nodes.settle();
  EXPECT_EQ(nodes.get(asked, "forwarded").value, "1") << "it did happen";

  // The leader dies with a forwarded write in its log: the link is lost, and nobody sends the write a second time.
  const size_t dying = nodes.wait_leader();
  const size_t through = (dying + 1) % 3, third = (dying + 2) % 3;
  nodes.settle();
  const Index index = nodes.group(dying).core().last_index() + 1;
  nodes.network().set_tap(drop_append_results);
  const auto once = nodes.begin_write(through, {api::Increment{.key = "once", .delta = 1}});
  nodes.until([&] {
    return nodes.group(through).core().last_index() >= index && nodes.group(third).core().last_index() >= index;
  });
  ASSERT_FALSE(once->has_value());
  nodes.crash(dying);
  nodes.network().set_tap(nullptr);
  nodes.until([&] { return once->has_value(); });
  EXPECT_EQ((*once)->status.code(), ErrorCode::kOutcomeUnknown);
  nodes.wait_leader();
  EXPECT_EQ(nodes.get(through, "once").value, "1");
  ASSERT_TRUE(nodes.start(dying).ok());

  // A leader that has just handed over: the write finds the next one, once.
  const size_t from = nodes.wait_leader();
  const auto counted = nodes.begin_write((from + 1) % 3, {api::Increment{.key = "count", .delta = 1}});
  nodes.make_leader((from + 2) % 3);
  nodes.until([&] { return counted->has_value(); });
  const std::optional<std::string> count = nodes.get(from, "count").value;
  if ((*counted)->status.ok()) {
    EXPECT_EQ(count, "1");
  } else if (!is_indeterminate((*counted)->status.code())) {
    EXPECT_EQ(count, std::nullopt);
  }
}

// A write that was gathered as leadership began to be handed over was not proposed: the next leader takes it.
TEST(Scenario, a_write_gathered_as_a_transfer_begins_goes_to_the_next_leader) {
  Nodes nodes(46, 3);
  const size_t leader = nodes.wait_leader();
  const size_t next = (leader + 1) % 3;
  nodes.settle();
  const uint64_t refused = nodes.group(leader).core().counters().proposals_refused;
  const std::vector<api::Command> increment = {api::Increment{.key = "n", .delta = 1}};
  std::optional<Status> gathered, transferred;
  nodes.in_turn(leader, [&] {
    nodes.group(leader).write({.commands = increment}, [&](const api::WriteReply& reply) { gathered = reply.status; });
    nodes.group(leader).transfer(nodes.id(next), [&](const Status& status) { transferred = status; });
  });
  nodes.until([&] { return gathered && transferred; });
  EXPECT_TRUE(transferred->ok()) << transferred->to_string();
  EXPECT_TRUE(gathered->ok()) << gathered->to_string();
  EXPECT_EQ(nodes.group(leader).core().counters().proposals_refused, refused + 1) << "it was gathered in time";
  EXPECT_EQ(nodes.get(leader, "n").value, "1");
}

// The target of a transfer does not take over: what has waited for it goes on soon after the leader knows.
TEST(Scenario, a_write_that_waits_for_a_transfer_outlives_its_failure) {
  Nodes nodes(47, 3);
  const size_t leader = nodes.wait_leader();
  const size_t next = (leader + 1) % 3;
  nodes.settle();
  nodes.world().cut(nodes.host_id(leader), nodes.host_id(next));
  std::optional<Status> transferred;
  nodes.group(leader).transfer(nodes.id(next), [&](const Status& status) { transferred = status; });
  const auto waits = nodes.begin_write(leader, {api::Put{.key = "k", .value = "v"}});
  nodes.until([&] { return transferred.has_value(); });
  EXPECT_EQ(transferred->code(), ErrorCode::kTimeout);
  ASSERT_FALSE(waits->has_value());
  nodes.pass(Millis(50));
  ASSERT_TRUE(waits->has_value());
  EXPECT_TRUE((*waits)->status.ok()) << (*waits)->status.to_string();
}

// A leader is lost to its quorum with a write on its way. Whoever leads next, the log says what became of it.
TEST(Scenario, what_becomes_of_a_write_is_learnt_from_the_next_leader) {
  Nodes nodes(48, 3);
  const size_t old = nodes.wait_leader();
  const size_t a = (old + 1) % 3, b = (old + 2) % 3;
  nodes.settle();
  // The others have it, and the leader does not hear of it.
  const Index index = nodes.group(old).core().last_index() + 1;
  nodes.network().set_tap(drop_append_results);
  const auto kept = nodes.begin_write(old, {api::Increment{.key = "n", .delta = 1}});
  nodes.until(
      [&] { return nodes.group(a).core().last_index() >= index && nodes.group(b).core().last_index() >= index; });
  nodes.isolate(old);
  nodes.network().set_tap(nullptr);
  nodes.until([&] { return !nodes.group(old).leads(); });
  EXPECT_FALSE(kept->has_value()) << "it may still be";
  nodes.heal();
  nodes.until([&] { return kept->has_value(); });
  ASSERT_TRUE((*kept)->status.ok()) << (*kept)->status.to_string();
  EXPECT_EQ((*kept)->results.at(0).integer, 1);
  EXPECT_EQ((*kept)->position.index, index);
  EXPECT_EQ(nodes.get(old, "n").value, "1");

  // Nobody else has it, and the next leader's writes take its place.
  nodes.settle();
  const size_t cut_off = nodes.wait_leader();
  const size_t other = (cut_off + 1) % 3;
  nodes.isolate(cut_off);
  const auto replaced = nodes.begin_write(cut_off, {api::Increment{.key = "n", .delta = 10}});
  nodes.until([&] { return nodes.leader() != cut_off && nodes.leader() != SIZE_MAX; });
  EXPECT_FALSE(replaced->has_value());
  nodes.heal();
  nodes.until([&] { return replaced->has_value(); });
  EXPECT_EQ((*replaced)->status.code(), ErrorCode::kUnavailable) << (*replaced)->status.to_string();
  EXPECT_EQ(nodes.get(other, "n").value, "1") << "it did not happen and never will";
}

// What the others have made a snapshot of cannot be told from it: the write has happened, and whoever waits for it is
// not told that it has not.
TEST(Scenario, a_write_that_went_into_a_snapshot_is_not_said_to_be_lost) {
  Nodes nodes(49, 3, [](size_t, node::NodeOptions& options) {
    options.snapshot_log_bytes = 20'000;
    options.request_timeout = Millis(60'000);
  });
  const size_t old = nodes.wait_leader();
  const size_t a = (old + 1) % 3, b = (old + 2) % 3;
  nodes.settle();
  const Index index = nodes.group(old).core().last_index() + 1;
  // Nothing that the others say reaches it.
  nodes.network().set_tap(
      [&](Passing& passing) { return passing.to == nodes.address(old).to_string() ? Fate::kDrop : Fate::kPass; });
  const auto written = nodes.begin_write(old, {api::Put{.key = "k", .value = "v"}});
  nodes.until(
      [&] { return nodes.group(a).core().last_index() >= index && nodes.group(b).core().last_index() >= index; });
  nodes.isolate(old);  // nor what it says the others
  nodes.until([&] { return nodes.leader() == a || nodes.leader() == b; });
  for (int i = 0; nodes.group(a).core().base_id().index <= index || nodes.group(b).core().base_id().index <= index;
       ++i) {
    ASSERT_LT(i, 500) << "the log does not get shorter";
    ASSERT_TRUE(nodes.put(a, "filler", std::string(900, 'f')).ok());
  }
  EXPECT_FALSE(written->has_value());
  nodes.network().set_tap(nullptr);
  nodes.heal();
  nodes.until([&] { return written->has_value(); });
  EXPECT_EQ((*written)->status.code(), ErrorCode::kOutcomeUnknown) << (*written)->status.to_string();
  EXPECT_EQ(nodes.get(old, "k").value, "v");
}

}  // namespace
}  // namespace flux::sim
