#include <fmt/core.h>

#include <algorithm>

#include "api/limits.h"
#include "base/log.h"
#include "engine/memory/memory_engine.h"
#include "node/node_impl.h"

namespace flux::node {
namespace {

// How often a node looks whether the others know its addresses.
constexpr Micros kAnnounceInterval = Millis(100);
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
  if (persister_) persister_->stop();
  acceptor_.reset();
  kv_services_.clear();
  admin_services_.clear();
  workers_.clear();
}

Status NodeImpl::start(const JoinTicket* ticket) {
  FLUX_RETURN_IF_ERROR(world_.fs.create_dirs(options_.data_dir));
  FLUX_TRY(lock_, world_.fs.lock_dir(options_.data_dir));
  FLUX_TRY(identity_, open_identity(world_.fs, options_, ticket, world_.entropy));
  FLUX_TRY(known_peers_, KnownPeers::open(world_.fs, options_.data_dir));
  for (const FounderRecord& founder : identity_.founders) {
    directory_.put({.id = founder.id, .name = founder.name, .peer_address = founder.address});
  }
  FLUX_RETURN_IF_ERROR(check_log_is_there(world_.fs, options_, identity_));
  FLUX_RETURN_IF_ERROR(open_storage());
  FLUX_RETURN_IF_ERROR(count_boot(world_.fs, options_, identity_, world_.entropy));
  FLUX_RETURN_IF_ERROR(start_workers());
  FLUX_TRY(acceptor_, net::PeerAcceptor::listen(world_.network, world_.loops, options_.listen_peer,
                                                {.frame_bytes_max = api::kPeerFrameBytesMax}, *this));
  announce_self();
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
      .records_changed = [this](Group& group) { on_records(group); },
  });
  for (size_t i = 0; i < world_.loops.size(); ++i) {
    workers_.push_back(std::make_unique<Worker>(*shared_, *world_.loops[i], i));
    kv_services_.push_back(make_kv_service(*this, i));
    admin_services_.push_back(make_admin_service(*this, i));
  }
  raft::Membership founding;
  if (!identity_.joined) {
    for (const FounderRecord& founder : identity_.founders) founding.voters.insert(founder.id);
  }
  FLUX_TRY(std::unique_ptr<engine::Engine> engine, make_engine(kDataGroup));
  FLUX_RETURN_IF_ERROR(owner(kDataGroup).add_group(kDataGroup, std::move(engine), founding));
  on_records(*owner(kDataGroup).find(kDataGroup));
  for (const auto& worker : workers_) worker->start();
  return {};
}

void NodeImpl::on_records(Group& group) {
  const auto records = group.state_machine().meta(kNodeRecordPrefix);
  if (!records.ok()) return log::error("group {}: {}", group.id(), records.status().to_string());
  for (const auto& [name, value] : *records) {
    const Result<api::NodeRecord> record = decode_node_record(value);
    if (!record.ok()) {
      log::error("group {}: record '{}': {}", group.id(), name, record.status().to_string());
      continue;
    }
    if (record->id == identity_.node) announced_ = value;
    // An empty address marks a node that was removed.
    record->peer_address.empty() ? directory_.erase(record->id) : directory_.put(*record);
  }
}

void NodeImpl::announce_self() {
  env::Loop& loop = owner(kDataGroup).loop();
  loop.call_after(kAnnounceInterval, [this] {
    announce_self();
    Group* group = owner(kDataGroup).find(kDataGroup);
    if (group == nullptr || announcing_ || draining_ || !group->halt_reason().ok()) return;
    if (group->core().leader() == kNobody || !group->core().membership().contains(identity_.node)) return;
    const std::string record = encode_node_record({.id = identity_.node,
                                                   .name = identity_.name,
                                                   .peer_address = options_.advertise_peer.to_string(),
                                                   .resp_address = options_.advertise_resp,
                                                   .http_address = options_.advertise_http});
    if (record == announced_) return;
    announcing_ = true;
    const std::string name = node_record_name(identity_.node);
    const api::Command commands[] = {api::PutMeta{.name = name, .value = record}};
    group->write({.commands = commands}, [this](const api::WriteReply&) { announcing_ = false; });
  });
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
  Worker& worker = owner(kDataGroup);
  worker.loop().post([&worker, &loop, finish] {
    Group* group = worker.find(kDataGroup);
    const bool alone = group == nullptr || !group->leads() || group->core().membership().members().size() < 2;
    if (alone) return loop.post(finish);
    log::info("group {}: handing leadership over before the stop", group->id());
    group->transfer(kNobody, [&loop, finish](const Status& status) {
      if (!status.ok()) log::warn("leadership was not handed over: {}", status.to_string());
      loop.post(finish);
    });
  });
}

Status NodeImpl::close() {
  persister_->stop();
  acceptor_.reset();
  kv_services_.clear();
  admin_services_.clear();
  workers_.clear();
  if (rocks_) FLUX_RETURN_IF_ERROR(rocks_->flush());
  return wal_->close();
}

}  // namespace flux::node
