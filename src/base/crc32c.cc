#include "base/crc32c.h"

#include <isa-l.h>

#include "base/check.h"

namespace flux {

uint32_t crc32c(std::string_view data, uint32_t crc) {
  FLUX_CHECK(data.size() <= INT32_MAX);
  // ISA-L leaves both inversions of the standard to the caller, and wants a pointer to non-const.
  auto* bytes = reinterpret_cast<unsigned char*>(const_cast<char*>(data.data()));
  return ~crc32_iscsi(bytes, static_cast<int>(data.size()), ~crc);
}

}  // namespace flux
