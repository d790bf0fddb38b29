// The process's log: one line per event, `cause -> decision`. Levels: error, an operator must act; warn, rare and
// self-healing; info, roles and configuration; debug, the stops of a request.
//
// Thread-safe. Secrets and values are never passed to it.
#pragma once

#include <fmt/core.h>

#include <functional>
#include <string_view>

#include "base/status.h"

namespace flux::log {

enum class Level : uint8_t { kDebug, kInfo, kWarn, kError, kOff };

// Parses "debug", "info", "warn", "error" or "off".
Result<Level> parse_level(std::string_view name);

enum class Format : uint8_t { kText, kJson };
Result<Format> parse_format(std::string_view name);

// Where lines go: standard error. Until this is called only warnings and errors are written, as text.
// `node` is the name that every line carries; empty for tools.
void configure(Level level, Format format, std::string_view node);

// Gives lines to `writer` in place of standard error; null: as before. Before any thread writes.
using Writer = std::function<void(Level, std::string_view)>;
void set_writer(Writer writer);

// The level alone; any thread.
void set_level(Level level);
Level level();
bool enabled(Level level);
void write(Level level, std::string_view line);

template <typename... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::kDebug)) write(Level::kDebug, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::kInfo)) write(Level::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::kWarn)) write(Level::kWarn, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::kError)) write(Level::kError, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace flux::log
