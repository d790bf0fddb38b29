// Goal: CLUSTER answers in the forms that Redis Cluster's clients read, and a door in cluster mode sends every command
// to whoever leads its keys, and only there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "api/keyspace.h"
#include "api/slot.h"
#include "env/testing/fake_net.h"
#include "server/resp/door.h"
#include "server/testing/fake_admin.h"

namespace flux::server::resp {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// Keys without values. A page has at most three, so that walks take several.
class FakeKeys final : public api::KvService {
 public:
  explicit FakeKeys(env::Loop& loop) : loop_(loop) {}

  void write(const api::WriteRequest& request, api::WriteDone done) override {
    ++writes;
    const size_t count = request.commands.size();
    loop_.post([count, done = std::move(done)]() mutable {
      api::WriteReply reply;
      for (size_t i = 0; i < count; ++i) reply.results.emplace_back().applied = true;
      done(std::move(reply));
    });
  }
  void read(const api::ReadRequest& request, api::ReadDone done) override {
    ++reads;
    if (!outcome.ok()) return loop_.post([this, done = std::move(done)]() mutable { done({.status = outcome}); });
    if (const auto* get = std::get_if<api::GetRequest>(&request.what); get != nullptr) {
      return loop_.post([items = std::vector<api::Item>(get->keys.size()), done = std::move(done)]() mutable {
        done({.status = {}, .items = items});
      });
    }
    const auto& scan = std::get<api::ScanRequest>(request.what);
    std::vector<std::string> page;
    std::string resume;
    const std::string start(scan.start);
    auto it = keys.lower_bound(start);
    for (; it != keys.end() && (scan.end.empty() || *it < scan.end); ++it) {
      if (page.size() == std::min<size_t>(scan.keys_max, 3)) {
        resume = *it;
        break;
      }
      page.push_back(*it);
    }
    loop_.post([page = std::move(page), resume = std::move(resume), done = std::move(done)]() mutable {
      std::vector<api::Item> items;
      for (const std::string& key : page) items.push_back({.found = true, .key = api::decoded_key(key)});
      done({.status = {}, .items = items, .scan_resume = resume});
    });
  }

  std::set<std::string> keys;  // encoded
  Status outcome;
  size_t reads = 0;
  size_t writes = 0;

 private:
  env::Loop& loop_;
};

class FakeOwners final : public api::SlotOwners {
 public:
  std::string redirect(Slot slot) const override {
    const auto it = elsewhere.find(slot);
    return it == elsewhere.end() ? "" : it->second;
  }
  std::map<Slot, std::string> elsewhere;
};

class ClusterTest : public ::testing::Test {
 protected:
  ClusterTest() {
    api::ClusterView& view = admin.view;
    view.config = ConfigNum(7);
    view.nodes = {{.record = {.id = NodeId(1), .peer_address = "h1:1", .resp_address = "h1:7001"}, .state = "active"},
                  {.record = {.id = NodeId(2), .peer_address = "h2:1", .resp_address = "h2:7002"}, .state = "active"},
                  {.record = {.id = NodeId(3), .peer_address = "h3:1", .resp_address = "h3:7003"}, .state = "active"}};
    view.groups = {{.id = GroupId(1), .voters = {NodeId(1), NodeId(2)}, .leader = NodeId(1)},
                   {.id = GroupId(2), .voters = {NodeId(2), NodeId(3)}, .leader = NodeId(2)}};
    view.keyspaces = {{.name = "default", .kind = "hash"}};
    view.shards = {{.keyspace = "default", .end = api::slot_start(100), .group = GroupId(2)},
                   {.keyspace = "default", .start = api::slot_start(100), .group = GroupId(1)}};
  }

  std::string answer(std::string_view request) {
    if (!door) {
      door = Door::open(network, {{.loop = &loop, .kv = &kv, .admin = &admin}}, {.owners = owners}).value();
      wire = network.dial();
    }
    wire->give(request);
    return wire->take();
  }

  env::testing::FakeLoop loop;
  env::testing::FakeNetwork network;
  testing::FakeAdmin admin{loop};
  FakeKeys kv{loop};
  FakeOwners known;
  const api::SlotOwners* owners = nullptr;
  std::unique_ptr<Door> door;
  std::shared_ptr<env::testing::FakeWire> wire;
};

// --- What CLUSTER says -----------------------------------------------------------------------------------------------

const std::string kId1 = "$40\r\n0000000000000000000000000000000000000001\r\n";
const std::string kId2 = "$40\r\n0000000000000000000000000000000000000002\r\n";
const std::string kId3 = "$40\r\n0000000000000000000000000000000000000003\r\n";

TEST_F(ClusterTest, slots_name_a_master_and_its_replicas) {
  EXPECT_EQ(answer("CLUSTER SLOTS\r\n"),
            "*2\r\n"
            "*4\r\n:0\r\n:99\r\n*4\r\n$2\r\nh2\r\n:7002\r\n" +
                kId2 + "*0\r\n*4\r\n$2\r\nh3\r\n:7003\r\n" + kId3 +
                "*0\r\n"
                "*3\r\n:100\r\n:16383\r\n*4\r\n$2\r\nh1\r\n:7001\r\n" +
                kId1 + "*0\r\n");
  answer("HELLO 3\r\n");
  EXPECT_THAT(answer("cluster slots\r\n"), HasSubstr(kId2 + "%0\r\n"));
}

TEST_F(ClusterTest, shards_list_ranges_and_nodes) {
  const auto member = [](const std::string& id, const std::string& host, const std::string& port,
                         const std::string& role) {
    return "$2\r\nid\r\n" + id + "$4\r\nport\r\n:" + port + "\r\n$2\r\nip\r\n$2\r\n" + host +
           "\r\n$8\r\nendpoint\r\n$2\r\n" + host + "\r\n$4\r\nrole\r\n$" + std::to_string(role.size()) + "\r\n" + role +
           "\r\n$18\r\nreplication-offset\r\n:0\r\n$6\r\nhealth\r\n$6\r\nonline\r\n";
  };
  EXPECT_EQ(answer("CLUSTER SHARDS\r\n"),
            "*2\r\n"
            "*4\r\n$5\r\nslots\r\n*2\r\n:100\r\n:16383\r\n$5\r\nnodes\r\n*1\r\n*14\r\n" +
                member(kId1, "h1", "7001", "master") +
                "*4\r\n$5\r\nslots\r\n*2\r\n:0\r\n:99\r\n$5\r\nnodes\r\n*2\r\n*14\r\n" +
                member(kId2, "h2", "7002", "master") + "*14\r\n" + member(kId3, "h3", "7003", "replica"));
}

TEST_F(ClusterTest, nodes_info_and_this_node) {
  const std::string nodes = answer("CLUSTER NODES\r\n");
  EXPECT_THAT(nodes, HasSubstr("0001 h1:7001@1 myself,master - 0 0 7 connected 100-16383\n"));
  EXPECT_THAT(nodes, HasSubstr("0003 h3:7003@1 slave 0000000000000000000000000000000000000002 0 0 7 connected\n"));
  EXPECT_THAT(answer("CLUSTER INFO\r\n"), HasSubstr("cluster_state:ok\r\ncluster_slots_assigned:16384\r\n"));
  EXPECT_EQ(answer("CLUSTER MYID\r\n"), kId1);
  EXPECT_EQ(answer("CLUSTER LINKS\r\n"), "*0\r\n");
}

TEST_F(ClusterTest, a_node_that_knows_nothing_says_so) {
  admin.outcome = Status(ErrorCode::kUnavailable, "no controller yet");
  for (const char* sub : {"SLOTS", "SHARDS", "NODES", "INFO"}) {
    EXPECT_EQ(answer(std::string("CLUSTER ") + sub + "\r\n"), "-CLUSTERDOWN no controller yet\r\n") << sub;
  }
}

TEST_F(ClusterTest, the_keys_of_a_slot_are_walked_in_pages) {
  for (int i = 0; i < 7; ++i) kv.keys.insert(api::encoded_key({}, "{bar}" + std::to_string(i)));
  kv.keys.insert(api::encoded_key({}, "foo"));
  EXPECT_EQ(answer("CLUSTER KEYSLOT {bar}x\r\n"), ":5061\r\n");
  EXPECT_EQ(answer("CLUSTER COUNTKEYSINSLOT 5061\r\n"), ":7\r\n");
  EXPECT_EQ(kv.reads, 3u);
  EXPECT_EQ(answer("CLUSTER COUNTKEYSINSLOT 5062\r\n"), ":0\r\n");
  EXPECT_EQ(answer("CLUSTER COUNTKEYSINSLOT 16383\r\n"), ":0\r\n");
  EXPECT_EQ(answer("CLUSTER GETKEYSINSLOT 12182 10\r\n"), "*1\r\n$3\r\nfoo\r\n");
  EXPECT_THAT(answer("CLUSTER GETKEYSINSLOT 5061 5\r\n"), StartsWith("*5\r\n$6\r\n{bar}0\r\n"));
  EXPECT_THAT(answer("CLUSTER GETKEYSINSLOT 5061 9223372036854775807\r\n"), StartsWith("*7\r\n"));
  EXPECT_EQ(answer("CLUSTER GETKEYSINSLOT 5061 0\r\n"), "*0\r\n");
  kv.outcome = Status(ErrorCode::kUnavailable, "no leader");
  EXPECT_EQ(answer("CLUSTER COUNTKEYSINSLOT 5061\r\n"), "-CLUSTERDOWN no leader\r\n");
}

TEST_F(ClusterTest, mistakes_in_the_words_of_redis) {
  const std::pair<const char*, const char*> mistakes[] = {
      {"CLUSTER", "ERR wrong number of arguments for 'cluster' command"},
      {"CLUSTER NOPE", "ERR unknown subcommand 'NOPE'. Try CLUSTER HELP."},
      {"CLUSTER SLOTS x", "ERR wrong number of arguments for 'cluster|slots' command"},
      {"CLUSTER KEYSLOT", "ERR wrong number of arguments for 'cluster|keyslot' command"},
      {"CLUSTER COUNTKEYSINSLOT x", "ERR value is not an integer or out of range"},
      {"CLUSTER COUNTKEYSINSLOT 16384", "ERR Invalid slot"},
      {"CLUSTER GETKEYSINSLOT 5 x", "ERR value is not an integer or out of range"},
      {"CLUSTER GETKEYSINSLOT 5 -1", "ERR Invalid slot or number of keys"},
      {"CLUSTER GETKEYSINSLOT -1 5", "ERR Invalid slot or number of keys"},
  };
  for (const auto& [request, error] : mistakes) {
    EXPECT_EQ(answer(std::string(request) + "\r\n"), "-" + std::string(error) + "\r\n");
  }
  EXPECT_EQ(kv.reads, 0u);
  EXPECT_THAT(answer("CLUSTER HELP\r\n"), HasSubstr("+SHARDS\r\n"));
}

// --- Cluster mode ----------------------------------------------------------------------------------------------------

TEST_F(ClusterTest, without_the_mode_every_key_is_taken) {
  EXPECT_EQ(answer("MSET foo 1 bar 2\r\n"), "+OK\r\n");
  EXPECT_EQ(answer("READONLY\r\nREADWRITE\r\nASKING\r\n"), "+OK\r\n+OK\r\n+OK\r\n");
  EXPECT_THAT(answer("INFO cluster\r\n"), HasSubstr("cluster_enabled:0\r\n"));
  EXPECT_THAT(answer("INFO server\r\n"), HasSubstr("redis_mode:standalone\r\n"));
}

TEST_F(ClusterTest, with_it_clients_are_told_so) {
  owners = &known;
  EXPECT_THAT(answer("INFO cluster\r\n"), HasSubstr("cluster_enabled:1\r\n"));
  EXPECT_THAT(answer("INFO server\r\n"), HasSubstr("redis_mode:cluster\r\n"));
  EXPECT_THAT(answer("HELLO\r\n"), HasSubstr("$4\r\nmode\r\n$7\r\ncluster\r\n"));
}

TEST_F(ClusterTest, a_key_that_is_led_elsewhere_is_moved) {
  owners = &known;
  known.elsewhere[Slot(12182)] = "h2:7002";
  known.elsewhere[Slot(5061)] = "[::1]:7003";
  EXPECT_EQ(answer("GET foo\r\n"), "-MOVED 12182 h2:7002\r\n");
  EXPECT_EQ(answer("SET foo 1\r\n"), "-MOVED 12182 h2:7002\r\n");
  EXPECT_EQ(answer("MSET {foo}1 a {foo}2 b\r\n"), "-MOVED 12182 h2:7002\r\n");
  EXPECT_EQ(answer("GET bar\r\n"), "-MOVED 5061 ::1:7003\r\n");
  EXPECT_EQ(kv.reads + kv.writes, 0u);
  EXPECT_EQ(answer("SET here 1\r\n"), "+OK\r\n");
  EXPECT_EQ(answer("PING\r\nDBSIZE x\r\n"), "+PONG\r\n-ERR wrong number of arguments for 'dbsize' command\r\n");
  EXPECT_EQ(answer("GET\r\n"), "-ERR wrong number of arguments for 'get' command\r\n");
}

TEST_F(ClusterTest, redirections_keep_their_place_in_a_pipeline) {
  owners = &known;
  known.elsewhere[Slot(12182)] = "h2:7002";
  EXPECT_EQ(answer("SET a 1\r\nGET foo\r\nSET foo 1\r\nGET a\r\nPING\r\n"),
            "+OK\r\n-MOVED 12182 h2:7002\r\n-MOVED 12182 h2:7002\r\n$-1\r\n+PONG\r\n");
}

TEST_F(ClusterTest, keys_of_several_slots_are_refused) {
  owners = &known;
  const std::string refused = "-CROSSSLOT Keys in request don't hash to the same slot\r\n";
  for (const char* request : {"MGET foo bar", "DEL foo bar", "MSET foo 1 bar 2", "MSETNX foo 1 bar 2", "RENAME foo bar",
                              "COPY foo bar REPLACE", "EXISTS foo {foo}1 bar", "TOUCH foo bar", "UNLINK foo bar"}) {
    EXPECT_EQ(answer(std::string(request) + "\r\n"), refused) << request;
  }
  EXPECT_EQ(answer("READONLY\r\nMGET foo bar\r\n"), "+OK\r\n" + refused);
  EXPECT_EQ(kv.reads + kv.writes, 0u);
  EXPECT_EQ(answer("MGET foo {foo}1\r\n"), "*2\r\n$-1\r\n$-1\r\n");
  EXPECT_EQ(answer("MSET {a}1 bar {a}2 foo\r\n"), "+OK\r\n") << "values are no keys";
}

TEST_F(ClusterTest, readonly_reads_wherever_it_is_and_writes_at_the_leader) {
  owners = &known;
  known.elsewhere[Slot(12182)] = "h2:7002";
  EXPECT_EQ(answer("READONLY\r\nGET foo\r\nSET foo 1\r\n"), "+OK\r\n$-1\r\n-MOVED 12182 h2:7002\r\n");
  EXPECT_EQ(answer("READWRITE\r\nGET foo\r\n"), "+OK\r\n-MOVED 12182 h2:7002\r\n");
  EXPECT_EQ(answer("READONLY\r\nRESET\r\nGET foo\r\n"), "+OK\r\n+RESET\r\n-MOVED 12182 h2:7002\r\n");
}

}  // namespace
}  // namespace flux::server::resp
