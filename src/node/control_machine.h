// The controller's state machine (src/ctrl) on the log and engine of group 0.
//
// What the engine keeps, in family kMeta:
//   "rider/state"                  the state as it was at some command (ctrl::encode_state)
//   "rider/log/" number (8, BE)    each command since then that was accepted (ctrl::encode_command)
//
// So a command costs its own size, not that of the state; now and then the commands are folded into the state. When
// that is follows from what is kept, so that all replicas do it at the same place in the log.
#pragma once

#include "api/limits.h"
#include "ctrl/apply.h"
#include "kv/rider.h"

namespace flux::node {

class ControlMachine final : public kv::Rider {
 public:
  // `log_bytes_max` decides when commands are folded: all replicas have the same.
  explicit ControlMachine(size_t log_bytes_max = api::kControlLogBytesMax) : log_bytes_max_(log_bytes_max) {}

  Status load(engine::Engine& engine) override;
  Status apply(kv::Draft& draft, const api::Control& command, api::CommandResult& result) override;

  const ctrl::State& state() const { return state_; }
  // Whether the state may have changed since take_changed() was called.
  bool changed() const { return changed_; }
  bool take_changed() { return std::exchange(changed_, false); }

 private:
  void keep(kv::Draft& draft, std::string_view command);

  const size_t log_bytes_max_;
  ctrl::State state_;
  uint64_t state_bytes_ = 0;  // of what is kept under "rider/state"
  uint64_t log_bytes_ = 0;
  uint64_t log_first_ = 1;  // numbers of the commands that are kept: [log_first_, log_next_)
  uint64_t log_next_ = 1;
  bool changed_ = true;
};

}  // namespace flux::node
