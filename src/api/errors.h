// The one table from error codes to what each protocol calls them.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace flux::api {

struct ErrorSpelling {
  std::string_view resp_prefix;  // the first word of a RESP error
  int grpc_code;                 // google.rpc.Code
  int http_status;
};

ErrorSpelling spelling_of(ErrorCode code);

// The text of a RESP error reply, without '-' and line end: "TRYAGAIN no leader ...".
std::string resp_error(const Status& status);

}  // namespace flux::api
