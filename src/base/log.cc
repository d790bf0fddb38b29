#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <memory>
#include <mutex>

namespace flux::log {
namespace {

struct Sink {
  std::mutex mutex;  // guards format and node; the logger has its own
  Format format = Format::kText;
  std::string node;
  std::shared_ptr<spdlog::logger> logger = make();

  static std::shared_ptr<spdlog::logger> make() {
    auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    auto logger = std::make_shared<spdlog::logger>("fluxkv", std::move(sink));
    logger->set_level(spdlog::level::trace);
    logger->flush_on(spdlog::level::trace);
    logger->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %^%L%$ %v", spdlog::pattern_time_type::utc);
    return logger;
  }
};

Sink& sink() {
  static Sink* const instance = new Sink;  // never destroyed: threads may log while the process ends
  return *instance;
}

Writer& custom_writer() {
  static Writer* const instance = new Writer;
  return *instance;
}

std::atomic<Level> g_level{Level::kWarn};

spdlog::level::level_enum to_spdlog(Level level) {
  switch (level) {
    case Level::kDebug:
      return spdlog::level::debug;
    case Level::kInfo:
      return spdlog::level::info;
    case Level::kWarn:
      return spdlog::level::warn;
    case Level::kError:
      return spdlog::level::err;
    case Level::kOff:
      return spdlog::level::off;
  }
  return spdlog::level::info;
}

std::string json_escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\', out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

Result<Level> parse_level(std::string_view name) {
  if (name == "debug") return Level::kDebug;
  if (name == "info") return Level::kInfo;
  if (name == "warn") return Level::kWarn;
  if (name == "error") return Level::kError;
  if (name == "off") return Level::kOff;
  return Status(ErrorCode::kInvalidArgument,
                fmt::format("log level '{}' is not one of debug, info, warn, error, off", name));
}

Result<Format> parse_format(std::string_view name) {
  if (name == "text") return Format::kText;
  if (name == "json") return Format::kJson;
  return Status(ErrorCode::kInvalidArgument, fmt::format("log format '{}' is not one of text, json", name));
}

void configure(Level level, Format format, std::string_view node) {
  Sink& s = sink();
  const std::lock_guard lock(s.mutex);
  s.format = format;
  s.node = node;
  s.logger->set_pattern(
      format == Format::kJson ? R"({"ts":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l",%v})" : "%Y-%m-%dT%H:%M:%S.%eZ %^%L%$ %v",
      spdlog::pattern_time_type::utc);
  g_level.store(level, std::memory_order_relaxed);
}

void set_writer(Writer writer) { custom_writer() = std::move(writer); }

void set_level(Level level) { g_level.store(level, std::memory_order_relaxed); }

Level level() { return g_level.load(std::memory_order_relaxed); }

bool enabled(Level level) { return level >= g_level.load(std::memory_order_relaxed); }

void write(Level level, std::string_view line) {
  if (const Writer& writer = custom_writer()) return writer(level, line);
  Sink& s = sink();
  std::string text;
  {
    const std::lock_guard lock(s.mutex);
    if (s.format == Format::kJson) {
      text = fmt::format(R"("node":"{}","msg":"{}")", json_escape(s.node), json_escape(line));
    } else {
      text = s.node.empty() ? std::string(line) : fmt::format("{} {}", s.node, line);
    }
  }
  s.logger->log(to_spdlog(level), "{}", text);
}

}  // namespace flux::log
