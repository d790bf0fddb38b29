// One more replica, that has never seen anything but the log from its first entry on: no snapshot, no restart, no
// clock. What the nodes hold must be what it holds.
#pragma once

#include <map>
#include <memory>
#include <optional>

#include "engine/engine.h"
#include "kv/state_machine.h"
#include "node/controller.h"

namespace flux::sim {

class Replay {
 public:
  Replay(GroupId group, const api::StateLimits& limits);

  // The next entry that some node has applied.
  Status apply(const Entry& entry);
  Index applied() const { return machine_.applied().index; }
  Result<uint64_t> state_hash() { return engine_->state_hash(); }
  // The same at an index not long ago, for some indexes.
  std::optional<uint64_t> hash_at(Index index) const;
  kv::StateMachine& machine() { return machine_; }

  // Every deadline of a key has its place among the deadlines, nothing else has one, and the keys are counted right.
  Status check_deadlines();
  // The state comes back the same from a snapshot file.
  Status check_snapshot();

 private:
  static bool controls(GroupId group) { return group == node::kControlGroup; }

  const GroupId group_;
  const api::StateLimits limits_;
  node::ControlMachine control_;
  const std::unique_ptr<engine::Engine> engine_;
  kv::StateMachine machine_;
  std::map<Index, uint64_t> hashes_;
};

}  // namespace flux::sim
