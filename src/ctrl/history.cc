#include "ctrl/history.h"

#include <fmt/core.h>

namespace flux::ctrl {
namespace {

// Of our own making, or verified by restore().
void step(Config& config, std::string_view bytes) {
  const Result<ConfigDelta> delta = from_bytes<ConfigDelta>(bytes, "change of the configuration");
  FLUX_CHECK(delta.ok(), "{}", delta.status().to_string());
  apply_delta(config, *delta);
}

Status not_kept(ConfigNum num, ConfigNum oldest, ConfigNum newest) {
  return {ErrorCode::kNotFound,
          fmt::format("configuration {} is not kept; those from {} to {} are", num, oldest, newest)};
}

}  // namespace

Result<Config> History::query(ConfigNum num) const {
  if (num < base_.num || num > newest_.num) return not_kept(num, base_.num, newest_.num);
  if (num == newest_.num) return newest_;
  Config config = base_;
  for (size_t at = 0; config.num < num; ++at) step(config, deltas_[at]);
  return config;
}

Result<std::string_view> History::delta(ConfigNum num) const {
  if (num <= base_.num || num > newest_.num) return not_kept(num, base_.num + 1, newest_.num);
  return std::string_view(deltas_[num - base_.num - 1]);
}

void History::push(Config next, Limits limits) {
  FLUX_CHECK(next.num == newest_.num + 1);
  FLUX_DCHECK(next.validate().ok(), "{}", next.validate().to_string());
  deltas_.push_back(to_bytes(diff(newest_, next)));
  bytes_ += deltas_.back().size();
  newest_ = std::move(next);
  if (deltas_.size() <= limits.configs && bytes_ <= limits.bytes) return;
  // A quarter at a time, because the whole one is encoded again after it. The newest change stays whatever its size:
  // who is one behind goes forward by it.
  const Limits low{.configs = limits.configs - limits.configs / 4, .bytes = limits.bytes - limits.bytes / 4};
  while (deltas_.size() > 1 && (deltas_.size() > low.configs || bytes_ > low.bytes)) fold_oldest();
  base_bytes_ = encode_config(base_);
}

void History::fold_oldest() {
  step(base_, deltas_.front());
  bytes_ -= deltas_.front().size();
  deltas_.pop_front();
}

Status History::restore() {
  FLUX_TRY(base_, decode_config(base_bytes_));
  newest_ = base_;
  bytes_ = 0;
  for (const std::string& bytes : deltas_) {
    FLUX_TRY(const ConfigDelta delta, from_bytes<ConfigDelta>(bytes, "change of the configuration"));
    if (delta.num != newest_.num + 1) return Status(ErrorCode::kCorruption, "a configuration is missing");
    apply_delta(newest_, delta);
    bytes_ += bytes.size();
  }
  if (const Status status = newest_.validate(); !status.ok()) {
    return Status(ErrorCode::kCorruption, "configuration: " + status.message());
  }
  return {};
}

}  // namespace flux::ctrl
