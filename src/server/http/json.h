// Statuses and the cluster as JSON. Ids and indexes are numbers; the cluster id is a hexadecimal string; keys are as in
// api/key_text.h.
#pragma once

#include <boost/json/value.hpp>
#include <string>
#include <vector>

#include "api/admin_service.h"

namespace flux::server::http {

boost::json::value to_json(const api::NodeStatus& status);
boost::json::value to_json(const api::ClusterView& view);
// REQUIRES: reply.status.ok().
boost::json::value to_json(const api::ClusterReply& reply);

// Indented by two, keys in the order they were added.
std::string pretty(const boost::json::value& value);

}  // namespace flux::server::http
