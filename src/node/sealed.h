// Small files of the node's own: magic, format, body, checksum.
//
//   magic (8) | format (4) = 1 | body: varint length, bytes | crc32c (4) of all before it
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace flux::node {

std::string seal(std::string_view magic, std::string_view body);
// The body; points into `bytes`. kCorruption, or kUnsupported for another format; `what` names the file in the message.
Result<std::string_view> unseal(std::string_view magic, std::string_view bytes, std::string_view what);

}  // namespace flux::node
