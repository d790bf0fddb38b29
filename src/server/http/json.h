// Statuses as JSON. Ids and indexes are numbers; the cluster id is a hexadecimal string.
#pragma once

#include <boost/json/value.hpp>
#include <string>
#include <vector>

#include "api/admin_service.h"

namespace flux::server::http {

boost::json::value to_json(const api::NodeStatus& status);

// Indented by two, keys in the order they were added.
std::string pretty(const boost::json::value& value);

}  // namespace flux::server::http
