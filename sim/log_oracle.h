// What the nodes of a cluster have agreed on, as one who sees all of them knows it: every entry, every membership.
// Their logs and snapshots are held against it.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "raft/core.h"

namespace flux::sim {

class LogOracle {
 public:
  using Report = std::function<void(std::string)>;
  explicit LogOracle(Report report) : report_(std::move(report)) {}

  // A replica applies an entry. Returns whether it is the first to do so at this index; all others must apply the same.
  bool applied(const raft::Core& core, const Entry& entry);
  // The newest index that any node has applied.
  Index newest() const { return Index(entries_.empty() ? 0 : entries_.size() - 1); }

  // Log matching (Raft paper, 5.3): an entry of one index and term is the same everywhere, and so is all before it.
  // What a leader sends, and what stands in a log after `known`, which has been checked before.
  void check_append(const raft::Append& append);
  void check_log(const raft::Core& core, EntryId known);
  // Leader completeness (5.4): whoever is elected has all that was committed in earlier terms.
  void check_elected(const raft::Core& core);
  // What a log begins after, and what a snapshot would say, is what was agreed on there.
  void check_base(const raft::Core& core);

 private:
  struct Applied {
    Term term;
    uint64_t hash = 0;
    NodeId first;     // who applied it first
    Term applied_in;  // its term then: the entry was committed in this term or an earlier one
  };
  struct Known {
    Term previous;  // of the entry before it
    std::optional<uint64_t> hash;
  };
  void check_entry(EntryId id, Term previous, std::optional<uint64_t> hash);
  void check_membership_step(Index index, const raft::Membership& next);
  const raft::Membership& membership_at(Index index) const {
    return std::prev(memberships_.upper_bound(index))->second;
  }

  const Report report_;
  std::vector<Applied> entries_;                                     // by index
  absl::flat_hash_map<std::pair<uint64_t, uint64_t>, Known> known_;  // by index and term; never walked
  std::map<Index, raft::Membership> memberships_;                    // that were applied; the first is the founders'
};

}  // namespace flux::sim
