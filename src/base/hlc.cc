#include "base/hlc.h"

#include <fmt/chrono.h>

namespace flux {

std::string to_string(Version version) {
  const uint64_t millis = wall_of(version).value();
  const uint64_t counter = version.value() & ((uint64_t{1} << kHlcCounterBits) - 1);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}+{}", fmt::gmtime(static_cast<std::time_t>(millis / 1000)),
                     millis % 1000, counter);
}

}  // namespace flux
