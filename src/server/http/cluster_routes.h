// GET /cluster, and the changes of the cluster below it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/cluster.h"
#include "server/http/routes.h"

namespace flux::server::http {

// The paths below /cluster/ that take a POST, without that: "node/add".
std::vector<std::string_view> cluster_changes();
bool is_cluster_change(std::string_view path);

// What a POST asks for. kInvalidArgument says which field is wrong, and how. REQUIRES: is_cluster_change(path).
Result<api::ClusterChange> cluster_change(std::string_view path, std::string_view body);

void get_cluster(const Request& request, api::AdminService& admin, Respond respond);
// REQUIRES: is_cluster_change(request.path).
void post_cluster(const Request& request, api::AdminService& admin, Respond respond);

}  // namespace flux::server::http
