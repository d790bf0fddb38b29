#include "ctrl/testing/controller.h"

#include <algorithm>

#include "base/overloaded.h"

namespace flux::ctrl::testing {

AddNode node(uint64_t id, uint32_t cores) {
  const std::string name = "n" + std::to_string(id);
  return {.record = {.id = NodeId(id), .name = name, .peer_address = name + ":7380"}, .cores = cores};
}

AnnounceNode announce(uint64_t id, uint32_t cores) { return {.record = node(id).record, .cores = cores}; }

Join join(std::initializer_list<uint64_t> groups, uint32_t replicas) {
  Join command;
  for (const uint64_t id : groups) command.groups.push_back({.id = GroupId(id), .replicas = replicas});
  return command;
}

Leave leave(std::initializer_list<uint64_t> groups) {
  Leave command;
  for (const uint64_t id : groups) command.groups.insert(GroupId(id));
  return command;
}

CreateKeyspace hash_keyspace(std::string name, uint32_t slot_ranges, uint32_t replication) {
  return {.name = std::move(name), .replication = replication, .slot_ranges = slot_ranges};
}

Controller::Controller(uint64_t nodes) {
  for (uint64_t id = 1; id <= nodes; ++id) {
    ok(node(id));
    ok(announce(id));
  }
}

Outcome Controller::ok(CommandBody body) {
  const Command command{.body = std::move(body)};
  Outcome outcome = apply(state_, command);
  FLUX_CHECK(outcome.status.ok(), "{}: {}", name_of(command), outcome.status.to_string());
  return outcome;
}

ErrorCode Controller::refused(CommandBody body, ConfigNum expected) {
  const std::string before = bytes();
  const Command command{.expected = expected, .body = std::move(body)};
  const Outcome outcome = apply(state_, command);
  FLUX_CHECK(!outcome.status.ok(), "{}", name_of(command));
  FLUX_CHECK(!is_indeterminate(outcome.status.code()));
  FLUX_CHECK(!outcome.status.message().empty());
  FLUX_CHECK(bytes() == before, "{} was refused and left a trace", name_of(command));
  return outcome.status.code();
}

CommandBody Controller::answer(const Action& action) const {
  const auto members = [&](const ChangeReplica& change, bool undo) {
    const Group& group = *config().group(change.group);
    ReportGroup report{.group = group.id,
                       .entry = state_.progress_of(group.id).entry + 1,
                       .voters = group.voters,
                       .learners = group.learners};
    report.voters.erase(undo ? change.add : change.remove);
    report.learners.erase(undo ? change.add : change.remove);
    if (!undo && change.add != kNobody) report.voters.insert(change.add), report.learners.erase(change.add);
    return report;
  };
  return std::visit(
      Overloaded{
          [&](const StartGroup& a) -> CommandBody { return Settled{.group = a.group, .num = config().num}; },
          [&](const CopyShard& a) -> CommandBody {
            const Step& step = state_.plan(a.plan)->steps[a.step];
            const bool copied = step.phase != StepPhase::kPending;
            return ReportProgress{.plan = a.plan,
                                  .step = a.step,
                                  .phase = copied ? StepPhase::kReady : StepPhase::kCopying,
                                  .bytes_done = copied ? 100U : 0U,
                                  .bytes_total = 100};
          },
          [&](const ProposeHandOver& a) -> CommandBody { return HandOver{.plan = a.plan, .step = a.step}; },
          [&](const ChangeMembers& a) -> CommandBody { return members(a.change, false); },
          [&](const UndoMembers& a) -> CommandBody {
            if (a.change.add != kNobody && config().group(a.change.group)->has(a.change.add)) {
              return members(a.change, true);
            }
            return ReportProgress{.plan = a.plan, .step = a.step, .phase = StepPhase::kUndone};
          },
          [&](const ProposeGroups& a) -> CommandBody {
            return Join{std::vector<GroupSpec>(a.count, {.id = kAnyGroup, .replicas = a.replicas})};
          },
          [&](const ProposeRebalance& a) -> CommandBody {
            return Rebalance{.shards = a.shards, .replicas = a.replicas};
          },
      },
      action);
}

std::vector<Settled> Controller::reports() const {
  std::vector<Settled> reports;
  for (const auto& [id, progress] : state_.progress) {
    const bool waits = config().group(id)->state == GroupState::kCreating;
    if (progress.busy() && !waits) reports.push_back({.group = id, .num = progress.changed});
  }
  return reports;
}

void Controller::run(size_t steps_max) {
  for (size_t steps = 0;; ++steps) {
    FLUX_CHECK(steps < steps_max, "it does not come to an end");
    for (const Settled& report : reports()) ok(report);
    const std::vector<Action> actions = next_actions(state_);
    // A copy that is ready is only kept up: its hand-over makes progress.
    const auto next = std::find_if(actions.begin(), actions.end(), [&](const Action& action) {
      const auto* copy = std::get_if<CopyShard>(&action);
      return !copy || state_.plan(copy->plan)->steps[copy->step].phase != StepPhase::kReady;
    });
    if (next == actions.end()) return;
    ok(answer(*next));
  }
}

std::map<GroupId, size_t> Controller::spread(std::string_view name) const {
  std::map<GroupId, size_t> counts;
  for (const auto& [id, group] : config().groups) {
    if (group.state == GroupState::kServing) counts[id] = 0;
  }
  for (const Shard& shard : config().keyspace(name)->shards) ++counts[shard.group];
  return counts;
}

size_t Controller::unevenness(std::string_view name) const {
  size_t least = SIZE_MAX, most = 0;
  for (const auto& [id, count] : spread(name)) {
    least = std::min(least, count), most = std::max(most, count);
  }
  return most - least;
}

size_t Controller::moved(const Config& before, const Config& after) {
  size_t moved = 0;
  for (const auto& [id, keyspace] : before.keyspaces) {
    for (const Shard& shard : keyspace.shards) {
      const Shard* now = after.place(shard.id).shard;
      moved += now && now->group != shard.group ? 1U : 0U;
    }
  }
  return moved;
}

}  // namespace flux::ctrl::testing
