// Goal: slots are where every Redis Cluster client expects them, and every error has one spelling per protocol.
#include <gtest/gtest.h>

#include <set>

#include "api/admin_service.h"
#include "api/errors.h"
#include "api/key_text.h"
#include "api/keyspace.h"
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

// S01: they end up in users' data, so they never change.
TEST(Keyspace, encoded_keys_have_their_layout) {
  const KeyspaceRef hash{.id = KeyspaceId(0x01020304), .kind = KeyspaceKind::kHash};
  const KeyspaceRef range{.id = KeyspaceId(2), .kind = KeyspaceKind::kRange};
  EXPECT_EQ(encoded_key({}, "foo"), std::string("\x2F\x96", 2) + "foo");
  EXPECT_EQ(encoded_key(hash, "foo"), std::string("\x40\x01\x02\x03\x04\x2F\x96", 7) + "foo");
  EXPECT_EQ(encoded_key(range, "foo"), std::string("\x80\x00\x00\x00\x02", 5) + "foo");
  EXPECT_LT(encoded_key({}, "bar"), encoded_key({}, "foo"));  // by slot
}

TEST(Keyspace, an_encoded_key_tells_whose_it_is) {
  const KeyspaceRef all[] = {{},
                             {.id = KeyspaceId(2), .kind = KeyspaceKind::kHash},
                             {.id = KeyspaceId(3), .kind = KeyspaceKind::kHash},
                             {.id = KeyspaceId(0xFF), .kind = KeyspaceKind::kRange},
                             {.id = KeyspaceId(0x100), .kind = KeyspaceKind::kRange},
                             {.id = kKeyspaceIdMax, .kind = KeyspaceKind::kRange}};
  std::string before;
  for (const KeyspaceRef keyspace : all) {
    const KeyRange range = keyspace_range(keyspace);
    EXPECT_GE(range.start, before) << "keyspaces do not overlap";
    before = range.end;
    EXPECT_EQ(keyspace_at(range.start), keyspace);
    for (const std::string& key : {std::string(), std::string("a"), std::string(100, '\xFF'), std::string(3, '\0')}) {
      const std::string encoded = encoded_key(keyspace, key);
      EXPECT_EQ(decoded_key(encoded), key);
      EXPECT_EQ(keyspace_at(encoded), keyspace);
      EXPECT_GE(encoded, range.start);
      EXPECT_LT(encoded, range.end);
      EXPECT_LE(encoded.size(), key.size() + (kEncodedKeyBytesMax - kKeyBytesMax));
    }
  }
  // Nobody's.
  for (const std::string& bytes : {std::string("\x40"), std::string("\x80\0\0\0", 4), std::string("\x80\0\0\0\1k", 6),
                                   std::string("\x41\0\0\0\2k", 6), std::string("\xFF")}) {
    EXPECT_EQ(keyspace_at(bytes), std::nullopt);
    EXPECT_LE(decoded_key(bytes).size(), bytes.size());
  }
}

TEST(Keyspace, a_range_is_cut_to_its_keyspace) {
  const KeyspaceRef range{.id = KeyspaceId(2), .kind = KeyspaceKind::kRange};
  EXPECT_EQ(within({}, "", ""), (KeyRange{.start = "", .end = slot_start(kSlotCount)}));
  EXPECT_EQ(within(range, "", ""), keyspace_range(range));
  EXPECT_EQ(within(range, encoded_key(range, "b"), encoded_key(range, "c")),
            (KeyRange{.start = encoded_key(range, "b"), .end = encoded_key(range, "c")}));
  EXPECT_TRUE(within(range, "\xFF", "").empty());
  EXPECT_TRUE(within(range, "", encoded_key({}, "k")).empty());
}

TEST(Keyspace, what_follows_a_prefix) {
  EXPECT_EQ(after_prefix("ab"), "ac");
  EXPECT_EQ(after_prefix("a\xFF\xFF"), "b");
  EXPECT_EQ(after_prefix("\xFF"), "");
  EXPECT_EQ(after_prefix(""), "");
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

TEST(KeyText, is_readable_and_gives_back_the_same_bytes) {
  EXPECT_EQ(key_text("user:1 ~"), "user:1 ~");
  EXPECT_EQ(key_text(std::string_view("\x00\x20\\\n\x7f\xff", 6)), R"(\x00 \\\x0a\x7f\xff)");
  EXPECT_EQ(key_text("slot:7"), R"(\x73lot:7)");
  std::string every_byte;
  for (int byte = 0; byte < 256; ++byte) every_byte += static_cast<char>(byte);
  for (const std::string& key : {every_byte, std::string(), std::string("slot:7"), std::string("\\x41")}) {
    EXPECT_EQ(parse_key_text(key_text(key)).value(), key);
  }
  EXPECT_EQ(parse_key_text(R"(\xAb\xcD)").value(), "\xab\xcd");
}

TEST(KeyText, a_slot_stands_for_where_it_begins) {
  EXPECT_EQ(parse_key_text("slot:0").value(), slot_start(0));
  EXPECT_EQ(parse_key_text("slot:16383").value(), slot_start(16383));
  for (const char* bad : {"slot:", "slot:16384", "slot:-1", "slot:1x", "slot: 1", "slot:99999999999"}) {
    EXPECT_EQ(parse_key_text(bad).status().message(), "a slot is a number from 0 to 16383") << bad;
  }
}

TEST(KeyText, tells_where_it_is_wrong) {
  EXPECT_EQ(parse_key_text("ab\n").status().message(), "byte 3 is not printable ASCII; write it as \\xHH");
  for (const char* bad : {"a\\", "a\\n", "a\\x", "a\\x1", "a\\x1g", "a\\X41"}) {
    EXPECT_EQ(parse_key_text(bad).status().message(), "after the backslash at 2 comes neither \\ nor xHH") << bad;
  }
  EXPECT_FALSE(parse_key_text(std::string(kKeyBytesMax + 1, 'a')).ok());
}

}  // namespace
}  // namespace flux::api
