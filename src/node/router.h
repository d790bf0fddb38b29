// The KvService of one loop: finds the groups that own the keys of a request, here or elsewhere, and brings the answers
// together. What a group turns away because it does not serve the keys any more, or not yet, is routed anew by the
// newest chart until its time is over.
//
// The way of a request: one group with a replica on this worker, straight to it; on another worker of this node, across
// loops and back; on no worker here, to a node that has one. Several groups: a part to each (client/split.h).
//
// Owned by its worker's loop.
#pragma once

#include <map>
#include <memory>
#include <variant>

#include "api/kv_service.h"
#include "api/request_codec.h"
#include "client/answerers.h"
#include "node/chart.h"
#include "node/requests.h"
#include "node/worker.h"

namespace flux::node {

class NodeImpl;

class Router final : public api::KvService {
 public:
  Router(NodeImpl& node, Worker& worker);
  ~Router() override;
  Router(const Router&) = delete;
  Router& operator=(const Router&) = delete;

  void write(const api::WriteRequest& request, api::WriteDone done) override;
  void read(const api::ReadRequest& request, api::ReadDone done) override;

  // A piece of a shard that another group gives (kv::StateMachine::export_chunk), from any of its replicas. `done` may
  // be called at once.
  using Pulled = absl::AnyInvocable<void(Result<kv::ShardChunk>)>;
  void pull(GroupId giver, const kv::ExportRequest& request, Pulled done);
  // Asks a group's leader whether this node has left the group; the value is that leader's term.
  using MayLeave = std::function<void(Result<Term>)>;
  void ask_to_leave(GroupId group, MayLeave done);
  // Has the giver let go of a shard (kv::Release).
  void release(GroupId giver, ShardId shard, ConfigNum num, api::AdminDone done);

  // Somebody turned these away.
  void reroute(ParkedWrite write);
  void reroute(WaitingRead read);
  // The worker has a newer chart, or the shards of a group here have changed: who waits may find its way now.
  void look_again();

 private:
  struct Waiting {
    std::variant<ParkedWrite, WaitingRead> request;
    env::TimerId timer;
  };

  const client::RoutingMap& routes() const { return *worker_.chart()->routes; }
  // Whether the keyspace, which there was once, is gone.
  bool is_dropped(api::KeyspaceRef keyspace) const { return !routes().empty() && !routes().has(keyspace); }
  MonoTime until() const;
  void answer_later(api::WriteDone done, api::WriteReply reply);
  void answer_later(api::ReadDone done, Status status);

  // writes
  void route(ParkedWrite write);
  void scatter(const api::WriteRequest& request, MonoTime until, api::WriteDone done);
  void send(GroupId group, ParkedWrite write);
  void send_away(GroupId group, ParkedWrite write);
  // reads
  void route(WaitingRead read);
  void get_from_many(const api::ReadRequest& request, MonoTime until, api::ReadDone done);
  void scan(const api::ReadRequest& request, MonoTime until, api::ReadDone done);
  void count(const api::ReadRequest& request, MonoTime until, api::ReadDone done);
  void random_key(const api::ReadRequest& request, size_t tried, MonoTime until, api::ReadDone done);
  void send(GroupId group, WaitingRead read);
  void send_away(GroupId group, WaitingRead read);

  // The replica on this worker, unless it is about to go.
  Group* here(GroupId group);
  // Whether this node has a replica; then it is its worker that knows more.
  bool is_here(GroupId group) const;
  // A node that has one; kNobody: none is known.
  NodeId ask_whom(GroupId group);

  void wait(Waiting waiting, uint32_t attempts);
  void try_again(uint64_t number);

  NodeImpl& node_;
  Worker& worker_;
  Rng rng_;
  api::DecodedRequest decoded_;
  std::vector<std::string_view> read_keys_;
  std::map<uint64_t, Waiting> waiting_;
  uint64_t next_number_ = 1;
  client::Answerers answerers_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace flux::node
