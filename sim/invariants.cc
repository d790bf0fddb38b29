#include "invariants.h"

#include <fmt/core.h>

#include <algorithm>

#include "raft/quorum.h"

namespace flux::sim {

void GroupInvariants::applied(node::Group& group, const Entry& entry) {
  if (!oracle_.applied(group.core(), entry)) return;
  if (Status status = replay_.apply(entry); !status.ok()) report_(status.with("the replay").to_string());
}

void GroupInvariants::sending(node::Group& group, const raft::Message& message) {
  promises_.sending(group.core(), message);
  if (const auto* append = std::get_if<raft::Append>(&message.body)) oracle_.check_append(*append);
}

void GroupInvariants::stepped(node::Group& group) {
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
void GroupInvariants::check_state(node::Group& group) {
  if (group.state_machine().session_count() > limits_.sessions_max) {
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
void GroupInvariants::check_leader(const raft::Core& core, const Seen& before) {
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
void GroupInvariants::check_leases(const raft::Core& leader) {
  for (const auto& [node, seen] : seen_) {
    if (!seen.running || node == leader.id() || seen.term >= leader.term()) continue;
    if (!seen.group->holds_lease(clock_(node))) continue;
    report_(fmt::format("node {} leads in term {} while node {} still holds a lease of term {}", leader.id(),
                        leader.term(), node, seen.term));
  }
}

// --- All groups ------------------------------------------------------------------------------------------------------

GroupInvariants& Invariants::of(GroupId group) {
  std::unique_ptr<GroupInvariants>& found = groups_[group];
  if (!found) {
    found = std::make_unique<GroupInvariants>(group, limits_, report_, halted_, clock_);
    for (const NodeId node : damaged_) found->damaged(node);
  }
  return *found;
}

std::vector<GroupId> Invariants::groups() const {
  std::vector<GroupId> ids;
  for (const auto& [id, group] : groups_) ids.push_back(id);
  return ids;
}

void Invariants::applied(node::Group& group, const Entry& entry) {
  GroupInvariants& watch = of(group.id());
  watch.applied(group, entry);
  if (watch.replay().machine().take_shards_changed()) {
    check_owners();
    check_versions();
  }
}

// What the logs have made so far, a replica that is never behind: if two of them serve a key, two groups can.
void Invariants::check_owners() {
  struct Owned {
    std::string_view start;
    std::string_view end;
    GroupId group;
  };
  std::vector<Owned> owned;
  for (const auto& [id, group] : groups_) {
    for (const kv::ShardInfo& shard : group->replay().machine().shards()) {
      if (shard.state != kv::ShardState::kServing && shard.state != kv::ShardState::kGcing) continue;
      owned.push_back({.start = shard.start, .end = shard.end, .group = id});
    }
  }
  std::sort(owned.begin(), owned.end(), [](const Owned& a, const Owned& b) { return a.start < b.start; });
  for (size_t i = 1; i < owned.size(); ++i) {
    if (!owned[i - 1].end.empty() && owned[i - 1].end <= owned[i].start) continue;
    return report_(fmt::format("groups {} and {} serve the same keys", owned[i - 1].group, owned[i].group));
  }
}

// Whoever serves a shard gives its keys versions above those that they had where it comes from.
void Invariants::check_versions() {
  for (const auto& [id, group] : groups_) {
    const kv::StateMachine& machine = group->replay().machine();
    for (const kv::ShardInfo& shard : machine.shards()) {
      const bool gives = shard.state == kv::ShardState::kBePulling;  // what it wrote until it froze counts
      if (!shard.served() && !gives) continue;
      const auto [last, fresh] = served_.emplace(shard.shard, Served{.group = id, .version = machine.last_version()});
      if (fresh || (gives && (last->second.group != id || last->second.given))) continue;
      if (last->second.group != id && machine.last_version() < last->second.version) {
        return report_(fmt::format("group {} serves shard {} at version {}, group {} was at {}", id, shard.shard,
                                   machine.last_version(), last->second.group, last->second.version));
      }
      last->second = {.group = id, .version = std::max(machine.last_version(), last->second.version), .given = gives};
    }
  }
}

void Invariants::check_conservation(const std::vector<GroupId>& alive, const ctrl::Config& config) {
  std::map<std::string, std::pair<GroupId, std::string>> owned;
  const auto lives = [&](GroupId id) { return std::find(alive.begin(), alive.end(), id) != alive.end(); };
  for (const auto& [id, group] : groups_) {
    for (const kv::ShardInfo& shard : group->replay().machine().shards()) {
      // What goes with the group that was copying or erasing it was nobody's.
      const bool goes_along = shard.state == kv::ShardState::kErasing || shard.state == kv::ShardState::kStaged;
      if (!lives(id) && goes_along) continue;
      if (shard.state != kv::ShardState::kServing) {
        return report_(fmt::format("group {} ends with shard {} {}", id, shard.shard, kv::to_string(shard.state)));
      }
      owned[shard.start] = {id, shard.end};
    }
  }
  for (const auto& [id, keyspace] : config.keyspaces) {
    const api::KeyRange all = api::keyspace_range(keyspace.ref());
    for (std::string next = all.start; next != all.end;) {
      const auto found = owned.extract(next);
      if (found.empty()) return report_(fmt::format("some keys of {} are served by nobody in the end", keyspace.name));
      next = found.mapped().second;
    }
  }
  if (!owned.empty()) return report_("keys are served in the end that no keyspace has");
  for (const auto& [id, group] : groups_) {
    if (id == node::kControlGroup || !lives(id)) continue;
    kv::StateMachine& machine = group->replay().machine();
    for (auto it = machine.engine().iterate(engine::Family::kData, {}, {}); it->valid(); it->next()) {
      if (!machine.serves(it->key())) return report_(fmt::format("group {} keeps keys of a shard it gave away", id));
    }
    if (auto it = machine.engine().iterate(engine::Family::kFeed, {}, {}); it->valid()) {
      return report_(fmt::format("group {} keeps a feed that nobody reads", id));
    }
  }
}

uint64_t Invariants::entries() const {
  uint64_t entries = 0;
  for (const auto& [id, group] : groups_) entries += group->newest().value();
  return entries;
}

uint64_t Invariants::role_changes() const {
  uint64_t changes = 0;
  for (const auto& [id, group] : groups_) changes += group->role_changes();
  return changes;
}

}  // namespace flux::sim
