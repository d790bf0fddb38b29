// Goal: one log makes the same state, the same replies and the same reads in every engine, through snapshots, restarts
// and the death of the process at any moment.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <optional>

#include "engine/testing/engine_fixture.h"
#include "kv/state_machine.h"
#include "kv/testing/random_log.h"

extern char** environ;

namespace flux::kv::testing {
namespace {

using engine::testing::TemporaryDir;

// Small, so that a short test flushes and compacts.
constexpr engine::RocksOptions kSmall{
    .block_cache_bytes = 1_MiB, .write_buffers_bytes = 512_KiB, .write_buffer_bytes = 64_KiB};

uint64_t seeds() { return std::getenv("FLUX_SEEDS") ? std::strtoull(std::getenv("FLUX_SEEDS"), nullptr, 10) : 6; }

std::string text_of(const api::WriteReply& reply) {
  std::string out = fmt::format("{}^{} {} ", reply.position.index, reply.position.version, reply.status.to_string());
  api::encode_results(out, reply);
  return out;
}

// One engine with a state machine on it.
class Replica {
 public:
  // In memory, or in a directory.
  explicit Replica(std::optional<std::string> dir) : dir_(std::move(dir)) { start(); }

  // As after a clean stop: RocksDB keeps what it had, memory begins with nothing.
  void restart() {
    stop();
    start();
  }
  void become(engine::SnapshotReader& reader) {
    ASSERT_TRUE(engine_->load(reader).ok());
    ASSERT_TRUE(machine_->load().ok());
  }
  std::vector<std::string> apply(const Entry& entry) {
    std::vector<api::WriteReply> replies;
    EXPECT_TRUE(machine_->apply(entry, &replies).ok());
    EXPECT_TRUE(machine_->commit().ok());
    std::vector<std::string> texts;
    for (const api::WriteReply& reply : replies) texts.push_back(text_of(reply));
    return texts;
  }
  void replay(const std::vector<Entry>& log) {
    for (size_t i = machine_->applied().index.value(); i < log.size(); ++i) apply(log[i]);
  }
  // What clients would see: a scan, and what is due.
  std::string reads() {
    Rng rng(1);
    ReadOutcome outcome;
    std::string out;
    for (const api::KeyspaceRef keyspace : RandomLog::kKeyspaces) {
      machine_->read({.what = api::CountRequest{}, .keyspace = keyspace}, WallMillis(0), rng, outcome);
      EXPECT_TRUE(outcome.status.ok());
      const uint64_t count = outcome.count;
      const api::KeyRange range = api::keyspace_range(keyspace);
      EXPECT_EQ(count, stored_in(range)) << "keyspace " << keyspace.id.value();
      machine_->read({.what = api::ScanRequest{.keys_max = 1000, .values = true}, .keyspace = keyspace}, WallMillis(0),
                     rng, outcome);
      EXPECT_TRUE(outcome.status.ok());
      EXPECT_LE(outcome.items.size(), count);  // some have expired
      out += fmt::format("keyspace {} has {}: ", keyspace.id, count);
      for (const api::Item& item : outcome.items) {
        out += fmt::format("{}={}@{} ", item.key, item.value, item.version);
      }
    }
    const std::vector<Overdue> due = machine_->due(machine_->clock() + 50, 20).value();
    for (const Overdue& key : due) {
      out += fmt::format("due {} {} ", key.encoded_key, key.deadline);
    }
    return out;
  }
  uint64_t hash() { return engine_->state_hash().value(); }
  StateMachine& machine() { return *machine_; }
  engine::Engine& engine() { return *engine_; }

 private:
  uint64_t stored_in(const api::KeyRange& range) {
    uint64_t count = 0;
    for (auto it = engine_->iterate(engine::Family::kData, range.start, range.end); it->valid(); it->next()) ++count;
    return count;
  }
  void stop() {
    machine_.reset();
    engine_.reset();
    store_.reset();
  }
  void start() {
    if (dir_) {
      store_ = std::move(engine::RocksStore::open(*dir_, kSmall)).value();
      engine_ = std::move(store_->engine(GroupId(1))).value();
    } else {
      engine_ = engine::make_memory_engine({.hash_seed = ++hash_seed_});
    }
    machine_ = std::make_unique<StateMachine>(GroupId(1), *engine_);
    EXPECT_TRUE(machine_->load().ok());
  }

  const std::optional<std::string> dir_;
  uint64_t hash_seed_ = 0;
  std::unique_ptr<engine::RocksStore> store_;
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<StateMachine> machine_;
};

// S10: the same log in both engines.
TEST(EnginesAgree, S10_one_log_in_both_engines) {
  size_t hashes_seen = 0, replies_seen = 0;
  for (uint64_t seed = 1; seed <= seeds(); ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    TemporaryDir dir;
    env::testing::FakeFs fs;
    RandomLog source(seed);
    Rng chance(seed + 1000);
    Replica memory(std::nullopt), rocks(dir.path() + "/db");
    Replica* const both[] = {&memory, &rocks};
    std::vector<Entry> log;
    for (int step = 0; step < 400; ++step) {
      log.push_back(source.next());
      const std::vector<std::string> replies = memory.apply(log.back());
      ASSERT_EQ(rocks.apply(log.back()), replies) << "at entry " << log.size();
      ASSERT_EQ(rocks.hash(), memory.hash()) << "at entry " << log.size();
      ASSERT_EQ(rocks.machine().applied(), memory.machine().applied());
      ASSERT_EQ(rocks.machine().last_version(), memory.machine().last_version());
      ASSERT_EQ(rocks.machine().key_count(), memory.machine().key_count());
      ASSERT_EQ(rocks.machine().session_count(), memory.machine().session_count());
      if (chance.chance(0.1)) {
        ASSERT_EQ(rocks.reads(), memory.reads());
      }
      replies_seen += replies.size();
      if (chance.chance(0.02)) {
        ASSERT_TRUE(rocks.engine().flush().ok());
      }
      if (chance.chance(0.02)) {  // one engine's snapshot in either
        Replica& from = *both[chance.below(2)];
        Replica& to = *both[chance.below(2)];
        const std::string name = fmt::format("s{}", step);
        ASSERT_TRUE(engine::save_snapshot(*from.engine().snapshot(), fs, "snap", name, "").ok());
        to.become(*std::move(engine::SnapshotReader::open(fs, "snap/" + name)).value());
        ASSERT_EQ(to.machine().applied(), log.back().id());
        ASSERT_EQ(to.hash(), from.hash());
      }
      if (chance.chance(0.02)) {
        rocks.restart();
        ASSERT_EQ(rocks.machine().applied(), log.back().id());
      }
      if (chance.chance(0.02)) {
        const uint64_t before = memory.hash();
        memory.restart();
        memory.replay(log);
        ASSERT_EQ(memory.hash(), before);
      }
    }
    hashes_seen += memory.hash() != 0;
  }
  EXPECT_EQ(hashes_seen, seeds());
  EXPECT_GT(replies_seen, seeds() * 500);
}

// --- The process dies ------------------------------------------------------------------------------------------------

constexpr size_t kEntriesMax = 4000;
constexpr const char* kDirVariable = "FLUX_WRITER_DIR";
constexpr const char* kSeedVariable = "FLUX_WRITER_SEED";

// The writer that is killed: this program again, with its directory in the environment. It goes on where the directory
// stands, and says what it has reached: "a" applied, "f" flushed, "l" about to load a snapshot, each with an index.
TEST(WriterProcess, DISABLED_writes_until_it_is_killed) {
  const char* dir = std::getenv(kDirVariable);
  if (dir == nullptr) GTEST_SKIP() << "only as a child of the test below";
  RandomLog source(std::strtoull(std::getenv(kSeedVariable), nullptr, 10));
  Replica replica(std::string(dir) + "/db");
  env::testing::FakeFs fs;
  Rng chance(replica.machine().applied().index.value() + 1);
  const auto say = [&](char what) {
    const std::string line = fmt::format("{}{}\n", what, replica.machine().applied().index.value());
    ASSERT_EQ(::write(STDOUT_FILENO, line.data(), line.size()), static_cast<ssize_t>(line.size()));
  };
  std::vector<Entry> log;
  while (log.size() < kEntriesMax) log.push_back(source.next());
  for (size_t i = replica.machine().applied().index.value(); i < log.size(); ++i) {
    replica.apply(log[i]);
    if (chance.chance(0.02)) {
      ASSERT_TRUE(replica.engine().flush().ok());
      say('f');
    }
    if (chance.chance(0.01)) {
      ASSERT_TRUE(engine::save_snapshot(*replica.engine().snapshot(), fs, "snap", fmt::format("s{}", i), "").ok());
      say('l');
      replica.become(*std::move(engine::SnapshotReader::open(fs, fmt::format("snap/s{}", i))).value());
    }
    say('a');
  }
}

struct Life {
  uint64_t applied = 0;  // the newest it said
  uint64_t flushed = 0;
  bool was_loading = false;  // since the last flush
};

// Runs the writer until it has said `lines` lines, then kills it. Ends earlier if it does.
Life kill_after(const std::string& dir, uint64_t seed, uint64_t lines) {
  int ends[2];
  FLUX_CHECK(::pipe2(ends, O_CLOEXEC) == 0);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  std::vector<std::string> arguments = {"writer", "--gtest_also_run_disabled_tests", "--gtest_filter=WriterProcess.*",
                                        "--gtest_brief=1"};
  std::vector<std::string> variables = {std::string(kDirVariable) + "=" + dir,
                                        std::string(kSeedVariable) + "=" + std::to_string(seed)};
  for (char** variable = environ; *variable != nullptr; ++variable) variables.emplace_back(*variable);
  const auto pointers = [](std::vector<std::string>& texts) {
    std::vector<char*> out;
    for (std::string& text : texts) out.push_back(text.data());
    out.push_back(nullptr);
    return out;
  };
  pid_t child = 0;
  FLUX_CHECK(::posix_spawn(&child, "/proc/self/exe", &actions, nullptr, pointers(arguments).data(),
                           pointers(variables).data()) == 0);
  posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  FILE* const said = ::fdopen(ends[0], "r");
  Life life;
  char line[200];
  bool killed = false;
  while (std::fgets(line, sizeof(line), said) != nullptr) {
    const uint64_t index = std::strtoull(line + 1, nullptr, 10);
    if (line[0] == 'a') life.applied = index;
    if (line[0] == 'f') life.flushed = index, life.was_loading = false;
    if (line[0] == 'l') life.was_loading = true;
    if (--lines == 0 && !std::exchange(killed, true)) ::kill(child, SIGKILL);
    if (killed) lines = 1;
  }
  std::fclose(said);
  int status = 0;
  FLUX_CHECK(::waitpid(child, &status, 0) == child);
  EXPECT_TRUE(killed ? WIFSIGNALED(status) : WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  return life;
}

// R-engine lane of S07 and S10: wherever the process dies, what is found is the state at some index, whole; it is not
// before what was flushed; and the log brings it to where all others are.
TEST(EnginesAgree, S10_a_killed_process_leaves_the_state_at_one_index) {
  size_t behind = 0;
  for (uint64_t seed = 1; seed <= std::max<uint64_t>(seeds() / 3, 1); ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    TemporaryDir dir;
    Rng chance(seed + 77);
    RandomLog source(seed);
    std::vector<Entry> log;
    std::vector<uint64_t> hashes;  // of the state at each index
    Replica reference(std::nullopt);
    hashes.push_back(reference.hash());
    while (log.size() < kEntriesMax) {
      log.push_back(source.next());
      reference.apply(log.back());
      hashes.push_back(reference.hash());
    }
    uint64_t flushed = 0;
    for (int life = 0; life < 6; ++life) {
      const Life lived = kill_after(dir.path(), seed, chance.between(1, 900));
      Replica found(dir.path() + "/db");
      const uint64_t index = found.machine().applied().index.value();
      ASSERT_LT(index, hashes.size());
      ASSERT_EQ(found.hash(), hashes[index]) << "not the state at " << index;
      if (lived.flushed > 0) flushed = lived.flushed;
      if (lived.was_loading && index == 0) flushed = 0;  // a load that was cut off leaves nothing
      ASSERT_GE(index, flushed) << "what was flushed is lost";
      behind += index < lived.applied;
      // A copy of it catches up from the log.
      env::testing::FakeFs fs;
      ASSERT_TRUE(engine::save_snapshot(*found.engine().snapshot(), fs, "snap", "s", "").ok());
      Replica other(std::nullopt);
      other.become(*std::move(engine::SnapshotReader::open(fs, "snap/s")).value());
      other.replay(log);
      ASSERT_EQ(other.hash(), hashes.back());
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
  EXPECT_GT(behind, 0u) << "no death lost anything that was not flushed, so they prove nothing";
}

}  // namespace
}  // namespace flux::kv::testing
