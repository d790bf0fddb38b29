// Goal: the bytes on disk are what docs/formats/wal.md says, in this release and the next.
#include "wal/wal_format.h"

#include <gtest/gtest.h>

namespace flux::wal {
namespace {

std::string hex(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) out += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return out;
}

TEST(WalFormat, golden_segment_header) {
  const SegmentHeader header{
      .store_id = StoreId(0x1122334455667788), .segment_id = SegmentId(3), .segment_bytes = 65536};
  const std::string page = encode_segment_header(header);
  ASSERT_EQ(page.size(), kPageBytes);
  EXPECT_EQ(hex(page.substr(0, 40)),
            "464c555857414c31"
            "01000000"
            "505c4bf3"
            "8877665544332211"
            "0300000000000000"
            "0000010000000000");
  EXPECT_EQ(page.substr(40), std::string(kPageBytes - 40, '\0'));
  EXPECT_EQ(decode_segment_header(page), header);
}

TEST(WalFormat, golden_batch_header) {
  const BatchHeader header{.segment_id = SegmentId(3),
                           .sequence = 9,
                           .durable_through = 8,
                           .groups = group_bit(GroupId(1)),
                           .epoch = 2,
                           .records_bytes = 43,
                           .record_count = 1,
                           .flags = 0};
  std::string bytes(kBatchHeaderBytes, 'x');
  encode_batch_header(header, StoreId(6), bytes.data());
  EXPECT_EQ(hex(bytes),
            "464c5842"
            "22207928"
            "0300000000000000"
            "0900000000000000"
            "0800000000000000"
            "0000000080000000"
            "02000000"
            "2b000000"
            "01000000"
            "00000000"
            "0000000000000000");
  EXPECT_EQ(decode_batch_header(bytes, StoreId(6)), header);
}

TEST(WalFormat, golden_entry_record) {
  std::string bytes;
  append_record(bytes, {.type = RecordType::kEntry,
                        .entry_type = EntryType::kCommand,
                        .chain = 5,
                        .group = GroupId(1),
                        .index = 7,
                        .term = Term(2),
                        .payload = "abc"});
  const uint32_t salt = BatchHeader{.segment_id = SegmentId(3), .sequence = 9, .epoch = 2}.salt(StoreId(6));
  seal_record(bytes.data(), bytes.size(), salt);
  EXPECT_EQ(hex(bytes),
            "03000000"
            "f9de7685"
            "01"
            "01"
            "0000"
            "05000000"
            "0100000000000000"
            "0700000000000000"
            "0200000000000000"
            "616263");
  const std::optional<RecordView> record = decode_record(bytes, salt);
  ASSERT_TRUE(record.has_value());
  EXPECT_EQ(record->payload, "abc");
}

// F33: the same bytes in another segment, another batch or another life are no record.
TEST(WalFormat, a_record_is_good_in_one_place_only) {
  std::string bytes;
  append_record(bytes,
                {.type = RecordType::kEntry, .group = GroupId(1), .index = 7, .term = Term(2), .payload = "abc"});
  const BatchHeader here{.segment_id = SegmentId(3), .sequence = 9, .epoch = 2};
  seal_record(bytes.data(), bytes.size(), here.salt(StoreId(6)));
  EXPECT_TRUE(decode_record(bytes, here.salt(StoreId(6))));
  EXPECT_FALSE(
      decode_record(bytes, BatchHeader{.segment_id = SegmentId(4), .sequence = 9, .epoch = 2}.salt(StoreId(6))));
  EXPECT_FALSE(
      decode_record(bytes, BatchHeader{.segment_id = SegmentId(3), .sequence = 10, .epoch = 2}.salt(StoreId(6))));
  EXPECT_FALSE(decode_record(bytes, here.salt(StoreId(7))));
  EXPECT_FALSE(
      decode_record(bytes, BatchHeader{.segment_id = SegmentId(3), .sequence = 9, .epoch = 3}.salt(StoreId(6))));
}

TEST(WalFormat, every_flipped_bit_is_found) {
  std::string record;
  append_record(record, {.type = RecordType::kHardState, .chain = 1, .group = GroupId(1), .index = 7, .term = Term(2)});
  seal_record(record.data(), record.size(), 1);
  std::string batch(kBatchHeaderBytes, '\0');
  encode_batch_header({.segment_id = SegmentId(3), .sequence = 9, .durable_through = 8}, StoreId(6), batch.data());
  std::string page =
      encode_segment_header({.store_id = StoreId(1), .segment_id = SegmentId(3), .segment_bytes = 65536});
  const auto flip = [](std::string& bytes, size_t bit) {
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
  };
  for (size_t bit = 0; bit < record.size() * 8; ++bit) {
    flip(record, bit);
    EXPECT_FALSE(decode_record(record, 1)) << bit;
    flip(record, bit);
  }
  for (size_t bit = 0; bit < batch.size() * 8; ++bit) {
    flip(batch, bit);
    EXPECT_FALSE(decode_batch_header(batch, StoreId(6))) << bit;
    flip(batch, bit);
  }
  for (size_t bit = 0; bit < page.size() * 8; bit += 7) {
    flip(page, bit);
    EXPECT_FALSE(decode_segment_header(page)) << bit;
    flip(page, bit);
  }
}

TEST(WalFormat, group_state_round_trip) {
  const GroupSummary summary{
      .hard_state = {.term = Term(4), .vote = NodeId(2)},
      .base = {.index = Index(10), .term = Term(3)},
      .last = {.index = Index(20), .term = Term(4)},
      .damage = {.hard_state_lost = true, .entries_lost = true, .lost_first = Index(21), .lost_last_known = Index(30)},
      .chain = 77,
      .settles = true};
  std::string bytes;
  append_group_state(bytes, GroupId(5), summary);
  EXPECT_EQ(bytes.size(), kRecordHeaderBytes + kGroupStateBytes);
  EXPECT_EQ(group_summary(record_fields(bytes)), summary);
}

TEST(WalFormat, segment_names_have_one_spelling) {
  EXPECT_EQ(segment_name(SegmentId(0xAB)), "wal-00000000000000ab.log");
  EXPECT_EQ(parse_segment_name("wal-00000000000000ab.log"), SegmentId(0xAB));
  for (const char* name : {"wal-00000000000000AB.log", "wal-ab.log", "wal-00000000000000ab.tmp", "segment.tmp", ""}) {
    EXPECT_EQ(parse_segment_name(name), std::nullopt) << name;
  }
}

}  // namespace
}  // namespace flux::wal
