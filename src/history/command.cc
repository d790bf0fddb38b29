#include "history/command.h"

#include <charconv>

#include "base/check.h"

namespace flux::history {

api::Command command_of(Kind kind, std::string_view key, std::string_view argument) {
  switch (kind) {
    case Kind::kSet:
      return api::Put{.key = key, .value = argument};
    case Kind::kSetNx:
      return api::Put{.key = key, .value = argument, .condition = api::Condition::kIfAbsent};
    case Kind::kGetSet:
      return api::Put{.key = key, .value = argument, .return_old = true};
    case Kind::kDelete:
      return api::Delete{.key = key};
    case Kind::kAdd: {
      int64_t delta = 0;
      const auto [end, error] = std::from_chars(argument.data(), argument.data() + argument.size(), delta);
      FLUX_CHECK(error == std::errc() && end == argument.data() + argument.size());
      return api::Increment{.key = key, .delta = delta};
    }
    case Kind::kAppend:
      return api::Append{.key = key, .value = argument};
    case Kind::kGet:
    case Kind::kExpire:
      break;
  }
  FLUX_CHECK(false, "nobody asks for a {}", to_string(kind));
}

std::optional<std::string> result_of(Kind kind, const api::CommandResult& result) {
  switch (kind) {
    case Kind::kSetNx:
    case Kind::kDelete:
      return result.applied ? "1" : "0";
    case Kind::kGetSet:
      return result.had_value ? std::optional(result.value) : std::nullopt;
    case Kind::kAdd:
    case Kind::kAppend:
      return std::to_string(result.integer);
    default:
      return std::nullopt;
  }
}

}  // namespace flux::history
