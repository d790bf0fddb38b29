// A state machine of another kind that shares a group's log and engine: it is told the commands that are meant for it
// (api::Control), and keeps what it must in the engine, so that the group's snapshots and restarts carry it along.
#pragma once

#include <string_view>

#include "api/command.h"
#include "engine/engine.h"
#include "kv/draft.h"

namespace flux::kv {

// Owned by the group's worker. Everything is decided by the log alone, as in the state machine itself.
class Rider {
 public:
  // What it keeps in family kMeta begins with this.
  static constexpr std::string_view kPrefix = "rider/";

  virtual ~Rider() = default;
  // Reads what the engine holds: at start, and after the engine was loaded from a snapshot.
  virtual Status load(engine::Engine& engine) = 0;
  // An error is the engine's, or means that this replica cannot go on; what was refused is in the result.
  virtual Status apply(Draft& draft, const api::Control& command, api::CommandResult& result) = 0;
};

}  // namespace flux::kv
