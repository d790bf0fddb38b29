// The AdminService of one loop, and what a leader does for it.
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>

#include "base/log.h"
#include "node/cluster_view.h"
#include "node/node_impl.h"
#include "node/version.h"

namespace flux::node {
namespace {

class LoopAdminService final : public api::AdminService {
 public:
  LoopAdminService(NodeImpl& node, size_t worker) : node_(node), worker_(node.worker(worker)), loop_(worker_.loop()) {}

  std::optional<api::KeyspaceRef> keyspace(std::string_view name) const override {
    const ctrl::Keyspace* const found = worker_.chart()->config->keyspace(name);
    return found != nullptr ? std::optional(found->ref()) : std::nullopt;
  }

  void status(api::StatusDone done) override {
    auto status = std::make_shared<api::NodeStatus>(describe());
    gather(0, status, std::move(done));
  }

  void readiness(api::ChecksDone done) override {
    status([this, done = std::move(done)](const api::NodeStatus& status) mutable {
      std::vector<api::Check> checks;
      checks.push_back({.name = "not_draining",
                        .ok = !status.draining,
                        .detail = status.draining ? "the node is shutting down" : ""});
      // Why nobody may talk to us: a wiped disk, another cluster, a removed member.
      std::string refusal = node_.directory().refusal();
      if (!refusal.empty()) refusal.insert(0, ". ");
      for (const api::GroupStatus& group : status.groups) {
        const std::string name = fmt::format("group_{}", group.id);
        checks.push_back({.name = name + "_running", .ok = group.halted.empty(), .detail = group.halted});
        const bool led = group.leader != kNobody;
        checks.push_back(
            {.name = name + "_has_leader",
             .ok = led,
             .detail = led ? "" : "no leader is known; a quorum of nodes must be up and reach each other" + refusal});
      }
      const bool log_full = node_.admission().log_full();
      checks.push_back(
          {.name = "log_has_space", .ok = !log_full, .detail = log_full ? "no space left on the disk of the log" : ""});
      const bool serves = std::all_of(checks.begin(), checks.end(), [](const api::Check& check) { return check.ok; });
      if (!serves) return done(std::move(checks));
      // A linearizable read passes through everything a client depends on.
      const std::string_view keys[] = {""};
      node_.kv(index()).read({.what = api::GetRequest{.keys = keys}, .consistency = api::Consistency::kLinearizable},
                             [checks = std::move(checks), done = std::move(done)](const api::ReadReply& reply) mutable {
                               checks.push_back({.name = "linearizable_read",
                                                 .ok = reply.status.ok(),
                                                 .detail = reply.status.ok() ? "" : reply.status.to_string()});
                               done(std::move(checks));
                             });
    });
  }

  void cluster(ConfigNum num, api::ClusterDone done) override {
    on_control_loop([this, num, done = std::move(done)]() mutable {
      const Controller& controller = node_.controller();
      const Chart& chart = *controller.chart();
      Result<ctrl::Config> older = Status(ErrorCode::kNotFound, "");
      const bool newest = num == ConfigNum(0) || num == chart.config->num;
      if (!newest) {
        older = controller.state().history.query(num);
        if (!older.ok()) return back(std::move(done), Result<api::ClusterView>(older.status()));
      }
      auto view = std::make_shared<api::ClusterView>(node::describe(newest ? *chart.config : *older, chart));
      if (!newest) return back(std::move(done), Result<api::ClusterView>(std::move(*view)));
      add_waits(*view, controller.state());
      // What only those who have replicas know.
      loop_.post([this, view, done = std::move(done)]() mutable { measure(0, view, std::move(done)); });
    });
  }

  void change_cluster(api::ClusterChange change, api::ClusterReplyDone done) override {
    on_control_loop([this, change = std::move(change), done = std::move(done)]() mutable {
      const Result<ctrl::Command> command = to_command(change, *node_.controller().chart());
      if (!command.ok()) return back(std::move(done), api::ClusterReply{.status = command.status()});
      submit(*command, node_.owner(kControlGroup).loop().now() + node_.options().request_timeout / 2, std::move(done));
    });
  }

  void transfer_leader(GroupId group, NodeId target, api::AdminDone done) override {
    run({.group = group, .target = target}, std::move(done));
  }

 private:
  size_t index() const {
    for (size_t i = 0; i < node_.workers(); ++i) {
      if (&node_.worker(i).loop() == &loop_) return i;
    }
    return 0;
  }

  api::NodeStatus describe() const {
    const Identity& identity = node_.identity();
    api::NodeStatus status;
    status.name = identity.name;
    status.cluster_id = fmt::format("{:016x}", identity.cluster.value());
    status.node_id = identity.node;
    status.version = std::string(kVersion);
    status.engine = std::string(to_string(identity.engine));
    status.fsync = std::string(to_string(node_.options().fsync));
    if (node_.options().fsync != FsyncMode::kAlways) {
      status.warnings.push_back(
          fmt::format("unsafe: --fsync {} may lose acknowledged writes in a power cut", status.fsync));
    }
    if (node_.admission().log_full()) status.warnings.emplace_back("no space left on the disk of the log");
    if (node_.admission().over_memory()) status.warnings.emplace_back("memory is over its ceiling: writes are refused");
    status.config_num = node_.worker(index()).chart()->config->num;
    status.nodes = node_.directory().all();
    status.memory_used_bytes = node_.admission().memory_used();
    status.memory_max_bytes = node_.admission().memory_bytes_max();
    status.uptime_seconds = static_cast<uint64_t>((loop_.now() - node_.started()).count() / 1'000'000);
    status.process_id = static_cast<uint64_t>(::getpid());
    status.draining = node_.draining();
    return status;
  }

  // Visits the workers from `next` on, each on its loop, and ends on ours.
  void gather(size_t next, std::shared_ptr<api::NodeStatus> status, api::StatusDone done) {
    env::Loop& target = next < node_.workers() ? node_.worker(next).loop() : loop_;
    auto visit = [this, next, status, done = std::move(done)]() mutable {
      if (next == node_.workers()) return done(std::move(*status));
      for (const auto& [id, group] : node_.worker(next).groups()) {
        status->groups.push_back(group->status());
        if (id != kControlGroup) add_counts(*group, *node_.worker(next).chart(), *status);
      }
      gather(next + 1, std::move(status), std::move(done));
    };
    if (node_.workers() == 1) return visit();
    target.post(std::move(visit));
  }

  static void add_counts(const Group& group, const Chart& chart, api::NodeStatus& status) {
    const Result<std::map<KeyspaceId, uint64_t>> counts = group.state_machine().counts();
    if (!counts.ok()) return;
    for (const auto& [id, count] : *counts) {
      // One that was dropped is being erased.
      const ctrl::Keyspace* const keyspace = chart.config->keyspace(id);
      if (keyspace != nullptr) status.keyspaces[keyspace->name] += count;
    }
  }

  void on_control_loop(env::Task task) {
    env::Loop& there = node_.owner(kControlGroup).loop();
    there.post(std::move(task));
  }
  // A node that is removed must not be stopped as long as the controller needs its vote: whoever removed it is answered
  // when it does no longer. On the control loop.
  void await_left(NodeId node, MonoTime until, api::ClusterReply reply, api::ClusterReplyDone done) {
    Worker& worker = node_.owner(kControlGroup);
    const raft::Core& core = worker.find(kControlGroup)->core();
    const bool left = !core.membership().contains(node) && core.membership_index() <= core.commit_index();
    if (!left && worker.loop().now() < until) {
      worker.loop().call_after(node_.options().heartbeat_interval,
                               [this, node, until, reply = std::move(reply), done = std::move(done)]() mutable {
                                 await_left(node, until, std::move(reply), std::move(done));
                               });
      return;
    }
    if (!left) {
      reply.note = fmt::format(
          "the controller still counts on node {}: keep it running until 'fluxctl group list' shows "
          "group 0 without it",
          node);
    }
    back(std::move(done), std::move(reply));
  }
  // On the control loop. What is refused while a group settles is tried again for a while: that takes a moment only.
  void submit(const ctrl::Command& command, MonoTime until, api::ClusterReplyDone done) {
    node_.controller().submit_and_see(command, [this, command, until,
                                                done = std::move(done)](ctrl::Outcome outcome) mutable {
      env::Loop& loop = node_.owner(kControlGroup).loop();
      const ErrorCode code = outcome.status.code();
      if (code == ErrorCode::kUnavailable && loop.now() < until) {
        loop.call_after(node_.options().heartbeat_interval, [this, command, until, done = std::move(done)]() mutable {
          submit(command, until, std::move(done));
        });
        return;
      }
      api::ClusterReply reply = to_reply(std::move(outcome));
      const auto* removal = std::get_if<ctrl::RemoveNode>(&command.body);
      if (code != ErrorCode::kOk || removal == nullptr) return back(std::move(done), std::move(reply));
      await_left(removal->node, loop.now() + node_.options().request_timeout, std::move(reply), std::move(done));
    });
  }
  // Gives an answer on this service's loop.
  template <typename Done, typename Answer>
  void back(Done done, Answer answer) {
    loop_.post([done = std::move(done), answer = std::move(answer)]() mutable { done(std::move(answer)); });
  }
  // Visits the workers from `next` on, as gather() does.
  void measure(size_t next, std::shared_ptr<api::ClusterView> view, api::ClusterDone done) {
    if (next == node_.workers()) return back(std::move(done), Result<api::ClusterView>(std::move(*view)));
    Worker& worker = node_.worker(next);
    worker.loop().post([this, &worker, next, view, done = std::move(done)]() mutable {
      for (const auto& [id, group] : worker.groups()) add_measures(*group, *view);
      measure(next + 1, std::move(view), std::move(done));
    });
  }
  static void add_measures(Group& group, api::ClusterView& view) {
    const api::GroupStatus status = group.status();
    if (group.id() == kControlGroup) {
      view.groups.insert(view.groups.begin(), {.id = group.id(),
                                               .state = "serving",
                                               .voters = status.voters,
                                               .learners = status.learners,
                                               .leader = status.leader});
      return;
    }
    for (api::GroupView& each : view.groups) {
      if (each.id == group.id()) each.leader = status.leader;
    }
    std::map<ShardId, const kv::ShardInfo*> table;
    for (const kv::ShardInfo& info : group.state_machine().shards()) table.emplace(info.shard, &info);
    for (api::ShardView& shard : view.shards) {
      const auto found = table.find(shard.id);
      if (shard.group != group.id() || found == table.end()) continue;
      const kv::ShardInfo& info = *found->second;
      shard.state = std::string(kv::to_string(info.state));
      shard.keys = group.engine().approximate_count(engine::Family::kData, info.start, info.end);
      shard.bytes = group.engine().approximate_bytes(engine::Family::kData, info.start, info.end);
      shard.operations_per_second = group.operations_per_second(shard.id);
    }
  }

  // Here if we lead, else at the leader; while leadership moves, again.
  void run(TransferCall call, api::AdminDone done) {
    Worker& worker = node_.owner(call.group);
    auto back = [this, done = std::move(done)](Status status) mutable {
      loop_.post([done = std::move(done), status = std::move(status)]() mutable { done(std::move(status)); });
    };
    worker.loop().post([this, &worker, call = std::move(call), back = std::move(back)]() mutable {
      attempt(worker, std::move(call), worker.loop().now() + node_.options().request_timeout, std::move(back));
    });
  }

  // On the group's loop.
  void attempt(Worker& worker, TransferCall call, MonoTime until, api::AdminDone done) {
    Group* group = worker.find(call.group);
    // Of a group without a replica here the controller says who should lead.
    const NodeId leader = group != nullptr ? group->core().leader() : node_.leaders().leader_of(call.group);
    if (group == nullptr && (leader == kNobody || leader == node_.identity().node)) {
      return done(Status(ErrorCode::kNotFound, fmt::format("there is no group {}", call.group)));
    }
    const TransferCall& asked = call;
    auto answered = [this, &worker, call, until, done = std::move(done)](Status status) mutable {
      if (status.code() != ErrorCode::kNotLeader || worker.loop().now() >= until) return done(std::move(status));
      worker.loop().call_after(node_.options().heartbeat_interval,
                               [this, &worker, call = std::move(call), until, done = std::move(done)]() mutable {
                                 attempt(worker, std::move(call), until, std::move(done));
                               });
    };
    if (group != nullptr && group->leads()) return node_.run_transfer(asked, std::move(answered));
    if (leader == kNobody) {
      return answered(
          Status(ErrorCode::kNotLeader, "no leader is known; a quorum of nodes must be up and reach each other"));
    }
    worker.call(leader, PeerMessage::kTransfer, encode_transfer_call(asked),
                [answered = std::move(answered)](Result<std::string_view> answer) mutable {
                  if (!answer.ok()) return answered(answer.status());
                  std::string_view body = *answer;
                  answered(take_status(body));
                });
  }

  NodeImpl& node_;
  Worker& worker_;
  env::Loop& loop_;
};

}  // namespace

void NodeImpl::run_transfer(const TransferCall& call, api::AdminDone done) {
  Group* group = owner(call.group).find(call.group);
  if (group == nullptr) return done(Status(ErrorCode::kNotFound, fmt::format("there is no group {} here", call.group)));
  if (!group->leads()) return done(Status(ErrorCode::kNotLeader, "leadership has moved; try again"));
  group->transfer(call.target, std::move(done));
}

std::unique_ptr<api::AdminService> make_admin_service(NodeImpl& node, size_t worker) {
  return std::make_unique<LoopAdminService>(node, worker);
}

}  // namespace flux::node
