// What CONFIG GET shows, under the names Redis gives it, and what CONFIG SET changes while the server runs.
#pragma once

#include <functional>
#include <vector>

#include "main/process.h"

namespace flux::main {

// `door` is called only by requests that came through it.
std::vector<server::resp::Setting> visible_settings(const ProcessOptions& options, node::Node& node,
                                                    std::function<server::resp::Door&()> door);

}  // namespace flux::main
