// Goal: what everything stands on keeps its promises at the edges.
#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/codec.h"
#include "base/crc32c.h"
#include "base/histogram.h"
#include "base/hlc.h"
#include "base/probe.h"
#include "base/rng.h"

namespace flux {
namespace {

TEST(Status, ok_is_one_null_word) {
  EXPECT_EQ(sizeof(Status), sizeof(void*));
  EXPECT_TRUE(Status().ok());
  EXPECT_EQ(Status().to_string(), "ok");
}

TEST(Status, context_goes_in_front) {
  const Status status = Status(ErrorCode::kCorruption, "checksum differs").with("record 3").with("segment 7");
  EXPECT_EQ(status.to_string(), "corruption: segment 7: record 3: checksum differs");
}

Result<int> half(int n) {
  if (n % 2 != 0) return Status(ErrorCode::kInvalidArgument, "odd");
  return n / 2;
}
Result<int> quarter(int n) {
  FLUX_TRY(const int h, half(n));
  FLUX_TRY(const int q, half(h));
  return q;
}

TEST(Result, try_returns_the_first_error) {
  EXPECT_EQ(quarter(12).value(), 3);
  EXPECT_EQ(quarter(6).status().code(), ErrorCode::kInvalidArgument);
}

TEST(Status, only_one_code_is_indeterminate) {
  int indeterminate = 0;
  for (int code = 0; code < 64; ++code) indeterminate += is_indeterminate(static_cast<ErrorCode>(code));
  EXPECT_EQ(indeterminate, 1);
}

TEST(Crc32c, known_answers_of_rfc_3720) {
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(crc32c(std::string(32, '\xFF')), 0x62A8AB43u);
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
}

TEST(Crc32c, continues_from_a_prefix) { EXPECT_EQ(crc32c("56789", crc32c("1234")), crc32c("123456789")); }

void go_there() { FLUX_PROBE("a test goes there"); }
void never_go_there() { FLUX_PROBE("no test goes there"); }

TEST(Probe, counts_hits_and_knows_the_branch_that_was_never_taken) {
  const auto hits = [](std::string_view what) -> std::optional<uint64_t> {
    for (const Probe& probe : probes()) {
      if (probe.what == what) return probe.hits.load();
    }
    return std::nullopt;
  };
  const uint64_t before = hits("a test goes there").value();
  go_there();
  go_there();
  EXPECT_EQ(hits("a test goes there").value(), before + 2);
  EXPECT_EQ(hits("no test goes there").value(), 0u);
  if (before > 1'000'000) never_go_there();
}

TEST(Codec, round_trip) {
  std::string out;
  Encoder encoder(out);
  encoder.u8(7);
  encoder.u64(UINT64_MAX);
  encoder.varint(300);
  encoder.varint(UINT64_MAX);
  encoder.zigzag(-1);
  encoder.zigzag(INT64_MIN);
  encoder.bytes("key");
  encoder.id(Term(9));
  Decoder decoder(out);
  EXPECT_EQ(decoder.u8(), 7);
  EXPECT_EQ(decoder.u64(), UINT64_MAX);
  EXPECT_EQ(decoder.varint(), 300u);
  EXPECT_EQ(decoder.varint(), UINT64_MAX);
  EXPECT_EQ(decoder.zigzag(), -1);
  EXPECT_EQ(decoder.zigzag(), INT64_MIN);
  EXPECT_EQ(decoder.bytes(), "key");
  EXPECT_EQ(decoder.id<Term>(), Term(9));
  EXPECT_TRUE(decoder.finish("all of it").ok());
}

TEST(Codec, every_truncation_fails_and_none_reads_past_the_end) {
  std::string out;
  Encoder encoder(out);
  encoder.u32(5);
  encoder.varint(1 << 20);
  encoder.bytes("some bytes");
  for (size_t size = 0; size < out.size(); ++size) {
    const std::string cut = out.substr(0, size);
    Decoder decoder(cut);
    decoder.u32();
    decoder.varint();
    decoder.bytes();
    EXPECT_FALSE(decoder.ok()) << size;
  }
}

TEST(Codec, a_number_has_one_spelling) {
  EXPECT_FALSE([] {
    Decoder d(std::string_view("\x80\x00", 2));
    d.varint();
    return d.ok();
  }());
  EXPECT_FALSE([] {
    Decoder d("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x02");
    d.varint();
    return d.ok();
  }());
}

TEST(Codec, a_count_is_checked_against_what_is_left) {
  std::string out;
  Encoder(out).varint(1'000'000'000);
  Decoder decoder(out);
  EXPECT_EQ(decoder.count(), 0u);
  EXPECT_FALSE(decoder.ok());
}

TEST(Hlc, versions_never_stand_still) {
  const Version stamp = version_at(WallMillis(1000));
  EXPECT_EQ(next_version(Version(0), stamp), stamp);
  EXPECT_EQ(next_version(stamp, stamp), stamp + 1);
  EXPECT_EQ(next_version(stamp + 5, version_at(WallMillis(999))), stamp + 6);
  EXPECT_EQ(wall_of(stamp + 7), WallMillis(1000));
  EXPECT_EQ(to_string(version_at(WallMillis(1'700'000'000'123)) + 7), "2023-11-14T22:13:20.123+7");
}

TEST(Histogram, quantiles_are_within_one_part_in_128) {
  Histogram histogram;
  for (uint64_t value = 1; value <= 100'000; ++value) histogram.record(value);
  for (const double q : {0.01, 0.5, 0.9, 0.99, 0.999}) {
    const double exact = q * 100'000;
    EXPECT_NEAR(static_cast<double>(histogram.quantile(q)), exact, exact / 128 + 1) << q;
  }
  EXPECT_EQ(histogram.quantile(1.0), 100'000u);
  EXPECT_EQ(histogram.min(), 1u);
}

TEST(Histogram, holds_the_largest_value) {
  Histogram histogram;
  histogram.record(UINT64_MAX);
  histogram.record(0);
  EXPECT_EQ(histogram.quantile(1.0), UINT64_MAX);
  EXPECT_EQ(histogram.quantile(0.0), 0u);
}

TEST(Rng, same_seed_same_draws) {
  Rng a(42), b(42), c(43);
  for (int i = 0; i < 100; ++i) {
    const uint64_t x = a.next();
    EXPECT_EQ(x, b.next());
    EXPECT_NE(x, c.next());
  }
  for (int i = 0; i < 1000; ++i) EXPECT_LT(a.below(7), 7u);
}

}  // namespace
}  // namespace flux
