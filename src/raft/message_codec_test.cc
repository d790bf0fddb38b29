// Goal: every message survives the codec, and nothing that is not one does.
#include "raft/message_codec.h"

#include <gtest/gtest.h>

#include "base/rng.h"
#include "raft/testing/lone.h"

namespace flux::raft::testing {
namespace {

std::vector<Message> samples() {
  Membership membership;
  membership.voters = {NodeId(1), NodeId(2)};
  membership.learners = {NodeId(300)};
  membership.since = {{NodeId(300), Index(70)}};
  const std::vector<MessageBody> bodies = {
      Append{.prev = id_of(7, 3), .commit = Index(6), .round = 9, .since = Index(2), .entries = log_of({3, 4, 4}, 8)},
      Append{},
      AppendResult{.accepted = true, .index = Index(10), .round = 9, .since = Index(2)},
      AppendResult{.accepted = false, .index = Index(10), .hint = id_of(8, 2), .round = 1, .since = Index(2)},
      Vote{.pre = true, .last = id_of(5, 5)},
      Vote{.transfer = true, .last = id_of(5, 5)},
      VoteResult{.granted = true},
      VoteResult{.pre = true},
      Heartbeat{.commit = Index(4), .round = 300, .since = Index(300), .wants_reply = false},
      Heartbeat{.commit = Index(4), .round = 300, .patience = kPatienceMax},
      HeartbeatResult{.round = 300, .since = Index(1)},
      SnapshotOffer{.meta = {.last = id_of(100, 9), .membership = membership}},
      TimeoutNow{},
      ReadIndex{.context = ~0ULL},
      ReadIndexResult{.context = 1, .ok = true, .index = Index(77)},
  };
  std::vector<Message> messages;
  for (const MessageBody& body : bodies) {
    messages.push_back({.from = NodeId(1), .to = NodeId(200), .term = Term(1000), .body = body});
  }
  return messages;
}

std::string bytes_of(const Message& message) {
  std::string bytes;
  encode(message, bytes);
  return bytes;
}

TEST(MessageCodec, every_kind_survives) {
  for (const Message& message : samples()) {
    const Result<Message> again = decode(bytes_of(message));
    ASSERT_TRUE(again.ok()) << to_string(message) << ": " << again.status().to_string();
    EXPECT_EQ(*again, message) << to_string(message);
  }
}

TEST(MessageCodec, every_truncation_and_every_extra_byte_is_refused) {
  for (const Message& message : samples()) {
    const std::string bytes = bytes_of(message);
    for (size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(decode(bytes.substr(0, size)).ok());
    EXPECT_FALSE(decode(bytes + '\0').ok());
  }
}

TEST(MessageCodec, a_flipped_byte_is_refused_or_has_one_spelling) {
  for (const Message& message : samples()) {
    const std::string bytes = bytes_of(message);
    for (size_t at = 0; at < bytes.size(); ++at) {
      for (int bit = 0; bit < 8; ++bit) {
        std::string changed = bytes;
        changed[at] = static_cast<char>(changed[at] ^ (1 << bit));
        const Result<Message> other = decode(changed);
        EXPECT_TRUE(!other.ok() || bytes_of(*other) == changed);
      }
    }
  }
}

TEST(MessageCodec, a_count_that_cannot_be_is_refused_before_it_allocates) {
  std::string bytes;
  Encoder encoder(bytes);
  encoder.raw("\x01\x01\x01\x02\x05");  // version, append, from, to, term
  for (int i = 0; i < 5; ++i) encoder.varint(0);
  encoder.varint(1ULL << 60);
  EXPECT_EQ(decode(bytes).status().code(), ErrorCode::kCorruption);
}

TEST(MessageCodec, versions_and_kinds_of_the_future_are_told_apart_from_rot) {
  std::string bytes = bytes_of(samples()[0]);
  bytes[0] = 2;
  EXPECT_EQ(decode(bytes).status().code(), ErrorCode::kUnsupported);
  bytes[0] = 1;
  bytes[1] = 99;
  EXPECT_EQ(decode(bytes).status().code(), ErrorCode::kUnsupported);
}

TEST(MessageCodec, golden_bytes) {
  // Nodes of different builds speak to each other: these bytes never change.
  const Message append{.from = NodeId(1),
                       .to = NodeId(2),
                       .term = Term(3),
                       .body = Append{.prev = id_of(7, 3),
                                      .commit = Index(6),
                                      .round = 9,
                                      .since = Index(2),
                                      .entries = {{Index(8), Term(3), EntryType::kCommand, SharedBytes("x")}}}};
  EXPECT_EQ(bytes_of(append), std::string("\x01\x01\x01\x02\x03\x07\x03\x06\x09\x02\x01\x01\x03\x01x", 15));
  const Message vote{
      .from = NodeId(1), .to = NodeId(2), .term = Term(3), .body = Vote{.pre = true, .last = id_of(4, 2)}};
  EXPECT_EQ(bytes_of(vote), std::string("\x01\x03\x01\x02\x03\x01\x00\x04\x02", 9));
}

// Random bytes and random messages at a core: nothing from outside may stop it.
TEST(MessageCodec, a_core_stands_whatever_it_is_told) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    Rng rng(seed);
    Lone node({.log = log_of({1, 1, 2})});
    if (rng.chance(0.5)) node.lead();
    const std::vector<Message> known = samples();
    for (int i = 0; i < 200; ++i) {
      std::string bytes = bytes_of(known[rng.below(known.size())]);
      for (uint64_t flips = rng.below(4); flips > 0; --flips)
        bytes[rng.below(bytes.size())] = static_cast<char>(rng.below(256));
      Result<Message> message = decode(bytes);
      if (!message.ok()) continue;
      message->to = NodeId(1);
      message->from = NodeId(rng.below(5));
      message->term = Term(node.core().term().value() + rng.below(3));
      node.step(Received{std::move(*message)});
      if (rng.chance(0.5)) node.settle();
      if (rng.chance(0.1)) node.pass(Millis(rng.below(400))), node.step(Tick{});
      if (node.core().failed()) break;
    }
  }
}

}  // namespace
}  // namespace flux::raft::testing
