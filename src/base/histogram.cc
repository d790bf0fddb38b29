#include "base/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace flux {
namespace {

constexpr unsigned kStepBits = 7;  // 128 steps to each doubling
constexpr uint64_t kSteps = uint64_t{1} << kStepBits;
constexpr size_t kBuckets = (64 - kStepBits + 1) * kSteps;

size_t bucket_of(uint64_t value) {
  if (value < kSteps) return static_cast<size_t>(value);
  const unsigned shift = static_cast<unsigned>(std::bit_width(value)) - kStepBits - 1;
  return static_cast<size_t>((uint64_t{shift} << kStepBits) + (value >> shift));
}

// The largest value that falls into the bucket.
uint64_t bucket_top(size_t bucket) {
  if (bucket < 2 * kSteps) return bucket;
  const uint64_t shift = (bucket >> kStepBits) - 1;
  return (((bucket & (kSteps - 1)) + kSteps + 1) << shift) - 1;
}

}  // namespace

Histogram::Histogram() : buckets_(kBuckets) {}

void Histogram::record(uint64_t value, uint64_t count) {
  buckets_[bucket_of(value)] += count;
  count_ += count;
  sum_ += value * count;
  min_ = std::min(min_, value);
  max_ = std::max(max_, value);
}

void Histogram::merge(const Histogram& other) {
  for (size_t i = 0; i < buckets_.size(); ++i) buckets_[i] += other.buckets_[i];
  count_ += other.count_;
  sum_ += other.sum_;
  min_ = std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
}

uint64_t Histogram::quantile(double q) const {
  if (count_ == 0) return 0;
  const auto rank = static_cast<uint64_t>(std::ceil(std::clamp(q, 0.0, 1.0) * static_cast<double>(count_)));
  uint64_t seen = 0;
  for (size_t i = 0; i < buckets_.size(); ++i) {
    seen += buckets_[i];
    if (seen >= std::max<uint64_t>(rank, 1)) return std::min(bucket_top(i), max_);
  }
  return max_;
}

}  // namespace flux
