// Operations of a history as commands of the store, and results of commands as a history has them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "api/command.h"
#include "history/operation.h"

namespace flux::history {

// Points into `key` and `argument`. REQUIRES: the kind changes something when it is asked for (not kGet, kExpire), and
// the argument of a kAdd is a number.
api::Command command_of(Kind kind, std::string_view key, std::string_view argument);
// Of a command that did not fail.
std::optional<std::string> result_of(Kind kind, const api::CommandResult& result);

}  // namespace flux::history
