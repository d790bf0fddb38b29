// Goal: commands do what they say, decided by the log alone, and nothing runs twice.
#include "kv/state_machine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cfloat>
#include <set>

#include "api/keyspace.h"
#include "api/limits.h"
#include "api/slot.h"
#include "engine/memory/memory_engine.h"
#include "kv/entry_codec.h"
#include "kv/numbers.h"

namespace flux::kv {
namespace {

constexpr uint64_t kStart = 1'000'000;  // wall milliseconds of the first entry

// A state machine and the log that drives it; every request is an entry of its own, a millisecond after the last.
class StateMachineTest : public ::testing::Test {
 protected:
  StateMachineTest() { EXPECT_TRUE(machine->load().ok()); }

  api::WriteReply apply(const api::WriteRequest& request) {
    std::string bytes;
    begin_entry(bytes);
    EXPECT_TRUE(api::append_request(bytes, request).ok());
    stamp_entry(bytes, version_at(WallMillis(now_ms++)));
    log.push_back({.index = machine->applied().index + 1,
                   .term = Term(1),
                   .type = EntryType::kCommand,
                   .data = SharedBytes(std::move(bytes))});
    std::vector<api::WriteReply> replies;
    EXPECT_TRUE(machine->apply(log.back(), &replies).ok());
    EXPECT_TRUE(machine->commit().ok());
    return replies.at(0);
  }
  api::CommandResult run(const api::Command& command) {
    return apply({.commands = std::span(&command, 1)}).results.at(0);
  }
  api::WriteReply in_session(uint64_t client, uint64_t sequence, const api::Command& command) {
    return apply({.commands = std::span(&command, 1), .session = {.client = client, .sequence = sequence}});
  }
  std::optional<std::string> get(std::string_view key, uint64_t wall = 0) {
    const std::string_view keys[] = {key};
    machine->read({.what = api::GetRequest{.keys = keys}}, WallMillis(wall), rng, outcome);
    EXPECT_TRUE(outcome.status.ok());
    if (!outcome.items.at(0).found) return std::nullopt;
    return std::string(outcome.items[0].value);
  }
  void set(std::string_view key, std::string_view value, api::Expiry expiry = {}) {
    EXPECT_TRUE(run(api::Put{.key = key, .value = value, .expiry = expiry}).applied);
  }
  static api::Expiry in(int64_t millis) { return {.kind = api::Expiry::Kind::kIn, .millis = millis}; }

  std::unique_ptr<engine::Engine> engine = engine::make_memory_engine({});
  std::unique_ptr<StateMachine> machine = std::make_unique<StateMachine>(GroupId(1), *engine);
  std::vector<Entry> log;
  uint64_t now_ms = kStart;
  Rng rng{1};
  ReadOutcome outcome;
};

TEST_F(StateMachineTest, put_get_delete) {
  set("a", "1");
  EXPECT_EQ(get("a"), "1");
  const api::CommandResult old = run(api::Put{.key = "a", .value = "2", .return_old = true});
  EXPECT_EQ(old.value, "1");
  EXPECT_TRUE(run(api::Delete{.key = "a"}).applied);
  EXPECT_FALSE(run(api::Delete{.key = "a"}).applied);
  EXPECT_EQ(get("a"), std::nullopt);
  EXPECT_EQ(machine->key_count(), 0u);
}

TEST_F(StateMachineTest, conditions) {
  EXPECT_FALSE(run(api::Put{.key = "a", .value = "1", .condition = api::Condition::kIfPresent}).applied);
  EXPECT_TRUE(run(api::Put{.key = "a", .value = "1", .condition = api::Condition::kIfAbsent}).applied);
  EXPECT_FALSE(run(api::Put{.key = "a", .value = "2", .condition = api::Condition::kIfAbsent}).applied);
  get("a");
  const Version version = outcome.items[0].version;
  EXPECT_FALSE(
      run(api::Put{.key = "a", .value = "3", .condition = api::Condition::kIfVersion, .if_version = version + 1})
          .applied);
  EXPECT_TRUE(
      run(api::Put{.key = "a", .value = "3", .condition = api::Condition::kIfVersion, .if_version = version}).applied);
  EXPECT_FALSE(run(api::Delete{.key = "a", .condition = api::Condition::kIfVersion, .if_version = version}).applied);
  EXPECT_EQ(get("a"), "3");
}

TEST_F(StateMachineTest, all_or_nothing_does_nothing_when_one_condition_fails) {
  set("b", "old");
  const api::Command commands[] = {api::Put{.key = "a", .value = "1", .condition = api::Condition::kIfAbsent},
                                   api::Put{.key = "b", .value = "2", .condition = api::Condition::kIfAbsent}};
  EXPECT_FALSE(apply({.commands = commands, .all_or_nothing = true}).results[0].applied);
  EXPECT_EQ(get("a"), std::nullopt);
  EXPECT_EQ(get("b"), "old");
}

TEST_F(StateMachineTest, commands_of_one_request_see_each_other) {
  const api::Command commands[] = {api::Put{.key = "a", .value = "5"}, api::Increment{.key = "a", .delta = 2},
                                   api::Append{.key = "a", .value = "0"},
                                   api::Copy{.source = "a", .destination = "b", .remove_source = true}};
  apply({.commands = commands});
  EXPECT_EQ(get("a"), std::nullopt);
  EXPECT_EQ(get("b"), "70");
  EXPECT_EQ(machine->key_count(), 1u);
}

TEST_F(StateMachineTest, arithmetic_at_its_limits) {
  set("a", "9223372036854775806");
  EXPECT_EQ(run(api::Increment{.key = "a", .delta = 1}).integer, INT64_MAX);
  EXPECT_EQ(run(api::Increment{.key = "a", .delta = 1}).code, ErrorCode::kNotInteger);
  EXPECT_EQ(get("a"), "9223372036854775807");
  for (const char* bad : {"", " 1", "1 ", "+1", "01", "0x1", "1.0", "9223372036854775808", "-0"}) {
    set("b", bad);
    EXPECT_EQ(run(api::Increment{.key = "b", .delta = 1}).code, ErrorCode::kNotInteger) << bad;
  }
  EXPECT_EQ(run(api::IncrementFloat{.key = "f", .delta = "10.5"}).value, "10.5");
  EXPECT_EQ(run(api::IncrementFloat{.key = "f", .delta = "0.1"}).value, "10.6");
  EXPECT_EQ(run(api::IncrementFloat{.key = "f", .delta = "-1e1"}).value, "0.6");
  EXPECT_EQ(run(api::IncrementFloat{.key = "f", .delta = "x"}).code, ErrorCode::kNotFloat);
}

TEST_F(StateMachineTest, append_and_set_range_stop_at_the_largest_value) {
  set("a", std::string(api::kValueBytesMax - 1, 'x'));
  EXPECT_EQ(run(api::Append{.key = "a", .value = "yy"}).code, ErrorCode::kTooLarge);
  EXPECT_EQ(run(api::Append{.key = "a", .value = "y"}).integer, static_cast<int64_t>(api::kValueBytesMax));
  EXPECT_EQ(run(api::SetRange{.key = "b", .offset = 3, .value = "z"}).integer, 4);
  EXPECT_EQ(get("b"), std::string("\0\0\0z", 4));
  EXPECT_EQ(run(api::SetRange{.key = "b", .offset = api::kValueBytesMax, .value = "z"}).code, ErrorCode::kTooLarge);
}

TEST_F(StateMachineTest, limits_of_keys_values_and_requests) {
  std::string out;
  const std::string key(api::kKeyBytesMax, 'k');
  const std::string longer = key + "k";
  const std::string value(api::kValueBytesMax, 'v');
  const std::string larger = value + "v";
  const auto status = [&](const api::Command& command) {
    return api::append_request(out, {.commands = std::span(&command, 1)});
  };
  EXPECT_TRUE(status(api::Put{.key = key, .value = value}).ok());
  const size_t size = out.size();
  EXPECT_EQ(status(api::Put{.key = longer, .value = "v"}).code(), ErrorCode::kTooLarge);
  EXPECT_EQ(status(api::Put{.key = "k", .value = larger}).code(), ErrorCode::kTooLarge);
  const api::Command two[] = {api::Put{.key = "a", .value = value}, api::Put{.key = "b", .value = value}};
  EXPECT_EQ(api::append_request(out, {.commands = two}).code(), ErrorCode::kTooLarge);
  EXPECT_EQ(api::append_request(out, {}).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(out.size(), size);
}

// D08, D11, D12: the deadline is absolute, judged by the log's clock, and a later write decides.
TEST_F(StateMachineTest, D11_ttl_read_boundary) {
  set("a", "1", in(10));  // expires at kStart + 10
  now_ms = kStart + 9;
  set("tick", "");
  EXPECT_EQ(get("a"), "1");
  set("tick", "");  // the log's clock is kStart + 10
  EXPECT_EQ(get("a"), std::nullopt);
}

TEST_F(StateMachineTest, D09_ttl_clock_backwards) {
  set("a", "1", in(10));
  now_ms = kStart + 20;
  set("tick", "");
  EXPECT_EQ(get("a"), std::nullopt);
  const Version before = machine->last_version();
  now_ms = kStart;  // a new leader whose clock is behind
  set("tick", "");
  EXPECT_EQ(machine->last_version(), before + 1);
  EXPECT_EQ(get("a"), std::nullopt);
}

TEST_F(StateMachineTest, a_read_names_keys_that_only_the_wall_clock_calls_overdue) {
  set("a", "1", in(10));
  get("a", kStart + 9);
  EXPECT_TRUE(outcome.overdue.empty());
  get("a", kStart + 10);
  ASSERT_EQ(outcome.overdue.size(), 1u);
  EXPECT_EQ(outcome.overdue[0].encoded_key, api::encoded_key({}, "a"));
  EXPECT_EQ(outcome.overdue[0].deadline, WallMillis(kStart + 10));
}

TEST_F(StateMachineTest, D12_expire_vs_set) {
  set("a", "1", in(10));
  set("a", "2", in(1000));
  now_ms = kStart + 20;
  // The sweep had looked before the second write.
  EXPECT_FALSE(
      run(api::ExpireDue{.encoded_key = api::encoded_key({}, "a"), .deadline = WallMillis(kStart + 10)}).applied);
  EXPECT_EQ(get("a"), "2");
}

TEST_F(StateMachineTest, the_sweep_finds_what_is_due_in_order_and_no_more) {
  set("c", "", in(30));
  set("a", "", in(10));
  set("b", "", in(20));
  set("never", "");
  EXPECT_EQ(machine->due(WallMillis(kStart + 5), 10).value().size(), 0u);
  const auto due = machine->due(WallMillis(kStart + 25), 10).value();
  ASSERT_EQ(due.size(), 2u);
  EXPECT_EQ(due[0].encoded_key, api::encoded_key({}, "a"));
  EXPECT_EQ(due[1].encoded_key, api::encoded_key({}, "b"));
  now_ms = kStart + 25;
  for (const Overdue& key : due)
    EXPECT_TRUE(run(api::ExpireDue{.encoded_key = key.encoded_key, .deadline = key.deadline}).applied);
  EXPECT_EQ(machine->due(WallMillis(kStart + 25), 10).value().size(), 0u);
  EXPECT_EQ(machine->next_deadline(), WallMillis(kStart + 30));
  EXPECT_EQ(machine->key_count(), 2u);
}

TEST_F(StateMachineTest, expiry_conditions) {
  using E = api::SetExpiry;
  const auto expire = [&](int64_t millis, uint8_t only) {
    return run(E{.key = "a", .expiry = in(millis), .only = only}).applied;
  };
  EXPECT_FALSE(expire(1000, 0));  // no key
  set("a", "1");
  EXPECT_FALSE(expire(1000, E::kIfSome));
  EXPECT_FALSE(expire(1000, E::kIfLater));  // never is later than all
  EXPECT_TRUE(expire(1000, E::kIfEarlier));
  EXPECT_FALSE(expire(1000, E::kIfNone));
  EXPECT_FALSE(expire(500, E::kIfLater));
  EXPECT_TRUE(expire(5000, E::kIfLater));
  EXPECT_TRUE(run(E{.key = "a", .expiry = {.kind = api::Expiry::Kind::kClear}}).applied);
  EXPECT_FALSE(run(E{.key = "a", .expiry = {.kind = api::Expiry::Kind::kClear}}).applied);
  EXPECT_TRUE(run(E{.key = "a", .expiry = in(-1)}).applied);
  EXPECT_EQ(get("a"), std::nullopt);
}

TEST_F(StateMachineTest, delete_all_counts_what_earlier_commands_of_the_round_made) {
  set("a", "1", in(1000));
  const api::Command commands[] = {api::Put{.key = "b", .value = "1"}, api::DeleteAll{},
                                   api::Put{.key = "c", .value = "1"}};
  EXPECT_EQ(apply({.commands = commands}).results[1].integer, 2);
  EXPECT_EQ(machine->key_count(), 1u);
  EXPECT_EQ(machine->due(WallMillis(UINT64_MAX - 1), 10).value().size(), 0u);
}

// D01, D02, D07: the same sequence takes effect once, also after the state was reloaded.
TEST_F(StateMachineTest, D07_dedupe_at_apply) {
  run(api::OpenSession{.client = 9});
  const api::Command increment = api::Increment{.key = "n", .delta = 1};
  EXPECT_EQ(in_session(9, 1, increment).results.at(0).integer, 1);
  EXPECT_EQ(in_session(9, 1, increment).results.at(0).integer, 1);
  EXPECT_EQ(get("n"), "1");
  ASSERT_TRUE(machine->load().ok());
  EXPECT_EQ(in_session(9, 1, increment).results.at(0).integer, 1);
  EXPECT_EQ(in_session(9, 2, increment).results.at(0).integer, 2);
}

TEST_F(StateMachineTest, D03_older_seq) {
  run(api::OpenSession{.client = 9});
  const api::Command increment = api::Increment{.key = "n", .delta = 1};
  // In any order within the window.
  EXPECT_EQ(in_session(9, 5, increment).results.at(0).integer, 1);
  EXPECT_EQ(in_session(9, 3, increment).results.at(0).integer, 2);
  for (uint64_t sequence = 100; sequence < 100 + api::kSessionWindow; ++sequence) in_session(9, sequence, increment);
  const auto count = get("n");
  EXPECT_EQ(in_session(9, 5, increment).status.code(), ErrorCode::kStaleRequest);
  EXPECT_EQ(in_session(9, 4, increment).status.code(), ErrorCode::kStaleRequest);
  EXPECT_EQ(get("n"), count);
}

TEST_F(StateMachineTest, D05_expired_session_retry) {
  const api::Command increment = api::Increment{.key = "n", .delta = 1};
  EXPECT_EQ(in_session(9, 1, increment).status.code(), ErrorCode::kSessionExpired);
  run(api::OpenSession{.client = 9});
  in_session(9, 1, increment);
  now_ms += static_cast<uint64_t>(api::kSessionIdleMax.count()) + 1000;
  EXPECT_EQ(in_session(9, 1, increment).status.code(), ErrorCode::kSessionExpired);
  EXPECT_EQ(in_session(9, 2, increment).status.code(), ErrorCode::kSessionExpired);
  EXPECT_EQ(get("n"), "1");
  EXPECT_EQ(machine->session_count(), 0u);
}

// The log's clock alone ends a session: at the same entry on a replica that was there all along and on one that loads
// its state before every entry.
TEST_F(StateMachineTest, D04_session_expiry_by_log_time) {
  const auto idle = static_cast<uint64_t>(api::kSessionIdleMax.count());
  const api::Command increment = api::Increment{.key = "n", .delta = 1};
  run(api::OpenSession{.client = 9});
  run(api::OpenSession{.client = 10});
  ASSERT_TRUE(in_session(9, 1, increment).status.ok());
  const uint64_t used = now_ms - 1;  // when session 9 was used
  ASSERT_TRUE(in_session(10, 1, increment).status.ok());
  now_ms = used + idle;
  EXPECT_TRUE(in_session(9, 2, increment).status.ok()) << "exactly as long as it may";
  now_ms = used + 2 * idle + 1;
  EXPECT_EQ(in_session(9, 3, increment).status.code(), ErrorCode::kSessionExpired);
  EXPECT_EQ(in_session(10, 2, increment).status.code(), ErrorCode::kSessionExpired);
  now_ms = kStart;  // a leader whose clock is behind brings nothing back
  EXPECT_EQ(in_session(9, 2, increment).status.code(), ErrorCode::kSessionExpired);
  EXPECT_EQ(get("n"), "3");

  const auto other_engine = engine::make_memory_engine({});
  StateMachine other(GroupId(1), *other_engine);
  for (const Entry& entry : log) {
    ASSERT_TRUE(other.load().ok());
    ASSERT_TRUE(other.apply(entry, nullptr).ok());
    ASSERT_TRUE(other.commit().ok());
  }
  EXPECT_EQ(other.session_count(), machine->session_count());
  EXPECT_EQ(other_engine->state_hash().value(), engine->state_hash().value());
}

// The rule: within the window a gap holds nobody up, and whoever comes later runs when it comes, once; behind the
// window it never runs.
TEST_F(StateMachineTest, D06_pipelined_seq_gap) {
  run(api::OpenSession{.client = 9});
  const auto append = [&](uint64_t sequence) {
    const std::string value = std::to_string(sequence) + ",";
    return in_session(9, sequence, api::Append{.key = "log", .value = value});
  };
  for (const uint64_t sequence : {1u, 3u, 6u, 2u, 3u, 5u, 1u}) EXPECT_TRUE(append(sequence).status.ok()) << sequence;
  EXPECT_EQ(get("log"), "1,3,6,2,5,");
  for (uint64_t sequence = 10; sequence < 10 + api::kSessionWindow; ++sequence) append(sequence);
  const auto before = get("log");
  EXPECT_EQ(append(4).status.code(), ErrorCode::kStaleRequest);
  EXPECT_EQ(append(6).status.code(), ErrorCode::kStaleRequest);
  EXPECT_EQ(get("log"), before);
  EXPECT_TRUE(append(8).status.ok()) << "after the newest that was forgotten";
}

TEST_F(StateMachineTest, the_least_recently_used_session_makes_room) {
  for (uint64_t client = 1; client <= api::kSessionsMax; ++client) run(api::OpenSession{.client = client});
  const api::Command increment = api::Increment{.key = "n", .delta = 1};
  in_session(1, 1, increment);
  run(api::OpenSession{.client = 1'000'000});
  EXPECT_EQ(machine->session_count(), api::kSessionsMax);
  EXPECT_TRUE(in_session(1, 1, increment).status.ok());
  EXPECT_EQ(in_session(2, 1, increment).status.code(), ErrorCode::kSessionExpired);
}

TEST_F(StateMachineTest, a_request_may_end_the_session_it_runs_in) {
  run(api::OpenSession{.client = 9});
  EXPECT_TRUE(in_session(9, 1, api::CloseSession{.client = 9}).results.at(0).applied);
  EXPECT_EQ(machine->session_count(), 0u);
  EXPECT_EQ(in_session(9, 1, api::CloseSession{.client = 9}).status.code(), ErrorCode::kSessionExpired);
  // The same by opening so many that the least recently used makes room.
  for (uint64_t client = 1; client <= api::kSessionsMax; ++client) run(api::OpenSession{.client = client});
  EXPECT_TRUE(in_session(1, 1, api::OpenSession{.client = 1'000'000}).results.at(0).applied);
  EXPECT_EQ(in_session(1, 2, api::Increment{.key = "n", .delta = 1}).status.code(), ErrorCode::kSessionExpired);
  ASSERT_TRUE(machine->load().ok());
  EXPECT_EQ(machine->session_count(), api::kSessionsMax);
}

// R38: a log from the future halts the replica.
TEST_F(StateMachineTest, R38_unknown_entry_type) {
  std::string bytes;
  begin_entry(bytes);
  bytes += std::string("\x03\x00\x00\x00\x00\x01\x63", 7);  // one command of operation 0x63
  EXPECT_EQ(machine
                ->apply({.index = Index(1), .term = Term(1), .type = EntryType::kCommand, .data = SharedBytes(bytes)},
                        nullptr)
                .code(),
            ErrorCode::kUnsupported);
}

TEST_F(StateMachineTest, scans_in_pages_see_every_key_once) {
  for (int i = 0; i < 1000; ++i) set("key" + std::to_string(i), "v");
  std::set<std::string> seen;
  std::string resume;
  do {
    const std::string start = resume;
    machine->read({.what = api::ScanRequest{.start = start, .keys_max = 7, .values = true}}, WallMillis(0), rng,
                  outcome);
    ASSERT_TRUE(outcome.status.ok());
    for (const api::Item& item : outcome.items) {
      EXPECT_TRUE(seen.insert(std::string(item.key)).second);
      EXPECT_EQ(item.value, "v");
    }
    resume = outcome.scan_resume;
  } while (!resume.empty());
  EXPECT_EQ(seen.size(), 1000u);
}

TEST_F(StateMachineTest, a_page_of_large_values_ends_early) {
  const std::string large(2_MiB, 'v');
  for (int i = 0; i < 7; ++i) set("key" + std::to_string(i), large);
  size_t seen = 0;
  std::string resume;
  do {
    const std::string start = resume;
    machine->read({.what = api::ScanRequest{.start = start, .keys_max = 100, .values = true}}, WallMillis(0), rng,
                  outcome);
    ASSERT_TRUE(outcome.status.ok());
    EXPECT_LE(outcome.items.size(), api::kScanBytesTarget / large.size() + 1);
    seen += outcome.items.size();
    resume = outcome.scan_resume;
  } while (!resume.empty());
  EXPECT_EQ(seen, 7u);
}

// A random key of a range keyspace is looked for behind others. The one that is shown in the end must not outlive its
// deadline anywhere, whatever came after it.
TEST_F(StateMachineTest, a_random_key_that_is_overdue_is_named) {
  const api::KeyspaceRef ordered{.id = KeyspaceId(2), .kind = api::KeyspaceKind::kRange};
  const auto put = [&](std::string_view key, int64_t lives) {
    const api::Command command = api::Put{.key = key, .value = "v", .expiry = in(lives)};
    apply({.commands = std::span(&command, 1), .keyspace = ordered});
  };
  put("a", 1000);
  put("b", 1);
  now_ms += 100;  // by the log's clock "b" is gone
  set("clock", "1");
  for (int i = 0; i < 50; ++i) {
    machine->read({.what = api::RandomKeyRequest{}, .keyspace = ordered}, WallMillis(now_ms + 5000), rng, outcome);
    ASSERT_EQ(outcome.items.size(), 1u);
    EXPECT_EQ(outcome.items[0].key, "a");
    ASSERT_EQ(outcome.overdue.size(), 1u);
    EXPECT_EQ(outcome.overdue[0].encoded_key, api::encoded_key(ordered, "a"));
  }
}

TEST_F(StateMachineTest, keyspaces_do_not_see_each_other) {
  const api::KeyspaceRef spaces[] = {{},
                                     {.id = KeyspaceId(2), .kind = api::KeyspaceKind::kRange},
                                     {.id = KeyspaceId(3), .kind = api::KeyspaceKind::kRange},
                                     {.id = KeyspaceId(4), .kind = api::KeyspaceKind::kHash}};
  const auto ask = [&](api::KeyspaceRef keyspace, const api::Command& command) {
    return apply({.commands = std::span(&command, 1), .keyspace = keyspace}).results.at(0);
  };
  for (const api::KeyspaceRef keyspace : spaces) {
    const std::string value = "of " + std::to_string(keyspace.id.value());
    for (const char* key : {"c", "a", "b"}) EXPECT_TRUE(ask(keyspace, api::Put{.key = key, .value = value}).applied);
    EXPECT_TRUE(ask(keyspace, api::SetExpiry{.key = "c", .expiry = in(1000)}).applied);
  }
  EXPECT_TRUE(ask(spaces[1], api::Copy{.source = "a", .destination = "d", .remove_source = true}).applied);
  EXPECT_EQ(ask(spaces[2], api::Delete{.key = "b"}).integer, 1);
  const std::vector<std::string> expected[] = {{"a", "b", "c"}, {"b", "c", "d"}, {"a", "c"}, {"a", "b", "c"}};
  for (size_t i = 0; i < std::size(spaces); ++i) {
    const std::string_view keys[] = {"c"};
    machine->read({.what = api::GetRequest{.keys = keys}, .keyspace = spaces[i]}, WallMillis(0), rng, outcome);
    EXPECT_EQ(outcome.items.at(0).value, "of " + std::to_string(spaces[i].id.value()));
    machine->read({.what = api::ScanRequest{}, .keyspace = spaces[i]}, WallMillis(0), rng, outcome);
    std::vector<std::string> found;
    for (const api::Item& item : outcome.items) found.emplace_back(item.key);
    if (spaces[i].kind == api::KeyspaceKind::kHash) std::sort(found.begin(), found.end());
    EXPECT_EQ(found, expected[i]);
    machine->read({.what = api::CountRequest{}, .keyspace = spaces[i]}, WallMillis(0), rng, outcome);
    EXPECT_EQ(outcome.count, expected[i].size());
    machine->read({.what = api::RandomKeyRequest{}, .keyspace = spaces[i]}, WallMillis(0), rng, outcome);
    EXPECT_TRUE(std::count(expected[i].begin(), expected[i].end(), outcome.items.at(0).key)) << outcome.items[0].key;
  }
  // Each key expires where it is.
  const std::vector<Overdue> due = machine->due(WallMillis(now_ms + 2000), 10).value();
  ASSERT_EQ(due.size(), 4u);
  const std::string late = due[1].encoded_key;
  now_ms += 2000;
  EXPECT_TRUE(ask({}, api::ExpireDue{.encoded_key = late, .deadline = due[1].deadline}).applied);
  EXPECT_EQ(machine->due(WallMillis(now_ms), 10).value().size(), 3u);
  // FLUSHDB of one, FLUSHALL of all.
  const api::KeyRange all = api::keyspace_range(spaces[3]);
  EXPECT_EQ(ask(spaces[3], api::DeleteRange{.start = all.start, .end = all.end}).integer, 3);
  machine->read({.what = api::CountRequest{}, .keyspace = spaces[3]}, WallMillis(0), rng, outcome);
  EXPECT_EQ(outcome.count, 0u);
  machine->read({.what = api::CountRequest{}}, WallMillis(0), rng, outcome);
  EXPECT_EQ(outcome.count, 3u);
  ask({}, api::DeleteAll{});
  for (const api::KeyspaceRef keyspace : spaces) {
    machine->read({.what = api::CountRequest{}, .keyspace = keyspace}, WallMillis(0), rng, outcome);
    EXPECT_EQ(outcome.count, 0u);
  }
}

// S08: replaying the log gives the same state.
TEST_F(StateMachineTest, S08_replay_idempotent) {
  run(api::OpenSession{.client = 3});
  Rng choices(7);
  for (int i = 0; i < 2000; ++i) {
    const std::string key = "k" + std::to_string(choices.below(50));
    switch (choices.below(6)) {
      case 0:
        run(api::Put{
            .key = key, .value = std::to_string(i), .expiry = in(static_cast<int64_t>(choices.below(100)) + 1)});
        break;
      case 1:
        run(api::Delete{.key = key});
        break;
      case 2:
        run(api::Increment{.key = key, .delta = 1});
        break;
      case 3:
        run(api::Copy{.source = key, .destination = "k1", .replace = true});
        break;
      case 4:
        in_session(3, choices.below(30) + 1, api::Append{.key = key, .value = "x"});
        break;
      default:
        run(api::SetExpiry{.key = key, .expiry = in(50)});
        break;
    }
  }
  auto other_engine = engine::make_memory_engine({.hash_seed = 99});
  StateMachine other(GroupId(1), *other_engine);
  ASSERT_TRUE(other.load().ok());
  for (size_t i = 0; i < log.size(); ++i) {
    ASSERT_TRUE(other.apply(log[i], nullptr).ok());
    if (choices.chance(0.1)) {  // rounds of any size
      ASSERT_TRUE(other.commit().ok());
    }
  }
  ASSERT_TRUE(other.commit().ok());
  EXPECT_EQ(other_engine->state_hash().value(), engine->state_hash().value());
  EXPECT_EQ(other.key_count(), machine->key_count());
}

TEST(Numbers, as_redis_reads_and_writes_them) {
  EXPECT_EQ(parse_integer("-9223372036854775808"), INT64_MIN);
  EXPECT_EQ(parse_integer("1e3"), std::nullopt);
  EXPECT_EQ(format_float(3.0L), "3");
  EXPECT_EQ(format_float(-0.0L), "0");
  EXPECT_EQ(parse_float("inf"), HUGE_VALL);
  EXPECT_EQ(parse_float("1e9999"), std::nullopt);
  EXPECT_EQ(parse_float("1e-9999"), std::nullopt);
  EXPECT_EQ(parse_float("nan"), std::nullopt);
  EXPECT_EQ(parse_float(format_float(-LDBL_MAX)), -LDBL_MAX) << "what was written cannot be added to";
  EXPECT_EQ(parse_float(std::string(6000, '1')), std::nullopt);
  EXPECT_EQ(parse_float(" 1"), std::nullopt);
}

TEST(CommandCodec, every_truncation_of_a_request_is_refused) {
  const api::Command commands[] = {
      api::Put{.key = "key", .value = "value", .expiry = {.kind = api::Expiry::Kind::kAt, .millis = 5}},
      api::SetRange{.key = "key", .offset = 300, .value = "x"}, api::Copy{.source = "a", .destination = "b"}};
  std::string bytes;
  ASSERT_TRUE(api::append_request(bytes, {.commands = commands, .session = {.client = 1, .sequence = 2}}).ok());
  EXPECT_TRUE(api::check_request(bytes).ok());
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(api::check_request(bytes.substr(0, size)).ok()) << size;
  EXPECT_FALSE(api::check_request(bytes + "x").ok());
}

TEST(CommandCodec, golden_bytes_of_an_entry) {
  std::string bytes;
  begin_entry(bytes);
  const api::Command command = api::Put{.key = "k", .value = "v"};
  ASSERT_TRUE(api::append_request(bytes, {.commands = std::span(&command, 1)}).ok());
  stamp_entry(bytes, Version(0x0102));
  EXPECT_EQ(bytes, std::string("\x01\x02\x01\0\0\0\0\0\0"  // format, stamp
                               "\x0A\0\0\0\0\x01"          // size, flags, one command
                               "\x01\x01k\x01v\0\0\0",
                               23));  // put: key, value, expiry, condition, return old
}

}  // namespace
}  // namespace flux::kv
