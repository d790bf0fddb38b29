// A node's status as Prometheus metrics.
#pragma once

#include <prometheus/metric_family.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "api/admin_service.h"
#include "base/histogram.h"

namespace flux::server::http {

using Labels = std::vector<std::pair<std::string, std::string>>;

// Collects samples into families; samples of one name are added one after the other.
class MetricsBuilder {
 public:
  void gauge(const std::string& name, const std::string& help, double value, const Labels& labels = {});
  void counter(const std::string& name, const std::string& help, double value, const Labels& labels = {});
  // Microseconds recorded, seconds shown: quantiles 0.5, 0.99 and 0.999, sum and count.
  void summary_seconds(const std::string& name, const std::string& help, const Histogram& micros);

  std::vector<prometheus::MetricFamily> take() { return std::move(families_); }

 private:
  prometheus::ClientMetric& add(const std::string& name, const std::string& help, prometheus::MetricType type,
                                const Labels& labels);
  std::vector<prometheus::MetricFamily> families_;
};

void add_status_metrics(MetricsBuilder& builder, const api::NodeStatus& status);

}  // namespace flux::server::http
