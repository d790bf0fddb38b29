// CRC-32C (Castagnoli polynomial, as in iSCSI, RFC 3720 section B.4), by ISA-L.
#pragma once

#include <cstdint>
#include <string_view>

namespace flux {

// The checksum of `data` continued from `crc`, the checksum of what came before it (0 for nothing).
uint32_t crc32c(std::string_view data, uint32_t crc = 0);

}  // namespace flux
