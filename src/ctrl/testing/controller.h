// A controller's state for tests, with a hand that does what next_actions() asks for.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "ctrl/actions.h"
#include "ctrl/apply.h"

namespace flux::ctrl::testing {

AddNode node(uint64_t id, uint32_t cores = 4);
AnnounceNode announce(uint64_t id, uint32_t cores = 4);
Join join(std::initializer_list<uint64_t> groups, uint32_t replicas = 3);
Leave leave(std::initializer_list<uint64_t> groups);
CreateKeyspace hash_keyspace(std::string name, uint32_t slot_ranges, uint32_t replication = 3);

class Controller {
 public:
  // With so many nodes, from 1 on, that have announced themselves.
  explicit Controller(uint64_t nodes = 5);

  State& state() { return state_; }
  const Config& config() const { return state_.config(); }
  std::string bytes() const { return encode_state(state_); }

  // Applies a command that must succeed.
  Outcome ok(CommandBody body);
  // Applies a command that must be refused and leave the state as it was, byte for byte.
  ErrorCode refused(CommandBody body, ConfigNum expected = {});

  // What somebody who does the action would propose, step by step.
  CommandBody answer(const Action& action) const;
  // What groups that have something to settle would report.
  std::vector<Settled> reports() const;
  // Does all that is asked for until nothing is left; no more than `steps_max` commands.
  void run(size_t steps_max = 100'000);

  // Shards of a keyspace in each group that serves.
  std::map<GroupId, size_t> spread(std::string_view keyspace) const;
  // The largest number in spread(), less the smallest.
  size_t unevenness(std::string_view keyspace) const;
  // Shards whose owners differ between two configurations.
  static size_t moved(const Config& before, const Config& after);

 private:
  State state_;
};

}  // namespace flux::ctrl::testing
