// Goal: a group with nothing to do costs next to nothing, and is there at once when it is needed.
#include <gtest/gtest.h>

#include "raft/testing/cluster.h"

namespace flux::raft::testing {
namespace {

constexpr Millis kIdleInterval{1'000};
constexpr Millis kPatience{2'000};

class Idle : public ::testing::Test {
 protected:
  Idle() {
    cluster.options.idle_heartbeat_interval = kIdleInterval;
    cluster.options.idle_after = Millis(500);
  }
  ~Idle() override {
    for (const std::string& violation : cluster.violations) ADD_FAILURE() << violation;
  }

  // Three voters, led by the first, that have had nothing to do for a while.
  void fall_idle() {
    cluster.bootstrap(3);
    cluster.run(Millis(2'000));
    if (cluster.leader() != 1) cluster.transfer(cluster.leader(), 1);
    cluster.stabilize();
    ASSERT_EQ(cluster.leader(), 1u);
    cluster.propose(1, "a");
    cluster.run(Millis(3'000));
    term = cluster.core(1).term();
    ASSERT_TRUE(cluster.core(1).idles());
    cluster.on_message_sent = [this](const Message& message) {
      ++messages;
      if (std::holds_alternative<Heartbeat>(message.body)) ++heartbeats;
    };
    role_changes = cluster.role_changes;
  }
  uint64_t changes() const { return cluster.role_changes - role_changes; }

  Cluster cluster;
  Term term;
  uint64_t messages = 0, heartbeats = 0, role_changes = 0;
};

TEST_F(Idle, leaders_speak_rarely_and_stay) {
  fall_idle();
  cluster.run(Millis(20'000));
  EXPECT_EQ(heartbeats, 2u * 20);
  EXPECT_EQ(messages, 2 * heartbeats) << "each is answered, and nothing else is said";
  EXPECT_EQ(changes(), 0u);
}

TEST_F(Idle, what_is_asked_wakes_them_and_they_fall_idle_again) {
  fall_idle();
  const uint64_t proposal = cluster.propose(1, "b");
  cluster.stabilize();
  EXPECT_TRUE(cluster.proposals.at(proposal).status.ok());
  EXPECT_FALSE(cluster.core(1).idles());
  heartbeats = 0;
  cluster.run(Millis(400));
  EXPECT_GE(heartbeats, 2u * 3) << "one every 100 ms";
  cluster.run(Millis(2'000));
  EXPECT_TRUE(cluster.core(1).idles());
  const uint64_t read = cluster.read(2);
  cluster.stabilize();
  EXPECT_TRUE(cluster.reads.at(read).status.ok());
  EXPECT_FALSE(cluster.core(1).idles());
  EXPECT_EQ(changes(), 0u);
}

// Heartbeats come half as often where there are many groups, and a node may stand still for as long as anywhere.
TEST_F(Idle, a_frugal_leader_may_stand_still_for_as_long_as_any) {
  for (const bool frugal : {false, true}) {
    Cluster all;
    all.bootstrap(3);
    all.elect(1);
    for (uint64_t node = 1; node <= 3; ++node) all.core(node).be_frugal(frugal);
    all.propose(1, "a");
    all.run(Millis(1'000));
    // What a follower has heard last was said just now; the next word would come in 50 or 100 ms.
    const MonoTime heard = all.now;
    all.isolate(1);
    while (all.leader() == 1 || all.leader() == 0) all.run(Millis(5));
    const Micros silent = all.now - heard;
    EXPECT_GE(silent, Millis(300) - Millis(50)) << frugal;
    EXPECT_LE(silent, Millis(600) + Millis(frugal ? 100 : 50)) << frugal;
  }
}

TEST_F(Idle, nobody_idles_while_a_follower_lacks_something) {
  cluster.bootstrap(3);
  cluster.elect(1);
  cluster.isolate(3);
  cluster.propose(1, "a");
  cluster.run(Millis(5'000));
  EXPECT_FALSE(cluster.core(1).idles());
  cluster.heal();
  cluster.run(Millis(5'000));
  EXPECT_NE(cluster.leader(), 0u);
  EXPECT_TRUE(cluster.core(cluster.leader()).idles());
}

TEST_F(Idle, a_dead_follower_wakes_nobody) {
  fall_idle();
  cluster.crash(3);
  cluster.run(Millis(20'000));
  EXPECT_TRUE(cluster.core(1).idles());
  EXPECT_EQ(heartbeats, 2u * 20);
  EXPECT_EQ(changes(), 0u);
}

TEST_F(Idle, a_leader_whose_connections_break_is_replaced_as_soon_as_ever) {
  fall_idle();
  cluster.crash(1);
  cluster.step(2, LeaderGone{NodeId(1)});
  cluster.step(3, LeaderGone{NodeId(1)});
  cluster.run(Millis(100));
  EXPECT_NE(cluster.leader(), 0u);
  EXPECT_NE(cluster.leader(), 1u);
}

TEST_F(Idle, with_leases_the_promise_is_kept_and_not_the_patience) {
  cluster.options.leader_lease = true;
  cluster.options.clock_drift_ppm_max = 1'000;
  fall_idle();
  cluster.crash(1);
  cluster.step(2, LeaderGone{NodeId(1)});
  cluster.step(3, LeaderGone{NodeId(1)});
  cluster.run(Millis(1'300));
  EXPECT_NE(cluster.leader(), 0u);
}

TEST_F(Idle, a_leader_that_falls_silent_is_replaced_once_the_patience_is_over) {
  fall_idle();
  cluster.isolate(1);
  cluster.run(kPatience);
  EXPECT_EQ(cluster.leader(), 1u);
  cluster.run(Millis(2'000));
  EXPECT_NE(cluster.leader(), 1u);
  EXPECT_NE(cluster.leader(), 0u);
  EXPECT_NE(cluster.core(1).role(), Role::kLeader) << "it has stepped down by itself";
}

TEST_F(Idle, a_leader_that_woke_up_needs_its_quorum_as_ever) {
  fall_idle();
  cluster.run(Millis(900));
  cluster.isolate(1);
  cluster.propose(1, "b");
  cluster.run(Millis(500));
  EXPECT_EQ(cluster.core(1).role(), Role::kLeader) << "the silence from before had been asked for";
  cluster.run(Millis(200));
  EXPECT_NE(cluster.core(1).role(), Role::kLeader);
}

TEST_F(Idle, a_follower_that_begins_anew_disturbs_nobody) {
  fall_idle();
  cluster.crash(3);
  cluster.restart(3);
  cluster.run(Millis(5'000));
  EXPECT_EQ(cluster.leader(), 1u);
  EXPECT_EQ(cluster.core(1).term(), term);
  EXPECT_TRUE(cluster.core(1).idles());
}

TEST_F(Idle, leases_are_found_out_of_date_and_renewed) {
  cluster.options.leader_lease = true;
  cluster.options.clock_drift_ppm_max = 1'000;
  fall_idle();
  cluster.run(Millis(950));
  EXPECT_FALSE(cluster.core(1).lease_valid(cluster.local_now(1)));
  const uint64_t read = cluster.read(1, ReadMode::kLease);
  cluster.stabilize();
  EXPECT_TRUE(cluster.reads.at(read).status.ok());
  EXPECT_TRUE(cluster.core(1).lease_valid(cluster.local_now(1)));
}

TEST_F(Idle, only_those_who_may_do) {
  fall_idle();
  cluster.at(1).core().be_frugal(false);
  cluster.run(Millis(1'000));
  EXPECT_FALSE(cluster.core(1).idles());
  heartbeats = 0;
  cluster.run(Millis(1'000));
  EXPECT_GE(heartbeats, 2u * 18);
  EXPECT_EQ(changes(), 0u);
}

// --- Among many other groups less is said, whether there is something to do or not ---

TEST_F(Idle, appends_do_for_heartbeats) {
  fall_idle();
  cluster.propose(1, "b");
  cluster.run(Millis(100));
  heartbeats = 0;
  for (int i = 0; i < 50; ++i) {
    cluster.propose(1, "c");
    cluster.run(Millis(30));
  }
  EXPECT_EQ(heartbeats, 0u);
  EXPECT_EQ(changes(), 0u);
}

TEST_F(Idle, a_slow_disk_is_no_silence) {
  fall_idle();
  cluster.at(2).auto_persist = false;
  cluster.at(3).auto_persist = false;
  for (int i = 0; i < 50; ++i) {
    cluster.propose(1, "b");
    cluster.run(Millis(60));
  }
  EXPECT_GE(heartbeats, 2u * 25) << "whose answers wait for no disk";
  EXPECT_EQ(cluster.leader(), 1u);
  EXPECT_EQ(changes(), 0u);
}

TEST_F(Idle, what_is_committed_is_told_with_the_next_words) {
  fall_idle();
  cluster.propose(1, "b");
  cluster.stabilize();
  const Index last = cluster.core(1).last_index();
  EXPECT_EQ(cluster.core(1).applied_index(), last);
  EXPECT_EQ(cluster.core(2).applied_index(), last - 1);
  cluster.run(Millis(100));
  EXPECT_EQ(cluster.core(2).applied_index(), last);
}

TEST_F(Idle, a_follower_that_reads_is_told_at_once) {
  fall_idle();
  cluster.at(2).auto_persist = false;
  cluster.propose(1, "b");
  cluster.stabilize();
  const uint64_t read = cluster.read(2);
  cluster.stabilize();
  EXPECT_TRUE(cluster.reads.at(read).status.ok());
  EXPECT_LT(cluster.core(2).applied_index(), cluster.reads.at(read).index);
  cluster.at(2).auto_persist = true;
  while (cluster.at(2).persist_one(cluster.local_now(2))) continue;
  cluster.stabilize();
  EXPECT_EQ(cluster.core(2).applied_index(), cluster.reads.at(read).index);
}

}  // namespace
}  // namespace flux::raft::testing
