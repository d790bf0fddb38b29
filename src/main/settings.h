// Settings of a program: a flag, else the environment, else the configuration file, else the default.
//
// --data-dir is FLUXKV_DATA_DIR in the environment and data-dir in the file. An unknown name is an error that names the
// nearest one that exists.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/types.h"

namespace flux::main {

struct Setting {
  std::string name;         // "data-dir"
  std::string placeholder;  // "DIR"
  std::string help;
  std::string default_value;  // shown in the help; empty: none
};

// The values of all settings.
class Settings {
 public:
  explicit Settings(std::vector<Setting> known) : known_(std::move(known)) {}

  const std::vector<Setting>& known() const { return known_; }
  // Values given as flags.
  void set_flag(const std::string& name, std::string value) { flags_[name] = std::move(value); }
  // Reads FLUXKV_* from the environment. kInvalidArgument for a FLUXKV_ variable that is no setting.
  Status read_environment(char** environment);
  // Reads a YAML file of name: value pairs. Errors name the file, the line and the nearest name.
  Status read_file(const std::string& path);
  // The same from a text; errors call it `path`.
  Status read_text(const std::string& text, const std::string& path);

  // What holds for a setting. REQUIRES: name is known.
  std::string get(const std::string& name) const;
  bool given(const std::string& name) const;

  // Typed; kInvalidArgument says what is allowed.
  Result<uint64_t> number(const std::string& name, uint64_t low, uint64_t high) const;
  // "10ms", "2s", "5m"; a bare number is not taken.
  Result<Micros> duration(const std::string& name, Micros low, Micros high) const;
  // "64MiB", "2GiB", "512KiB", "1000B", "0".
  Result<uint64_t> bytes(const std::string& name) const;
  Result<bool> boolean(const std::string& name) const;

  // The known name that is nearest to a mistyped one; empty if none is near.
  std::string nearest(std::string_view name) const;

 private:
  const Setting* find(std::string_view name) const;
  Status unknown(std::string_view name, std::string_view where) const;

  std::vector<Setting> known_;
  std::map<std::string, std::string> flags_;
  std::map<std::string, std::string> environment_;
  std::map<std::string, std::string> file_;
};

// The name among `names` with the fewest edits to `wanted`, if they are few.
std::string nearest_name(std::string_view wanted, const std::vector<std::string>& names);

}  // namespace flux::main
