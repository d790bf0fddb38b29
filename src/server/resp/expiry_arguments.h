// Expiry as commands name it: EX, PX, EXAT, PXAT and their commands.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "api/command.h"

namespace flux::server::resp {

enum class ExpiryUnit : uint8_t { kSecondsFromNow, kMillisFromNow, kSecondsUnix, kMillisUnix };
enum class Positive : uint8_t { kRequired, kNotRequired };

// EX, PX, EXAT or PXAT, in any case.
std::optional<ExpiryUnit> expiry_option(std::string_view option);

// Reads a time. Returns the error for the client, or an empty string.
std::string read_expiry(std::string_view text, ExpiryUnit unit, Positive positive, std::string_view command,
                        api::Expiry& expiry);

}  // namespace flux::server::resp
