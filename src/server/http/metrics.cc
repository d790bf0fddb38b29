#include "server/http/metrics.h"

#include <fmt/core.h>

namespace flux::server::http {

prometheus::ClientMetric& MetricsBuilder::add(const std::string& name, const std::string& help,
                                              prometheus::MetricType type, const Labels& labels) {
  if (families_.empty() || families_.back().name != name) {
    prometheus::MetricFamily& family = families_.emplace_back();
    family.name = name;
    family.help = help;
    family.type = type;
  }
  prometheus::ClientMetric& metric = families_.back().metric.emplace_back();
  for (const auto& [label, value] : labels) metric.label.push_back({.name = label, .value = value});
  return metric;
}

void MetricsBuilder::gauge(const std::string& name, const std::string& help, double value, const Labels& labels) {
  add(name, help, prometheus::MetricType::Gauge, labels).gauge.value = value;
}

void MetricsBuilder::counter(const std::string& name, const std::string& help, double value, const Labels& labels) {
  add(name, help, prometheus::MetricType::Counter, labels).counter.value = value;
}

void MetricsBuilder::summary_seconds(const std::string& name, const std::string& help, const Histogram& micros) {
  prometheus::ClientMetric::Summary& summary = add(name, help, prometheus::MetricType::Summary, {}).summary;
  summary.sample_count = micros.count();
  summary.sample_sum = static_cast<double>(micros.sum()) / 1e6;
  for (const double quantile : {0.5, 0.99, 0.999}) {
    summary.quantile.push_back({.quantile = quantile, .value = static_cast<double>(micros.quantile(quantile)) / 1e6});
  }
}

void add_status_metrics(MetricsBuilder& builder, const api::NodeStatus& status) {
  builder.gauge("fluxkv_build_info", "Always 1; what this node runs is in the labels.", 1,
                {{"version", status.version}, {"engine", status.engine}});
  builder.gauge("fluxkv_unsafe_fsync",
                "1 if acknowledged writes may be lost in a power cut (--fsync other than always).",
                status.fsync == "always" ? 0 : 1);
  builder.gauge("fluxkv_draining", "1 while the node shuts down.", status.draining ? 1 : 0);
  builder.gauge("fluxkv_uptime_seconds", "Seconds since the node started.", static_cast<double>(status.uptime_seconds));
  builder.gauge("fluxkv_memory_used_bytes", "Memory the process has allocated.",
                static_cast<double>(status.memory_used_bytes));
  builder.gauge("fluxkv_memory_max_bytes", "Memory above which writes are refused; 0 is no ceiling.",
                static_cast<double>(status.memory_max_bytes));
  const auto per_group = [&](const std::string& name, const std::string& help, auto value) {
    for (const api::GroupStatus& group : status.groups) {
      builder.gauge(name, help, static_cast<double>(value(group)), {{"group", fmt::format("{}", group.id)}});
    }
  };
  using Group = api::GroupStatus;
  per_group("fluxkv_group_has_leader", "1 if a leader of the group is known.",
            [](const Group& group) { return group.leader == kNobody ? 0 : 1; });
  per_group("fluxkv_group_is_leader", "1 if this node leads the group.",
            [](const Group& group) { return group.role == "leader" ? 1 : 0; });
  per_group("fluxkv_group_is_learner", "1 if this node's replica does not vote.",
            [](const Group& group) { return group.role == "learner" ? 1 : 0; });
  per_group("fluxkv_group_halted", "1 if this node's replica has stopped and an operator must act.",
            [](const Group& group) { return group.halted.empty() ? 0 : 1; });
  per_group("fluxkv_group_term", "Raft term.", [](const Group& group) { return group.term.value(); });
  per_group("fluxkv_group_commit_index", "Newest committed entry.",
            [](const Group& group) { return group.commit_index.value(); });
  per_group("fluxkv_group_applied_index", "Newest applied entry.",
            [](const Group& group) { return group.applied_index.value(); });
  per_group("fluxkv_group_log_entries", "Entries the log holds.",
            [](const Group& group) { return group.last_index.value() + 1 - group.first_index.value(); });
  per_group("fluxkv_group_snapshot_index", "What the newest snapshot covers.",
            [](const Group& group) { return group.snapshot_index.value(); });
  per_group("fluxkv_group_keys", "Keys stored, expired ones that are not erased yet included.",
            [](const Group& group) { return group.keys; });
  for (const api::GroupStatus& group : status.groups) {
    for (const api::PeerProgress& peer : group.peers) {
      builder.gauge("fluxkv_peer_lag_entries", "Leader only: entries a peer does not have yet.",
                    static_cast<double>(group.last_index.value() - std::min(group.last_index, peer.match).value()),
                    {{"group", fmt::format("{}", group.id)}, {"peer", fmt::format("{}", peer.id)}});
    }
  }
}

}  // namespace flux::server::http
