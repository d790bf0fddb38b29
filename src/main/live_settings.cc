#include "main/live_settings.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>

#include "base/log.h"

namespace flux::main {
namespace {

using server::resp::Setting;
using Change = Result<std::function<void()>>;

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

// A number with one of Redis's units: 1k is 1000, 1kb is 1024.
std::optional<uint64_t> parse_memory(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  const std::string unit = lower(std::string_view(end, static_cast<size_t>(text.data() + text.size() - end)));
  struct Unit {
    std::string_view name;
    uint64_t bytes;
  };
  static constexpr Unit kUnits[] = {{"", 1},          {"b", 1},       {"k", 1'000},         {"kb", 1_KiB},
                                    {"m", 1'000'000}, {"mb", 1_MiB},  {"g", 1'000'000'000}, {"gb", 1_GiB},
                                    {"kib", 1_KiB},   {"mib", 1_MiB}, {"gib", 1_GiB}};
  for (const Unit& known : kUnits) {
    if (known.name != unit) continue;
    if (value > UINT64_MAX / known.bytes) return std::nullopt;
    return value * known.bytes;
  }
  return std::nullopt;
}

// Redis's names for our levels; the first that fits is the one shown.
struct LevelName {
  std::string_view name;
  log::Level level;
};
constexpr LevelName kLevels[] = {{"debug", log::Level::kDebug},  {"notice", log::Level::kInfo},
                                 {"verbose", log::Level::kInfo}, {"warning", log::Level::kWarn},
                                 {"error", log::Level::kError},  {"nothing", log::Level::kOff}};

Setting log_level() {
  const auto get = [] {
    const auto* found = std::find_if(std::begin(kLevels), std::end(kLevels),
                                     [](const LevelName& each) { return each.level == log::level(); });
    return std::string(found->name);
  };
  const auto prepare = [](std::string_view value) -> Change {
    const std::string wanted = lower(value);
    for (const LevelName& each : kLevels) {
      if (each.name != wanted) continue;
      return std::function<void()>([level = each.level] { log::set_level(level); });
    }
    return Status(ErrorCode::kInvalidArgument,
                  "argument(s) must be one of the following: debug, verbose, notice, warning, error, nothing");
  };
  return {.name = "loglevel", .get = get, .prepare = prepare};
}

Setting max_memory(node::Node& node) {
  const auto prepare = [&node](std::string_view value) -> Change {
    const std::optional<uint64_t> bytes = parse_memory(value);
    if (!bytes) return Status(ErrorCode::kInvalidArgument, "argument must be a memory value");
    return std::function<void()>([&node, bytes = *bytes] { node.set_memory_bytes_max(bytes); });
  };
  return {.name = "maxmemory", .get = [&node] { return std::to_string(node.memory_bytes_max()); }, .prepare = prepare};
}

Setting max_clients(std::function<server::resp::Door&()> door) {
  const auto prepare = [door](std::string_view value) -> Change {
    size_t count = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), count);
    if (error != std::errc() || end != value.data() + value.size() || count == 0) {
      return Status(ErrorCode::kInvalidArgument, "argument must be a positive number");
    }
    return std::function<void()>([door, count] { door().set_connections_max(count); });
  };
  return {.name = "maxclients", .get = [door] { return std::to_string(door().connections_max()); }, .prepare = prepare};
}

}  // namespace

std::vector<Setting> visible_settings(const ProcessOptions& options, node::Node& node,
                                      std::function<server::resp::Door&()> door) {
  const auto fixed = [](std::string name, std::string value) {
    return Setting{.name = std::move(name), .get = [value] { return value; }, .prepare = nullptr};
  };
  return {
      fixed("appendfsync", std::string(to_string(options.node.fsync))),
      fixed("appendonly", "yes"),
      fixed("bind", options.listen_resp.host),
      fixed("cluster-enabled", options.resp_cluster ? "yes" : "no"),
      fixed("databases", "1"),
      fixed("dir", options.node.data_dir),
      log_level(),
      max_clients(std::move(door)),
      max_memory(node),
      fixed("maxmemory-policy", "noeviction"),
      fixed("port", std::to_string(options.listen_resp.port)),
      fixed("save", ""),
      fixed("timeout", "0"),
  };
}

}  // namespace flux::main
