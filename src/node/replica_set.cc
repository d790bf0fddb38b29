// Which groups have a replica on this node: what the configuration says, made so.
#include <algorithm>
#include <memory>
#include <utility>

#include "base/log.h"
#include "base/probe.h"
#include "node/node_impl.h"

namespace flux::node {
namespace {

// How long whoever should lead a new group first waits for the other founders.
constexpr Micros kFirstCampaign = Millis(20);
// Pause before something that is in the way is looked at again.
constexpr Micros kAgain = Millis(20);
// How long a replica that goes stays for those who wait for what it has proposed or passed on. Of a group that is gone
// all replicas stay for a moment, so that its leader has a quorum for the last answers.
constexpr Micros kLastAnswers = Millis(1'000);
constexpr Micros kLastQuorum = Millis(200);
// How long a group's leader has to say whether this node has left it, and the pause before it is asked once more.
constexpr Micros kAskWait = Millis(100);
constexpr Micros kAskAgain = Millis(200);

}  // namespace

// Before the loops run.
Status NodeImpl::open_replicas() {
  for (const auto& [group, record] : replicas_->all()) {
    if (record.here) {
      FLUX_RETURN_IF_ERROR(open_replica(group, record, true));
      present_.insert(group);
    } else {
      FLUX_RETURN_IF_ERROR(forget_leftovers(group));
      present_.insert(group);
      owner(group).loop().post([this, alive = alive_, id = group] {
        if (*alive) await_forgotten(id, wal_->appended_through());  // the start may have failed
      });
    }
  }
  return {};
}

// On the loop of the group's worker.
Status NodeImpl::open_replica(GroupId group, const ReplicaRecord& record, bool promised) {
  // Durable with the first thing that the replica says.
  if (record.spoken.term > Term(0) && !wal_->has_group(group)) {
    FLUX_RETURN_IF_ERROR(wal_->set_hard_state(group, record.spoken));
  }
  FLUX_TRY(std::unique_ptr<engine::Engine> engine, make_engine(group));
  raft::Membership founding;
  for (const NodeId founder : record.founders) founding.voters.insert(founder);
  return owner(group).add_group(
      group, {.engine = std::move(engine), .founding = std::move(founding), .promised = promised, .control = nullptr});
}

void NodeImpl::on_chart(const ChartPtr& chart) {
  refresh_directory(*chart);
  leaders_.set_chart(chart);
  keep_replicas(*chart);
  for (const auto& worker : workers_) {
    worker->loop().post([&worker = *worker, chart] { worker.set_chart(chart); });
  }
}

// A node that is removed is talked to until the controller has taken its vote away: without it there may be no quorum
// to do so.
void NodeImpl::refresh_directory(const Chart& chart) {
  const raft::Membership& members = owner(kControlGroup).find(kControlGroup)->core().membership();
  for (const auto& [id, node] : chart.config->nodes) {
    if (node.state == ctrl::NodeState::kRemoved && !members.contains(id)) {
      directory_.erase(id);
    } else {
      directory_.put(node.record);
    }
  }
}

void NodeImpl::keep_replicas(const Chart& chart) {
  for (const auto& [id, group] : chart.config->groups) {
    const ReplicaRecord* record = replicas_->find(id);
    const bool here = record != nullptr && record->here;
    const bool wanted = chart.has_replica(id, identity_.node);
    // What a configuration says that is older than the replica means nothing for it.
    const bool ends = here && (!wanted || record->born < group.born) && chart.at >= record->known_from;
    if (ends) {
      end_replica(id, !group.alive() || record->born < group.born);
    } else if (wanted && !here && !present_.contains(id)) {
      begin_replica(group, chart);
    }
  }
}

void NodeImpl::begin_replica(const ctrl::Group& group, const Chart& chart) {
  const ReplicaRecord* before = replicas_->find(group.id);
  ReplicaRecord record{.here = true, .born = group.born, .known_from = chart.at, .founders = {}, .spoken = {}};
  if (before != nullptr && before->born == group.born) {
    // A member of this life of the group that was taken out: it begins from a snapshot, and keeps to what it has said.
    FLUX_PROBE("a replica comes back to where there was one");
    record.spoken = before->spoken;
  } else if (group.founders.contains(identity_.node)) {
    record.founders = group.founders;
  }
  if (Status status = replicas_->put(group.id, record); !status.ok()) {
    return world_.fatal(status.with("the file of replicas"));
  }
  present_.insert(group.id);
  log::info("group {}: a replica begins here", group.id);
  const bool leads = !record.founders.empty() && group.leader == identity_.node;
  owner(group.id).loop().post([this, id = group.id, record, leads] {
    Status status = forget_leftovers(id);
    if (status.ok()) status = open_replica(id, record, false);
    if (!status.ok()) return world_.fatal(status.with("a replica cannot begin"));
    Worker& worker = owner(id);
    worker.wake(*worker.find(id));
    if (!leads) return;
    // A new group need not wait for an election timeout; if the others are not there yet, it does.
    worker.loop().call_after(kFirstCampaign, [&worker, id] {
      Group* fresh = worker.find(id);
      if (fresh != nullptr && fresh->core().leader() == kNobody) fresh->step(raft::Campaign{});
    });
  });
}

// It falls silent, what it said is written down, then all of it goes.
void NodeImpl::end_replica(GroupId group, bool group_is_gone) {
  if (!ending_.insert(group).second) return;
  owner(group).loop().post([this, group, group_is_gone] {
    if (group_is_gone) return leave(group, owner(group).loop().now());
    ask_to_leave(group);
  });
}

// The configuration knows who is in a group by what the group's leader reports, and so it may be late: by its log the
// group may have this node as a member again, and count on what it has said. The leader is asked. Meanwhile nothing is
// said to the group that it could count on later. A leader of an earlier term than ours may be behind, too.
void NodeImpl::ask_to_leave(GroupId group) {
  Worker& worker = owner(group);
  Group* replica = worker.find(group);
  if (replica == nullptr) return leave(group, worker.loop().now());
  if (replica->leads()) return stay(group);
  replica->set_apart(true);
  auto told = [this, group, term = replica->core().term(), first = true](const Result<Term>& left) mutable {
    if (!std::exchange(first, false)) return;
    Worker& here = owner(group);
    if (left.ok() && *left >= term) return leave(group, here.loop().now());
    log::debug("group {}: this node does not leave: {}", group,
               left.ok() ? "the leader's term is an old one" : left.status().to_string());
    if (Group* stays = here.find(group)) stays->set_apart(false);
    stay(group);
  };
  auto answered = std::make_shared<decltype(told)>(std::move(told));
  worker.loop().call_after(kAskWait, [answered] { (*answered)(Status(ErrorCode::kTimeout, "no answer in time")); });
  worker.router().ask_to_leave(group, [answered](const Result<Term>& left) { (*answered)(left); });
}

void NodeImpl::stay(GroupId group) {
  owner(group).loop().call_after(kAskAgain, [this, group] {
    owner(kControlGroup).loop().post([this, group] {
      ending_.erase(group);
      keep_replicas(*controller_->chart());
    });
  });
}

// It takes no more requests, and stays for as long as it is of use to those who wait.
void NodeImpl::leave(GroupId group, MonoTime began) {
  Worker& worker = owner(group);
  bool stays = worker.is_saving(group);
  if (stays) FLUX_PROBE("a replica ends while its snapshot is being saved");
  if (Group* replica = worker.find(group)) {
    replica->retire();
    const Micros passed = worker.loop().now() - began;
    const bool takes_part = replica->core().membership().contains(identity_.node);
    stays = stays || (takes_part && passed < kLastQuorum) || (replica->awaits_outcomes() && passed < kLastAnswers);
  }
  if (stays) {
    worker.loop().call_after(kAgain, [this, group, began] { leave(group, began); });
    return;
  }
  const HardState spoken = worker.silence(group);
  owner(kControlGroup).loop().post([this, group, spoken] {
    ReplicaRecord record = *replicas_->find(group);
    record.here = false;
    record.founders.clear();
    record.spoken = spoken;
    if (Status status = replicas_->put(group, std::move(record)); !status.ok()) {
      return world_.fatal(status.with("the file of replicas"));
    }
    owner(group).loop().post([this, group] { finish_end(group); });
  });
}

void NodeImpl::finish_end(GroupId group) {
  Worker& worker = owner(group);
  if (worker.is_saving(group)) {
    worker.loop().call_after(kAgain, [this, group] { finish_end(group); });
    return;
  }
  Status status = worker.remove_group(group);
  leaders_.set_leader(group, kNobody);
  if (status.ok()) status = forget_leftovers(group);
  if (!status.ok()) return world_.fatal(status.with("a replica cannot end"));
  await_forgotten(group, wal_->appended_through());
}

// The group may have a replica here again once no power cut can bring back what it had: that would be taken for the new
// one's.
void NodeImpl::await_forgotten(GroupId group, wal::Ticket removed) {
  env::Loop& loop = owner(group).loop();
  if (persister_->durable() < removed) {
    persister_->kick(loop);
    loop.call_after(kAgain, [this, group, removed] { await_forgotten(group, removed); });
    return;
  }
  auto flushed = std::make_shared<Status>();
  world_.background.submit(
      loop, [this, flushed] { *flushed = rocks_ ? rocks_->flush() : Status(); }, [] {},
      [this, group, flushed] {
        if (!flushed->ok()) return world_.fatal(flushed->with("a replica cannot end"));
        owner(kControlGroup).loop().post([this, group] {
          present_.erase(group);
          ending_.erase(group);
          keep_replicas(*controller_->chart());  // it may be wanted again by now
        });
      });
}

// What a life of the group that is over has left on the disk.
Status NodeImpl::forget_leftovers(GroupId group) {
  FLUX_RETURN_IF_ERROR(snapshots_->remove(group));
  if (wal_->has_group(group)) FLUX_RETURN_IF_ERROR(wal_->remove(group));
  return rocks_ ? rocks_->remove(group) : Status();
}

}  // namespace flux::node
