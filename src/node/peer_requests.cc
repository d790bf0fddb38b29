// What a node answers to other nodes.
#include <fmt/core.h>

#include "api/request_codec.h"
#include "base/log.h"
#include "node/node_impl.h"
#include "raft/message_codec.h"

namespace flux::node {
namespace {

using Connection = std::shared_ptr<net::PeerConnection>;

// Answers a call from whichever loop the answer is made on: at once where that is `made_on`, and the connection's too.
class Answer {
 public:
  Answer(const Connection& connection, uint64_t request_id, const env::Loop* made_on = nullptr)
      : connection_(connection),
        loop_(&connection->loop()),
        is_made_there_(made_on == loop_),
        request_id_(request_id) {}

  void operator()(std::string body) const {
    if (is_made_there_) {
      if (const Connection alive = connection_.lock()) alive->reply(request_id_, body);
      return;
    }
    loop_->post([connection = connection_, id = request_id_, body = std::move(body)] {
      if (const Connection alive = connection.lock()) alive->reply(id, body);
    });
  }
  void status(const Status& status) const {
    std::string body;
    encode_status(body, status);
    (*this)(std::move(body));
  }

 private:
  std::weak_ptr<net::PeerConnection> connection_;
  env::Loop* loop_;
  bool is_made_there_;
  uint64_t request_id_;
};

}  // namespace

Result<net::Hello> NodeImpl::greet(const net::Hello& theirs) {
  net::Hello ours = hello_of(identity_, options_, theirs.channel);
  if (theirs.protocol != net::kProtocolVersion) {
    return Status(ErrorCode::kUnsupported,
                  fmt::format("peer protocol {} is not spoken here, only {}; upgrade the older node", theirs.protocol,
                              net::kProtocolVersion));
  }
  // A node that has no identity yet may ask for one, and nothing else.
  if (theirs.node == kNobody && theirs.cluster == net::ClusterId(0)) return ours;
  if (theirs.cluster != identity_.cluster) {
    return Status(ErrorCode::kPrecondition,
                  fmt::format("'{}' belongs to cluster {:016x}, this is cluster {:016x}; check --initial-cluster and "
                              "--data-dir of both nodes",
                              theirs.name, theirs.cluster.value(), identity_.cluster.value()));
  }
  if (theirs.node == identity_.node) {
    return Status(ErrorCode::kPrecondition,
                  fmt::format("node {} is this very node; was its data directory copied?", theirs.node));
  }
  FLUX_RETURN_IF_ERROR(still_welcome(theirs));
  FLUX_RETURN_IF_ERROR(known_peers_->admit(theirs));
  // A node we have not heard of was added while we were away, or before a restart that has yet to apply it. It may
  // lead, or be the vote that is missing: we must talk with it to learn more.
  if (!directory_.find(theirs.node)) {
    directory_.put({.id = theirs.node, .name = theirs.name, .peer_address = theirs.peer_address});
  }
  return ours;
}

// One that was removed while it was connected would never learn of it: nobody has anything to tell it.
Status NodeImpl::still_welcome(const net::Hello& theirs) {
  if (!directory_.removed(theirs.node)) return {};
  return {ErrorCode::kPrecondition, fmt::format("node {} ('{}') is not a member of this cluster; add it with "
                                                "'fluxctl node add'",
                                                theirs.node, theirs.name)};
}

Status NodeImpl::on_peer_message(const Connection& connection, const net::FrameMessage& message) {
  const NodeId from = connection->peer().node;
  const auto type = static_cast<PeerMessage>(message.type);
  if (from == kNobody && type != PeerMessage::kJoin) {
    return Status(ErrorCode::kPrecondition, "a node without identity may only ask to join");
  }
  switch (type) {
    case PeerMessage::kRaft:
      return on_raft(from, message.body);
    case PeerMessage::kWrite:
      return on_write(connection, message, Group::Origin::kPeer);
    case PeerMessage::kRoutedWrite:
      return on_write(connection, message, Group::Origin::kRouted);
    case PeerMessage::kRoutedRead:
      return on_routed_read(connection, message);
    case PeerMessage::kShardPull:
      return on_shard_pull(connection, message);
    case PeerMessage::kShardRelease:
      return on_shard_release(connection, message);
    case PeerMessage::kLeave:
      return on_leave(connection, message);
    case PeerMessage::kLoadReport:
      return on_load_report(connection, message);
    case PeerMessage::kTransfer:
      return on_transfer(connection, message);
    case PeerMessage::kSnapshotOpen:
      return on_snapshot_open(connection, message);
    case PeerMessage::kSnapshotChunk:
      return on_snapshot_chunk(connection, message);
    case PeerMessage::kJoin:
      return on_join(connection, message);
  }
  return Status(ErrorCode::kUnsupported, fmt::format("message type {} is not known to this version", message.type));
}

void NodeImpl::on_owner(GroupId group, env::Loop& here, env::Task task) {
  env::Loop& there = owner(group).loop();
  if (&there == &here) return task();
  there.post(std::move(task));
}

Status NodeImpl::on_raft(NodeId from, std::string_view body) {
  Decoder decoder(body);
  const auto group = decoder.id<GroupId>();
  FLUX_TRY(raft::Message message, raft::decode(decoder.raw(decoder.remaining())));
  if (message.from != from || message.to != identity_.node) {
    return Status(ErrorCode::kCorruption, "a consensus message names another sender or receiver");
  }
  Worker& worker = owner(group);
  // With one worker this is its loop already; with several the connection may live on another's.
  if (workers_.size() == 1) {
    worker.on_raft(group, std::move(message));
  } else {
    worker.loop().post(
        [&worker, group, moved = std::move(message)]() mutable { worker.on_raft(group, std::move(moved)); });
  }
  return {};
}

Status NodeImpl::on_write(const Connection& connection, const net::FrameMessage& message, Group::Origin origin) {
  Decoder decoder(message.body);
  const auto group_id = decoder.id<GroupId>();
  std::string request(decoder.raw(decoder.remaining()));
  FLUX_TRY(const bool erases_only, api::check_request(request));
  const Answer answer(connection, message.request_id, &owner(group_id).loop());
  on_owner(group_id, connection->loop(),
           [this, group_id, answer, erases_only, origin, request = std::move(request)]() mutable {
             const auto done = [answer](const api::WriteReply& reply) {
               std::string body;
               api::encode_results(body, reply);
               answer(std::move(body));
             };
             Group* group = owner(group_id).find(group_id);
             if (group == nullptr) return done({.status = Status(ErrorCode::kNotLeader, "no such group here")});
             group->write_encoded(std::move(request), erases_only, origin, done);
           });
  return {};
}

Status NodeImpl::on_routed_read(const Connection& connection, const net::FrameMessage& message) {
  Decoder decoder(message.body);
  const auto group_id = decoder.id<GroupId>();
  const Answer answer(connection, message.request_id, &owner(group_id).loop());
  auto done = [answer](const api::ReadReply& reply) {
    std::string body;
    if (Status status = api::OwnedReadReply::encode(reply, body); !status.ok()) {
      body.clear();
      (void)api::OwnedReadReply::encode({.status = std::move(status)}, body);
    }
    answer(std::move(body));
  };
  FLUX_TRY(WaitingRead read, WaitingRead::decode(decoder.raw(decoder.remaining()), done, MonoTime()));
  read.may_reroute = false;
  on_owner(group_id, connection->loop(), [this, group_id, read = std::move(read)]() mutable {
    read.deadline = owner(group_id).loop().now() + options_.request_timeout;
    Group* group = owner(group_id).find(group_id);
    if (group == nullptr) return read.done({.status = Status(ErrorCode::kNotLeader, "no such group here")});
    group->submit(std::move(read));
  });
  return {};
}

Status NodeImpl::on_shard_pull(const Connection& connection, const net::FrameMessage& message) {
  Decoder decoder(message.body);
  const auto group_id = decoder.id<GroupId>();
  FLUX_TRY(kv::ExportRequest request, kv::decode_export_request(decoder.raw(decoder.remaining())));
  // One record is at least sent; more than this would not fit a frame with it.
  request.bytes_max = std::min<size_t>(request.bytes_max, 4_MiB);
  const Answer answer(connection, message.request_id);
  on_owner(group_id, connection->loop(), [this, group_id, request = std::move(request), answer] {
    Group* group = owner(group_id).find(group_id);
    if (group == nullptr) return answer.status(Status(ErrorCode::kNotLeader, "no such group here"));
    const Result<kv::ShardChunk> chunk = group->export_shard(request);
    if (!chunk.ok()) return answer.status(chunk.status());
    std::string body;
    encode_status(body, {});
    body += kv::encode(*chunk);
    answer(std::move(body));
  });
  return {};
}

Status NodeImpl::on_shard_release(const Connection& connection, const net::FrameMessage& message) {
  FLUX_TRY(const ReleaseCall call, decode_release_call(message.body));
  const Answer answer(connection, message.request_id);
  on_owner(call.group, connection->loop(), [this, call, answer] {
    Group* group = owner(call.group).find(call.group);
    if (group == nullptr) return answer.status(Status(ErrorCode::kNotLeader, "no such group here"));
    group->release_shard(call.shard, call.num, [answer](const Status& status) { answer.status(status); });
  });
  return {};
}

Status NodeImpl::on_leave(const Connection& connection, const net::FrameMessage& message) {
  Decoder decoder(message.body);
  const auto id = decoder.id<GroupId>();
  FLUX_RETURN_IF_ERROR(decoder.finish("a request to leave a group"));
  const Answer answer(connection, message.request_id);
  on_owner(id, connection->loop(), [this, id, from = connection->peer().node, answer] {
    const Group* group = owner(id).find(id);
    if (group == nullptr || !group->leads()) return answer.status(Status(ErrorCode::kNotLeader, "not the leader"));
    if (group->core().membership().contains(from)) {
      return answer.status(Status(ErrorCode::kPrecondition, fmt::format("node {} is a member", from)));
    }
    std::string body;
    encode_status(body, Status());
    Encoder(body).id(group->core().term());
    answer(std::move(body));
  });
  return {};
}

Status NodeImpl::on_load_report(const Connection& connection, const net::FrameMessage& message) {
  FLUX_TRY(LoadReport report, decode_load_report(message.body));
  const Answer answer(connection, message.request_id);
  on_owner(kControlGroup, connection->loop(), [this, answer, report = std::move(report)] {
    controller_->on_load(report);
    answer.status({});
  });
  return {};
}

// On the control loop.
void NodeImpl::pass_on(const LoadReport& report) {
  Worker& worker = owner(kControlGroup);
  const NodeId leader = worker.find(kControlGroup)->core().leader();
  if (leader == identity_.node) return controller_->on_load(report);
  // The next report makes up for one that is lost.
  if (leader != kNobody) worker.call(leader, PeerMessage::kLoadReport, encode_load_report(report), [](const auto&) {});
}

Status NodeImpl::on_transfer(const Connection& connection, const net::FrameMessage& message) {
  FLUX_TRY(const TransferCall call, decode_transfer_call(message.body));
  const Answer answer(connection, message.request_id);
  on_owner(call.group, connection->loop(),
           [this, call, answer] { run_transfer(call, [answer](const Status& status) { answer.status(status); }); });
  return {};
}

Status NodeImpl::on_snapshot_open(const Connection& connection, const net::FrameMessage& message) {
  FLUX_TRY(const SnapshotOpen open, decode_snapshot_open(message.body));
  const Answer answer(connection, message.request_id);
  const Result<uint64_t> offset = snapshots_->open_incoming(open);
  if (!offset.ok()) {
    log::warn("group {}: snapshot {} of node {} cannot be taken: {}", open.group, open.last, connection->peer().node,
              offset.status().to_string());
    answer.status(offset.status());
    return {};
  }
  {
    const std::lock_guard lock(snapshot_terms_mutex_);
    snapshot_terms_[connection->peer().node] = open.term;
  }
  std::string body;
  encode_status(body, {});
  Encoder(body).varint(*offset);
  answer(std::move(body));
  return {};
}

Status NodeImpl::on_snapshot_chunk(const Connection& connection, const net::FrameMessage& message) {
  FLUX_TRY(const SnapshotChunk chunk, decode_snapshot_chunk(message.body));
  const Answer answer(connection, message.request_id);
  const Result<bool> complete = snapshots_->receive(chunk);
  if (!complete.ok() || !*complete) {
    answer.status(complete.ok() ? Status() : complete.status());
    return {};
  }
  const NodeId from = connection->peer().node;
  Term term;
  {
    const std::lock_guard lock(snapshot_terms_mutex_);
    term = snapshot_terms_[from];
  }
  const GroupId group = chunk.group;
  const EntryId last = chunk.last;
  on_owner(group, connection->loop(), [this, group, last, from, term, answer] {
    owner(group).on_snapshot_complete(group, last, from, term,
                                      [answer](const Status& status) { answer.status(status); });
  });
  return {};
}

Status NodeImpl::on_join(const Connection& connection, const net::FrameMessage& message) {
  FLUX_TRY(const JoinCall call, decode_join_call(message.body));
  const Answer answer(connection, message.request_id);
  JoinReply reply{.cluster = identity_.cluster, .node = kNobody, .nodes = directory_.all(), .met = known_peers_->all()};
  reply.met[identity_.node] = {.store = identity_.store,
                               .boot = identity_.boot,
                               .start = identity_.starts.empty() ? 0 : identity_.starts.back()};
  for (const api::NodeRecord& record : reply.nodes) {
    // The first: a later one of that name is about to go.
    if (record.name == call.name && reply.node == kNobody) reply.node = record.id;
  }
  if (reply.node == kNobody) {
    answer.status(
        Status(ErrorCode::kNotFound,
               fmt::format("no node called '{}' has been added to this cluster; run 'fluxctl node add {}=HOST:"
                           "PORT' first",
                           call.name, call.name)));
    return {};
  }
  std::string body;
  encode_status(body, {});
  body += encode_join_reply(reply);
  answer(std::move(body));
  return {};
}

}  // namespace flux::node
