// What must hold of a core after every step, and between one step and the next. A violation is a bug of ours and stops
// the process.
#pragma once

#include <map>
#include <optional>

#include "base/log_entry.h"
#include "base/types.h"
#include "raft/update.h"

namespace flux::raft {

class Core;

// Belongs to one core; remembers what it saw last.
class InvariantChecker {
 public:
  void check(const Core& core);

 private:
  struct Peer {
    Index since;
    Index match;
    uint64_t round;
  };
  struct Seen {
    Term term;
    NodeId vote;
    Role role;
    NodeId leader;
    Index base;
    EntryId commit;
    Index handed;
    Index applied;
    EntryId last;
    uint64_t round;
    std::map<NodeId, Peer> peers;
  };

  static void check_state(const Core& core);
  static void check_log(const Core& core);
  static void check_configs(const Core& core);
  static void check_role(const Core& core);
  static void check_peers(const Core& core);
  static void check_reads(const Core& core);
  void check_change(const Core& core) const;
  static Seen look(const Core& core);

  std::optional<Seen> seen_;
};

}  // namespace flux::raft
