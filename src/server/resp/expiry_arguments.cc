#include "server/resp/expiry_arguments.h"

#include <fmt/core.h>

#include "server/resp/command.h"
#include "server/resp/numbers.h"

namespace flux::server::resp {

std::optional<ExpiryUnit> expiry_option(std::string_view option) {
  if (equals_ignoring_case(option, "ex")) return ExpiryUnit::kSecondsFromNow;
  if (equals_ignoring_case(option, "px")) return ExpiryUnit::kMillisFromNow;
  if (equals_ignoring_case(option, "exat")) return ExpiryUnit::kSecondsUnix;
  if (equals_ignoring_case(option, "pxat")) return ExpiryUnit::kMillisUnix;
  return std::nullopt;
}

std::string read_expiry(std::string_view text, ExpiryUnit unit, Positive positive, std::string_view command,
                        api::Expiry& expiry) {
  const std::optional<int64_t> number = parse_integer(text);
  if (!number) return std::string(kNotInteger);
  const bool seconds = unit == ExpiryUnit::kSecondsFromNow || unit == ExpiryUnit::kSecondsUnix;
  const bool relative = unit == ExpiryUnit::kSecondsFromNow || unit == ExpiryUnit::kMillisFromNow;
  int64_t millis = *number;
  // A relative time is added to the present, which takes 42 bits; leave room for the sum.
  const bool overflow = (seconds && __builtin_mul_overflow(millis, int64_t{1000}, &millis)) ||
                        (relative && millis > INT64_MAX - (int64_t{1} << 42));
  if (overflow || (positive == Positive::kRequired && millis <= 0)) {
    return fmt::format("ERR invalid expire time in '{}' command", command);
  }
  expiry = {.kind = relative ? api::Expiry::Kind::kIn : api::Expiry::Kind::kAt, .millis = millis};
  return {};
}

}  // namespace flux::server::resp
