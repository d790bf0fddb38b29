// Goal: a batch tells what it will do.
#include "engine/batch.h"

#include <gtest/gtest.h>

namespace flux::engine {
namespace {

std::string find(const Batch& batch, std::string_view key, Family family = Family::kData) {
  std::string_view value;
  switch (batch.find(family, key, value)) {
    case Batch::Found::kNothing:
      return "nothing";
    case Batch::Found::kErased:
      return "erased";
    case Batch::Found::kPut:
      return std::string(value);
  }
  return "?";
}

TEST(Batch, keeps_changes_in_order) {
  Batch batch;
  batch.put(Family::kData, "a", "1", Existed::kNo);
  batch.erase(Family::kMeta, "b");
  batch.erase_range(Family::kFeed, "c", "d");
  ASSERT_EQ(batch.size(), 3u);
  EXPECT_EQ(batch.change(0).key, "a");
  EXPECT_EQ(batch.change(0).value, "1");
  EXPECT_EQ(batch.change(0).existed, Existed::kNo);
  EXPECT_EQ(batch.change(1).kind, Batch::Kind::kErase);
  EXPECT_EQ(batch.change(2).kind, Batch::Kind::kEraseRange);
  EXPECT_EQ(batch.change(2).value, "d");
  batch.clear();
  EXPECT_TRUE(batch.empty());
  EXPECT_EQ(find(batch, "a"), "nothing");
}

TEST(Batch, finds_the_last_change_of_a_key) {
  Batch batch;
  batch.put(Family::kData, "a", "1");
  EXPECT_EQ(find(batch, "a"), "1");
  EXPECT_EQ(find(batch, "b"), "nothing");
  EXPECT_EQ(find(batch, "a", Family::kMeta), "nothing");
  batch.put(Family::kData, "a", "2");
  EXPECT_EQ(find(batch, "a"), "2");
  batch.erase(Family::kData, "a");
  EXPECT_EQ(find(batch, "a"), "erased");
}

TEST(Batch, finds_through_erased_ranges) {
  Batch batch;
  batch.put(Family::kData, "b", "1");
  batch.erase_range(Family::kData, "a", "c");
  EXPECT_EQ(find(batch, "b"), "erased");
  EXPECT_EQ(find(batch, "a"), "erased");
  EXPECT_EQ(find(batch, "c"), "nothing");
  EXPECT_EQ(find(batch, "b", Family::kMeta), "nothing");
  batch.put(Family::kData, "b", "2");
  EXPECT_EQ(find(batch, "b"), "2");
  batch.erase_range(Family::kData, "b", "");
  EXPECT_EQ(find(batch, "zz"), "erased");
  EXPECT_EQ(find(batch, "b"), "erased");
}

}  // namespace
}  // namespace flux::engine
