#include "log_oracle.h"

#include <fmt/core.h>

#include <algorithm>

#include "engine/hash.h"

namespace flux::sim {
namespace {

uint64_t hash_of(const Entry& entry) {
  return engine::hash_bytes(static_cast<uint64_t>(entry.type), entry.data.view());
}

// How many are in one set and not in the other.
size_t difference(const raft::NodeSet& one, const raft::NodeSet& other) {
  const auto missing = [](const raft::NodeSet& from, const raft::NodeSet& in) {
    return static_cast<size_t>(
        std::count_if(from.begin(), from.end(), [&](NodeId node) { return !in.contains(node); }));
  };
  return missing(one, other) + missing(other, one);
}

}  // namespace

bool LogOracle::applied(const raft::Core& core, const Entry& entry) {
  const size_t at = entry.index.value();
  if (entries_.size() <= at) entries_.resize(at + 1);
  const uint64_t hash = hash_of(entry);
  Applied& known = entries_[at];
  if (known.first == kNobody) {
    known = {.term = entry.term, .hash = hash, .first = core.id(), .applied_in = core.term()};
    if (entry.type != EntryType::kConfig) return true;
    if (const auto record = raft::decode_config(entry.data.view()); record.ok()) {
      check_membership_step(entry.index, record->membership);
      memberships_[entry.index] = record->membership;
    }
    return true;
  }
  if (known.term != entry.term || known.hash != hash) {
    report_(fmt::format("node {} applies {} (hash {:x}) where node {} applied {}^{} (hash {:x})", core.id(), entry.id(),
                        hash, known.first, entry.index, known.term, known.hash));
  }
  return false;
}

// --- Logs ------------------------------------------------------------------------------------------------------------

void LogOracle::check_entry(EntryId id, Term previous, std::optional<uint64_t> hash) {
  Known& known = known_.try_emplace({id.index.value(), id.term.value()}, Known{previous, hash}).first->second;
  if (!known.hash) known.hash = hash;
  if (known.previous == previous && (!hash || known.hash == hash)) return;
  report_(fmt::format("logs do not match: {} follows term {} with hash {:x}, and elsewhere term {} with hash {:x}", id,
                      previous, hash.value_or(0), known.previous, known.hash.value_or(0)));
}

void LogOracle::check_append(const raft::Append& append) {
  Term previous = append.prev.term;
  for (const Entry& entry : append.entries) {
    check_entry(entry.id(), previous, hash_of(entry));
    previous = entry.term;
  }
}

void LogOracle::check_log(const raft::Core& core, EntryId known) {
  const Index base = core.base_id().index;
  // Where the known end is gone, all that is not committed may be new.
  const bool there = known.index >= base && core.term_at(known.index) == known.term;
  const Index from = std::max(base, there ? known.index : std::min(known.index, core.commit_index()));
  for (Index index = from + 1; index <= core.last_index(); index = index + 1) {
    check_entry({.index = index, .term = *core.term_at(index)}, *core.term_at(Index(index.value() - 1)), std::nullopt);
  }
}

void LogOracle::check_elected(const raft::Core& core) {
  for (size_t at = entries_.size(); at-- > 1;) {
    const Applied& entry = entries_[at];
    if (entry.applied_in >= core.term()) continue;
    const Index index(at);
    if (index <= core.base_id().index || core.term_at(index) == entry.term) return;
    return report_(fmt::format("node {} is elected in term {} without {}^{}, which was applied in term {}", core.id(),
                               core.term(), index, entry.term, entry.applied_in));
  }
}

// --- Memberships and snapshots
// -----------------------------------------------------------------------------------------

// One voter at a time, or by way of a joint membership (Ongaro's dissertation, 4.1 and 4.3).
void LogOracle::check_membership_step(Index index, const raft::Membership& next) {
  if (memberships_.empty()) return;
  const raft::Membership& before = memberships_.rbegin()->second;
  const bool right = before.joint() ? !next.joint() && next.voters == before.voters
                     : next.joint() ? next.outgoing == before.voters
                                    : difference(before.voters, next.voters) <= 1;
  if (right) return;
  report_(fmt::format("the membership at {} goes from {} to {} at once", index, to_string(before), to_string(next)));
}

void LogOracle::check_base(const raft::Core& core) {
  const EntryId base = core.base_id();
  // Nothing was ever compacted, and the founders are in force.
  if (memberships_.empty() && core.membership_index() == Index(0) && !core.membership().voters.empty()) {
    memberships_[Index(0)] = core.membership();
  }
  if (base.index > newest()) {
    return report_(fmt::format("the log of node {} begins after {}, but nobody has applied more than {}", core.id(),
                               base, newest()));
  }
  if (base.index > Index(0) && entries_[base.index.value()].term != base.term) {
    report_(fmt::format("the log of node {} begins after {}, but {} was agreed on there with term {}", core.id(), base,
                        base.index, entries_[base.index.value()].term));
  }
  // One that is about to join knows nobody yet.
  if (memberships_.empty() || core.applied_index() == Index(0)) return;
  const raft::SnapshotMeta meta = core.snapshot_meta(core.applied_index());
  if (meta.membership == membership_at(core.applied_index())) return;
  report_(fmt::format("a snapshot of node {} at {} would say {}, but {} is in force there", core.id(), meta.last,
                      to_string(meta.membership), to_string(membership_at(core.applied_index()))));
}

}  // namespace flux::sim
