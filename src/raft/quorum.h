// Majority arithmetic, for one set of voters and for the two halves of a joint membership. Pure; knows nothing of Raft.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/check.h"
#include "raft/node_set.h"

namespace flux::raft::quorum {

constexpr size_t majority_of(size_t voters) { return voters / 2 + 1; }

// The greatest value that a majority has reached, if `values` holds what each voter has reached. REQUIRES: not empty.
template <typename T>
T majority_value(std::vector<T> values) {
  FLUX_CHECK(!values.empty());
  const size_t rank = values.size() - majority_of(values.size());
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(rank), values.end());
  return values[rank];
}

// The greatest value that a majority of `voters`, and of `outgoing` unless that is empty, have reached.
// `reached(NodeId) -> T`. REQUIRES: voters is not empty.
template <typename Reached>
auto joint_value(const NodeSet& voters, const NodeSet& outgoing, Reached reached) {
  using T = decltype(reached(NodeId()));
  const auto of = [&](const NodeSet& nodes) {
    std::vector<T> values;
    values.reserve(nodes.size());
    for (const NodeId node : nodes) values.push_back(reached(node));
    return majority_value(std::move(values));
  };
  const T incoming = of(voters);
  return outgoing.empty() ? incoming : std::min(incoming, of(outgoing));
}

enum class Verdict : uint8_t { kPending, kWon, kLost };
enum class Answer : uint8_t { kNone, kYes, kNo };

// How a vote stands after some have answered. REQUIRES: total > 0.
Verdict majority_verdict(size_t yes, size_t no, size_t total);
// Won when both halves are won, lost as soon as either is lost.
Verdict joint_verdict(Verdict incoming, Verdict outgoing);

// `answer(NodeId) -> Answer`. REQUIRES: voters is not empty.
template <typename AnswerOf>
Verdict joint_vote(const NodeSet& voters, const NodeSet& outgoing, AnswerOf answer) {
  const auto of = [&](const NodeSet& nodes) {
    size_t yes = 0;
    size_t no = 0;
    for (const NodeId node : nodes) {
      const Answer given = answer(node);
      yes += given == Answer::kYes ? 1 : 0;
      no += given == Answer::kNo ? 1 : 0;
    }
    return majority_verdict(yes, no, nodes.size());
  };
  return outgoing.empty() ? of(voters) : joint_verdict(of(voters), of(outgoing));
}

}  // namespace flux::raft::quorum
