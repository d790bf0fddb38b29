// The Redis version whose behaviour we keep to; clients decide by it what they may use.
#pragma once

#include <string_view>

namespace flux::server::resp {

inline constexpr std::string_view kRedisVersion = "7.0.15";

}  // namespace flux::server::resp
