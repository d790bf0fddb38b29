// Goal: slots are where every Redis Cluster client expects them, and every error has one spelling per protocol.
#include <gtest/gtest.h>

#include <set>

#include "api/admin_service.h"
#include "api/errors.h"
#include "api/kv_service.h"
#include "api/limits.h"
#include "api/slot.h"

namespace flux::api {
namespace {

TEST(Slot, known_answers_of_the_redis_cluster_specification) {
  EXPECT_EQ(crc16("123456789"), 0x31C3);
  EXPECT_EQ(slot_of("foo"), Slot(12182));
  EXPECT_EQ(slot_of("bar"), Slot(5061));
  EXPECT_EQ(slot_of(""), Slot(0));
}

TEST(Slot, hash_tags) {
  EXPECT_EQ(slot_of("{user1000}.following"), slot_of("user1000"));
  EXPECT_EQ(slot_of("foo{{bar}}zap"), slot_of("{bar"));
  EXPECT_EQ(slot_of("foo{bar}{zap}"), slot_of("bar"));
  EXPECT_EQ(slot_of("foo{}{bar}").value(), crc16("foo{}{bar}") % kSlotCount);
  EXPECT_EQ(slot_of("foo{bar").value(), crc16("foo{bar") % kSlotCount);
}

TEST(Slot, encoded_keys_sort_by_slot) {
  EXPECT_EQ(encoded_key("foo"), std::string("\x2F\x96", 2) + "foo");
  EXPECT_EQ(decoded_key(encoded_key("foo")), "foo");
  EXPECT_LT(encoded_key("bar"), encoded_key("foo"));
}

TEST(Errors, an_indeterminate_outcome_never_reads_as_a_refusal) {
  std::set<std::string_view> definite;
  for (int code = 1; code <= 22; ++code) {
    const auto error = static_cast<ErrorCode>(code);
    EXPECT_NE(to_string(error), "unknown_error") << code;
    EXPECT_GE(spelling_of(error).http_status, 400) << code;
    if (!is_indeterminate(error)) definite.insert(spelling_of(error).resp_prefix);
  }
  EXPECT_FALSE(definite.contains(spelling_of(ErrorCode::kOutcomeUnknown).resp_prefix));
}

TEST(Errors, a_message_cannot_break_the_protocol) {
  EXPECT_EQ(resp_error(Status(ErrorCode::kInvalidArgument, "a\r\nb")), "ERR a  b");
}

}  // namespace
}  // namespace flux::api
