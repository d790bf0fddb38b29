// Goal: majority arithmetic agrees with counting by hand, for every small case and for random large ones.
#include <gtest/gtest.h>

#include <map>

#include "base/rng.h"
#include "raft/quorum.h"

namespace flux::raft::quorum {
namespace {

// The definition: the greatest value such that more than half have reached it.
uint64_t naive_value(const std::vector<uint64_t>& values) {
  uint64_t best = 0;
  for (const uint64_t candidate : values) {
    size_t reached = 0;
    for (const uint64_t value : values) reached += value >= candidate ? 1U : 0U;
    if (2 * reached > values.size()) best = std::max(best, candidate);
  }
  return best;
}

// Won if a majority of each half says yes; lost if that cannot happen any more whatever the silent ones say.
Verdict naive_vote(const NodeSet& voters, const NodeSet& outgoing, const std::map<NodeId, bool>& votes) {
  const auto yes_if = [&](const NodeSet& nodes, bool silent) {
    if (nodes.empty()) return true;
    size_t yes = 0;
    for (const NodeId node : nodes) {
      const auto vote = votes.find(node);
      yes += (vote == votes.end() ? silent : vote->second) ? 1U : 0U;
    }
    return 2 * yes > nodes.size();
  };
  if (yes_if(voters, false) && yes_if(outgoing, false)) return Verdict::kWon;
  if (!yes_if(voters, true) || !yes_if(outgoing, true)) return Verdict::kLost;
  return Verdict::kPending;
}

NodeSet any_set(Rng& rng, bool may_be_empty) {
  NodeSet nodes;
  const uint64_t size = rng.between(may_be_empty ? 0 : 1, 7);
  while (nodes.size() < size) nodes.insert(NodeId(rng.between(1, 9)));
  return nodes;
}

TEST(Quorum, majority_of_small_groups) {
  const size_t expected[] = {1, 1, 2, 2, 3, 3, 4, 4, 5};
  for (size_t voters = 1; voters < 9; ++voters) EXPECT_EQ(majority_of(voters), expected[voters]);
}

TEST(Quorum, value_of_every_small_case) {
  for (size_t size = 1; size <= 5; ++size) {
    const uint64_t cases = 1ULL << (2 * size);
    for (uint64_t bits = 0; bits < cases; ++bits) {
      std::vector<uint64_t> values;
      for (size_t i = 0; i < size; ++i) values.push_back((bits >> (2 * i)) & 3);
      ASSERT_EQ(majority_value(values), naive_value(values)) << bits;
    }
  }
}

TEST(Quorum, joint_value_is_what_both_halves_reached) {
  Rng rng(1);
  for (int i = 0; i < 20'000; ++i) {
    const NodeSet voters = any_set(rng, false);
    const NodeSet outgoing = any_set(rng, true);
    std::map<NodeId, uint64_t> reached;
    for (uint64_t node = 1; node <= 9; ++node) reached[NodeId(node)] = rng.below(6);
    const auto of = [&](const NodeSet& nodes) {
      std::vector<uint64_t> values;
      for (const NodeId node : nodes) values.push_back(reached[node]);
      return naive_value(values);
    };
    uint64_t expected = of(voters);
    if (!outgoing.empty()) expected = std::min(expected, of(outgoing));
    ASSERT_EQ(joint_value(voters, outgoing, [&](NodeId node) { return reached[node]; }), expected);
  }
}

TEST(Quorum, joint_vote_agrees_with_counting) {
  Rng rng(2);
  for (int i = 0; i < 50'000; ++i) {
    const NodeSet voters = any_set(rng, false);
    const NodeSet outgoing = any_set(rng, true);
    std::map<NodeId, bool> votes;
    for (uint64_t node = 1; node <= 9; ++node) {
      if (rng.chance(0.7)) votes[NodeId(node)] = rng.chance(0.5);
    }
    const Verdict verdict = joint_vote(voters, outgoing, [&](NodeId node) {
      const auto vote = votes.find(node);
      if (vote == votes.end()) return Answer::kNone;
      return vote->second ? Answer::kYes : Answer::kNo;
    });
    ASSERT_EQ(verdict, naive_vote(voters, outgoing, votes));
  }
}

// What all of it rests on: any two quorums of one configuration, and of two neighbouring ones, share a node.
TEST(Quorum, neighbouring_configurations_share_a_voter_in_any_two_quorums) {
  Rng rng(3);
  const auto wins = [](const NodeSet& voters, const NodeSet& outgoing, const NodeSet& yes) {
    return joint_vote(voters, outgoing, [&](NodeId node) { return yes.contains(node) ? Answer::kYes : Answer::kNo; }) ==
           Verdict::kWon;
  };
  for (int i = 0; i < 20'000; ++i) {
    const NodeSet before = any_set(rng, false);
    const NodeSet after = any_set(rng, false);
    NodeSet one;
    NodeSet two;
    for (uint64_t node = 1; node <= 9; ++node) (rng.chance(0.5) ? one : two).insert(NodeId(node));
    // Disjoint sets of nodes: not both can be quorums of `before` and of the joint one, nor of the joint one and
    // `after`.
    ASSERT_FALSE(wins(before, {}, one) && wins(after, before, two));
    ASSERT_FALSE(wins(after, before, one) && wins(after, {}, two));
  }
}

}  // namespace
}  // namespace flux::raft::quorum
