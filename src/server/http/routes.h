// What each path answers.
#pragma once

#include <absl/functional/any_invocable.h>

#include <map>
#include <string>
#include <string_view>

#include "api/admin_service.h"
#include "server/http/door.h"

namespace flux::server::http {

struct Request {
  std::string method;
  std::string path;                          // decoded, without the query
  std::map<std::string, std::string> query;  // decoded
  std::string body;
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
};

using Respond = absl::AnyInvocable<void(Response)>;

// Splits and decodes a request target. kInvalidArgument: not a path we take (bad escapes, control characters).
Status parse_target(std::string_view target, Request& request);

// Answers a request, now or later on the same loop.
void route(const Request& request, api::AdminService& admin, const DoorOptions& options, Respond respond);

Response error_response(const Status& status);

}  // namespace flux::server::http
