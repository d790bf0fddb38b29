// The version of this build.
#pragma once

#include <string_view>

namespace flux::node {

inline constexpr std::string_view kVersion = FLUX_VERSION;

}  // namespace flux::node
