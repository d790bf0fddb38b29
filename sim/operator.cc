#include "operator.h"

#include <fmt/core.h>

#include <algorithm>

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
  if (known_to_all && damaged > voters_fewest_ / 2) return false;
  const node::Identity& newest = cluster_.node(victim).identity();
  for (size_t i = 0; i < cluster_.hosts(); ++i) {
    if (cluster_.retired(i) || cluster_.damaged(i) || cluster_.node_id(i) == kNobody) continue;
    // One that is down may know of a membership that nobody else knows of.
    if (!cluster_.up(i)) return false;
    if (known_to_all && i != victim && !knows(i, newest)) return false;
    const api::GroupStatus group = cluster_.group(i);
    if (group.joint) return false;
    const auto intact = std::count_if(group.voters.begin(), group.voters.end(), [&](NodeId voter) {
      const std::optional<size_t> host = cluster_.host_of(voter);
      return host && *host != victim && !cluster_.retired(*host) && !cluster_.damaged(*host);
    });
    if (static_cast<size_t>(intact) < group.voters.size() / 2 + 1) return false;
  }
  return true;
}

bool Operator::knows(size_t host, const node::Identity& newest) {
  const env::testing::FakeFs& fs = cluster_.fs(host);
  const std::vector<std::string> files = fs.files();
  if (std::find(files.begin(), files.end(), "/data/peers") == files.end()) return false;
  const auto met = node::KnownPeers::decode(fs.contents("/data/peers"));
  if (!met.ok()) return false;
  const auto found = met->find(newest.node);
  return found != met->end() &&
         found->second ==
             node::KnownPeers::Met{.store = newest.store, .boot = newest.boot, .start = newest.starts.back()};
}

void Operator::removal_asked() {
  removal_asked_ = world_.now();
  fewer_voters();
}

void Operator::fewer_voters() {
  for (size_t i = 0; i < cluster_.hosts(); ++i) {
    if (!cluster_.up(i) || cluster_.damaged(i)) continue;
    const size_t voters = cluster_.group(i).voters.size();
    if (voters > 0) voters_fewest_ = std::min(voters_fewest_, voters - 1);
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
  // One that was damaged in its turn is the matter of another job.
  if (job->step == Step::kWait && (is_voter(job->fresh) || cluster_.damaged(job->fresh))) {
    world_.say("n{} has taken the place of n{}", job->fresh + 1, job->victim + 1);
    ++replaced_;
    std::erase(jobs_, job);
    return;
  }
  // What was asked of a node that died is never answered, and what was answered may not have lasted.
  if (world_.now() >= job->ask_again) job->step == Step::kRemove ? ask_to_remove(job) : ask_to_add(job);
  look_later(job, kLook);
}

template <typename Done>
void Operator::ask(const std::shared_ptr<Job>& job, const api::MemberChange& change, Done done) {
  std::vector<size_t> through;
  for (size_t i = 0; i < cluster_.hosts(); ++i) {
    if (cluster_.up(i) && !cluster_.damaged(i)) through.push_back(i);
  }
  if (through.empty()) return;
  const size_t asked = through[rng_.below(through.size())];
  job->ask_again = world_.now() + cluster_.knobs().node.request_timeout + Millis(2000);
  world_.at(world_.now(), cluster_.loop(asked), [this, asked, change, done = std::move(done)]() mutable {
    cluster_.node(asked).admin(0).change_member(change, [this, done = std::move(done)](const Status& status) mutable {
      world_.after(Micros(0), [done = std::move(done), status]() mutable { done(status); });
    });
  });
}

void Operator::ask_to_remove(const std::shared_ptr<Job>& job) {
  fewer_voters();
  ask(job, {.action = api::MemberAction::kRemove, .node = cluster_.node_id(job->victim), .record = {}},
      [this, job](const Status& status) {
        if (job->step != Step::kRemove) return;
        world_.say("removal of the damaged n{}: {}", job->victim + 1, status.to_string());
        if (status.ok() || status.code() == ErrorCode::kNotFound) return removed(job);
        job->ask_again = world_.now() + kLook;
      });
}

void Operator::removed(const std::shared_ptr<Job>& job) {
  cluster_.retire(job->victim);
  job->fresh = cluster_.add_host();
  job->step = Step::kAdd;
  job->ask_again = world_.now();
}

void Operator::ask_to_add(const std::shared_ptr<Job>& job) {
  api::MemberChange change{.action = api::MemberAction::kAddVoter};
  change.record.name = fmt::format("n{}", job->fresh + 1);
  change.record.peer_address = Cluster::peer_address(job->fresh).to_string();
  ask(job, change, [this, job](const Status& status) {
    world_.say("n{} in place of n{}: {}", job->fresh + 1, job->victim + 1, status.to_string());
    if (job->step == Step::kWait) return;
    if (!status.ok() && status.code() != ErrorCode::kAlreadyExists) {
      job->ask_again = world_.now() + kLook;
      return;
    }
    job->step = Step::kWait;
    cluster_.join(job->fresh);
  });
}

bool Operator::is_voter(size_t host) {
  const std::optional<size_t> leader = cluster_.leader();
  if (!leader || !cluster_.up(host)) return false;
  const api::GroupStatus group = cluster_.group(*leader);
  return std::count(group.voters.begin(), group.voters.end(), cluster_.node_id(host)) > 0;
}

std::string Operator::to_text() const {
  std::string text;
  for (const auto& job : jobs_) {
    text += fmt::format(", n{} {}", job->victim + 1,
                        job->step == Step::kRemove ? "is not removed"
                        : job->step == Step::kAdd  ? fmt::format("is removed and n{} not added", job->fresh + 1)
                                                   : fmt::format("is removed and n{} no voter", job->fresh + 1));
  }
  return text.empty() ? "nothing is left to do" : text.substr(2);
}

}  // namespace flux::sim
