// A histogram of non-negative integers with a bounded relative error, after HdrHistogram: buckets double in width, each
// split into 128 equal steps, so a reported quantile is within 1/128 of the true one. Not thread-safe; merge() instead.
#pragma once

#include <cstdint>
#include <vector>

namespace flux {

class Histogram {
 public:
  Histogram();

  void record(uint64_t value, uint64_t count = 1);
  void merge(const Histogram& other);

  uint64_t count() const { return count_; }
  uint64_t max() const { return max_; }
  uint64_t min() const { return count_ == 0 ? 0 : min_; }
  double mean() const { return count_ == 0 ? 0 : static_cast<double>(sum_) / static_cast<double>(count_); }
  uint64_t sum() const { return sum_; }
  // The smallest recorded value (up to the error) that at least `q` of all values do not exceed; 0 when empty.
  uint64_t quantile(double q) const;

 private:
  std::vector<uint64_t> buckets_;
  uint64_t count_ = 0;
  uint64_t sum_ = 0;
  uint64_t min_ = UINT64_MAX;
  uint64_t max_ = 0;
};

}  // namespace flux
