// What replicas have told each other they will keep. A promise that is not durable when it leaves is found after the
// next power cut, on the disk of whoever made it.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "raft/core.h"

namespace flux::sim {

class Promises {
 public:
  using Report = std::function<void(std::string)>;
  explicit Promises(Report report) : report_(std::move(report)) {}

  // A message leaves its node.
  void sending(const raft::Core& core, const raft::Message& message);
  // The replica of a node is taken away, as it is no member: what it held counts no more, but what it said does.
  void left(NodeId node);
  // The first step of a process.
  void check_restart(const raft::Core& core);
  // Every step: what a later leader has replaced is no longer promised.
  void withdraw_truncated(const raft::Core& core);

 private:
  struct Promised {
    Term term;                     // nothing is said under an older one
    std::map<Term, NodeId> votes;  // one a term, for ever
    // Acknowledged, from `first` on: the last entry of each term. Ascending; empty if there is nothing.
    Index first;
    std::vector<EntryId> log;

    EntryId last() const { return log.empty() ? EntryId() : log.back(); }
    std::optional<Term> term_at(Index index) const;
    void acknowledge(const raft::Core& core, Index upto);
    void cut(EntryId last);
  };
  void voted(NodeId voter, Term term, NodeId candidate);

  const Report report_;
  std::map<NodeId, Promised> promised_;
};

}  // namespace flux::sim
