// Any bytes: they are a command, a configuration or a state with one spelling, or are refused. What can be read is
// applied, and leaves a state that can be read.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "ctrl/actions.h"
#include "ctrl/apply.h"

namespace {

using namespace flux;
using namespace flux::ctrl;

// A small cluster for commands to meet.
State small_cluster() {
  State state;
  const auto ok = [&](CommandBody body) { FLUX_CHECK(apply(state, {.body = std::move(body)}).status.ok()); };
  for (uint64_t id = 1; id <= 4; ++id) {
    const api::NodeRecord record{.id = NodeId(id), .name = std::to_string(id)};
    ok(AddNode{.record = record});
    ok(AnnounceNode{.record = record});
  }
  ok(Join{{{.id = GroupId(1), .replicas = 3}, {.id = GroupId(2), .replicas = 3}}});
  ok(Settled{.group = GroupId(1), .num = state.config().num});
  ok(Settled{.group = GroupId(2), .num = state.config().num});
  ok(CreateKeyspace{.name = "k", .slot_ranges = 4});
  ok(Settled{.group = GroupId(1), .num = state.config().num});
  const PlanId plan = apply(state, {.body = Leave{{GroupId(2)}}}).plan;
  ok(ReportProgress{.plan = plan, .phase = StepPhase::kReady});
  return state;
}

void apply_to(State state, const Command& command) {
  const std::string before = encode_state(state);
  const Outcome outcome = apply(state, command);
  const std::string after = encode_state(state);
  if (!outcome.status.ok()) FLUX_CHECK(after == before);
  const Result<State> again = decode_state(after);
  FLUX_CHECK(again.ok(), "{}", again.status().to_string());
  FLUX_CHECK(encode_state(*again) == after);
  static_cast<void>(next_actions(state));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const State cluster = small_cluster();
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const Result<Command> command = decode_command(bytes); command.ok()) {
    FLUX_CHECK(encode_command(*command) == bytes);
    apply_to(cluster, *command);
  }
  if (const Result<Config> config = decode_config(bytes); config.ok()) FLUX_CHECK(encode_config(*config) == bytes);
  if (const Result<State> state = decode_state(bytes); state.ok()) {
    FLUX_CHECK(encode_state(*state) == bytes);
    static_cast<void>(next_actions(*state));
  }
  return 0;
}
