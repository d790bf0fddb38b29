// Goal: what is asked and answered between processes comes back as it was, or not at all.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "api/read_codec.h"
#include "api/request_codec.h"

namespace flux::api {
namespace {

std::string hex(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) text += fmt::format("{:02x}", static_cast<uint8_t>(byte));
  return text;
}

std::string encoded(const OwnedRead& read) {
  std::string bytes;
  read.encode(bytes);
  return bytes;
}

std::vector<ReadRequest> some_reads() {
  static constexpr std::string_view kKeys[] = {"a", "", "a key"};
  return {{.what = GetRequest{.keys = kKeys}, .consistency = Consistency::kLinearizable},
          {.what = GetRequest{.keys = {}}, .consistency = Consistency::kStale},
          {.what = ScanRequest{.start = "s", .end = "t", .keys_max = 300, .values = true},
           .keyspace = {.id = KeyspaceId(300), .kind = KeyspaceKind::kRange},
           .consistency = Consistency::kLease},
          {.what = ScanRequest{}, .consistency = Consistency::kDefault},
          {.what = CountRequest{}, .consistency = Consistency::kStale},
          {.what = RandomKeyRequest{}, .consistency = Consistency::kLinearizable}};
}

TEST(OwnedRead, comes_back_as_it_was_or_not_at_all) {
  for (const ReadRequest& request : some_reads()) {
    const OwnedRead read(request);
    const std::string bytes = encoded(read);
    OwnedRead again = OwnedRead::decode(bytes).value();
    EXPECT_EQ(encoded(again), bytes);
    EXPECT_EQ(again.consistency, request.consistency);
    std::vector<std::string_view> keys;
    const ReadRequest view = again.view(keys);
    ASSERT_EQ(view.what.index(), request.what.index());
    EXPECT_EQ(view.keyspace, request.keyspace);
    if (const auto* get = std::get_if<GetRequest>(&view.what)) {
      const auto& asked = std::get<GetRequest>(request.what);
      EXPECT_TRUE(std::equal(get->keys.begin(), get->keys.end(), asked.keys.begin(), asked.keys.end()));
    }
    if (const auto* scan = std::get_if<ScanRequest>(&view.what)) {
      const auto& asked = std::get<ScanRequest>(request.what);
      EXPECT_EQ(scan->start, asked.start);
      EXPECT_EQ(scan->end, asked.end);
      EXPECT_EQ(scan->values, asked.values);
      EXPECT_EQ(scan->keys_max, asked.keys_max);
    }
    for (size_t size = 0; size < bytes.size(); ++size) {
      EXPECT_FALSE(OwnedRead::decode(std::string_view(bytes).substr(0, size)).ok()) << size;
    }
    EXPECT_FALSE(OwnedRead::decode(bytes + '\0').ok());
  }
}

// Kind, consistency, keyspace with its kind, flags and number of a scan, count of strings, each with its length.
TEST(OwnedRead, golden_bytes) {
  std::vector<std::string> bytes;
  for (const ReadRequest& request : some_reads()) {
    bytes.push_back(hex(encoded(OwnedRead(request))));
  }
  EXPECT_EQ(bytes, (std::vector<std::string>{"01010101030161000561206b6579", "0103010100", "0202ac020201ac020201730174",
                                             "02000101000a020000", "0303010100", "0401010100"}));
}

TEST(OwnedRead, refuses_what_no_version_sends) {
  const auto refused = [](std::string_view bytes) { return !OwnedRead::decode(bytes).ok(); };
  EXPECT_TRUE(refused(std::string_view("\0\1\1\1\0", 5))) << "a kind";
  EXPECT_TRUE(refused(std::string_view("\5\1\1\1\0", 5))) << "a kind";
  EXPECT_TRUE(refused(std::string_view("\1\4\1\1\0", 5))) << "a consistency";
  EXPECT_TRUE(refused(std::string_view("\2\0\1\1\4\1\2\0\0", 9))) << "a flag";
  EXPECT_TRUE(refused(std::string_view("\2\0\1\1\0\1\1\0", 8))) << "a scan without an end";
  EXPECT_TRUE(refused(std::string_view("\3\0\1\1\1\0", 6))) << "a count with a key";
  EXPECT_FALSE(refused(std::string_view("\3\0\1\1\0", 5)));
  EXPECT_TRUE(refused(std::string_view("\3\0\0\1\0", 5))) << "no keyspace";
  EXPECT_TRUE(refused(std::string_view("\3\0\2\3\0", 5))) << "a kind of keyspace";
  EXPECT_TRUE(refused(std::string_view("\3\0\1\2\0", 5))) << "the default keyspace is of kind hash";
}

TEST(OwnedReadReply, comes_back_as_it_was_or_not_at_all) {
  const Item items[] = {
      {.found = true, .key = "k", .value = "v", .version = Version(70), .deadline = WallMillis(500)},
      {.found = false, .key = "", .value = "", .version = {}, .deadline = std::nullopt},
      {.found = true, .key = "", .value = std::string_view("\0x", 2), .version = Version(1), .deadline = std::nullopt}};
  const ReadReply reply{.status = {},
                        .items = items,
                        .count = 12,
                        .scan_resume = "from here",
                        .clock = WallMillis(1234),
                        .position = {.group = GroupId(2), .index = Index(3), .version = Version(4)}};
  std::string bytes;
  ASSERT_TRUE(OwnedReadReply::encode(reply, bytes).ok());
  OwnedReadReply again;
  ASSERT_TRUE(again.decode(bytes).ok());
  const ReadReply& view = again.view();
  EXPECT_EQ(view.count, reply.count);
  EXPECT_EQ(view.scan_resume, reply.scan_resume);
  EXPECT_EQ(view.clock, reply.clock);
  EXPECT_EQ(view.position, reply.position);
  ASSERT_EQ(view.items.size(), std::size(items));
  for (size_t i = 0; i < std::size(items); ++i) {
    EXPECT_EQ(view.items[i].found, items[i].found);
    EXPECT_EQ(view.items[i].key, items[i].key);
    EXPECT_EQ(view.items[i].value, items[i].value);
    EXPECT_EQ(view.items[i].version, items[i].version);
    EXPECT_EQ(view.items[i].deadline, items[i].deadline);
  }
  std::string once_more;
  ASSERT_TRUE(OwnedReadReply::encode(view, once_more).ok());
  EXPECT_EQ(once_more, bytes);
  std::string copied;
  ASSERT_TRUE(OwnedReadReply::encode(OwnedReadReply(reply).view(), copied).ok());
  EXPECT_EQ(copied, bytes);
  for (size_t size = 0; size < bytes.size(); ++size) {
    OwnedReadReply part;
    EXPECT_FALSE(part.decode(std::string_view(bytes).substr(0, size)).ok()) << size;
  }
}

TEST(OwnedReadReply, carries_why_it_failed) {
  std::string bytes;
  ASSERT_TRUE(OwnedReadReply::encode({.status = Status(ErrorCode::kWrongShard, "elsewhere")}, bytes).ok());
  OwnedReadReply again;
  ASSERT_TRUE(again.decode(bytes).ok());
  EXPECT_EQ(again.view().status.code(), ErrorCode::kWrongShard);
  EXPECT_EQ(again.view().status.message(), "elsewhere");
  for (size_t size = 0; size < bytes.size(); ++size) {
    OwnedReadReply part;
    EXPECT_FALSE(part.decode(std::string_view(bytes).substr(0, size)).ok()) << size;
  }
}

TEST(Requests, only_some_commands_are_for_clients) {
  for (const Command& command :
       {Command(Put{}), Command(Delete{}), Command(Increment{}), Command(IncrementFloat{}), Command(Append{}),
        Command(SetRange{}), Command(SetExpiry{}), Command(Copy{}), Command(DeleteAll{}),
        Command(OpenSession{.client = 1, .opened = {}}), Command(CloseSession{})}) {
    EXPECT_TRUE(is_for_clients(command)) << command.index();
  }
  for (const Command& command : {Command(ExpireDue{}), Command(Control{}), Command(ShardChange{}),
                                 Command(DeleteRange{}), Command(OpenSession{.client = 1, .opened = WallMillis(1)})}) {
    EXPECT_FALSE(is_for_clients(command)) << command.index();
  }
}

TEST(Results, come_back_as_they_were_or_not_at_all) {
  WriteReply reply{
      .status = {},
      .results = {{.code = ErrorCode::kOk, .applied = true, .had_value = true, .integer = -5, .value = "old"},
                  {.code = ErrorCode::kNotInteger, .value = "why"}},
      .position = {.group = GroupId(2), .index = Index(3), .version = Version(4)}};
  std::string bytes;
  encode_results(bytes, reply);
  WriteReply again;
  ASSERT_TRUE(decode_results(bytes, again).ok());
  EXPECT_EQ(again.results, reply.results);
  EXPECT_EQ(again.position, reply.position);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(decode_results(std::string_view(bytes).substr(0, size), again).ok()) << size;
  }
  bytes[0] = static_cast<char>(static_cast<uint8_t>(kLastErrorCode) + 1);
  EXPECT_FALSE(decode_results(bytes, again).ok()) << "an error that this build does not know";
}

}  // namespace
}  // namespace flux::api
