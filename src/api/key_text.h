// Encoded keys as people write them: in JSON, on command lines.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace flux::api {

// Printable ASCII as it is, a backslash as \\, every other byte as \xHH. A key that begins with "slot:" has its first
// letter escaped, so that parse_key_text() gives back the same bytes for whatever key.
std::string key_text(std::string_view key);

// The bytes of such a text. "slot:N" is where slot N begins in a hash keyspace. kInvalidArgument says what is wrong.
Result<std::string> parse_key_text(std::string_view text);

}  // namespace flux::api
