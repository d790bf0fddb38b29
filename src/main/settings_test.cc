// Goal: a flag wins over the environment, that over the file, that over the default; whatever is mistyped is told with
// its place, its nearest right spelling or what is allowed, and nothing mistyped is ever taken.
#include "main/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "main/command_line.h"
#include "main/server_options.h"

namespace flux::main {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// A parent's environment, as main() is given it.
Status read_environment(Settings& settings, std::vector<std::string> entries) {
  std::vector<char*> pointers;
  for (std::string& entry : entries) pointers.push_back(entry.data());
  pointers.push_back(nullptr);
  return settings.read_environment(pointers.data());
}

Settings with(const std::string& name, const std::string& value) {
  Settings settings(server_settings());
  settings.set_flag(name, value);
  return settings;
}

// What is wrong with one setting of an otherwise right server.
std::string problem(const std::string& name, const std::string& value) {
  const Result<ServerOptions> options = server_options(with(name, value));
  if (options.ok()) return "taken";
  EXPECT_EQ(options.status().code(), ErrorCode::kInvalidArgument);
  return options.status().message();
}

// --- Where values come from ------------------------------------------------------------------------------------------

TEST(Settings, a_flag_wins_over_the_environment_that_over_the_file_that_over_the_default) {
  Settings settings(server_settings());
  EXPECT_EQ(settings.get("workers"), "1");
  EXPECT_FALSE(settings.given("workers"));
  ASSERT_TRUE(settings.read_text("workers: 2\nmax-clients: 20\nname: file\n", "f").ok());
  EXPECT_EQ(settings.get("workers"), "2");
  EXPECT_TRUE(settings.given("workers"));
  ASSERT_TRUE(read_environment(settings, {"PATH=/bin", "FLUXKV_WORKERS=3", "FLUXKV_MAX_CLIENTS=30"}).ok());
  EXPECT_EQ(settings.get("workers"), "3");
  settings.set_flag("workers", "4");
  EXPECT_EQ(settings.get("workers"), "4");
  EXPECT_EQ(settings.get("max-clients"), "30");
  EXPECT_EQ(settings.get("name"), "file");
  EXPECT_EQ(settings.get("engine"), "memory");
  const ServerOptions options = server_options(settings).value();
  EXPECT_EQ(options.process.workers, 4u);
  EXPECT_EQ(options.process.connections_max, 30u);
  EXPECT_EQ(options.process.node.name, "file");
}

TEST(Settings, an_empty_value_is_a_value) {
  Settings settings(server_settings());
  ASSERT_TRUE(settings.read_text("name: n7\n", "f").ok());
  ASSERT_TRUE(read_environment(settings, {"FLUXKV_NAME="}).ok());
  EXPECT_TRUE(settings.given("name"));
  EXPECT_EQ(settings.get("name"), "");
}

TEST(Settings, every_setting_has_an_environment_name) {
  for (const Setting& setting : server_settings()) {
    std::string variable = "FLUXKV_";
    for (const char c : setting.name) variable += c == '-' ? '_' : static_cast<char>(std::toupper(c));
    Settings settings(server_settings());
    ASSERT_TRUE(read_environment(settings, {variable + "=a=b"}).ok()) << variable;
    EXPECT_EQ(settings.get(setting.name), "a=b");
  }
}

TEST(Settings, the_environment_is_told_what_it_has_wrong) {
  Settings settings(server_settings());
  const Status status = read_environment(settings, {"FLUXKV_DATA_DRI=x"});
  EXPECT_THAT(status.message(), AllOf(HasSubstr("FLUXKV_DATA_DRI"), HasSubstr("did you mean 'data-dir'?")));
  EXPECT_TRUE(read_environment(settings, {"FLUXKV_STRANGE", "OTHER", ""}).ok()) << "not variables";
  EXPECT_FALSE(read_environment(settings, {"FLUXKV_=x"}).ok());
}

TEST(Settings, the_file_is_told_the_line_and_the_nearest_name) {
  const auto wrong = [](const std::string& text) {
    Settings settings(server_settings());
    const Status status = settings.read_text(text, "c.yaml");
    EXPECT_EQ(status.code(), ErrorCode::kInvalidArgument) << text;
    return status.message();
  };
  EXPECT_THAT(wrong("name: a\n\nlisten-rsep: x\n"), AllOf(HasSubstr("c.yaml:3"), HasSubstr("'listen-resp'")));
  EXPECT_THAT(wrong("qqqqqqqqqq: 1\n"), AllOf(HasSubstr("qqqqqqqqqq"), ::testing::Not(HasSubstr("did you mean"))));
  EXPECT_THAT(wrong("name: a\nname: b\n"), AllOf(HasSubstr("c.yaml:2"), HasSubstr("twice")));
  EXPECT_THAT(wrong("config: other.yaml\n"), HasSubstr("names no other"));
  for (const char* value : {"[a, b]", "{a: b}", "", "~"}) {
    EXPECT_THAT(wrong(std::string("name: ") + value + "\n"), HasSubstr("not a single value")) << value;
  }
  EXPECT_THAT(wrong("- name\n"), HasSubstr("not a map"));
  EXPECT_THAT(wrong("just words\n"), HasSubstr("not a map"));
  EXPECT_THAT(wrong("name: 'a' 'b'\n"), HasSubstr("c.yaml"));
  EXPECT_THAT(wrong("name: *nowhere\n"), HasSubstr("c.yaml"));
  EXPECT_THAT(wrong("? [a]\n: b\n"), HasSubstr("c.yaml"));
  EXPECT_THAT(wrong(std::string(100'000, '[')), HasSubstr("c.yaml"));
  Settings settings(server_settings());
  EXPECT_TRUE(settings.read_text("# nothing but a remark\n", "c.yaml").ok());
  EXPECT_TRUE(settings.read_text("", "c.yaml").ok());
}

TEST(Settings, a_file_that_cannot_be_read_or_is_too_large_says_so) {
  const std::filesystem::path dir = ::testing::TempDir() + "flux_settings_test";
  std::filesystem::create_directory(dir);
  Settings settings(server_settings());
  EXPECT_THAT(settings.read_file((dir / "none.yaml").string()).message(), HasSubstr("none.yaml cannot be read"));
  EXPECT_THAT(settings.read_file(dir.string()).message(), HasSubstr("cannot be read"));
  const std::string path = (dir / "c.yaml").string();
  std::ofstream(path) << "name: kept # " << std::string(1_MiB - 13, 'x');
  EXPECT_TRUE(settings.read_file(path).ok());
  EXPECT_EQ(settings.get("name"), "kept");
  std::ofstream(path, std::ios::app) << "x";
  EXPECT_THAT(Settings(server_settings()).read_file(path).message(), HasSubstr("larger than 1MiB"));
  std::filesystem::remove_all(dir);
}

// --- The command line ------------------------------------------------------------------------------------------------

TEST(CommandLine, flags_are_settings) {
  const CommandLine line = parse_command_line({"server", "--name", "n2", "--workers=3", "--config", "c.yaml"}).value();
  EXPECT_EQ(line.command, CommandLine::Command::kServer);
  EXPECT_EQ(line.settings.get("name"), "n2");
  EXPECT_EQ(line.settings.get("workers"), "3");
  EXPECT_EQ(line.settings.get("config"), "c.yaml");
  EXPECT_FALSE(line.settings.given("data-dir")) << "a default is not a flag, so that the environment can change it";
}

TEST(CommandLine, dev_help_and_version) {
  const CommandLine dev = parse_command_line({"dev", "--nodes", "5", "--engine", "rocksdb"}).value();
  EXPECT_EQ(dev.command, CommandLine::Command::kDev);
  EXPECT_EQ(dev.dev.nodes, 5u);
  const CommandLine version = parse_command_line({"--version"}).value();
  EXPECT_EQ(version.command, CommandLine::Command::kPrint);
  EXPECT_THAT(version.text, HasSubstr("fluxkv "));
  const CommandLine help = parse_command_line({"server", "--help"}).value();
  for (const Setting& setting : server_settings()) EXPECT_THAT(help.text, HasSubstr("--" + setting.name));
}

TEST(CommandLine, mistakes_name_the_nearest_flag) {
  const auto wrong = [](std::vector<std::string> arguments) {
    const Result<CommandLine> line = parse_command_line(std::move(arguments));
    return line.ok() ? std::string("taken") : line.status().message();
  };
  EXPECT_THAT(wrong({"server", "--listen-rsep", "x"}), HasSubstr("did you mean --listen-resp?"));
  EXPECT_THAT(wrong({"server", "--data-dri=x"}), HasSubstr("did you mean --data-dir?"));
  EXPECT_THAT(wrong({"server", "--name"}), HasSubstr("--name"));
  EXPECT_THAT(wrong({"server", "--name", "a", "--name", "b"}), HasSubstr("--name"));
  EXPECT_NE(wrong({"server", "stray"}), "taken");
  EXPECT_NE(wrong({"serve"}), "taken");
  EXPECT_NE(wrong({}), "taken");
  EXPECT_NE(wrong({"dev", "--nodes", "10"}), "taken");
  EXPECT_NE(wrong({"dev", "--nodes", "x"}), "taken");
}

TEST(NearestName, only_what_is_near) {
  const std::vector<std::string> names = {"data-dir", "name", "engine"};
  EXPECT_EQ(nearest_name("data-dir", names), "data-dir");
  EXPECT_EQ(nearest_name("datadir", names), "data-dir");
  EXPECT_EQ(nearest_name("enigne", names), "engine");
  EXPECT_EQ(nearest_name("nam", names), "name");
  EXPECT_EQ(nearest_name("something-else", names), "");
}

// --- Values ----------------------------------------------------------------------------------------------------------

TEST(Values, numbers) {
  const auto number = [](const std::string& text) { return with("workers", text).number("workers", 1, 256); };
  EXPECT_EQ(number("1").value(), 1u);
  EXPECT_EQ(number("256").value(), 256u);
  for (const char* bad : {"", "0", "257", "-1", "+1", " 1", "1 ", "1.0", "1k", "0x1", "99999999999999999999", "one"}) {
    EXPECT_THAT(number(bad).status().message(), AllOf(HasSubstr("--workers"), HasSubstr("1 to 256"))) << bad;
  }
}

TEST(Values, durations) {
  const auto duration = [](const std::string& text) {
    return with("request-timeout", text).duration("request-timeout", Millis(10), Millis(600'000));
  };
  EXPECT_EQ(duration("10000us").value(), Millis(10));
  EXPECT_EQ(duration("10ms").value(), Millis(10));
  EXPECT_EQ(duration("5s").value(), Millis(5'000));
  EXPECT_EQ(duration("10m").value(), Millis(600'000));
  EXPECT_EQ(with("request-timeout", "1h").duration("request-timeout", Micros(0), Micros::max()).value(),
            Millis(3'600'000));
  for (const char* bad : {"9ms", "9999us", "601s", "11m", "1h", "5", "", "ms", "5 s", "5S", "-5s", "1.5s", "0s", "5sec",
                          "1000000001us", "18446744073709551615h", "18446744073709551616s"}) {
    EXPECT_THAT(duration(bad).status().message(), HasSubstr("--request-timeout")) << bad;
  }
}

TEST(Values, sizes) {
  const auto bytes = [](const std::string& text) { return with("max-memory", text).bytes("max-memory"); };
  EXPECT_EQ(bytes("0").value(), 0u);
  EXPECT_EQ(bytes("1000B").value(), 1000u);
  EXPECT_EQ(bytes("512KiB").value(), 512_KiB);
  EXPECT_EQ(bytes("64MiB").value(), 64_MiB);
  EXPECT_EQ(bytes("2GiB").value(), 2_GiB);
  EXPECT_EQ(bytes("8388607TiB").value(), uint64_t{8388607} << 40);
  for (const char* bad : {"", "5", "5 apples", "64MB", "64mib", "64M", "-1KiB", "1.5GiB", "8388608TiB",
                          "18446744073709551615KiB", "99999999999999999999B", "KiB"}) {
    EXPECT_THAT(bytes(bad).status().message(), AllOf(HasSubstr("--max-memory"), HasSubstr("512MiB"))) << bad;
  }
}

TEST(Values, yes_and_no) {
  for (const char* yes : {"yes", "true"}) EXPECT_TRUE(with("sync-thread", yes).boolean("sync-thread").value());
  for (const char* no : {"no", "false"}) EXPECT_FALSE(with("sync-thread", no).boolean("sync-thread").value());
  for (const char* bad : {"", "1", "Yes", "on"}) EXPECT_THAT(problem("sync-thread", bad), HasSubstr("yes or no"));
  EXPECT_THAT(problem("resp-cluster", "maybe"), AllOf(HasSubstr("--resp-cluster"), HasSubstr("yes or no")));
}

// --- A server's options ----------------------------------------------------------------------------------------------

TEST(ServerOptions, the_defaults_are_a_server) {
  const ServerOptions options = server_options(Settings(server_settings())).value();
  EXPECT_EQ(options.process.node.listen_peer, (env::Address{"127.0.0.1", 7380}));
  EXPECT_EQ(options.process.node.fsync, node::FsyncMode::kAlways);
  EXPECT_EQ(options.process.node.read_consistency, api::Consistency::kLinearizable);
  EXPECT_EQ(options.process.node.election_timeout_max, 2 * options.process.node.election_timeout_min);
  EXPECT_FALSE(options.process.resp_cluster);
  EXPECT_TRUE(server_options(with("resp-cluster", "yes")).value().process.resp_cluster);
}

TEST(ServerOptions, each_choice_names_what_is_allowed) {
  EXPECT_THAT(problem("engine", "rock"), HasSubstr("--engine is 'rock'; expected one of memory, rocksdb"));
  EXPECT_THAT(problem("fsync", "Always"), HasSubstr("always, everysec, no"));
  EXPECT_THAT(problem("read-consistency", ""), HasSubstr("linearizable, lease"));
  EXPECT_THAT(problem("log-level", "loud"), AllOf(HasSubstr("--log-level"), HasSubstr("debug")));
  EXPECT_THAT(problem("log-format", "xml"), AllOf(HasSubstr("--log-format"), HasSubstr("json")));
}

TEST(ServerOptions, each_number_has_its_bounds) {
  for (const auto& [name, good, bad] :
       std::vector<std::tuple<std::string, std::vector<std::string>, std::vector<std::string>>>{
           {"clock-drift-ppm", {"1", "200000"}, {"0", "200001"}},
           {"workers", {"1", "256"}, {"0", "257"}},
           {"max-clients", {"1", "1000000"}, {"0", "1000001"}},
           {"request-timeout", {"10ms", "600s"}, {"9ms", "601s"}},
           {"heartbeat-interval", {"1ms", "100ms"}, {"0ms", "61s"}},
           {"election-timeout", {"150ms", "600s"}, {"149ms", "601s"}},
           {"snapshot-log-bytes", {"1MiB", "1TiB"}, {"0", "1023KiB"}},
           {"wal-segment-bytes", {"64MiB", "4GiB"}, {"63MiB", "5GiB", "67108865B"}},
       }) {
    for (const std::string& value : good) EXPECT_EQ(problem(name, value), "taken") << name << " " << value;
    for (const std::string& value : bad) EXPECT_THAT(problem(name, value), HasSubstr("--" + name)) << value;
  }
  Settings settings = with("heartbeat-interval", "101ms");
  EXPECT_THAT(server_options(settings).status().message(), HasSubstr("three times --heartbeat-interval"));
  settings.set_flag("election-timeout", "303ms");
  EXPECT_TRUE(server_options(settings).ok());
}

TEST(ServerOptions, names) {
  for (const char* good : {"n1", "a-b_c.d", "\xC3\xA9"}) EXPECT_EQ(problem("name", good), "taken") << good;
  const std::string long_name(65, 'n');
  for (const std::string& bad :
       {std::string(), std::string("a b"), std::string("a=b"), std::string("a,b"), long_name}) {
    EXPECT_THAT(problem("name", bad), HasSubstr("--name")) << bad;
  }
  EXPECT_THAT(problem("data-dir", ""), HasSubstr("--data-dir"));
}

TEST(ServerOptions, addresses) {
  for (const char* name :
       {"listen-peer", "listen-resp", "listen-http", "advertise-peer", "advertise-resp", "advertise-http"}) {
    for (const char* good : {"127.0.0.1:0", "h:65535", "[::1]:7", "a.b-c:1"}) {
      EXPECT_EQ(problem(name, good), "taken") << name << " " << good;
    }
    for (const char* bad : {"", "nowhere", ":1", "h:", "h:x", "h:65536", "h:-1", "h:1x", "::1:7", "[]:1", "h: 1"}) {
      EXPECT_THAT(problem(name, bad), AllOf(HasSubstr("--" + std::string(name)), HasSubstr("HOST:PORT"))) << bad;
    }
  }
}

TEST(ServerOptions, others_are_never_sent_to_every_address) {
  for (const char* door : {"peer", "resp", "http", "wire"}) {
    for (const char* every : {"0.0.0.0:7", "[::]:7"}) {
      Settings settings = with(std::string("listen-") + door, every);
      EXPECT_THAT(server_options(settings).status().message(), HasSubstr(std::string("--advertise-") + door));
      settings.set_flag(std::string("advertise-") + door, "h:9");
      EXPECT_TRUE(server_options(settings).ok()) << door;
    }
  }
  const ServerOptions options = server_options(with("advertise-http", "[::1]:9")).value();
  EXPECT_EQ(options.process.node.advertise_http, "[::1]:9");
  EXPECT_EQ(options.process.node.advertise_resp, "127.0.0.1:6379");
}

TEST(ServerOptions, the_wire_door_is_there_when_asked_for) {
  const ServerOptions without = server_options(Settings(server_settings())).value();
  EXPECT_FALSE(without.process.listen_wire);
  EXPECT_EQ(without.process.node.advertise_wire, "");
  const ServerOptions there = server_options(with("listen-wire", "h:7")).value();
  EXPECT_EQ(there.process.listen_wire, (env::Address{"h", 7}));
  EXPECT_EQ(there.process.node.advertise_wire, "h:7");
  EXPECT_THAT(problem("listen-wire", "h"), AllOf(HasSubstr("--listen-wire"), HasSubstr("HOST:PORT")));
  EXPECT_THAT(problem("advertise-wire", "h:7"), HasSubstr("without --listen-wire"));
}

TEST(ServerOptions, clusters) {
  Settings settings = with("initial-cluster", "n1=h:1,n2=[::2]:2");
  const ServerOptions options = server_options(settings).value();
  ASSERT_EQ(options.process.node.initial_cluster.size(), 2u);
  EXPECT_EQ(options.process.node.initial_cluster[1].name, "n2");
  EXPECT_EQ(options.process.node.initial_cluster[1].address, (env::Address{"::2", 2}));
  settings.set_flag("join", "h:1");
  EXPECT_THAT(server_options(settings).status().message(), HasSubstr("give one of them"));
  for (const char* bad : {"n1", "=h:1", "n1=h", "n1=h:1,", ",n1=h:1", "n1=h:1,,n2=h:2", "n1=h:1;n2=h:2"}) {
    EXPECT_THAT(problem("initial-cluster", bad), HasSubstr("--initial-cluster")) << bad;
  }
  EXPECT_EQ(server_options(with("join", "h:1,[::1]:2")).value().process.join.size(), 2u);
  for (const char* bad : {"h", "h:1,", "h:1,,h:2", "n1=h:x"}) EXPECT_THAT(problem("join", bad), HasSubstr("--join"));
}

}  // namespace
}  // namespace flux::main
