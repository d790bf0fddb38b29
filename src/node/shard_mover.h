// Moves shards to and from one group, while this node leads it (docs/design/0005-moving-shards.md): as the receiver it
// copies what is planned to come, pulls the rest once the configuration has changed, and has the giver let go; as the
// giver it keeps the feed that the receiver reads, and erases what it has given.
//
// Owned by the group's worker.
#pragma once

#include <map>
#include <memory>

#include "kv/state_machine.h"
#include "node/chart.h"

namespace flux::node {

class Steward;

class ShardMover {
 public:
  explicit ShardMover(Steward& steward);
  ~ShardMover();
  ShardMover(const ShardMover&) = delete;
  ShardMover& operator=(const ShardMover&) = delete;

  // Sees to what is to be done now; the group leads here.
  void look();
  // The group does not lead here.
  void rest();

 private:
  // One shard that something is done about.
  struct Job {
    bool busy = false;                           // a proposal or a call is under way
    uint64_t call = 0;                           // the newest call to another group
    MonoTime asked;                              // when it was begun
    MonoTime call_until = MonoTime::infinite();  // and how long its answer is waited for
    ConfigNum num;                               // that is copied for; 0: ahead of one
    MonoTime not_before;                         // after something that is to be tried again
    MonoTime report_after;                       // the controller is told of progress now and then
    bool ready = false;                          // the copy has been as far as the giver once
    uint64_t bytes = 0;
    uint64_t keys = 0;
    uint64_t keys_reported = 0;
    uint32_t failures = 0;  // in a row
  };

  void receive(const kv::ShardInfo& shard);
  void stage(const ctrl::CopyShard& action);
  void pull(const kv::ShardInfo& shard, ConfigNum num);
  void import(ShardId shard, uint64_t plan, uint32_t step, kv::ShardChunk chunk);
  void imported(ShardId shard, const Status& status, const kv::ShardChunk& chunk, bool applied);
  void release(const kv::ShardInfo& shard);
  void keep_feed(const kv::ShardInfo& shard);
  void propose(ShardId shard, const kv::ShardCommand& command, Micros pause_if_refused);
  void report(ShardId shard, ctrl::PlanId plan, uint32_t step, bool now);
  // The action that asks for a copy of the shard to this group.
  const ctrl::CopyShard* copy_action(ShardId shard) const;
  Job* free_job(ShardId shard);
  // Begins a call; whether an answer is still that to the newest one, which then is no longer under way.
  uint64_t begin_call(Job& job);
  bool end_call(ShardId shard, uint64_t call);
  void again_after(ShardId shard, Micros pause);
  static Micros pause_after_failure(Job& job);

  Steward& steward_;
  std::map<ShardId, Job> jobs_;
  uint64_t calls_ = 0;
  uint64_t leadership_ = 0;  // counts the times that this node began to lead
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace flux::node
