// What changes from one configuration to the next, and the one spelling of configurations: a whole one is what changes
// from the empty one.
#pragma once

#include <vector>

#include "ctrl/config.h"

namespace flux::ctrl {

enum class KeyspaceChange : uint8_t {
  kDropped = 1,  // nothing else is said
  kShards = 2,   // name, kind and replication stay, and are not said
  kWhole = 3,
};
template <>
inline constexpr KeyspaceChange kLast<KeyspaceChange> = KeyspaceChange::kWhole;

struct KeyspaceDelta {
  KeyspaceId id;
  KeyspaceChange change = KeyspaceChange::kDropped;
  std::string name;
  KeyspaceKind kind = KeyspaceKind::kHash;
  uint32_t replication = 1;
  std::set<ShardId> removed;
  std::vector<Shard> put;  // new, or changed; ascending by id

  static void fields(auto& self, auto& io) {
    io(self.id, self.change);
    if (self.change == KeyspaceChange::kWhole) io(self.name, self.kind, self.replication);
    if (self.change != KeyspaceChange::kDropped) io(self.removed, self.put);
  }
};

// One move of a shard takes about 15 bytes as a delta, one new member of a group about 20.
struct ConfigDelta {
  ConfigNum num;              // of the configuration it leads to
  std::vector<Node> nodes;    // new, or changed
  std::vector<Group> groups;  // new, or changed
  std::vector<KeyspaceDelta> keyspaces;

  static void fields(auto& self, auto& io) { io(self.num, self.nodes, self.groups, self.keyspaces); }
};

ConfigDelta diff(const Config& before, const Config& after);
// Turns the configuration that diff() was given as `before` into the other. What comes from outside may make nonsense:
// the caller validates the result.
void apply_delta(Config& config, const ConfigDelta& delta);

std::string encode_config(const Config& config);
// kCorruption unless it is a valid configuration.
Result<Config> decode_config(std::string_view bytes);

}  // namespace flux::ctrl
