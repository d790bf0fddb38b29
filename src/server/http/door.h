// Listens for HTTP/1.1 on one loop.
#pragma once

#include <prometheus/metric_family.h>

#include <functional>
#include <memory>
#include <vector>

#include "api/admin_service.h"
#include "env/net.h"

namespace flux::server::http {

struct DoorOptions {
  env::Address listen;
  size_t connections_max = 1024;
  // Further metrics of the process, gathered at every scrape, on the loop.
  std::function<void(std::vector<prometheus::MetricFamily>&)> extra_metrics;
};

class Door {
 public:
  static Result<std::unique_ptr<Door>> open(env::Network& network, env::Loop& loop, api::AdminService& admin,
                                            DoorOptions options);
  virtual ~Door() = default;
  virtual env::Address local() const = 0;
};

}  // namespace flux::server::http
