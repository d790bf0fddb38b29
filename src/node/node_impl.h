// The parts of a node, put together.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "engine/rocksdb/rocks_store.h"
#include "net/peer_acceptor.h"
#include "node/controller.h"
#include "node/leaders.h"
#include "node/node.h"
#include "node/replicas.h"
#include "node/router.h"
#include "node/worker.h"

namespace flux::node {

class NodeImpl final : public Node, public net::PeerReceiver {
 public:
  NodeImpl(World world, NodeOptions options);
  ~NodeImpl() override;

  Status start(const JoinTicket* ticket);

  api::KvService& kv(size_t loop) override { return *routers_.at(loop); }
  api::AdminService& admin(size_t loop) override { return *admin_services_.at(loop); }
  const api::SlotOwners& slot_owners() const override { return leaders_; }
  const api::ClusterMap& cluster_map() const override { return leaders_; }
  env::Address peer_address() const override { return acceptor_->local(); }
  const Identity& identity() const override { return identity_; }
  NodeStats stats() const override;
  uint64_t memory_bytes_max() const override { return admission_->memory_bytes_max(); }
  void set_memory_bytes_max(uint64_t bytes) override { admission_->set_memory_bytes_max(bytes); }
  void drain(env::Task done) override;
  Status close() override;

  // --- For the services
  const NodeOptions& options() const { return options_; }
  Admission& admission() { return *admission_; }
  Directory& directory() { return directory_; }
  const Leaders& leaders() const { return leaders_; }
  size_t workers() const { return workers_.size(); }
  Worker& worker(size_t i) { return *workers_.at(i); }
  // The worker that owns a group, here.
  Worker& owner(GroupId group) { return *workers_[group.value() % workers_.size()]; }
  bool draining() const { return draining_; }
  MonoTime started() const { return started_; }
  // On the loop of group 0.
  Controller& controller() { return *controller_; }
  // Hands leadership over if this node leads the group, else kNotLeader. On the group's loop.
  void run_transfer(const TransferCall& call, api::AdminDone done);

 private:
  Status open_storage();
  Status start_workers();
  Result<std::unique_ptr<engine::Engine>> make_engine(GroupId group);
  Status start_controller();
  // replica_set.cc: which groups have a replica here. On the loop of group 0, once the loops run.
  Status open_replicas();
  Status open_replica(GroupId group, const ReplicaRecord& record, bool promised);
  void on_chart(const ChartPtr& chart);
  void refresh_directory(const Chart& chart);
  void keep_replicas(const Chart& chart);
  void begin_replica(const ctrl::Group& group, const Chart& chart);
  void end_replica(GroupId group, bool group_is_gone);
  void ask_to_leave(GroupId group);
  void stay(GroupId group);
  void leave(GroupId group, MonoTime began);
  void finish_end(GroupId group);
  void await_forgotten(GroupId group, wal::Ticket removed);
  Status forget_leftovers(GroupId group);

  // net::PeerReceiver
  Result<net::Hello> greet(const net::Hello& theirs) override;
  Status still_welcome(const net::Hello& theirs) override;
  Status on_peer_message(const std::shared_ptr<net::PeerConnection>& connection,
                         const net::FrameMessage& message) override;
  // peer_requests.cc
  Status on_raft(NodeId from, std::string_view body);
  Status on_write(const std::shared_ptr<net::PeerConnection>& connection, const net::FrameMessage& message,
                  Group::Origin origin);
  Status on_leave(const std::shared_ptr<net::PeerConnection>& connection, const net::FrameMessage& message);
  Status on_load_report(const std::shared_ptr<net::PeerConnection>& connection, const net::FrameMessage& message);
  void pass_on(const LoadReport& report);
  Status on_transfer(const std::shared_ptr<net::PeerConnection>& connection, const net::FrameMessage& message);
  Status on_routed_read(const std::shared_ptr<net::PeerConnection>& connection, const net::FrameMessage& message);
  Status on_shard_pull(const std::shared_ptr<net::PeerConnection>& connection, const net::FrameMessage& message);
  Status on_shard_release(const std::shared_ptr<net::PeerConnection>& connection, const net::FrameMessage& message);
  Status on_snapshot_open(const std::shared_ptr<net::PeerConnection>& connection, const net::FrameMessage& message);
  Status on_snapshot_chunk(const std::shared_ptr<net::PeerConnection>& connection, const net::FrameMessage& message);
  Status on_join(const std::shared_ptr<net::PeerConnection>& connection, const net::FrameMessage& message);
  // Runs on the loop of the group's worker: at once if that is the connection's.
  void on_owner(GroupId group, env::Loop& here, env::Task task);

  World world_;
  const NodeOptions options_;
  MonoTime started_;
  std::unique_ptr<env::DirLock> lock_;
  Identity identity_;
  std::unique_ptr<KnownPeers> known_peers_;
  std::unique_ptr<wal::Wal> wal_;
  std::unique_ptr<engine::RocksStore> rocks_;
  Directory directory_;
  Leaders leaders_{identity_.node};
  std::unique_ptr<Admission> admission_;
  std::unique_ptr<SnapshotStore> snapshots_;
  std::unique_ptr<Persister> persister_;
  std::unique_ptr<NodeShared> shared_;
  std::optional<Replicas> replicas_;  // on the loop of group 0, as the next
  std::set<GroupId> present_;         // replicas that run, or of which something is left
  std::set<GroupId> ending_;          // those that are about to be taken away
  ControlMachine control_machine_{options_.limits.control_log_bytes_max};
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<Controller> controller_;
  std::vector<std::unique_ptr<Router>> routers_;
  std::vector<std::unique_ptr<api::AdminService>> admin_services_;
  std::unique_ptr<net::PeerAcceptor> acceptor_;
  std::atomic<bool> draining_ = false;
  std::map<NodeId, Term> snapshot_terms_;
  std::mutex snapshot_terms_mutex_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

std::unique_ptr<api::AdminService> make_admin_service(NodeImpl& node, size_t worker);

}  // namespace flux::node
