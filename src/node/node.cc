#include <fmt/core.h>

#include <algorithm>

#include "api/limits.h"
#include "base/log.h"
#include "engine/memory/memory_engine.h"
#include "node/node_impl.h"

namespace flux::node {
namespace {

// How long drain() waits for leaderships to move.
constexpr Micros kDrainTimeout = Millis(3000);

}  // namespace

Result<std::unique_ptr<Node>> Node::start(World world, NodeOptions options, const JoinTicket* ticket) {
  auto node = std::make_unique<NodeImpl>(std::move(world), std::move(options));
  FLUX_RETURN_IF_ERROR(node->start(ticket));
  return std::unique_ptr<Node>(std::move(node));
}

NodeImpl::NodeImpl(World world, NodeOptions options)
    : world_(std::move(world)), options_(std::move(options)), started_(world_.loops.front()->now()) {}

NodeImpl::~NodeImpl() {
  *alive_ = false;
  if (persister_) persister_->stop();
  acceptor_.reset();
  controller_.reset();
  routers_.clear();
  admin_services_.clear();
  workers_.clear();
}

Status NodeImpl::start(const JoinTicket* ticket) {
  FLUX_RETURN_IF_ERROR(world_.fs.create_dirs(options_.data_dir));
  FLUX_TRY(lock_, world_.fs.lock_dir(options_.data_dir));
  FLUX_TRY(identity_, open_identity(world_.fs, options_, ticket, world_.entropy));
  FLUX_TRY(known_peers_, KnownPeers::open(world_.fs, options_.data_dir));
  if (ticket != nullptr) FLUX_RETURN_IF_ERROR(known_peers_->learn(ticket->met));
  FLUX_TRY(replicas_, Replicas::open(world_.fs, options_.data_dir));
  for (const FounderRecord& founder : identity_.founders) {
    directory_.put({.id = founder.id, .name = founder.name, .peer_address = founder.address});
  }
  FLUX_RETURN_IF_ERROR(check_log_is_there(world_.fs, options_, identity_));
  FLUX_RETURN_IF_ERROR(open_storage());
  FLUX_RETURN_IF_ERROR(count_boot(world_.fs, options_, identity_, world_.entropy));
  FLUX_RETURN_IF_ERROR(start_workers());
  FLUX_TRY(acceptor_, net::PeerAcceptor::listen(world_.network, world_.loops, options_.listen_peer,
                                                {.frame_bytes_max = api::kPeerFrameBytesMax}, *this));
  controller_->start();
  log::info("node {} ('{}') of cluster {:016x}, start number {}, engine {}, fsync {}, {} worker(s)", identity_.node,
            identity_.name, identity_.cluster.value(), identity_.boot, to_string(options_.engine),
            to_string(options_.fsync), workers_.size());
  if (options_.fsync != FsyncMode::kAlways) {
    log::warn("--fsync {} is unsafe: a power cut may lose writes that were acknowledged", to_string(options_.fsync));
  }
  return {};
}

Status NodeImpl::open_storage() {
  admission_ = std::make_unique<Admission>(options_.memory_bytes_max);
  const wal::Options wal_options{.store_id = wal::StoreId(identity_.store),
                                 .segment_bytes = options_.wal_segment_bytes,
                                 .spare_segments = options_.wal_spare_segments,
                                 .prefill = options_.wal_prefill,
                                 .segments_max = options_.wal_segments_max};
  Result<std::unique_ptr<wal::Wal>> opened = wal::Wal::open(world_.fs, options_.data_dir + "/wal", wal_options);
  if (!opened.ok()) return opened.status().with("the log");
  wal_ = std::move(opened).value();
  for (const std::string& finding : wal_->recovery().findings) log::warn("log: {}", finding);
  if (options_.engine == EngineKind::kRocksDb) {
    FLUX_TRY(rocks_, engine::RocksStore::open(options_.data_dir + "/rocksdb",
                                              {.block_cache_bytes = options_.rocksdb_cache_bytes,
                                               .write_buffers_bytes = options_.rocksdb_write_buffer_bytes}));
  }
  snapshots_ = std::make_unique<SnapshotStore>(world_.fs, options_.data_dir + "/snapshots");
  persister_ = std::make_unique<Persister>(*wal_, world_.log_executor, world_.background, options_.fsync, world_.fatal,
                                           [this](bool full) { admission_->set_log_full(full); });
  return {};
}

Result<std::unique_ptr<engine::Engine>> NodeImpl::make_engine(GroupId group) {
  if (rocks_) return rocks_->engine(group);
  return engine::make_memory_engine({.hash_seed = world_.entropy});
}

Status NodeImpl::start_workers() {
  shared_ = std::make_unique<NodeShared>(NodeShared{
      .options = options_,
      .world = world_,
      .identity = identity_,
      .known_peers = *known_peers_,
      .wal = *wal_,
      .persister = *persister_,
      .admission = *admission_,
      .directory = directory_,
      .snapshots = *snapshots_,
      .workers = world_.loops.size(),
      .state_changed =
          [this](Group& group) {
            leaders_.set_leader(group.id(), group.halt_reason().ok() ? group.core().leader() : kNobody);
            if (group.id() != kControlGroup || !controller_) return;
            controller_->on_changed();
            refresh_directory(*controller_->chart());
          },
      .submit =
          [this](env::Loop& loop, const ctrl::Command& command, absl::AnyInvocable<void(ctrl::Outcome)> done) {
            owner(kControlGroup).loop().post([this, &loop, command, done = std::move(done)]() mutable {
              controller_->submit(command, [&loop, done = std::move(done)](ctrl::Outcome outcome) mutable {
                loop.post(
                    [done = std::move(done), outcome = std::move(outcome)]() mutable { done(std::move(outcome)); });
              });
            });
          },
      .report_load =
          [this](LoadReport report) {
            owner(kControlGroup).loop().post([this, report = std::move(report)] { pass_on(report); });
          },
  });
  for (size_t i = 0; i < world_.loops.size(); ++i) {
    workers_.push_back(std::make_unique<Worker>(*shared_, *world_.loops[i], i));
    routers_.push_back(std::make_unique<Router>(*this, *workers_.back()));
    workers_.back()->set_router(routers_.back().get());
    admin_services_.push_back(make_admin_service(*this, i));
  }
  FLUX_RETURN_IF_ERROR(start_controller());
  FLUX_RETURN_IF_ERROR(open_replicas());
  for (const auto& worker : workers_) worker->start();
  return {};
}

Status NodeImpl::start_controller() {
  raft::Membership founding;
  if (!identity_.joined) {
    for (const FounderRecord& founder : identity_.founders) founding.voters.insert(founder.id);
  }
  FLUX_TRY(std::unique_ptr<engine::Engine> engine, make_engine(kControlGroup));
  Worker& worker = owner(kControlGroup);
  FLUX_RETURN_IF_ERROR(worker.add_group(kControlGroup, {.engine = std::move(engine),
                                                        .founding = std::move(founding),
                                                        .promised = identity_.boot > 1,
                                                        .control = &control_machine_}));
  controller_ = std::make_unique<Controller>(identity_, options_, worker.loop(), *worker.find(kControlGroup),
                                             control_machine_, [this](const ChartPtr& chart) { on_chart(chart); });
  return {};
}

NodeStats NodeImpl::stats() const {
  return {.wal = wal_->stats(),
          .sync = persister_->stats(),
          .log_full = admission_->log_full(),
          .memory_used_bytes = admission_->memory_used()};
}

void NodeImpl::drain(env::Task done) {
  draining_ = true;
  struct Drain {
    env::Task done;
    env::TimerId timeout;
  };
  env::Loop& loop = *world_.loops.front();
  auto state = std::make_shared<Drain>(Drain{.done = std::move(done), .timeout = {}});
  const auto finish = [state, &loop] {
    if (!state->done) return;
    loop.cancel(state->timeout);
    std::exchange(state->done, nullptr)();
  };
  state->timeout = loop.call_after(kDrainTimeout, finish);
  owner(kControlGroup).loop().post([this] { controller_->be_quiet(); });
  // Every worker hands over what it leads; the last to be done ends the drain.
  auto left = std::make_shared<std::atomic<size_t>>(1);
  const auto one_done = [left, &loop, finish] {
    if (--*left == 0) loop.post(finish);
  };
  auto workers = std::make_shared<std::atomic<size_t>>(workers_.size());
  for (const auto& worker : workers_) {
    worker->loop().post([&worker = *worker, left, workers, one_done] {
      for (const auto& [id, group] : worker.groups()) {
        if (!group->leads() || group->core().membership().members().size() < 2) continue;
        ++*left;
        log::info("group {}: handing leadership over before the stop", id);
        group->transfer(kNobody, [one_done, number = id](const Status& status) {
          if (!status.ok()) log::warn("group {}: leadership was not handed over: {}", number, status.to_string());
          one_done();
        });
      }
      if (--*workers == 0) one_done();
    });
  }
}

Status NodeImpl::close() {
  persister_->stop();
  acceptor_.reset();
  controller_.reset();
  routers_.clear();
  admin_services_.clear();
  workers_.clear();
  if (rocks_) FLUX_RETURN_IF_ERROR(rocks_->flush());
  return wal_->close();
}

}  // namespace flux::node
