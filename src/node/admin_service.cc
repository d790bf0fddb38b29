// The AdminService of one loop, and what a leader does for it.
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>

#include "base/log.h"
#include "kv/command_codec.h"
#include "node/node_impl.h"
#include "node/version.h"

namespace flux::node {
namespace {

class LoopAdminService final : public api::AdminService {
 public:
  LoopAdminService(NodeImpl& node, size_t worker) : node_(node), loop_(node.worker(worker).loop()) {}

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

  void change_member(api::MemberChange change, api::AdminDone done) override {
    run({.kind = AdminCall::Kind::kChangeMember, .group = kDataGroup, .target = {}, .change = std::move(change)},
        std::move(done));
  }

  void transfer_leader(GroupId group, NodeId target, api::AdminDone done) override {
    run({.kind = AdminCall::Kind::kTransfer, .group = group, .target = target, .change = {}}, std::move(done));
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
    status.config_num = ConfigNum(1);
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
      for (const auto& [id, group] : node_.worker(next).groups()) status->groups.push_back(group->status());
      gather(next + 1, std::move(status), std::move(done));
    };
    if (node_.workers() == 1) return visit();
    target.post(std::move(visit));
  }

  // Here if we lead, else at the leader; while leadership moves, again.
  void run(AdminCall call, api::AdminDone done) {
    Worker& worker = node_.owner(call.group);
    auto back = [this, done = std::move(done)](Status status) mutable {
      loop_.post([done = std::move(done), status = std::move(status)]() mutable { done(std::move(status)); });
    };
    worker.loop().post([this, &worker, call = std::move(call), back = std::move(back)]() mutable {
      attempt(worker, std::move(call), worker.loop().now() + node_.options().request_timeout, std::move(back));
    });
  }

  // On the group's loop.
  void attempt(Worker& worker, AdminCall call, MonoTime until, api::AdminDone done) {
    Group* group = worker.find(call.group);
    if (group == nullptr) {
      return done(Status(ErrorCode::kNotFound, fmt::format("there is no group {} here", call.group)));
    }
    const NodeId leader = group->core().leader();
    const AdminCall& asked = call;
    auto answered = [this, &worker, call, until, done = std::move(done)](Status status) mutable {
      if (status.code() != ErrorCode::kNotLeader || worker.loop().now() >= until) return done(std::move(status));
      worker.loop().call_after(node_.options().heartbeat_interval,
                               [this, &worker, call = std::move(call), until, done = std::move(done)]() mutable {
                                 attempt(worker, std::move(call), until, std::move(done));
                               });
    };
    if (group->leads()) return node_.run_admin(asked, std::move(answered));
    if (leader == kNobody) {
      return answered(
          Status(ErrorCode::kNotLeader, "no leader is known; a quorum of nodes must be up and reach each other"));
    }
    worker.call(leader, PeerMessage::kAdmin, encode_admin_call(asked),
                [answered = std::move(answered)](Result<std::string_view> answer) mutable {
                  if (!answer.ok()) return answered(answer.status());
                  std::string_view body = *answer;
                  answered(take_status(body));
                });
  }

  NodeImpl& node_;
  env::Loop& loop_;
};

// REQUIRES: the group has applied all that earlier leaders have committed.
NodeId next_node_id(NodeImpl& node, Group& group) {
  // Those that were given out here and may not be applied yet.
  uint64_t highest = node.last_node_id_given.value();
  for (const FounderRecord& founder : node.identity().founders) highest = std::max(highest, founder.id.value());
  for (const NodeId member : group.core().membership().members()) highest = std::max(highest, member.value());
  // Records of removed nodes stay, so that no id is given out twice.
  const auto records = group.state_machine().meta(kNodeRecordPrefix);
  if (records.ok()) {
    for (const auto& [name, value] : *records) {
      const Result<api::NodeRecord> record = decode_node_record(value);
      if (record.ok()) highest = std::max(highest, record->id.value());
    }
  }
  node.last_node_id_given = NodeId(highest + 1);
  return node.last_node_id_given;
}

// A node that is no member: its record says that it is gone, and lets peers refuse its greetings.
void forget_node(Group& group, NodeId target, api::AdminDone done) {
  const std::string name = node_record_name(target);
  const std::string removed = encode_node_record({.id = target});
  const api::Command commands[] = {api::PutMeta{.name = name, .value = removed}};
  // Whether or not it can be written, the membership is what was asked for.
  group.write({.commands = commands}, [done = std::move(done)](const api::WriteReply&) mutable { done(Status()); });
}

// The node that the name was given to first, by what is applied.
NodeId first_called(Group& group, const std::string& name) {
  NodeId first = kNobody;
  const auto records = group.state_machine().meta(kNodeRecordPrefix);
  if (!records.ok()) return first;
  for (const auto& [key, value] : *records) {
    const Result<api::NodeRecord> record = decode_node_record(value);
    if (!record.ok() || record->name != name || record->peer_address.empty()) continue;
    if (first == kNobody || record->id < first) first = record->id;
  }
  return first;
}

// Writes a node's record, then changes the membership. By nobody but us: the id is ours to give while we lead, and the
// next leader may have given it to another by the time it gets the record.
void put_record_then(Group& group, const api::NodeRecord& record, raft::ConfigChange change, api::AdminDone done) {
  const std::string key = node_record_name(record.id);
  const std::string value = encode_node_record(record);
  const api::Command commands[] = {api::PutMeta{.name = key, .value = value}};
  std::string request;
  if (Status status = kv::append_request(request, {.commands = commands}); !status.ok()) return done(std::move(status));
  auto written = [&group, name = record.name, id = record.id, change = std::move(change),
                  done = std::move(done)](const api::WriteReply& reply) mutable {
    if (!reply.status.ok()) return done(reply.status);
    // Two were under way when neither was applied: one name, one node.
    if (first_called(group, name) != id) {
      return forget_node(group, id, [name, done = std::move(done)](const Status&) mutable {
        done(Status(ErrorCode::kPrecondition, fmt::format("another addition of '{}' came first; try again", name)));
      });
    }
    group.change_config(std::move(change), std::move(done));
  };
  group.write_encoded(std::move(request), false, Group::Origin::kPeer, std::move(written));
}

// What the membership says may be undone as long as it is not committed: nobody is told that somebody is in or out.
Status membership_settled(const Group& group) {
  if (group.core().membership_index() <= group.core().commit_index()) return {};
  return {ErrorCode::kPrecondition, "another membership change is not committed; try again"};
}

void add_member(NodeImpl& node, Group& group, const api::MemberChange& change, api::AdminDone done) {
  const Result<env::Address> address = env::Address::parse(change.record.peer_address);
  if (!address.ok()) return done(address.status());
  // A new leader that has not applied an entry of its own term may not know of the newest records: it would give an id
  // to two nodes.
  if (group.core().term_at(group.core().applied_index()) != group.core().term()) {
    return done(Status(ErrorCode::kNotLeader, "the leader is new and still catches up; try again"));
  }
  if (change.record.name.empty())
    return done(Status(ErrorCode::kInvalidArgument, "a member needs a name: NAME=HOST:PORT"));
  if (Status status = membership_settled(group); !status.ok()) return done(std::move(status));
  NodeId again = kNobody;
  for (const api::NodeRecord& record : node.directory().all()) {
    // Its record was written, but the change of the membership did not follow: this is another try.
    if (record.name == change.record.name && !group.core().membership().contains(record.id)) {
      if (again == kNobody) again = record.id;
      continue;
    }
    if (record.name == change.record.name) {
      return done(
          Status(ErrorCode::kAlreadyExists, fmt::format("node {} is called '{}' already", record.id, record.name)));
    }
    if (record.peer_address == change.record.peer_address) {
      return done(Status(ErrorCode::kAlreadyExists, fmt::format("node {} ('{}') has the address {} already", record.id,
                                                                record.name, record.peer_address)));
    }
  }
  api::NodeRecord record = change.record;
  record.id = again != kNobody ? again : next_node_id(node, group);
  const auto kind = change.action == api::MemberAction::kAddVoter ? raft::ConfigStepKind::kAddVoter
                                                                  : raft::ConfigStepKind::kAddLearner;
  put_record_then(group, record, {.steps = {{.kind = kind, .node = record.id}}, .context = {}}, std::move(done));
}

// `until`: how long another change of the membership is waited for, and voters that were not heard yet; a leader that
// is new has heard nobody.
void remove_member(NodeImpl& node, Group& group, NodeId target, MonoTime until, api::AdminDone done) {
  if (!group.leads()) return done(Status(ErrorCode::kNotLeader, "leadership has moved; try again"));
  env::Loop& loop = node.owner(group.id()).loop();
  const auto try_again = [&] {
    loop.call_after(node.options().heartbeat_interval,
                    [&node, &group, target, until, done = std::move(done)]() mutable {
                      remove_member(node, group, target, until, std::move(done));
                    });
  };
  if (Status status = membership_settled(group); !status.ok()) {
    return loop.now() < until ? try_again() : done(std::move(status));
  }
  const raft::Membership& membership = group.core().membership();
  if (!membership.contains(target)) {
    // One that was to be added and never became a member leaves nothing behind. It may become one even now.
    if (node.directory().find(target)) {
      return forget_node(group, target, [&node, &group, target, until, done = std::move(done)](const Status&) mutable {
        if (!group.core().membership().contains(target)) return done(Status());
        remove_member(node, group, target, until, std::move(done));
      });
    }
    return done(Status(ErrorCode::kNotFound, fmt::format("node {} is not a member of group {}", target, group.id())));
  }
  // Whoever is left must be able to decide: a removal that leaves a majority of silent voters would stop the group.
  size_t voters = 0;
  size_t heard = 0;
  const std::vector<raft::PeerStatus> peers = group.core().peers(loop.now());
  for (const NodeId voter : membership.voters) {
    if (voter == target) continue;
    ++voters;
    const bool alive = voter == node.identity().node || std::any_of(peers.begin(), peers.end(), [&](const auto& peer) {
                         return peer.id == voter && peer.recently_active;
                       });
    heard += alive ? 1 : 0;
  }
  if (voters != 0 && heard < voters / 2 + 1) {
    if (loop.now() < until) return try_again();
    return done(
        Status(ErrorCode::kPrecondition,
               fmt::format("removing node {} would leave {} of {} voters reachable, which is no quorum; bring the "
                           "others back first",
                           target, heard, voters)));
  }
  api::AdminDone forget = [&group, target, done = std::move(done)](const Status& status) mutable {
    if (!status.ok()) return done(status);
    forget_node(group, target, std::move(done));
  };
  group.change_config({.steps = {{.kind = raft::ConfigStepKind::kRemove, .node = target}}, .context = {}},
                      std::move(forget));
}

// A leader that is to go hands over first, and whoever asked asks the next one. Alone it is refused.
void remove_self(NodeImpl& node, Group& group, api::AdminDone done) {
  if (group.core().membership().voters.size() < 2) {
    return remove_member(node, group, node.identity().node, MonoTime(), std::move(done));
  }
  log::info("group {}: this node is to be removed -> handing leadership over", group.id());
  group.transfer(kNobody, [&group, done = std::move(done)](const Status& status) mutable {
    if (group.leads()) return done(status.with("leadership must move before its holder is removed"));
    done(Status(ErrorCode::kNotLeader, "leadership has moved; try again"));
  });
}

}  // namespace

void NodeImpl::run_admin(const AdminCall& call, api::AdminDone done) {
  Group* group = owner(call.group).find(call.group);
  if (group == nullptr) return done(Status(ErrorCode::kNotFound, fmt::format("there is no group {}", call.group)));
  if (!group->leads()) return done(Status(ErrorCode::kNotLeader, "leadership has moved; try again"));
  if (call.kind == AdminCall::Kind::kTransfer) return group->transfer(call.target, std::move(done));
  switch (call.change.action) {
    case api::MemberAction::kAddVoter:
    case api::MemberAction::kAddLearner:
      return add_member(*this, *group, call.change, std::move(done));
    case api::MemberAction::kRemove:
      if (call.change.node == identity_.node) return remove_self(*this, *group, std::move(done));
      return remove_member(*this, *group, call.change.node,
                           owner(call.group).loop().now() + options_.election_timeout_max, std::move(done));
    case api::MemberAction::kPromote:
      return group->change_config(
          {.steps = {{.kind = raft::ConfigStepKind::kPromote, .node = call.change.node}}, .context = {}},
          std::move(done));
  }
}

std::unique_ptr<api::AdminService> make_admin_service(NodeImpl& node, size_t worker) {
  return std::make_unique<LoopAdminService>(node, worker);
}

}  // namespace flux::node
