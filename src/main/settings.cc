#include "main/settings.h"

#include <fmt/core.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <numeric>

namespace flux::main {
namespace {

constexpr std::string_view kPrefix = "FLUXKV_";
// Of a configuration file; one with every setting and a page of remarks on each is far below.
constexpr size_t kFileBytesMax = 1_MiB;

char upper(char c) { return static_cast<char>(std::toupper(static_cast<unsigned char>(c))); }
char lower(char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); }

Status bad(std::string_view name, std::string_view value, std::string_view wanted) {
  return Status(ErrorCode::kInvalidArgument, fmt::format("--{} is '{}'; expected {}", name, value, wanted));
}

std::string environment_name(std::string_view setting) {
  std::string out(kPrefix);
  for (const char c : setting) out += c == '-' ? '_' : upper(c);
  return out;
}

// A number with a unit behind it.
bool split_unit(std::string_view text, uint64_t& number, std::string_view& unit) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return false;
  unit = text.substr(static_cast<size_t>(end - text.data()));
  return true;
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, replaced}));
    }
  }
  return row[b.size()];
}

}  // namespace

std::string nearest_name(std::string_view wanted, const std::vector<std::string>& names) {
  std::string best;
  size_t best_distance = std::max<size_t>(2, wanted.size() / 3) + 1;
  for (const std::string& name : names) {
    const size_t distance = edit_distance(wanted, name);
    if (distance < best_distance) best = name, best_distance = distance;
  }
  return best;
}

const Setting* Settings::find(std::string_view name) const {
  const auto it =
      std::find_if(known_.begin(), known_.end(), [&](const Setting& setting) { return setting.name == name; });
  return it == known_.end() ? nullptr : &*it;
}

std::string Settings::nearest(std::string_view name) const {
  std::vector<std::string> names;
  for (const Setting& setting : known_) names.push_back(setting.name);
  return nearest_name(name, names);
}

Status Settings::unknown(std::string_view name, std::string_view where) const {
  const std::string near = nearest(name);
  return Status(ErrorCode::kInvalidArgument,
                fmt::format("{} has the unknown setting '{}'{}", where, name,
                            near.empty() ? std::string() : fmt::format("; did you mean '{}'?", near)));
}

Status Settings::read_environment(char** environment) {
  for (; *environment != nullptr; ++environment) {
    const std::string_view entry = *environment;
    if (!entry.starts_with(kPrefix)) continue;
    const size_t equals = entry.find('=');
    if (equals == std::string_view::npos) continue;  // not a variable, though a parent process may pass such a thing on
    const std::string_view variable = entry.substr(0, equals);
    const auto it = std::find_if(known_.begin(), known_.end(),
                                 [&](const Setting& setting) { return environment_name(setting.name) == variable; });
    if (it == known_.end()) {
      std::string name(variable.substr(kPrefix.size()));
      for (char& c : name) c = c == '_' ? '-' : lower(c);
      return unknown(name, fmt::format("the environment ({})", variable));
    }
    environment_[it->name] = entry.substr(variable.size() + 1);
  }
  return {};
}

Status Settings::read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kFileBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.eof()) {
    const bool large = file.good();
    return Status(ErrorCode::kInvalidArgument,
                  fmt::format("the configuration file {} {}", path, large ? "is larger than 1MiB" : "cannot be read"));
  }
  text.resize(static_cast<size_t>(file.gcount()));
  return read_text(text, path);
}

Status Settings::read_text(const std::string& text, const std::string& path) {
  try {
    const YAML::Node root = YAML::Load(text);
    if (root.IsNull()) return {};
    if (!root.IsMap()) return Status(ErrorCode::kInvalidArgument, path + " is not a map of settings, like 'name: n1'");
    for (const auto& pair : root) {
      const auto name = pair.first.as<std::string>();
      const std::string where = fmt::format("{}:{}", path, pair.first.Mark().line + 1);
      if (find(name) == nullptr) return unknown(name, where);
      if (name == "config") {
        return Status(ErrorCode::kInvalidArgument, fmt::format("{}: a configuration file names no other one", where));
      }
      if (!pair.second.IsScalar()) {
        return Status(ErrorCode::kInvalidArgument, fmt::format("{}: '{}' is not a single value", where, name));
      }
      if (file_.contains(name))
        return Status(ErrorCode::kInvalidArgument, fmt::format("{}: '{}' stands twice", where, name));
      file_[name] = pair.second.as<std::string>();
    }
  } catch (const YAML::Exception& error) {
    return Status(ErrorCode::kInvalidArgument, fmt::format("the configuration file {}: {}", path, error.what()));
  }
  return {};
}

std::string Settings::get(const std::string& name) const {
  for (const auto* source : {&flags_, &environment_, &file_}) {
    const auto it = source->find(name);
    if (it != source->end()) return it->second;
  }
  const Setting* setting = find(name);
  FLUX_CHECK(setting != nullptr, "{}", name);
  return setting->default_value;
}

bool Settings::given(const std::string& name) const {
  return flags_.contains(name) || environment_.contains(name) || file_.contains(name);
}

Result<uint64_t> Settings::number(const std::string& name, uint64_t low, uint64_t high) const {
  const std::string text = get(name);
  uint64_t value = 0;
  std::string_view unit;
  if (!split_unit(text, value, unit) || !unit.empty() || value < low || value > high) {
    return bad(name, text, fmt::format("a number from {} to {}", low, high));
  }
  return value;
}

Result<Micros> Settings::duration(const std::string& name, Micros low, Micros high) const {
  const std::string text = get(name);
  uint64_t value = 0;
  std::string_view unit;
  int64_t scale = 0;
  if (split_unit(text, value, unit)) {
    if (unit == "us") scale = 1;
    if (unit == "ms") scale = 1000;
    if (unit == "s") scale = 1'000'000;
    if (unit == "m") scale = 60'000'000;
    if (unit == "h") scale = 3'600'000'000;
  }
  if (scale == 0 || value > 1'000'000'000) return bad(name, text, "a duration like 300ms, 5s or 2m");
  const Micros duration(static_cast<int64_t>(value) * scale);
  if (duration < low || duration > high) {
    return bad(name, text, fmt::format("a duration from {}ms to {}ms", low.count() / 1000, high.count() / 1000));
  }
  return duration;
}

Result<uint64_t> Settings::bytes(const std::string& name) const {
  const std::string text = get(name);
  uint64_t value = 0;
  std::string_view unit;
  unsigned shift = 64;
  if (split_unit(text, value, unit)) {
    if (unit == "B" || (unit.empty() && value == 0)) shift = 0;
    if (unit == "KiB") shift = 10;
    if (unit == "MiB") shift = 20;
    if (unit == "GiB") shift = 30;
    if (unit == "TiB") shift = 40;
  }
  if (shift == 64 || (shift != 0 && (value >> (63 - shift)) != 0)) {
    return bad(name, text, "a size like 512MiB or 2GiB");
  }
  return value << shift;
}

Result<bool> Settings::boolean(const std::string& name) const {
  const std::string text = get(name);
  if (text == "yes" || text == "true") return true;
  if (text == "no" || text == "false") return false;
  return bad(name, text, "yes or no");
}

}  // namespace flux::main
