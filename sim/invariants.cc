#include "invariants.h"

#include <fmt/core.h>

#include "raft/quorum.h"

namespace flux::sim {

void Invariants::applied(node::Group& group, const Entry& entry) {
  if (!oracle_.applied(group.core(), entry)) return;
  if (Status status = replay_.apply(entry); !status.ok()) report_(status.with("the replay").to_string());
}

void Invariants::sending(node::Group& group, const raft::Message& message) {
  promises_.sending(group.core(), message);
  if (const auto* append = std::get_if<raft::Append>(&message.body)) oracle_.check_append(*append);
}

void Invariants::stepped(node::Group& group) {
  const raft::Core& core = group.core();
  Seen& seen = seen_[core.id()];
  if (!group.halt_reason().ok()) return halted_(core.id(), group.halt_reason());
  const bool same = seen.running;
  const Seen before = same ? seen : Seen{};
  if (core.term() < before.term || core.commit_index() < before.commit || core.applied_index() < before.applied) {
    report_(fmt::format("node {} goes back: term {} commit {} applied {} after term {} commit {} applied {}", core.id(),
                        core.term(), core.commit_index(), core.applied_index(), before.term, before.commit,
                        before.applied));
  }
  if (!same && !seen.damaged) promises_.check_restart(core);
  if (core.last_id() != before.last) {
    promises_.withdraw_truncated(core);
    oracle_.check_log(core, before.last);
  }
  if (!same || core.base_id() != before.base) oracle_.check_base(core);
  if (core.role() == raft::Role::kLeader) check_leader(core, before);
  if (core.applied_index() != before.applied) check_state(group);
  if (seen.role != core.role()) ++role_changes_;
  seen = {.group = &group,
          .running = true,
          .damaged = seen.damaged,
          .term = core.term(),
          .commit = core.commit_index(),
          .applied = core.applied_index(),
          .persisted = core.persisted_index(),
          .membership = core.membership_index(),
          .base = core.base_id(),
          .last = core.last_id(),
          .role = core.role()};
}

// A state is a function of the log: whatever snapshots and restarts it has been through, it is what the log from its
// first entry on makes. And it is bounded.
void Invariants::check_state(node::Group& group) {
  if (group.state_machine().session_count() > sessions_.sessions_max) {
    report_(fmt::format("node {} has {} sessions", group.core().id(), group.state_machine().session_count()));
  }
  const Index applied = group.state_machine().applied().index;
  const std::optional<uint64_t> expected = replay_.hash_at(applied);
  if (!expected) return;
  const Result<uint64_t> hash = group.engine().state_hash();
  if (hash.ok() && *hash == *expected) return;
  report_(fmt::format("node {} holds another state at {} than its log makes", group.core().id(), applied));
}

// A term has one leader, who has what was committed before, and commits nothing that no quorum holds durably.
void Invariants::check_leader(const raft::Core& core, const Seen& before) {
  const auto [leader, fresh] = leaders_.emplace(core.term(), core.id());
  if (fresh) oracle_.check_elected(core);
  if (!fresh && leader->second != core.id()) {
    report_(fmt::format("term {} has two leaders, nodes {} and {}", core.term(), leader->second, core.id()));
  }
  check_leases(core);
  // A change of membership in this very turn leaves open which members the commit rests on.
  if (before.membership != core.membership_index() || before.commit == core.commit_index()) return;
  // What a replica had before it was damaged has been counted when it was there.
  const auto persisted = [&](NodeId node) { return seen_[node].damaged ? core.last_index() : seen_[node].persisted; };
  const Index durable = raft::quorum::joint_value(
      core.membership().voters, core.membership().outgoing,
      [&](NodeId node) { return node == core.id() ? core.persisted_index() : persisted(node); });
  if (durable < core.commit_index()) {
    report_(
        fmt::format("leader {} commits {}, but a quorum has only {} durable", core.id(), core.commit_index(), durable));
  }
}

// While one leads, no other may serve reads by a lease, at this moment of true time whatever the clocks say.
void Invariants::check_leases(const raft::Core& leader) {
  for (const auto& [node, seen] : seen_) {
    if (!seen.running || node == leader.id() || seen.term >= leader.term()) continue;
    if (!seen.group->holds_lease(clock_(node))) continue;
    report_(fmt::format("node {} leads in term {} while node {} still holds a lease of term {}", leader.id(),
                        leader.term(), node, seen.term));
  }
}

}  // namespace flux::sim
