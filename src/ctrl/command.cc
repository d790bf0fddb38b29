#include "ctrl/command.h"

#include <array>

namespace flux::ctrl {

std::string encode_command(const Command& command) { return to_bytes(command); }

Result<Command> decode_command(std::string_view bytes) {
  if (bytes.size() > kCommandBytesMax) return Status(ErrorCode::kTooLarge, "a command over its limit");
  return from_bytes<Command>(bytes, "command of the controller");
}

std::string_view name_of(const Command& command) {
  static constexpr auto kNames = std::to_array<std::string_view>(
      {"join",          "leave",         "move",          "split",           "merge",        "create_keyspace",
       "drop_keyspace", "add_node",      "drain_node",    "remove_node",     "replace_node", "set_replication",
       "rebalance",     "set_balance",   "control_plan",  "report_progress", "hand_over",    "settled",
       "report_group",  "announce_node", "report_silent", "set_limits",      "set_groups"});
  static_assert(kNames.size() == std::variant_size_v<CommandBody>);
  return kNames.at(command.body.index());
}

}  // namespace flux::ctrl
