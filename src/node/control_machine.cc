#include "node/control_machine.h"

#include <algorithm>

#include "base/probe.h"
#include "kv/record_format.h"

namespace flux::node {
namespace {

using engine::Family;

constexpr std::string_view kStateKey = "rider/state";
constexpr std::string_view kLogPrefix = "rider/log/";

std::string log_key(uint64_t number) {
  std::string key(kLogPrefix);
  kv::append_u64_ordered(key, number);
  return key;
}

}  // namespace

Status ControlMachine::load(engine::Engine& engine) {
  state_ = {};
  state_bytes_ = log_bytes_ = 0;
  log_first_ = log_next_ = 1;
  changed_ = true;
  engine::PinnedValue value;
  FLUX_TRY(const bool exists, engine.get(Family::kMeta, kStateKey, value));
  if (exists) {
    FLUX_TRY(state_, ctrl::decode_state(value.view()));
    state_bytes_ = value.size();
  }
  bool first = true;
  auto it = engine.iterate(Family::kMeta, kLogPrefix, {});
  for (; it->valid() && it->key().starts_with(kLogPrefix); it->next()) {
    if (it->key().size() != kLogPrefix.size() + 8) return Status(ErrorCode::kCorruption, "a controller command's key");
    const uint64_t number = kv::read_u64_ordered(it->key().substr(kLogPrefix.size()));
    if (std::exchange(first, false)) log_first_ = log_next_ = number;
    if (number != log_next_) return Status(ErrorCode::kCorruption, "a controller command is missing");
    FLUX_TRY(const ctrl::Command command, ctrl::decode_command(it->value()));
    const ctrl::Outcome outcome = ctrl::apply(state_, command);
    if (!outcome.status.ok()) return outcome.status.with("a controller command that was accepted before");
    log_bytes_ += it->value().size();
    ++log_next_;
  }
  return it->status();
}

Status ControlMachine::apply(kv::Draft& draft, const api::Control& command, api::CommandResult& result) {
  const Result<ctrl::Command> decoded = ctrl::decode_command(command.bytes);
  ctrl::Outcome outcome;
  if (decoded.ok()) {
    outcome = ctrl::apply(state_, *decoded);
  } else {
    outcome = {.status = decoded.status(), .config = state_.config().num};
  }
  if (outcome.status.ok()) {
    keep(draft, command.bytes);
    changed_ = true;
  }
  result.applied = outcome.status.ok();
  result.had_value = true;
  result.value = ctrl::encode_outcome(outcome);
  return {};
}

void ControlMachine::keep(kv::Draft& draft, std::string_view command) {
  if (log_bytes_ + command.size() <= std::max<uint64_t>(log_bytes_max_, state_bytes_)) {
    draft.put_raw(Family::kMeta, log_key(log_next_++), command);
    log_bytes_ += command.size();
    return;
  }
  FLUX_PROBE("the controller's commands are folded into its state");
  for (uint64_t number = log_first_; number < log_next_; ++number) draft.erase_raw(Family::kMeta, log_key(number));
  const std::string state = ctrl::encode_state(state_);
  draft.put_raw(Family::kMeta, kStateKey, state);
  state_bytes_ = state.size();
  log_bytes_ = 0;
  // Where numbers begin is not kept when no command is: they begin anew, as load() will have it.
  log_first_ = log_next_ = 1;
}

}  // namespace flux::node
