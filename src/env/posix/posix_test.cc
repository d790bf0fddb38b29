// Goal: the real loop, sockets and files keep the contracts of env/*.h.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "env/posix/asio_loop.h"
#include "env/posix/asio_network.h"
#include "env/posix/posix_fs.h"
#include "env/posix/thread_executor.h"

namespace flux::env {
namespace {

struct TempDir {
  TempDir() {
    char pattern[] = "/tmp/fluxkv-test-XXXXXX";
    path = ::mkdtemp(pattern);
  }
  ~TempDir() { std::filesystem::remove_all(path); }
  std::string path;
};

TEST(PosixFs, writes_what_it_reads) {
  const TempDir dir;
  PosixFs fs;
  ASSERT_TRUE(fs.create_dirs(dir.path + "/a/b").ok());
  auto file = fs.open(dir.path + "/a/b/f", OpenMode::kCreate);
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE((*file)->write_at(5, "hello").ok());
  EXPECT_TRUE((*file)->sync().ok());
  EXPECT_EQ((*file)->size().value(), 10u);
  EXPECT_EQ((*file)->read_at(5, 100).value(), "hello");
  EXPECT_EQ(fs.open(dir.path + "/a/b/f", OpenMode::kCreate).status().code(), ErrorCode::kAlreadyExists);
  EXPECT_EQ(fs.open(dir.path + "/none", OpenMode::kRead).status().code(), ErrorCode::kNotFound);
  EXPECT_EQ(fs.list(dir.path + "/a").value(), std::vector<std::string>{"b"});
}

TEST(PosixFs, atomic_write_replaces_and_leaves_nothing_behind) {
  const TempDir dir;
  PosixFs fs;
  ASSERT_TRUE(write_file_atomically(fs, dir.path, "f", "one").ok());
  ASSERT_TRUE(write_file_atomically(fs, dir.path, "f", "two").ok());
  EXPECT_EQ(read_file(fs, dir.path + "/f", 10).value(), "two");
  EXPECT_EQ(fs.list(dir.path).value(), std::vector<std::string>{"f"});
  EXPECT_EQ(read_file(fs, dir.path + "/f", 2).status().code(), ErrorCode::kCorruption);
}

TEST(PosixFs, a_directory_has_one_owner) {
  const TempDir dir;
  PosixFs fs;
  auto lock = fs.lock_dir(dir.path);
  ASSERT_TRUE(lock.ok());
  EXPECT_EQ(fs.lock_dir(dir.path).status().code(), ErrorCode::kPrecondition);
  lock = Status(ErrorCode::kNotFound, "released");
  EXPECT_TRUE(fs.lock_dir(dir.path).ok());
}

TEST(Address, parses_what_people_type) {
  EXPECT_EQ(Address::parse("127.0.0.1:6379").value(), (Address{"127.0.0.1", 6379}));
  EXPECT_EQ(Address::parse("[::1]:1").value(), (Address{"::1", 1}));
  EXPECT_EQ(Address::parse("node-1.example:0").value().to_string(), "node-1.example:0");
  for (const char* bad : {"", "host", ":1", "host:", "host:65536", "host:-1", "host:1x", "::1:80"}) {
    EXPECT_EQ(Address::parse(bad).status().code(), ErrorCode::kInvalidArgument) << bad;
  }
}

TEST(AsioLoop, a_task_posted_during_a_turn_runs_in_the_next) {
  AsioLoop loop;
  std::string story;
  loop.set_turn_end([&] { story += "|"; });
  loop.post([&] {
    story += "a";
    loop.post([&] {
      story += "b";
      loop.stop();
    });
  });
  loop.run();
  EXPECT_EQ(story, "a|b|");
}

TEST(AsioLoop, timers_run_in_order_and_can_be_cancelled) {
  AsioLoop loop;
  std::string story;
  loop.call_after(Millis(3), [&] { story += "3"; });
  loop.call_after(Millis(1), [&] { story += "1"; });
  const TimerId never = loop.call_after(Millis(2), [&] { story += "2"; });
  loop.cancel(never);
  loop.call_after(Millis(5), [&] { loop.stop(); });
  loop.run();
  EXPECT_EQ(story, "13");
}

TEST(Executor, runs_write_then_sync_then_answers_on_the_loop) {
  AsioLoop loop;
  ThreadExecutor executor("test");
  std::string story;
  const std::thread::id here = std::this_thread::get_id();
  executor.submit(
      loop, [&] { story += "w"; }, [&] { story += "s"; },
      [&] {
        EXPECT_EQ(std::this_thread::get_id(), here);
        story += "d";
        loop.stop();
      });
  loop.run();
  EXPECT_EQ(story, "wsd");
}

// Consumes whole lines and echoes them.
class LineEcho : public StreamHandler {
 public:
  explicit LineEcho(std::unique_ptr<Stream> stream) : stream_(std::move(stream)) { stream_->set_handler(this); }
  size_t on_data(Stream& stream, std::string_view data) override {
    const size_t end = data.rfind('\n');
    if (end == std::string_view::npos) return 0;
    stream.send(data.substr(0, end + 1));
    return end + 1;
  }
  void on_closed(Stream&, const Status&) override { closed = true; }
  bool closed = false;

 private:
  std::unique_ptr<Stream> stream_;
};

class Collector : public StreamHandler {
 public:
  Collector(AsioLoop& loop, size_t wanted) : loop_(loop), wanted_(wanted) {}
  size_t on_data(Stream&, std::string_view data) override {
    received += data;
    if (received.size() >= wanted_) loop_.stop();
    return data.size();
  }
  void on_closed(Stream&, const Status& reason) override {
    closed_with = reason;
    loop_.stop();
  }
  std::string received;
  Status closed_with;

 private:
  AsioLoop& loop_;
  size_t wanted_;
};

TEST(AsioNetwork, carries_megabytes_through_a_handler_that_waits_for_more) {
  AsioLoop loop;
  AsioNetwork network;
  std::unique_ptr<LineEcho> server;
  auto listener = network.listen({&loop}, {"127.0.0.1", 0}, {}, [&](Loop&, std::unique_ptr<Stream> stream) {
    server = std::make_unique<LineEcho>(std::move(stream));
  });
  ASSERT_TRUE(listener.ok());
  const std::string line = std::string(5'000'000, 'x') + "\n";
  Collector collector(loop, line.size());
  std::unique_ptr<Stream> client;
  network.connect(loop, (*listener)->local(), {}, Millis(5000), [&](Result<std::unique_ptr<Stream>> stream) {
    ASSERT_TRUE(stream.ok());
    client = std::move(stream).value();
    client->set_handler(&collector);
    client->send(line);
  });
  loop.run();
  EXPECT_TRUE(collector.received == line);
}

TEST(AsioNetwork, input_over_the_limit_closes_the_stream) {
  AsioLoop loop;
  AsioNetwork network;
  std::unique_ptr<LineEcho> server;
  auto listener = network.listen(
      {&loop}, {"127.0.0.1", 0}, {.unconsumed_bytes_max = 1000},
      [&](Loop&, std::unique_ptr<Stream> stream) { server = std::make_unique<LineEcho>(std::move(stream)); });
  ASSERT_TRUE(listener.ok());
  Collector collector(loop, SIZE_MAX);
  std::unique_ptr<Stream> client;
  network.connect(loop, (*listener)->local(), {}, Millis(5000), [&](Result<std::unique_ptr<Stream>> stream) {
    client = std::move(stream).value();
    client->set_handler(&collector);
    client->send(std::string(5000, 'x'));
  });
  loop.run();
  EXPECT_TRUE(server->closed);
}

// Takes one line at a time, and pauses while it answers.
class OneLineAtATime : public StreamHandler {
 public:
  explicit OneLineAtATime(std::unique_ptr<Stream> stream) : stream_(std::move(stream)) { stream_->set_handler(this); }
  size_t on_data(Stream& stream, std::string_view data) override {
    const size_t end = data.find('\n');
    if (end == std::string_view::npos) return 0;
    stream.pause_reading();
    stream.send(data.substr(0, end + 1));
    stream.resume_reading();
    return end + 1;
  }
  void on_closed(Stream&, const Status&) override {}

 private:
  std::unique_ptr<Stream> stream_;
};

TEST(AsioNetwork, what_is_left_when_reading_resumes_is_given_again_without_more) {
  AsioLoop loop;
  AsioNetwork network;
  std::unique_ptr<OneLineAtATime> server;
  auto listener = network.listen({&loop}, {"127.0.0.1", 0}, {}, [&](Loop&, std::unique_ptr<Stream> stream) {
    server = std::make_unique<OneLineAtATime>(std::move(stream));
  });
  ASSERT_TRUE(listener.ok());
  const std::string lines = "one\ntwo\nthree\n";
  Collector collector(loop, lines.size());
  std::unique_ptr<Stream> client;
  network.connect(loop, (*listener)->local(), {}, Millis(5000), [&](Result<std::unique_ptr<Stream>> stream) {
    client = std::move(stream).value();
    client->set_handler(&collector);
    client->send(lines);
  });
  loop.call_after(Millis(5000), [&] { loop.stop(); });
  loop.run();
  EXPECT_EQ(collector.received, lines);
}

TEST(AsioNetwork, nobody_listening_is_told_apart) {
  AsioLoop loop;
  AsioNetwork network;
  Address free_port;
  {
    auto listener = network.listen({&loop}, {"127.0.0.1", 0}, {}, [](Loop&, std::unique_ptr<Stream>) {});
    free_port = (*listener)->local();
    EXPECT_EQ(network.listen({&loop}, free_port, {}, [](Loop&, std::unique_ptr<Stream>) {}).status().code(),
              ErrorCode::kPrecondition);
  }
  Status status;
  network.connect(loop, free_port, {}, Millis(5000), [&](Result<std::unique_ptr<Stream>> stream) {
    status = stream.status();
    loop.stop();
  });
  loop.run();
  EXPECT_EQ(status.code(), ErrorCode::kNotFound) << status.to_string();
}

}  // namespace
}  // namespace flux::env
