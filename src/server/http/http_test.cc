// Goal: requests are understood however their bytes arrive, each is answered once and in order, and no client makes the
// door keep more than its limits or wait longer than its patience.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "env/testing/fake_net.h"
#include "server/http/cluster_routes.h"
#include "server/http/door.h"
#include "server/http/routes.h"
#include "server/testing/fake_admin.h"

namespace flux::server::http {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr size_t kHeaderBytes = 8 * 1024;
constexpr size_t kBodyBytes = 64 * 1024;

size_t count(std::string_view text, std::string_view word) {
  size_t found = 0;
  for (size_t at = text.find(word); at != std::string_view::npos; at = text.find(word, at + 1)) ++found;
  return found;
}

std::string post(const std::string& path, const std::string& body) {
  return "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

std::string get(const std::string& path) { return "GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n"; }

class HttpTest : public ::testing::Test {
 protected:
  HttpTest() { open({}); }
  void open(DoorOptions options) { door = Door::open(network, loop, admin, std::move(options)).value(); }

  // The whole answer to a request on a connection of its own.
  std::string answer(std::string_view request) {
    const auto wire = network.dial();
    wire->give(request);
    return wire->take();
  }

  env::testing::FakeLoop loop;
  env::testing::FakeNetwork network;
  testing::FakeAdmin admin{loop};
  std::unique_ptr<Door> door;
};

// --- Requests and bytes ----------------------------------------------------------------------------------------------

TEST_F(HttpTest, every_cut_of_a_request_gives_the_same_answer) {
  const std::string request = post("/leader/transfer", R"({"group": 1, "target": 2})");
  const std::string whole = answer(request);
  EXPECT_THAT(whole, StartsWith("HTTP/1.1 200 OK\r\n"));
  for (size_t cut = 1; cut < request.size(); ++cut) {
    const auto wire = network.dial();
    wire->give(request.substr(0, cut));
    ASSERT_EQ(wire->sent(), "") << "answered half a request, " << cut;
    wire->give(request.substr(cut));
    ASSERT_EQ(wire->sent(), whole) << cut;
  }
  EXPECT_EQ(admin.transfers.size(), request.size());
}

TEST_F(HttpTest, a_byte_at_a_time) {
  const auto wire = network.dial();
  for (const char c : get("/version")) {
    ASSERT_EQ(wire->sent(), "");
    wire->give(std::string_view(&c, 1));
  }
  EXPECT_THAT(wire->sent(), HasSubstr("9.9"));
}

TEST_F(HttpTest, pipelined_requests_are_answered_in_order) {
  const auto wire = network.dial();
  // One that is answered later, ones that are answered at once, ones that are wrong.
  wire->give(get("/version") + get("/livez") + get("/nothing") + get("/%zz") + get("/livez") + get("/status"));
  const std::string sent = wire->take();
  EXPECT_EQ(count(sent, "HTTP/1.1 "), 6u) << sent;
  size_t at = 0;
  for (const char* word :
       {"9.9", "200", "ok", "404", "nothing at /nothing", "400", "percent", "200", "ok", "node_id"}) {
    at = sent.find(word, at);
    ASSERT_NE(at, std::string::npos) << "no '" << word << "' where it belongs in " << sent;
  }
  EXPECT_FALSE(wire->closed());
}

TEST_F(HttpTest, the_connection_stays_as_long_as_the_client_asked) {
  const auto wire = network.dial();
  for (int i = 0; i < 3; ++i) wire->give(get("/livez"));
  EXPECT_EQ(count(wire->take(), "200 OK"), 3u);
  EXPECT_FALSE(wire->closed());
  wire->give("GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n" + get("/livez"));
  EXPECT_EQ(count(wire->sent(), "200 OK"), 1u);
  EXPECT_TRUE(wire->closed());
  const auto old = network.dial();
  old->give("GET /livez HTTP/1.0\r\n\r\n");
  EXPECT_THAT(old->sent(), HasSubstr("200 OK"));
  EXPECT_TRUE(old->closed());
}

// Guards against an assertion of Beast's on a last chunk that arrives in pieces.
TEST_F(HttpTest, a_body_in_chunks_is_refused_however_it_arrives) {
  const std::string request = "POST /cluster/node/remove HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
  for (size_t cut = 1; cut < request.size(); ++cut) {
    for (size_t piece = 1; piece < 5; ++piece) {
      const auto wire = network.dial();
      wire->give(request.substr(0, cut));
      for (size_t at = cut; at < request.size(); at += piece) wire->give(request.substr(at, piece));
      EXPECT_THAT(wire->sent(), StartsWith("HTTP/1.1 411 ")) << cut;
      EXPECT_TRUE(wire->closed());
    }
  }
  EXPECT_TRUE(admin.changes.empty());
}

TEST_F(HttpTest, head_has_the_headers_and_no_body) {
  const auto wire = network.dial();
  wire->give("HEAD /livez HTTP/1.1\r\n\r\n");
  EXPECT_THAT(wire->sent(), HasSubstr("Content-Length: 3\r\n"));
  EXPECT_THAT(wire->take(), ::testing::EndsWith("\r\n\r\n"));
  // The next answer has one again, also where the request is no HTTP.
  wire->give("nonsense\r\n\r\n");
  EXPECT_THAT(wire->sent(), HasSubstr("not a valid HTTP request"));
}

TEST_F(HttpTest, what_is_no_http_is_told_so_and_closed) {
  for (const char* junk : {"nonsense\r\n\r\n", "GET /\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\x16\x03\x01\x02\r\n\r\n",
                           "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n",
                           "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"}) {
    const auto wire = network.dial();
    wire->give(junk);
    EXPECT_THAT(wire->sent(), StartsWith("HTTP/1.1 400 ")) << junk;
    EXPECT_TRUE(wire->closed()) << junk;
  }
}

// --- Limits ----------------------------------------------------------------------------------------------------------

TEST_F(HttpTest, a_header_over_the_limit_is_refused_however_it_arrives) {
  const std::string fits = "GET /livez HTTP/1.1\r\nA: " + std::string(kHeaderBytes - 200, 'a') + "\r\n\r\n";
  EXPECT_THAT(answer(fits), HasSubstr("200 OK"));
  const std::string lines = [] {
    std::string out = "GET /livez HTTP/1.1\r\n";
    while (out.size() <= 2 * kHeaderBytes) out += "Name: value\r\n";
    return out + "\r\n";
  }();
  const std::string one_line = "GET /livez HTTP/1.1\r\nA: " + std::string(2 * kHeaderBytes, 'a') + "\r\n\r\n";
  const std::string target = "GET /" + std::string(2 * kHeaderBytes, 'a') + " HTTP/1.1\r\n\r\n";
  const std::string endless = "GET /" + std::string(2 * kHeaderBytes, 'a');
  for (const std::string& large : {lines, one_line, target, endless}) {
    for (const size_t piece : {large.size(), size_t{1000}, size_t{7}}) {
      const auto wire = network.dial();
      for (size_t at = 0; at < large.size(); at += piece) wire->give(std::string_view(large).substr(at, piece));
      EXPECT_THAT(wire->sent(), StartsWith("HTTP/1.1 431 ")) << large.substr(0, 40) << " in pieces of " << piece;
      EXPECT_TRUE(wire->closed());
      EXPECT_LE(wire->kept_bytes_max(), kHeaderBytes + 1000);
    }
  }
}

TEST_F(HttpTest, a_body_over_the_limit_is_refused_before_it_is_sent) {
  const std::string spaces(kBodyBytes - 2, ' ');
  EXPECT_THAT(answer(post("/leader/transfer", "{" + spaces + "}")), HasSubstr("200 OK"));
  EXPECT_THAT(answer("POST /leader/transfer HTTP/1.1\r\nContent-Length: 65537\r\n\r\n"), StartsWith("HTTP/1.1 413 "));
  EXPECT_THAT(answer("POST /leader/transfer HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n"),
              StartsWith("HTTP/1.1 4"));
  EXPECT_EQ(admin.transfers.size(), 1u);
}

TEST_F(HttpTest, a_client_that_dawdles_is_dropped_after_ten_seconds) {
  const auto silent = network.dial();
  const auto slow = network.dial();
  const std::string request = get("/livez");
  for (size_t second = 0; second < 9; ++second) {
    slow->give(request.substr(second, 1));
    loop.advance(Millis(1000));
  }
  EXPECT_FALSE(silent->closed());
  EXPECT_FALSE(slow->closed());
  loop.advance(Millis(1000));
  EXPECT_TRUE(silent->closed());
  EXPECT_TRUE(slow->closed()) << "a byte now and then buys no time";
  EXPECT_EQ(slow->sent(), "");
}

TEST_F(HttpTest, every_answer_begins_the_ten_seconds_anew) {
  const auto wire = network.dial();
  for (int i = 0; i < 3; ++i) {
    loop.advance(Millis(9'000));
    wire->give(get("/livez"));
  }
  EXPECT_EQ(count(wire->sent(), "200 OK"), 3u);
  EXPECT_FALSE(wire->closed());
  loop.advance(Millis(10'000));
  EXPECT_TRUE(wire->closed());
}

TEST_F(HttpTest, connections_over_the_limit_are_closed_and_make_room_when_they_end) {
  open({.connections_max = 2});
  const auto one = network.dial();
  const auto two = network.dial();
  EXPECT_TRUE(network.dial()->closed());
  one->hang_up();
  const auto three = network.dial();
  EXPECT_FALSE(three->closed());
  three->give(get("/livez"));
  EXPECT_THAT(three->sent(), HasSubstr("200 OK"));
}

TEST_F(HttpTest, a_client_that_leaves_before_its_answer_harms_nobody) {
  const auto wire = network.dial();
  wire->give(post("/cluster/node/remove", R"({"node": 3})").substr(0, 60));
  wire->hang_up();
  EXPECT_TRUE(wire->closed());
  EXPECT_TRUE(admin.changes.empty());
  EXPECT_THAT(answer(get("/livez")), HasSubstr("200 OK"));
}

// --- Routes ----------------------------------------------------------------------------------------------------------

TEST_F(HttpTest, each_path_takes_its_methods_only) {
  for (const char* path : {"/status", "/cluster", "/livez", "/readyz", "/metrics", "/version", "/"}) {
    EXPECT_THAT(answer(get(path)), HasSubstr("200 OK")) << path;
    for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"}) {
      const std::string request = std::string(method) + " " + path + " HTTP/1.1\r\nContent-Length: 0\r\n\r\n";
      EXPECT_THAT(answer(request), StartsWith("HTTP/1.1 405 ")) << request;
    }
  }
  for (const std::string_view change : cluster_changes()) {
    EXPECT_THAT(answer(get("/cluster/" + std::string(change))), StartsWith("HTTP/1.1 405 ")) << change;
  }
  EXPECT_THAT(answer(get("/leader/transfer")), StartsWith("HTTP/1.1 405 "));
  for (const char* path : {"/members/add", "/cluster/", "/cluster/node", "/cluster/node/expel", "/node/add"}) {
    EXPECT_THAT(answer(post(path, "{}")), AllOf(StartsWith("HTTP/1.1 404 "), HasSubstr("node/add,node/drain"))) << path;
  }
  EXPECT_TRUE(admin.changes.empty());
  EXPECT_TRUE(admin.transfers.empty());
}

TEST_F(HttpTest, readiness_says_what_is_missing_and_may_leave_one_out) {
  admin.checks = {{.name = "leader"}, {.name = "log", .ok = false, .detail = "full"}};
  EXPECT_THAT(answer(get("/readyz")), AllOf(StartsWith("HTTP/1.1 503 "), HasSubstr("[-]log: full")));
  EXPECT_THAT(answer(get("/readyz?exclude=log")), AllOf(StartsWith("HTTP/1.1 200 "), Not(HasSubstr("[-]"))));
  EXPECT_THAT(answer(get("/readyz?verbose&exclude=l%6Fg")), HasSubstr("[-]log excluded: full"));
  EXPECT_THAT(answer(get("/readyz?exclude=leader")), StartsWith("HTTP/1.1 503 "));
}

TEST_F(HttpTest, leadership_moves_as_the_body_says) {
  answer(post("/leader/transfer", ""));
  answer(post("/leader/transfer", R"({"group": 4, "target": 2})"));
  EXPECT_EQ(admin.transfers, (std::vector<std::pair<GroupId, NodeId>>{{GroupId(1), kNobody}, {GroupId(4), NodeId(2)}}));
  EXPECT_THAT(answer(post("/leader/transfer", R"({"target": "n2"})")), StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(answer(post("/leader/transfer", R"({"node": 2})")), HasSubstr("it takes group, target"));
  EXPECT_EQ(admin.transfers.size(), 2u);
}

TEST_F(HttpTest, an_error_tells_whether_it_may_have_happened) {
  admin.outcome = Status(ErrorCode::kUnavailable, "no leader");
  EXPECT_THAT(answer(post("/cluster/node/remove", R"({"node": 3})")), HasSubstr(R"("outcome": "not_done")"));
  admin.outcome = Status(ErrorCode::kOutcomeUnknown, "leadership was lost");
  EXPECT_THAT(answer(post("/cluster/node/remove", R"({"node": 3})")), HasSubstr(R"("outcome": "unknown")"));
}

TEST(Target, is_split_and_decoded) {
  Request request;
  ASSERT_TRUE(parse_target("/a%2Fb?x=1&y=%20z&flag&=n&x=2", request).ok());
  EXPECT_EQ(request.path, "/a/b");
  EXPECT_EQ(request.query, (std::map<std::string, std::string>{{"x", "2"}, {"y", " z"}, {"flag", ""}, {"", "n"}}));
  for (const char* bad : {"", "a", "http://h/", "*", "/%", "/%4", "/%4g", "/%00", "/%0a", "/?a=%7f", "/?%1f=1"}) {
    Request other;
    EXPECT_EQ(parse_target(bad, other).code(), ErrorCode::kInvalidArgument) << bad;
  }
}

}  // namespace
}  // namespace flux::server::http
