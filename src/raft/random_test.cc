// Goal: under any schedule of lost, late, repeated and reordered messages, crashes that lose what was not synced,
// membership changes, transfers, snapshots and drifting clocks, Raft's promises hold; and once the trouble ends the
// group is alive again.
//
// FLUX_RAFT_SEED=n replays one seed; FLUX_RAFT_SEEDS=n runs more of them.
#include <gtest/gtest.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "raft/testing/cluster.h"

namespace flux::raft::testing {
namespace {

uint64_t running_seed = 0;

void tell_seed(int) {
  std::fprintf(stderr, "replay with FLUX_RAFT_SEED=%llu\n", static_cast<unsigned long long>(running_seed));
  std::signal(SIGABRT, SIG_DFL);
}

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::strtoull(value, nullptr, 10);
}

// One run: how likely each kind of trouble is, is drawn from the seed too.
class Schedule {
 public:
  explicit Schedule(uint64_t seed) : rng_(seed), cluster_(rng_.next()) {
    if (std::getenv("FLUX_RAFT_TRACE") != nullptr) {
      cluster_.on_trace_line = [this](NodeId node, std::string_view line) {
        fmt::print("[{:>8}] {}> {}\n", cluster_.now.since_start().count(), node, line);
      };
      cluster_.on_message_sent = [](const Message& message) { fmt::print("             {}\n", to_string(message)); };
    }
    draw_options();
    cluster_.auto_snapshot = false;
    voters_ = rng_.between(1, 5);
    cluster_.bootstrap(voters_, rng_.below(2));
    for (const auto& [id, replica] : cluster_.replicas()) {
      founders_.insert(id);
      prepare(*replica);
    }
    drop_ = rng_.chance(0.3) ? 0 : rng_.unit() * 0.3;
    duplicate_ = rng_.chance(0.5) ? 0 : rng_.unit() * 0.2;
    reorder_ = rng_.chance(0.3) ? 0 : rng_.unit() * rng_.unit();
    crash_ = rng_.chance(0.3) ? 0 : rng_.unit() * 0.005;
    cut_ = rng_.chance(0.5) ? 0 : rng_.unit() * 0.01;
    change_ = rng_.chance(0.3) ? 0 : rng_.unit() * 0.03;
    compact_ = rng_.chance(0.3) ? 0 : rng_.unit() * 0.02;
    wipe_ = rng_.chance(0.5) ? 0 : 0.005;
    nemesis_ = rng_.chance(0.2) ? 0 : rng_.unit() * 0.1;
    halves_ = rng_.next();
    brisk_ = rng_.chance(0.6);
    if (brisk_) drop_ *= 0.3;
  }

  void run() {
    const int steps = brisk_ ? 1500 : 8000;
    for (int i = 0; i < steps && cluster_.violations.empty() && cluster_.fatals.empty(); ++i) {
      brisk_ ? brisk_step() : trouble();
      if (i % 64 == 0) cluster_.check_log_matching();
    }
    if (!cluster_.violations.empty() || !cluster_.fatals.empty()) return;
    recover();
  }

  Cluster& cluster() { return cluster_; }
  std::string summary() {
    return fmt::format("{} voters={} leaders={} committed={} reads={}", brisk_ ? "brisk" : "slow", voters_,
                       cluster_.leaders.size(), cluster_.committed.size(), cluster_.reads.size());
  }

 private:
  void draw_options() {
    Options& options = cluster_.options;
    options.pre_vote = rng_.chance(0.85);
    options.check_quorum = rng_.chance(0.85);
    if (options.check_quorum && rng_.chance(0.4)) {
      options.leader_lease = true;
      options.clock_drift_ppm_max = 100'000;
      for (uint64_t id = 1; id <= kNodesMax; ++id) {
        cluster_.clock_drift_ppm[id] = static_cast<int64_t>(rng_.between(0, 180'000)) - 90'000;
      }
    }
    if (rng_.chance(0.4)) {
      options.idle_heartbeat_interval = Micros(static_cast<int64_t>(rng_.between(50'000, 600'000)));
      options.idle_after = Micros(static_cast<int64_t>(rng_.below(200'000)));
    }
    options.append_bytes_max = rng_.between(1, 400);
    options.inflight_bytes_max = options.append_bytes_max * rng_.between(1, 8);
    options.inflight_messages_max = rng_.between(1, 8);
    options.tail_bytes_max = options.tail_bytes_max_frugal = rng_.below(1000);
    options.committed_bytes_max = rng_.between(1, 1000);
    options.entry_bytes_max = 1000;
    options.uncommitted_bytes_max = rng_.between(1000, 4000);
    options.learner_promote_lag = rng_.below(8);
    options.read_timeout = Micros(static_cast<int64_t>(rng_.between(100'000, 2'000'000)));
  }

  void prepare(Replica& replica) {
    replica.auto_persist = rng_.chance(0.2);
    replica.auto_apply = rng_.chance(0.7);
  }

  uint64_t any_node() { return rng_.between(1, cluster_.replicas().rbegin()->first.value()); }
  // Often somebody who believes to lead, were it long deposed.
  uint64_t leader_or_any() {
    std::vector<uint64_t> leaders;
    for (const auto& [id, replica] : cluster_.replicas()) {
      if (replica->alive() && replica->core().role() == Role::kLeader) leaders.push_back(id.value());
    }
    return !leaders.empty() && rng_.chance(0.9) ? leaders[rng_.below(leaders.size())] : any_node();
  }

  // A few milliseconds at once on a fast network: leaders come and go, and the deposed are still being asked.
  void brisk_step() {
    cluster_.now = cluster_.now + Micros(static_cast<int64_t>(rng_.between(500, 15'000)));
    for (const auto& [id, replica] : cluster_.replicas()) {
      if (cluster_.is_due(id.value()) && rng_.chance(0.95)) cluster_.tick(id.value());
    }
    for (uint64_t i = rng_.below(3); i > 0; --i) cluster_.propose(leader_or_any(), fmt::format("c{}", ++commands_));
    for (uint64_t i = rng_.below(4); i > 0; --i) read();
    for (size_t i = cluster_.network().size() * rng_.between(1, 3); i > 0; --i) deliver();
    if (rng_.chance(0.02)) stalled_ = any_node();
    for (const auto& [id, replica] : cluster_.replicas()) {
      if (!replica->alive() || id == NodeId(stalled_)) continue;
      while (rng_.chance(0.9) && replica->persist_one(cluster_.local_now(id.value()))) {
      }
      replica->apply(cluster_.local_now(id.value()));
      replica->pump(cluster_.local_now(id.value()));
    }
    if (rng_.chance(0.012)) nemesis();
    if (rng_.chance(0.02)) restart_all();
    if (rng_.chance(0.2)) stream();
    if (rng_.chance(crash_ * 4)) crash_or_restart();
    if (rng_.chance(change_ * 2)) change_membership();
    if (rng_.chance(compact_)) compact();
    if (rng_.chance(wipe_ * 4)) wipe();
    if (rng_.chance(0.005)) cluster_.transfer(leader_or_any(), any_node());
    if (rng_.chance(0.01)) cluster_.step(any_node(), LeaderGone{NodeId(any_node())});
  }

  void trouble() {
    const double roll = rng_.unit();
    if (roll < 0.50) return deliver();
    if (roll < 0.70) return persist();
    if (roll < 0.80) return pass_time();
    if (roll < 0.88) return void(cluster_.propose(leader_or_any(), fmt::format("c{}", ++commands_)));
    if (roll < 0.92) {
      return read();
    }
    if (rng_.chance(0.2)) stream();
    if (rng_.chance(crash_ * 12)) crash_or_restart();
    if (rng_.chance(cut_ * 12)) cut_or_heal();
    if (rng_.chance(change_ * 12)) change_membership();
    if (rng_.chance(compact_ * 12)) compact();
    if (rng_.chance(wipe_ * 12)) wipe();
    if (rng_.chance(nemesis_)) nemesis();
    if (rng_.chance(0.02)) cluster_.transfer(leader_or_any(), any_node());
    if (rng_.chance(0.02)) cluster_.campaign(any_node());
    if (rng_.chance(0.02)) cluster_.step(any_node(), LeaderGone{NodeId(any_node())});
    if (rng_.chance(0.02)) cluster_.step(any_node(), PeerUnreachable{NodeId(any_node())});
    if (rng_.chance(0.02)) cluster_.step(any_node(), PeerReachable{NodeId(any_node())});
  }

  void read() {
    const uint64_t id = leader_or_any();
    Replica& replica = cluster_.at(id);
    if (replica.alive() && replica.core().lease_valid(cluster_.local_now(id))) ++cluster_.counts["lease read ok"];
    cluster_.read(id, rng_.chance(0.5) ? ReadMode::kLease : ReadMode::kLinearizable);
  }

  void deliver() {
    auto& network = cluster_.network();
    if (network.empty()) return;
    size_t at = rng_.chance(reorder_) ? rng_.below(network.size()) : 0;
    if (network.size() > 400) at = 0;
    std::swap(network[at], network[0]);
    if (rng_.chance(drop_)) return network.pop_front();
    if (rng_.chance(duplicate_)) network.push_back(network.front());
    cluster_.deliver_one();
  }

  void persist() {
    Replica& replica = cluster_.at(any_node());
    const MonoTime now = cluster_.local_now(replica.options().id.value());
    if (!replica.alive()) return;
    replica.persist_one(now);
    if (rng_.chance(0.5)) replica.apply(now), replica.pump(now);
  }

  void pass_time() {
    cluster_.now = cluster_.now + Micros(static_cast<int64_t>(rng_.below(rng_.chance(0.1) ? 200'000 : 10'000)));
    for (const auto& [id, replica] : cluster_.replicas()) {
      if (cluster_.is_due(id.value()) && rng_.chance(0.9)) cluster_.tick(id.value());
    }
  }

  void stream() {
    if (cluster_.snapshot_requests.empty()) return;
    const auto [from, request] = cluster_.snapshot_requests.front();
    cluster_.snapshot_requests.erase(cluster_.snapshot_requests.begin());
    if (!cluster_.at(from.value()).alive()) return;
    if (rng_.chance(0.3)) {
      cluster_.step(from.value(), SnapshotSent{.to = request.to, .index = request.index_min, .ok = false});
    } else {
      cluster_.stream_snapshot(from.value(), request.to.value(), request.index_min);
    }
  }

  void crash_or_restart() {
    const uint64_t id = any_node();
    if (cluster_.at(id).alive()) {
      cluster_.crash(id);
    } else {
      prepare(cluster_.at(id));
      cluster_.restart(id);
    }
  }

  // Faults that hurt most: at the leader, and whole halves at once.
  void nemesis() {
    const uint64_t leader = cluster_.leader();
    switch (rng_.below(6)) {
      case 0:
        return cluster_.heal();
      case 1:
        if (leader != 0) cluster_.isolate(leader);
        return;
      case 2:  // nobody's answers reach the leader
        for (const auto& [id, replica] : cluster_.replicas()) cluster_.cut(id.value(), leader);
        return;
      case 3:  // two halves
        for (const auto& [a, left] : cluster_.replicas()) {
          for (const auto& [b, right] : cluster_.replicas()) {
            if (halves_ >> a.value() % 64 & ~(halves_ >> b.value() % 64) & 1) cluster_.cut_both(a.value(), b.value());
          }
        }
        halves_ = rng_.next();
        return;
      case 4:
        if (leader == 0 || crash_ == 0) return;
        cluster_.crash(leader);
        if (rng_.chance(0.5)) cluster_.restart(leader);
        return;
      case 5:  // a hand-over that is cut off as it begins
        if (leader == 0) return;
        cluster_.transfer(leader, any_node());
        for (int i = 0; i < 3; ++i) deliver();
        return cluster_.isolate(leader);
      case 6:  // a voter forgets what it promised while the leader is away
        if (crash_ == 0) return;
        for (int i = 0; i < 2; ++i) {
          const uint64_t id = any_node();
          cluster_.crash(id);
          cluster_.restart(id);
        }
        if (leader != 0) cluster_.isolate(leader);
        return;
      default:
        return;
    }
  }

  void restart_all() {
    for (const auto& [id, replica] : cluster_.replicas()) {
      if (!replica->alive()) cluster_.restart(id.value());
    }
  }

  void cut_or_heal() {
    const double roll = rng_.unit();
    if (roll < 0.5) return cluster_.heal();
    if (roll < 0.6) return cluster_.isolate(any_node());
    cluster_.cut(any_node(), any_node());
  }

  void change_membership() {
    const uint64_t leader = leader_or_any();
    std::vector<ConfigStep> change;
    const uint64_t count = rng_.between(1, 3);
    for (uint64_t i = 0; i < count; ++i) {
      const NodeId node(rng_.between(1, kNodesMax));
      while (cluster_.replicas().rbegin()->first < node) {
        prepare(cluster_.add_empty(cluster_.replicas().rbegin()->first + 1));
      }
      change.push_back({.kind = static_cast<ConfigStepKind>(rng_.between(1, 4)), .node = node});
    }
    cluster_.propose_config(leader, std::move(change));
  }

  void compact() {
    Replica& replica = cluster_.at(any_node());
    if (!replica.alive()) return;
    const uint64_t spare = rng_.below(10);
    const uint64_t applied = replica.applied().value();
    const MonoTime now = cluster_.local_now(replica.options().id.value());
    replica.compact(now, Index(applied > spare ? applied - spare : 0));
  }

  // A node whose removal is committed loses its disk; it may be added again later, under its old id.
  void wipe() {
    const uint64_t leader = cluster_.leader();
    if (leader == 0) return;
    const Core& core = cluster_.core(leader);
    if (core.membership_index() > core.commit_index() || core.membership().joint()) return;
    const uint64_t id = any_node();
    if (core.membership().contains(NodeId(id))) return;
    cluster_.crash(id);
    prepare(cluster_.add_empty(NodeId(id)));
  }

  // The trouble ends: everybody is up, the network is whole.
  void recover() {
    cluster_.heal();
    cluster_.auto_snapshot = true;
    for (const auto& [id, replica] : cluster_.replicas()) {
      if (!replica->alive()) cluster_.restart(id.value());
      replica->auto_persist = replica->auto_apply = true;
      replica->apply(cluster_.local_now(id.value()));
      replica->pump(cluster_.local_now(id.value()));
    }
    // Requests of streams that were forgotten with their nodes, and answers that never came.
    for (const auto& [id, replica] : cluster_.replicas()) {
      for (const auto& [peer, unused] : cluster_.replicas()) {
        cluster_.step(id.value(), SnapshotSent{.to = peer, .index = Index(0), .ok = false});
      }
    }
    silence_removed();
    cluster_.run(Micros(15'000'000));
    silence_removed();
    cluster_.run(Micros(15'000'000));
    const uint64_t leader = cluster_.leader();
    ASSERT_NE(leader, 0u) << "no leader";
    const uint64_t ticket = cluster_.propose(leader, "at last");
    cluster_.run(Micros(2'000'000));
    ASSERT_TRUE(cluster_.proposals.at(ticket).status.ok()) << cluster_.proposals.at(ticket).status.to_string();
    const Index index = cluster_.proposals.at(ticket).id.index;
    const Core& core = cluster_.core(leader);
    EXPECT_FALSE(core.membership().joint());
    for (const NodeId member : core.membership().members()) {
      EXPECT_GE(cluster_.at(member.value()).applied(), index) << "member " << member.value();
    }
    for (const auto& [id, tickets] : cluster_.open) EXPECT_TRUE(tickets.empty()) << id.value() << " owes answers";
    cluster_.check_log_matching();
  }

  // Without pre-vote and check-quorum, a node that was removed and does not know it may disturb for ever: that is known
  // of plain Raft. Its operator turns it off.
  void silence_removed() {
    if (cluster_.options.pre_vote && cluster_.options.check_quorum) return;
    // Nobody is turned off before its removal is committed, nor while an addition is under way.
    Index committed_at;
    NodeSet wanted = founders_;
    for (const auto& [index, item] : cluster_.committed) {
      if (item.entry.type != EntryType::kConfig) continue;
      committed_at = index;
      wanted = decode_config(item.entry.data.view())->membership.members();
    }
    for (const auto& [id, replica] : cluster_.replicas()) {
      if (!replica->alive() || replica->core().membership_index() <= committed_at) continue;
      for (const NodeId node : replica->core().membership().members()) wanted.insert(node);
      wanted.insert(id);
    }
    for (const auto& [id, replica] : cluster_.replicas()) {
      if (!wanted.contains(id)) cluster_.crash(id.value());
    }
  }

  static constexpr uint64_t kNodesMax = 7;
  Rng rng_;
  Cluster cluster_;
  uint64_t voters_ = 0;
  NodeSet founders_;
  uint64_t commands_ = 0;
  uint64_t halves_ = 0;
  uint64_t stalled_ = 0;
  bool brisk_ = false;
  double drop_ = 0, duplicate_ = 0, reorder_ = 0, crash_ = 0, cut_ = 0, change_ = 0, compact_ = 0, wipe_ = 0,
         nemesis_ = 0;
};

TEST(RaftRandom, promises_hold_under_any_schedule) {
  std::signal(SIGABRT, tell_seed);
  const uint64_t one = from_environment("FLUX_RAFT_SEED", 0);
  const uint64_t first = one != 0 ? one : from_environment("FLUX_RAFT_FIRST", 1);
  const uint64_t count = one != 0 ? 1 : from_environment("FLUX_RAFT_SEEDS", 200);
  std::map<std::string, uint64_t> counts;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    running_seed = seed;
    SCOPED_TRACE(fmt::format("replay with FLUX_RAFT_SEED={}", seed));
    Schedule schedule(seed);
    schedule.run();
    for (const std::string& violation : schedule.cluster().violations) ADD_FAILURE() << violation;
    for (const auto& [node, status] : schedule.cluster().fatals) ADD_FAILURE() << node.value() << status.to_string();
    counts["committed"] += schedule.cluster().committed.size();
    for (const auto& [what, n] : schedule.cluster().counts) counts[what] += n;
    if (HasFailure()) {
      fmt::print("seed {}: {}\n", seed, schedule.summary());
      return;
    }
  }
  for (const auto& [what, n] : counts) fmt::print("{:>10} {}\n", n, what);
  if (count < 100) return;
  // A test in which nothing happens proves nothing.
  EXPECT_GT(counts["committed"], 50 * count);
  for (const char* what : {"leader", "membership committed", "read ok"}) EXPECT_GT(counts[what], count) << what;
  for (const char* what : {"snapshot installed", "transfer ok", "lease read ok"}) EXPECT_GT(counts[what], 10u) << what;
}

}  // namespace
}  // namespace flux::raft::testing
