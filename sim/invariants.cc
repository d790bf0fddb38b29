#include "invariants.h"

#include <fmt/core.h>

#include "engine/hash.h"
#include "raft/quorum.h"

namespace flux::sim {

void Invariants::applied(node::Group& group, const Entry& entry) {
  const NodeId node = group.core().id();
  const size_t at = entry.index.value();
  if (entries_.size() <= at) entries_.resize(at + 1);
  const uint64_t hash = engine::hash_bytes(static_cast<uint64_t>(entry.type), entry.data.view());
  Applied& known = entries_[at];
  if (known.first == kNobody) {
    known = {.term = entry.term, .hash = hash, .first = node};
    if (Status status = replay_.apply(entry); !status.ok()) report_(status.with("the replay").to_string());
    return;
  }
  if (known.term == entry.term && known.hash == hash) return;
  report_(fmt::format("node {} applies {} (hash {:x}) where node {} applied {}^{} (hash {:x})", node, entry.id(), hash,
                      known.first, entry.index, known.term, known.hash));
}

void Invariants::stepped(node::Group& group) {
  const raft::Core& core = group.core();
  Seen& before = seen_[core.id()];
  if (!group.halt_reason().ok()) return halted_(core.id(), group.halt_reason());
  const bool same = before.running;
  if (same &&
      (core.term() < before.term || core.commit_index() < before.commit || core.applied_index() < before.applied)) {
    report_(fmt::format("node {} goes back: term {} commit {} applied {} after term {} commit {} applied {}", core.id(),
                        core.term(), core.commit_index(), core.applied_index(), before.term, before.commit,
                        before.applied));
  }
  if (core.role() == raft::Role::kLeader) check_leader(core, same ? before : Seen{});
  if (before.applied != core.applied_index()) check_state(group);
  if (before.role != core.role()) ++role_changes_;
  before = {.group = &group,
            .running = true,
            .term = core.term(),
            .commit = core.commit_index(),
            .applied = core.applied_index(),
            .persisted = core.persisted_index(),
            .membership = core.membership_index(),
            .role = core.role()};
}

// A state is a function of the log: whatever snapshots and restarts it has been through, it is what the log from its
// first entry on makes.
void Invariants::check_state(node::Group& group) {
  const Index applied = group.state_machine().applied().index;
  const std::optional<uint64_t> expected = replay_.hash_at(applied);
  if (!expected) return;
  const Result<uint64_t> hash = group.engine().state_hash();
  if (hash.ok() && *hash == *expected) return;
  report_(fmt::format("node {} holds another state at {} than its log makes", group.core().id(), applied));
}

void Invariants::check_leader(const raft::Core& core, const Seen& before) {
  const auto [leader, fresh] = leaders_.emplace(core.term(), core.id());
  if (!fresh && leader->second != core.id()) {
    report_(fmt::format("term {} has two leaders, nodes {} and {}", core.term(), leader->second, core.id()));
  }
  // A change of membership in this very turn leaves open which members the commit rests on.
  if (before.membership != core.membership_index() || before.commit == core.commit_index()) return;
  const Index durable = raft::quorum::joint_value(
      core.membership().voters, core.membership().outgoing,
      [&](NodeId node) { return node == core.id() ? core.persisted_index() : seen_[node].persisted; });
  if (durable < core.commit_index()) {
    report_(
        fmt::format("leader {} commits {}, but a quorum has only {} durable", core.id(), core.commit_index(), durable));
  }
}

}  // namespace flux::sim
