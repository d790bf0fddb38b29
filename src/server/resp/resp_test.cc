// Goal: requests are understood however they are cut, replies keep their order, and nothing that arrives on the port
// does harm. What commands do is compared with a real Redis in tests/cluster/test_redis.py.
#include <gtest/gtest.h>

#include <deque>

#include "server/resp/glob.h"
#include "server/resp/parser.h"
#include "server/resp/scan_cursors.h"
#include "server/resp/session.h"
#include "server/testing/fake_admin.h"

namespace flux::server::resp {
namespace {

constexpr ParserLimits kLimits{.arguments_max = 10, .bulk_bytes_max = 100, .inline_bytes_max = 200};

std::vector<std::string> parse_one(std::string_view data, size_t* consumed = nullptr) {
  Parser parser(kLimits);
  size_t size = 0;
  EXPECT_EQ(parser.parse(data, size), Parsed::kRequest) << data;
  if (consumed != nullptr) *consumed = size;
  return {parser.arguments().begin(), parser.arguments().end()};
}

std::string parse_error(std::string_view data) {
  Parser parser(kLimits);
  size_t size = 0;
  EXPECT_EQ(parser.parse(data, size), Parsed::kError) << data;
  return parser.error();
}

TEST(Parser, arrays_of_bulk_strings) {
  size_t consumed = 0;
  EXPECT_EQ(parse_one("*2\r\n$3\r\nGET\r\n$2\r\n\r\n\r\nrest", &consumed), (std::vector<std::string>{"GET", "\r\n"}));
  EXPECT_EQ(consumed, 21u);
  EXPECT_TRUE(parse_one("*0\r\n").empty());
  EXPECT_TRUE(parse_one("*-1\r\n").empty());
}

TEST(Parser, every_cut_is_incomplete) {
  const std::string request = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nvalue\r\n";
  Parser parser(kLimits);
  for (size_t size = 0; size < request.size(); ++size) {
    size_t consumed = 1;
    EXPECT_EQ(parser.parse(std::string_view(request).substr(0, size), consumed), Parsed::kIncomplete) << size;
    EXPECT_EQ(consumed, 0u);
  }
}

TEST(Parser, inline_words_and_quotes) {
  EXPECT_EQ(parse_one("  set  a 'b c' \"x\\x41\\n\"\r\n"), (std::vector<std::string>{"set", "a", "b c", "xA\n"}));
  EXPECT_EQ(parse_one("PING\n"), (std::vector<std::string>{"PING"}));
  EXPECT_TRUE(parse_one("\r\n").empty());
  EXPECT_EQ(parse_error("set \"a\r\n"), "Protocol error: unbalanced quotes in request");
}

TEST(Parser, lengths_are_not_believed) {
  for (const char* bad : {"*11\r\n", "*99999999999999999999\r\n", "*x\r\n", "*+1\r\n", "*01\r\n", "* 1\r\n",
                          "*1\n$4\r\nPING\r\n", "*0x1\r\n", "*111111111111111111111111111111111111111"}) {
    EXPECT_EQ(parse_error(bad), "Protocol error: invalid multibulk length") << bad;
  }
  for (const char* bad : {"*1\r\n$-2\r\n", "*1\r\n$101\r\n", "*1\r\n$9999999999999\r\n", "*1\r\n$+5\r\n",
                          "*1\r\n$05\r\n", "*1\r\n$ 5\r\n"}) {
    EXPECT_EQ(parse_error(bad), "Protocol error: invalid bulk length") << bad;
  }
  EXPECT_EQ(parse_error("*1\r\n$1\r\nabc"), "Protocol error: bulk string does not end with CRLF");
  EXPECT_EQ(parse_error("*1\r\n:1\r\n"), "Protocol error: expected '$', got ':'");
  EXPECT_EQ(parse_error(std::string(300, 'a')), "Protocol error: too big inline request");
}

TEST(Glob, as_redis_matches) {
  EXPECT_TRUE(glob_match("h?llo", "hello"));
  EXPECT_TRUE(glob_match("h*llo", "heeeello"));
  EXPECT_TRUE(glob_match("h[ae]llo", "hallo"));
  EXPECT_FALSE(glob_match("h[^e]llo", "hello"));
  EXPECT_TRUE(glob_match("h[a-c]llo", "hbllo"));
  EXPECT_TRUE(glob_match("h\\*llo", "h*llo"));
  EXPECT_FALSE(glob_match("h\\*llo", "hello"));
  EXPECT_TRUE(glob_match("*", ""));
  EXPECT_FALSE(glob_match("", "a"));
  EXPECT_TRUE(glob_match("**a**", "bab"));
}

TEST(Glob, a_nasty_pattern_ends_soon) {
  std::string pattern;
  for (int i = 0; i < 500; ++i) pattern += "*a";
  EXPECT_FALSE(glob_match(pattern + "b", std::string(60'000, 'a')));
}

TEST(ScanCursors, a_forgotten_cursor_goes_on_at_its_slot) {
  ScanCursors cursors;
  const std::string key("\x12\x34key", 5);
  const uint64_t cursor = cursors.remember({}, key);
  EXPECT_EQ(cursors.find({}, cursor), key);
  const ScanCursors elsewhere;
  EXPECT_EQ(elsewhere.find({}, cursor), std::string("\x12\x34", 2));
  EXPECT_EQ(elsewhere.find({}, 12345), std::nullopt);
  EXPECT_EQ(elsewhere.find({}, 0), "");
  // Of another hash keyspace: at its slot there. In order there are no slots.
  const api::KeyspaceRef hash{.id = KeyspaceId(7), .kind = api::KeyspaceKind::kHash};
  const uint64_t of_hash = cursors.remember(hash, api::encoded_key(hash, "foo"));
  EXPECT_EQ(elsewhere.find(hash, of_hash), api::keyspace_prefix(hash) + "\x2F\x96");
  const api::KeyspaceRef range{.id = KeyspaceId(8), .kind = api::KeyspaceKind::kRange};
  const uint64_t of_range = cursors.remember(range, api::encoded_key(range, "foo"));
  EXPECT_EQ(cursors.find(range, of_range), api::encoded_key(range, "foo"));
  EXPECT_EQ(elsewhere.find(range, of_range), std::nullopt);
  EXPECT_EQ(elsewhere.find(range, 0), "");
}

TEST(Glob, what_all_matches_begin_with) {
  const std::pair<std::string, std::string> prefixes[] = {{"user:*", "user:"}, {"a?b", "a"},      {"[ab]c", ""},
                                                          {"whole", "whole"},  {"a\\*b*", "a*b"}, {"", ""},
                                                          {"a\\", "a\\"}};
  for (const auto& [pattern, prefix] : prefixes) {
    EXPECT_EQ(glob_prefix(pattern), prefix) << pattern;
    EXPECT_TRUE(glob_match(pattern, prefix) || pattern.size() > prefix.size()) << pattern;
  }
}

// --- Sessions ---

class TestLoop final : public env::Loop {
 public:
  MonoTime now() const override { return MonoTime(Micros(1)); }
  MonoTime precise_now() const override { return now(); }
  WallMillis wall_now() const override { return WallMillis(1); }
  void post(env::Task task) override { tasks.push_back(std::move(task)); }
  env::TimerId call_at(MonoTime, env::Task) override { return env::TimerId(1); }
  void cancel(env::TimerId) override {}
  void set_turn_end(env::Task) override {}
  std::deque<env::Task> tasks;
};

// A stream whose input the test gives and whose output it sees.
class TestStream final : public env::Stream {
 public:
  struct State {
    std::string out;
    std::string held;
    bool paused = false;
    bool closing = false;
    env::StreamHandler* handler = nullptr;
  };
  explicit TestStream(State& state) : state_(state) {}
  void set_handler(env::StreamHandler* handler) override { state_.handler = handler; }
  std::string& outbox() override { return state_.out; }
  void wrote() override {}
  size_t unsent_bytes() const override { return 0; }
  void pause_reading() override { state_.paused = true; }
  void resume_reading() override { state_.paused = false; }
  void close_after_flush() override { state_.closing = true; }
  std::string peer_address() const override { return "p"; }
  std::string local_address() const override { return "l"; }

 private:
  State& state_;
};

// Keeps requests until the test answers them, in any order.
class HeldService final : public api::KvService {
 public:
  void write(const api::WriteRequest&, api::WriteDone done) override { writes.push_back(std::move(done)); }
  void read(const api::ReadRequest&, api::ReadDone done) override { reads.push_back(std::move(done)); }
  void answer_write(size_t i, bool applied = true) {
    api::WriteReply reply;
    reply.results.emplace_back().applied = applied;
    std::exchange(writes.at(i), nullptr)(std::move(reply));
  }
  void answer_read(size_t i, std::string_view value) {
    const api::Item item{.found = true, .key = {}, .value = value, .version = {}, .deadline = {}};
    std::exchange(reads.at(i), nullptr)({.status = {}, .items = std::span(&item, 1)});
  }
  std::vector<api::WriteDone> writes;
  std::vector<api::ReadDone> reads;
};

class NoDoor final : public DoorView {
  DoorStats stats() const override { return {}; }
  void clients(env::Loop&, ClientsDone done) override { done({}); }
};

class SessionTest : public ::testing::Test {
 protected:
  SessionTest() : session(new Session(context, std::make_unique<TestStream>(stream), 1, [] {})) {}
  ~SessionTest() override {
    if (stream.handler != nullptr) stream.handler->on_closed(dummy, Status());
  }
  // Bytes from the client, with what was held back before them.
  void feed(std::string_view bytes) {
    stream.held += bytes;
    const size_t consumed = stream.handler->on_data(dummy, stream.held);
    stream.held.erase(0, consumed);
  }
  void resume() {
    if (!stream.paused) feed("");
  }
  std::string taken() { return std::exchange(stream.out, {}); }

  TestLoop loop;
  HeldService kv;
  testing::FakeAdmin admin{loop};
  std::vector<Setting> settings;
  ScanCursors cursors;
  LoopStats stats;
  NoDoor door;
  SessionContext context{
      .loop = loop, .kv = kv, .admin = admin, .settings = settings, .cursors = cursors, .stats = stats, .door = door};
  TestStream::State stream;
  TestStream::State dummy_state;
  TestStream dummy{dummy_state};
  SessionPtr session;
};

TEST_F(SessionTest, replies_keep_the_order_of_requests) {
  feed("SET a 1\r\nSET b 2\r\nPING\r\nSET c 3\r\n");
  ASSERT_EQ(kv.writes.size(), 3u);
  kv.answer_write(1);
  kv.answer_write(2, false);
  EXPECT_EQ(taken(), "");
  kv.answer_write(0);
  EXPECT_EQ(taken(), "+OK\r\n+OK\r\n+PONG\r\n$-1\r\n");
}

TEST_F(SessionTest, a_read_waits_for_the_writes_before_it_and_a_write_for_the_reads) {
  feed("SET a 1\r\nGET a\r\nGET b\r\nSET a 2\r\n");
  EXPECT_EQ(kv.writes.size(), 1u);
  EXPECT_EQ(kv.reads.size(), 0u);
  kv.answer_write(0);
  resume();
  EXPECT_EQ(kv.reads.size(), 2u);
  EXPECT_EQ(kv.writes.size(), 1u);
  kv.answer_read(1, "y");
  resume();
  EXPECT_EQ(kv.writes.size(), 1u);
  kv.answer_read(0, "x");
  resume();
  EXPECT_EQ(kv.writes.size(), 2u);
  EXPECT_EQ(taken(), "+OK\r\n$1\r\nx\r\n$1\r\ny\r\n");
}

// D19: error paths answer exactly once, in their place.
TEST_F(SessionTest, D19_one_reply_per_request) {
  feed("SET a 1\r\nNOPE x\r\nGET\r\nSET a 1 EX 0\r\nECHO hi\r\n");
  EXPECT_EQ(taken(), "");
  std::exchange(kv.writes.at(0), nullptr)({.status = Status(ErrorCode::kOutcomeUnknown, "gone")});
  resume();
  EXPECT_EQ(
      taken(),
      "-UNKNOWN gone\r\n-ERR unknown command 'NOPE', with args beginning with: 'x' \r\n"
      "-ERR wrong number of arguments for 'get' command\r\n-ERR invalid expire time in 'set' command\r\n$2\r\nhi\r\n");
}

TEST_F(SessionTest, garbage_is_answered_and_closed_after_what_came_before) {
  feed("SET a 1\r\n*1\r\n!\r\n");
  EXPECT_FALSE(stream.closing);
  kv.answer_write(0);
  EXPECT_EQ(taken(), "+OK\r\n-ERR Protocol error: expected '$', got '!'\r\n");
  EXPECT_TRUE(stream.closing);
}

TEST_F(SessionTest, a_client_that_is_gone_harms_nobody) {
  feed("SET a 1\r\nSET b 1\r\n");
  env::StreamHandler* const handler = std::exchange(stream.handler, nullptr);
  session.reset();
  handler->on_closed(dummy, Status());
  kv.answer_write(1);
  kv.answer_write(0);
  EXPECT_EQ(taken(), "");
}

TEST_F(SessionTest, a_flood_is_held_back) {
  std::string flood;
  for (int i = 0; i < 10'000; ++i) flood += "SET a 1\r\n";
  feed(flood);
  EXPECT_TRUE(stream.paused);
  EXPECT_LT(kv.writes.size(), 5000u);
  size_t answered = 0;
  while (answered < 10'000 && answered < kv.writes.size()) {
    kv.answer_write(answered++);
    resume();
  }
  EXPECT_EQ(answered, 10'000u);
}

TEST_F(SessionTest, resp3_after_hello) {
  feed("HELLO 3\r\nGET a\r\n");
  EXPECT_TRUE(taken().starts_with("%7\r\n$6\r\nserver\r\n"));
  std::exchange(kv.reads.at(0), nullptr)({.status = {}, .items = std::vector<api::Item>(1)});
  EXPECT_EQ(taken(), "_\r\n");
  feed("HELLO 2\r\n");
  taken();
  // It does not reach back to what was asked before it.
  feed("GET a\r\nHELLO 3\r\n");
  std::exchange(kv.reads.at(1), nullptr)({.status = {}, .items = std::vector<api::Item>(1)});
  EXPECT_TRUE(taken().starts_with("$-1\r\n%7\r\n"));
  feed("HELLO 4\r\n");
  EXPECT_EQ(taken(), "-NOPROTO unsupported protocol version\r\n");
}

TEST(CommandTable, every_command_describes_itself) {
  for (const Command& command : command_table()) {
    EXPECT_EQ(find_command(command.name), &command);
    EXPECT_NE(command.arity, 0) << command.name;
    EXPECT_FALSE(command.summary.empty()) << command.name;
    EXPECT_EQ(command.first_key == 0, command.key_step == 0) << command.name;
  }
  EXPECT_EQ(find_command("GeT")->name, "get");
  EXPECT_EQ(find_command("getx"), nullptr);
  EXPECT_EQ(find_command(std::string(1000, 'a')), nullptr);
}

}  // namespace
}  // namespace flux::server::resp
