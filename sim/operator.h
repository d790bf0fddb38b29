// Somebody who looks after the cluster: knows which disks are good, and replaces the machines whose disks are not.
//
// He is also the fault atlas: what faults take from disks must leave, in every membership that may be in force, a
// quorum of intact voters, each of whom knows what the damaged one has lost.
#pragma once

#include <memory>
#include <vector>

#include "cluster.h"

namespace flux::sim {

class Operator {
 public:
  Operator(World& world, Cluster& cluster, Rng rng)
      : world_(world), cluster_(cluster), rng_(rng), voters_fewest_(cluster.knobs().size) {}

  // Whether the cluster can do without what is on this host's disk. `known_to_all`: the others must have met the host
  // since its last start, or they could not tell that it has forgotten something.
  bool can_lose(size_t victim, bool known_to_all);
  // The disk of this host is not what it was. After a while the host is removed, and another one added in its place.
  void replace(size_t victim);
  // Somebody asks to remove a member; the request may take effect late.
  void removal_asked();
  // Whether there are hosts to be replaced, or whose replacements are no voters yet.
  bool busy() const { return !jobs_.empty(); }
  uint64_t replaced() const { return replaced_; }
  // Which steps are not done, for people.
  std::string to_text() const;

 private:
  enum class Step : uint8_t { kAdd, kReplace, kWait };
  struct Job {
    size_t victim;
    size_t fresh = SIZE_MAX;  // the host that comes in its place
    Step step = Step::kAdd;
    MonoTime ask_again;
    uint32_t refusals = 0;
  };
  void look(const std::shared_ptr<Job>& job);
  void look_later(const std::shared_ptr<Job>& job, Micros delay);
  void ask_to_add(const std::shared_ptr<Job>& job);
  void ask_to_replace(const std::shared_ptr<Job>& job);
  void fewer_voters();
  // A plan that waits for a host that will not come: whether there is one.
  bool cancel_stuck_plan(const std::shared_ptr<Job>& job);
  // A group that was placed on the victim and has not begun: whether there is one.
  bool give_up_unborn_group(const std::shared_ptr<Job>& job);
  // Whether the fresh host has taken the place of the other, everywhere.
  bool has_replaced(const Job& job);
  bool knows(size_t host, const node::Identity& newest);
  template <typename Done>
  void ask(const std::shared_ptr<Job>& job, const api::ClusterRequest& request, Done done);

  World& world_;
  Cluster& cluster_;
  Rng rng_;
  // Shared with requests that may be answered after the job is done.
  std::vector<std::shared_ptr<Job>> jobs_;
  MonoTime removal_asked_;
  // That there have ever been, or may come to be: hosts that go back to such a time must not be a quorum of them.
  size_t voters_fewest_;
  uint64_t replaced_ = 0;
};

}  // namespace flux::sim
