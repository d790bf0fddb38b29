// What the controller may be told. A command is an entry of group 0's log; what becomes of it is decided by the state
// it meets there (ctrl/apply.h).
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "ctrl/config.h"
#include "ctrl/plan.h"
#include "ctrl/state.h"

namespace flux::ctrl {

inline constexpr size_t kCommandBytesMax = 8_MiB;
inline constexpr size_t kReasonBytesMax = 1'024;

// Stands for the next id that no group ever had.
inline constexpr GroupId kAnyGroup{UINT64_MAX};

struct GroupSpec {
  GroupId id;
  std::set<NodeId> voters;  // empty: `replicas` nodes are chosen
  uint32_t replicas = 0;
  uint32_t weight = 1;
  static void fields(auto& self, auto& io) { io(self.id, self.voters, self.replicas, self.weight); }
};

// New groups, or new lives of groups that are gone. They get shards once they have said that they run.
struct Join {
  std::vector<GroupSpec> groups;
  static void fields(auto& self, auto& io) { io(self.groups); }
};

// Gives all their shards to others, then ends the groups. Pins to them are forgotten.
struct Leave {
  std::set<GroupId> groups;
  static void fields(auto& self, auto& io) { io(self.groups); }
};

// pin: rebalancing leaves the shard there. To the owner only to change the pin.
struct Move {
  ShardId shard;
  GroupId to;
  bool pin = false;
  static void fields(auto& self, auto& io) { io(self.shard, self.to, self.pin); }
};

// The shard keeps what is before `at`; a new shard in the same group begins there.
struct Split {
  ShardId shard;
  std::string at;  // an encoded key; in a hash keyspace the start of a slot
  static void fields(auto& self, auto& io) { io(self.shard, self.at); }
};

// `right` begins where `left` ends and has the same owner; it becomes part of `left`.
struct Merge {
  ShardId left;
  ShardId right;
  static void fields(auto& self, auto& io) { io(self.left, self.right); }
};

struct CreateKeyspace {
  std::string name;
  KeyspaceKind kind = KeyspaceKind::kHash;
  uint32_t replication = 1;
  uint32_t slot_ranges = 0;           // hash: how many shards to begin with
  std::vector<std::string> split_at;  // range: where the second and later shards begin, ascending
  static void fields(auto& self, auto& io) {
    io(self.name, self.kind, self.replication, self.slot_ranges, self.split_at);
  }
};

struct DropKeyspace {
  std::string name;
  static void fields(auto& self, auto& io) { io(self.name); }
};

// id 0: the next one that no node ever had.
struct AddNode {
  api::NodeRecord record;
  uint32_t cores = 1;
  static void fields(auto& self, auto& io) { io(self.record, self.cores); }
};

// Moves every replica of the node elsewhere.
struct DrainNode {
  NodeId node;
  static void fields(auto& self, auto& io) { io(self.node); }
};

// REQUIRES, or it is refused: no group has a replica there.
struct RemoveNode {
  NodeId node;
  static void fields(auto& self, auto& io) { io(self.node); }
};

// Moves every replica of `node`, which may be dead, to `by`, or elsewhere where `by` has one already; then removes
// `node`.
struct ReplaceNode {
  NodeId node;
  NodeId by;
  static void fields(auto& self, auto& io) { io(self.node, self.by); }
};

// Groups that hold the keyspace get as many voters as the neediest of their keyspaces wants.
struct SetReplication {
  std::string keyspace;
  uint32_t replication = 1;
  static void fields(auto& self, auto& io) { io(self.keyspace, self.replication); }
};

// Plans the fewest moves that even out the shards over the groups, and the fewest changes of members that even out the
// replicas over the nodes, beside those that are planned already. Nothing to do: OK, without a plan.
struct Rebalance {
  bool shards = true;
  bool replicas = true;
  static void fields(auto& self, auto& io) { io(self.shards, self.replicas); }
};

struct SetBalance {
  BalanceMode mode = BalanceMode::kOff;
  static void fields(auto& self, auto& io) { io(self.mode); }
};

enum class PlanVerb : uint8_t { kPause = 1, kResume = 2, kCancel = 3 };
template <>
inline constexpr PlanVerb kLast<PlanVerb> = PlanVerb::kCancel;

struct ControlPlan {
  PlanId plan;
  PlanVerb verb = PlanVerb::kPause;
  static void fields(auto& self, auto& io) { io(self.plan, self.verb); }
};

// From whoever works on a step. `phase`: kCopying, kReady, kFailed (with a reason) or kUndone.
struct ReportProgress {
  PlanId plan;
  uint32_t step = 0;
  StepPhase phase = StepPhase::kCopying;
  uint64_t bytes_done = 0;
  uint64_t bytes_total = 0;
  uint64_t keys_done = 0;
  std::string reason;
  static void fields(auto& self, auto& io) {
    io(self.plan, self.step, self.phase, self.bytes_done, self.bytes_total, self.keys_done, self.reason);
  }
};

// Makes the next configuration, in which the shard of a ready step belongs to its new group.
struct HandOver {
  PlanId plan;
  uint32_t step = 0;
  static void fields(auto& self, auto& io) { io(self.plan, self.step); }
};

// A group says that it has applied configuration `num` and that all its shards are settled there.
struct Settled {
  GroupId group;
  ConfigNum num;
  static void fields(auto& self, auto& io) { io(self.group, self.num); }
};

// What a group's members are. `entry`: where in the group's log the membership stands; older ones are refused.
struct ReportGroup {
  GroupId group;
  Index entry;
  std::set<NodeId> voters;
  std::set<NodeId> learners;
  static void fields(auto& self, auto& io) { io(self.group, self.entry, self.voters, self.learners); }
};

// A node says where it is reached now and what it has.
struct AnnounceNode {
  api::NodeRecord record;
  uint32_t cores = 1;
  static void fields(auto& self, auto& io) { io(self.record, self.cores); }
};

// Which nodes whoever leads the controller has not heard for a while; the others are heard. `lost`: those of them that
// are not waited for any longer. See State.
struct ReportSilent {
  std::set<NodeId> nodes;
  std::set<NodeId> lost;
  static void fields(auto& self, auto& io) { io(self.nodes, self.lost); }
  bool operator==(const ReportSilent&) const = default;
};

// What plans may do at once; 0 leaves a limit as it is.
struct SetLimits {
  PlanLimits limits{.moves_max = 0, .moves_per_group_max = 0, .changes_max = 0};
  static void fields(auto& self, auto& io) { io(self.limits); }
};

// Whether groups are added as the cluster gets more cores. Leave ends it: who takes groups away knows how many there
// should be.
struct SetGroups {
  bool by_cores = true;
  static void fields(auto& self, auto& io) { io(self.by_cores); }
};

// The order is the format: new ones go to the end, none is ever taken out.
using CommandBody =
    std::variant<Join, Leave, Move, Split, Merge, CreateKeyspace, DropKeyspace, AddNode, DrainNode, RemoveNode,
                 ReplaceNode, SetReplication, Rebalance, SetBalance, ControlPlan, ReportProgress, HandOver, Settled,
                 ReportGroup, AnnounceNode, ReportSilent, SetLimits, SetGroups>;

struct Command {
  // The number of the configuration that the sender has looked at: refused if there is a newer one. 0: any.
  ConfigNum expected;
  CommandBody body;
  static void fields(auto& self, auto& io) { io(self.expected, self.body); }
};

std::string encode_command(const Command& command);
// kTooLarge, kUnsupported, or kCorruption unless the bytes are exactly one command.
Result<Command> decode_command(std::string_view bytes);
// "move", "split", ...: for logs.
std::string_view name_of(const Command& command);

}  // namespace flux::ctrl
