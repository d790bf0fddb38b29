// Goal: sizes, times and estimates read right, also at their edges.
#include "main/ctl/output.h"

#include <gtest/gtest.h>

namespace flux::main::ctl {
namespace {

TEST(Output, bytes) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1536), "1.5 KiB");
  EXPECT_EQ(human_bytes(20.0 * 1024 * 1024 * 1024), "20.0 GiB");
  EXPECT_EQ(human_bytes(1e18), "909494.7 TiB");
}

TEST(Output, durations) {
  EXPECT_EQ(human_duration(0), "0 s");
  EXPECT_EQ(human_duration(0.2), "1 s");
  EXPECT_EQ(human_duration(200), "3 min 20 s");
  EXPECT_EQ(human_duration(7500), "2 h 5 min");
  EXPECT_EQ(human_duration(1e30), "277777 h 46 min");
}

TEST(Output, percent_never_passes_a_hundred) {
  EXPECT_EQ(percent(0, 0), 0u);
  EXPECT_EQ(percent(5, 0), 0u);
  EXPECT_EQ(percent(199, 200), 99u);
  EXPECT_EQ(percent(300, 200), 100u);
  EXPECT_EQ(percent(UINT64_MAX, UINT64_MAX), 100u);
}

TEST(Rate, is_of_the_last_ten_seconds) {
  Rate rate;
  EXPECT_EQ(rate.per_second(), 0);
  rate.add(100, 0);
  EXPECT_EQ(rate.per_second(), 0);
  rate.add(101, 50);
  EXPECT_EQ(rate.per_second(), 50);
  for (int second = 2; second <= 30; ++second) rate.add(100 + second, 50 + 10 * static_cast<uint64_t>(second - 1));
  EXPECT_EQ(rate.per_second(), 10);
}

TEST(Rate, a_count_that_goes_back_begins_anew) {
  Rate rate;
  rate.add(1, 1000);
  rate.add(2, 10);
  EXPECT_EQ(rate.per_second(), 0);
  rate.add(2, 20);
  EXPECT_EQ(rate.per_second(), 0) << "no time has passed";
  rate.add(4, 30);
  EXPECT_EQ(rate.per_second(), 10);
}

TEST(Progress, says_what_is_known) {
  EXPECT_EQ(progress_text(0, 0, 0), "0 B");
  EXPECT_EQ(progress_text(512, 1024, 0), "512 B of 1.0 KiB (50%)");
  EXPECT_EQ(progress_text(512, 1024, 256), "512 B of 1.0 KiB (50%), 256 B/s, about 2 s left");
  EXPECT_EQ(progress_text(2048, 1024, 1), "2.0 KiB of 2.0 KiB (100%), 1 B/s");
}

}  // namespace
}  // namespace flux::main::ctl
