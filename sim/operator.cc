#include "operator.h"

#include <fmt/core.h>

#include <algorithm>

#include "node/node_impl.h"

namespace flux::sim {
namespace {

// How long a request to remove a member may be on its way.
constexpr Micros kRequestsLinger = Millis(15'000);
constexpr Micros kLook = Millis(250);

}  // namespace

bool Operator::can_lose(size_t victim, bool known_to_all) {
  if (!cluster_.up(victim) || cluster_.damaged(victim) || cluster_.hosts() >= Cluster::kHostsMax) return false;
  if (removal_asked_ != MonoTime() && world_.now() - removal_asked_ < kRequestsLinger) return false;
  size_t damaged = 1;
  // Those that forget could found the cluster anew, or go on with a membership of long ago.
  for (size_t i = 0; i < cluster_.hosts(); ++i) damaged += cluster_.damaged(i) && !cluster_.retired(i) ? 1u : 0u;
  size_t fewest = voters_fewest_;
  const node::Identity& newest = cluster_.node(victim).identity();
  for (size_t i = 0; i < cluster_.hosts(); ++i) {
    if (cluster_.retired(i) || cluster_.damaged(i) || cluster_.node_id(i) == kNobody) continue;
    // One that is down may know of a membership that nobody else knows of.
    if (!cluster_.up(i)) return false;
    if (known_to_all && i != victim && !knows(i, newest)) return false;
    // A group that has not begun needs its founders.
    for (const auto& [id, group] : cluster_.chart(i)->config->groups) {
      if (group.state == ctrl::GroupState::kCreating) return false;
    }
    for (const api::GroupStatus& group : cluster_.groups(i)) {
      if (group.joint) return false;
      const auto has_quorum = [&](const std::vector<NodeId>& members) {
        const auto intact = std::count_if(members.begin(), members.end(), [&](NodeId member) {
          const std::optional<size_t> host = cluster_.host_of(member);
          return host && *host != victim && !cluster_.retired(*host) && !cluster_.damaged(*host);
        });
        return static_cast<size_t>(intact) >= members.size() / 2 + 1;
      };
      // Who learns may vote a moment later.
      std::vector<NodeId> soon = group.voters;
      soon.insert(soon.end(), group.learners.begin(), group.learners.end());
      if (!has_quorum(group.voters) || !has_quorum(soon)) return false;
      // Nor may it be about to lose one that it then needs.
      const node::Chart::Found leaves = cluster_.chart(i)->open_step([&](const ctrl::Step& step) {
        const auto* change = std::get_if<ctrl::ChangeReplica>(&step.task);
        if (change == nullptr || change->group != group.id || change->remove == kNobody) return false;
        std::vector<NodeId> left = group.voters;
        std::erase(left, change->remove);
        if (change->add != kNobody && std::find(left.begin(), left.end(), change->add) == left.end()) {
          left.push_back(change->add);
        }
        return !has_quorum(left);
      });
      if (leaves.step != nullptr) return false;
      fewest = std::min(fewest, group.voters.size());
    }
  }
  // A group that changes its members goes through fewer of them.
  return !known_to_all || damaged <= fewest / 2;
}

bool Operator::knows(size_t host, const node::Identity& newest) {
  const env::testing::FakeFs& fs = cluster_.fs(host);
  const std::vector<std::string> files = fs.files();
  if (std::find(files.begin(), files.end(), "/data/peers") == files.end()) return false;
  const auto met = node::KnownPeers::decode(fs.contents("/data/peers"));
  if (!met.ok()) return false;
  const auto found = met->find(newest.node);
  return found != met->end() &&
         found->second == node::MetPeer{.store = newest.store, .boot = newest.boot, .start = newest.starts.back()};
}

void Operator::removal_asked() {
  removal_asked_ = world_.now();
  fewer_voters();
}

void Operator::fewer_voters() {
  for (size_t i = 0; i < cluster_.hosts(); ++i) {
    if (!cluster_.up(i) || cluster_.damaged(i)) continue;
    for (const api::GroupStatus& group : cluster_.groups(i)) {
      if (!group.voters.empty()) voters_fewest_ = std::min(voters_fewest_, group.voters.size() - 1);
    }
  }
}

void Operator::replace(size_t victim) {
  cluster_.damage(victim);
  const auto job = std::make_shared<Job>(Job{.victim = victim, .ask_again = MonoTime()});
  jobs_.push_back(job);
  look_later(job, Micros(static_cast<int64_t>(rng_.between(200'000, 10'000'000))));
}

void Operator::look_later(const std::shared_ptr<Job>& job, Micros delay) {
  world_.after(delay, [this, job] { look(job); });
}

void Operator::look(const std::shared_ptr<Job>& job) {
  if (give_up_unborn_group(job)) return look_later(job, kLook);
  // One that was damaged in its turn is the matter of another job.
  if (cancel_stuck_plan(job)) return look_later(job, kLook);
  if (job->fresh != SIZE_MAX && cluster_.damaged(job->fresh) && !has_replaced(*job)) {
    *job = {.victim = job->victim, .ask_again = world_.now() + kLook};  // its successor needs one itself
  }
  if (job->step != Step::kAdd && has_replaced(*job)) {
    cluster_.retire(job->victim);
    world_.say("n{} has taken the place of n{}", job->fresh + 1, job->victim + 1);
    ++replaced_;
    std::erase(jobs_, job);
    return;
  }
  // What was asked of a node that died is never answered, and what was answered may not have lasted.
  if (world_.now() >= job->ask_again) job->step == Step::kAdd ? ask_to_add(job) : ask_to_replace(job);
  look_later(job, kLook);
}

template <typename Done>
void Operator::ask(const std::shared_ptr<Job>& job, const api::ClusterRequest& request, Done done) {
  std::vector<size_t> through;
  for (size_t i = 0; i < cluster_.hosts(); ++i) {
    if (cluster_.up(i) && !cluster_.damaged(i)) through.push_back(i);
  }
  if (through.empty()) return;
  const size_t asked = through[rng_.below(through.size())];
  job->ask_again = world_.now() + cluster_.knobs().node.request_timeout + Millis(2000);
  world_.at(world_.now(), cluster_.loop(asked), [this, asked, request, done = std::move(done)]() mutable {
    cluster_.node(asked).admin(0).change_cluster(
        {.request = request, .expected = {}}, [this, done = std::move(done)](const api::ClusterReply& reply) mutable {
          world_.after(Micros(0), [done = std::move(done), reply]() mutable { done(reply); });
        });
  });
}

void Operator::ask_to_add(const std::shared_ptr<Job>& job) {
  if (job->fresh == SIZE_MAX) job->fresh = cluster_.add_host();
  const api::AddNode request{.name = fmt::format("n{}", job->fresh + 1),
                             .peer_address = Cluster::peer_address(job->fresh).to_string()};
  ask(job, request, [this, job](const api::ClusterReply& reply) {
    world_.say("n{} in place of n{}: {}", job->fresh + 1, job->victim + 1, reply.status.to_string());
    if (job->step != Step::kAdd) return;
    if (!reply.status.ok() && reply.status.code() != ErrorCode::kAlreadyExists) {
      job->ask_again = world_.now() + kLook;
      return;
    }
    job->step = Step::kReplace;
    job->ask_again = world_.now() + kLook;
    cluster_.join(job->fresh);
  });
}

void Operator::ask_to_replace(const std::shared_ptr<Job>& job) {
  // Its id is known once it has joined.
  job->ask_again = world_.now() + kLook;
  if (!cluster_.up(job->fresh)) return;
  fewer_voters();
  ask(job, api::ReplaceNode{.node = cluster_.node_id(job->victim), .by = cluster_.node_id(job->fresh)},
      [this, job, fresh = job->fresh](const api::ClusterReply& reply) {
        if (job->fresh != fresh || job->step == Step::kAdd) return;  // another one was chosen meanwhile
        world_.say("replacement of the damaged n{}: {}", job->victim + 1, reply.status.to_string());
        // The answer to an earlier try may have been lost; and other plans may be in the way for a while.
        if (reply.status.ok()) job->step = Step::kWait;
        job->ask_again = world_.now() + kLook;
        // Nobody has room for what the victim holds: one more host.
        if (reply.status.code() == ErrorCode::kPrecondition && ++job->refusals % 20 == 0 &&
            cluster_.count_in_use() < Cluster::kMembersMax) {
          job->fresh = SIZE_MAX;
          job->step = Step::kAdd;
        }
      });
}

bool Operator::cancel_stuck_plan(const std::shared_ptr<Job>& job) {
  const std::optional<size_t> leader = cluster_.leader(node::kControlGroup);
  if (!leader) return false;
  const node::Chart::Found stuck = cluster_.chart(*leader)->open_step([&](const ctrl::Step& step) {
    const auto* change = std::get_if<ctrl::ChangeReplica>(&step.task);
    if (change == nullptr || change->add == kNobody || step.phase == ctrl::StepPhase::kUndoing) return false;
    const std::optional<size_t> host = cluster_.host_of(change->add);
    return host && cluster_.damaged(*host);
  });
  if (stuck.plan == nullptr || stuck.plan->state == ctrl::PlanState::kCancelling) return false;
  if (world_.now() >= job->ask_again) {
    ask(job, api::ControlPlan{.plan = stuck.plan->id.value(), .verb = "cancel"},
        [this, job](const api::ClusterReply&) { job->ask_again = world_.now() + kLook; });
  }
  return true;
}

bool Operator::give_up_unborn_group(const std::shared_ptr<Job>& job) {
  const std::optional<size_t> leader = cluster_.leader(node::kControlGroup);
  if (!leader) return false;
  for (const auto& [id, group] : cluster_.chart(*leader)->config->groups) {
    if (group.state != ctrl::GroupState::kCreating || !group.has(cluster_.node_id(job->victim))) continue;
    if (world_.now() >= job->ask_again) {
      world_.say("group {} cannot begin without n{}: given up", id, job->victim + 1);
      ask(job, api::RemoveGroup{id}, [this, job](const api::ClusterReply&) { job->ask_again = world_.now() + kLook; });
    }
    return true;
  }
  return false;
}

bool Operator::has_replaced(const Job& job) {
  const std::optional<size_t> leader = cluster_.leader(node::kControlGroup);
  if (!leader) return false;
  const ctrl::Node* gone = cluster_.chart(*leader)->config->node(cluster_.node_id(job.victim));
  if (gone == nullptr || gone->state != ctrl::NodeState::kRemoved) return false;
  const std::vector<NodeId> members = cluster_.group(*leader, node::kControlGroup)->voters;
  return std::count(members.begin(), members.end(), cluster_.node_id(job.victim)) == 0;
}

std::string Operator::to_text() const {
  std::string text;
  for (const auto& job : jobs_) {
    text += fmt::format(", n{} {}", job->victim + 1,
                        job->step == Step::kAdd       ? fmt::format("has no successor yet, n{}", job->fresh + 1)
                        : job->step == Step::kReplace ? fmt::format("is to be replaced by n{}", job->fresh + 1)
                                                      : fmt::format("is being replaced by n{}", job->fresh + 1));
  }
  return text.empty() ? "nothing is left to do" : text.substr(2);
}

}  // namespace flux::sim
