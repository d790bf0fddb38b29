#include "node/group.h"

#include <fmt/core.h>

#include <algorithm>

#include "api/limits.h"
#include "base/log.h"
#include "base/probe.h"
#include "node/control_machine.h"

namespace flux::node {
namespace {

constexpr std::string_view kMembershipName = "membership";

raft::Options raft_options(const NodeOptions& options, NodeId self) {
  raft::Options raft;
  raft.id = self;
  raft.heartbeat_interval = options.heartbeat_interval;
  raft.idle_heartbeat_interval = options.idle_heartbeat_interval;
  raft.idle_after = options.idle_after;
  raft.election_timeout_min = options.election_timeout_min;
  raft.election_timeout_max = options.election_timeout_max;
  raft.leader_lease = options.read_consistency == api::Consistency::kLease;
  raft.clock_drift_ppm_max = raft.leader_lease ? options.clock_drift_ppm_max : 0;
  raft.entry_bytes_max = api::kEntryBytesMax;
  raft.append_bytes_max = options.append_bytes_max;
  raft.inflight_messages_max = options.appends_under_way_max;
  raft.check_invariants = options.check_invariants;
  return raft;
}

// Makes the core's decisions readable in the debug log.
class LogTracer final : public raft::Tracer {
 public:
  bool listens() const override { return log::enabled(log::Level::kDebug); }
  void trace(std::string_view line) override { log::debug("{}", line); }
};
LogTracer g_tracer;  // stateless

}  // namespace

Group::Group(GroupHost& host, GroupId id, wal::Wal& wal, std::unique_ptr<engine::Engine> engine, Rng rng,
             ControlMachine* control)
    : host_(host),
      id_(id),
      wal_(wal),
      engine_(std::move(engine)),
      control_(control),
      state_machine_(id, *engine_, host.options().limits, control,
                     control != nullptr ? kv::Sharding::kOff : kv::Sharding::kOn),
      rng_(rng) {}

Group::~Group() {
  *alive_ = false;
  host_.loop().cancel(timer);
  host_.loop().cancel(sweep_timer_);
}

Status Group::start(NodeId self, const raft::Membership& founding, bool promised) {
  FLUX_RETURN_IF_ERROR(state_machine_.load());
  raft::SnapshotMeta base{.last = state_machine_.applied(), .membership = founding};
  FLUX_TRY(const std::optional<std::string> stored, state_machine_.get_system(kMembershipName));
  if (stored) {
    Decoder decoder(*stored);
    base.membership = raft::decode_membership(decoder);
    FLUX_RETURN_IF_ERROR(decoder.finish("the stored membership"));
  }
  HardState hard_state;
  EntryId log_last;
  if (wal_.has_group(id_)) {
    const wal::GroupLogState state = wal_.state(id_);
    hard_state = state.hard_state;
    log_last = state.last;
    if (state.damage.any()) {
      FLUX_PROBE("a log has lost what was promised");
      halt(Status(ErrorCode::kDataLoss,
                  fmt::format("the log has lost {} that this node had promised; it must not vote. Remove this member, "
                              "empty its data directory and add it again",
                              state.damage.entries_lost ? fmt::format("entries from {} on", state.damage.lost_first)
                                                        : std::string("a vote"))));
    }
    if (state.base.index > base.last.index) {
      return Status(
          ErrorCode::kDataLoss,
          fmt::format("group {}: the log begins after {}, but the newest state that can be read is at {}: a "
                      "snapshot is missing or damaged. Remove this member, empty its data directory and add it "
                      "again",
                      id_, state.base, base.last));
    }
  }
  if (promised && !wal_.has_group(id_) && wal_.recovery().new_groups_lost) {
    halt(Status(
        ErrorCode::kDataLoss,
        "the log is damaged, and with it went all that this replica had promised; it must not vote. Replace this "
        "node"));
  }
  raft::RestoreBuilder builder(hard_state, base);
  if (wal_.has_group(id_)) {
    FLUX_RETURN_IF_ERROR(wal_.for_each(
        id_, [&](const Entry& entry) { return builder.add(entry.index, entry.term, entry.type, entry.data.view()); }));
  }
  FLUX_TRY(raft::Restore restore, std::move(builder).build(base.last.index));
  if (restore.last_id() != log_last) {
    // The log belongs to a history that a snapshot replaced, or ends before it; the crash came between the two. Also
    // where it ends at the snapshot's index: what is appended to another entry there is not found again.
    FLUX_PROBE("a crash came between a snapshot and the log");
    FLUX_RETURN_IF_ERROR(wal_.reset(id_, base.last));
  }
  last_snapshot_ = base.last;
  const raft::Options options = raft_options(host_.options(), self);
  FLUX_RETURN_IF_ERROR(options.validate());
  log::info("group {} starts at {} applied={} log-last={} {}", id_, hard_state.term, base.last, restore.last,
            raft::to_string(base.membership));
  core_ = std::make_unique<raft::Core>(options, std::move(restore), *this, rng_.fork(), host_.loop().now(), &g_tracer);
  host_.wake(*this);
  return {};
}

Result<std::vector<Entry>> Group::read(Index first, Index last, size_t bytes_max) {
  return wal_.read(id_, first, last, bytes_max);
}

// --- Inputs ----------------------------------------------------------------------------------------------------------

void Group::step(raft::Event event) {
  if (!halted_.ok()) return;
  // A process may stand still between its look at the clock and what it then reads from a peer. What this node promises
  // to a leader that it hears counts from when it was heard, or it would end before the leader's lease does.
  const bool heard = std::holds_alternative<raft::Received>(event);
  core_->step(clock(heard ? host_.loop().precise_now() : host_.loop().now()), std::move(event));
  // Many answers only confirm what is known.
  if (core_->has_update() || core_->next_deadline() < timer_at) host_.wake(*this);
}

// Time as the core sees it, which never goes back.
MonoTime Group::clock(MonoTime now) {
  clock_ = std::max(clock_, now);
  return clock_;
}

void Group::receive(raft::Message message) {
  if (!apart_) step(raft::Received{.message = std::move(message)});
}

void Group::send(const raft::Message& message) {
  if (!apart_) host_.send(id_, message);
}

void Group::on_timer() { step(raft::Tick{}); }

void Group::change_config(raft::ConfigChange change, api::AdminDone done) {
  const uint64_t ticket = next_ticket_++;
  admin_.emplace(ticket, std::move(done));
  step(raft::ConfigProposed{.ticket = ticket, .change = std::move(change)});
}

void Group::transfer(NodeId target, api::AdminDone done) {
  const uint64_t ticket = next_ticket_++;
  admin_.emplace(ticket, std::move(done));
  step(raft::TransferRequested{.ticket = ticket, .target = target});
}

void Group::offer(OfferedSnapshot snapshot) {
  if (apart_ || offered_ || install_ || !halted_.ok()) {
    host_.wake(*this);
    return;
  }
  offered_ = std::move(snapshot);
  step(raft::Received{.message = {.from = offered_->from,
                                  .to = core_->id(),
                                  .term = offered_->term,
                                  .body = raft::SnapshotOffer{.meta = offered_->meta}}});
}

Result<kv::ShardChunk> Group::export_shard(const kv::ExportRequest& request) {
  if (!halted_.ok()) return Status(ErrorCode::kUnavailable, "this replica has stopped: " + halted_.message());
  if (install_ || state_machine_.has_uncommitted()) {
    return Status(ErrorCode::kUnavailable, "this replica is about to change; try again");
  }
  if (leads()) trim_feed(request);
  return state_machine_.export_chunk(request);
}

// What the receiver says it has need not be kept.
void Group::trim_feed(const kv::ExportRequest& request) {
  for (const kv::ShardInfo& shard : state_machine_.shards()) {
    if (shard.shard != request.shard || !shard.feed || shard.feed_epoch != request.from.feed_epoch) continue;
    if (request.from.feed_next < shard.feed_first + host_.options().limits.feed_trim_records()) return;
    const std::string bytes = kv::encode(
        kv::TrimFeed{.shard = shard.shard, .epoch = request.from.feed_epoch, .through = request.from.feed_next});
    const api::Command commands[] = {api::ShardChange{.bytes = bytes}};
    return write({.commands = commands}, [](const api::WriteReply&) {});
  }
}

void Group::release_shard(ShardId shard, ConfigNum num, api::AdminDone done) {
  const std::string bytes = kv::encode(kv::Release{.shard = shard, .num = num});
  const api::Command commands[] = {api::ShardChange{.bytes = bytes}};
  write({.commands = commands}, [done = std::move(done)](const api::WriteReply& reply) mutable {
    if (!reply.status.ok()) return done(reply.status);
    const api::CommandResult& result = reply.results.at(0);
    done(result.code == ErrorCode::kOk ? Status() : Status(result.code, result.value));
  });
}

void Group::expire_requests(MonoTime now) {
  const Status unavailable(ErrorCode::kUnavailable, "no leader could be reached in time; a quorum of nodes is needed");
  while (!parked_.empty() && parked_.front().waiter.deadline <= now) {
    ParkedWrite write = std::move(parked_.front());
    parked_.pop_front();
    parked_bytes_ -= write.request.size();
    --requests_;
    write.waiter.done({.status = unavailable});
  }
  std::vector<WaitingRead> late;
  std::erase_if(parked_reads_, [&](WaitingRead& read) {
    if (read.deadline > now) return false;
    late.push_back(std::move(read));
    return true;
  });
  for (WaitingRead& read : late) {
    --requests_;
    read.done({.status = unavailable});
  }
  for (auto it = forwarded_.begin(); it != forwarded_.end();) {
    if (it->second.deadline > now) {
      ++it;
      continue;
    }
    api::WriteDone done = std::move(it->second.done);
    it = forwarded_.erase(it);
    --requests_;
    done({.status = Status(ErrorCode::kOutcomeUnknown, "the leader did not answer in time")});
  }
  // A leader that cannot commit: its disk is full, or those of a majority are.
  for (api::WriteDone& done : waiters_.take_late(now)) {
    --requests_;
    done({.status = Status(ErrorCode::kOutcomeUnknown, "the write was not committed in time; it may yet be")});
  }
  dispatch_parked();
}

// --- The seven steps ---

void Group::step_inputs() {
  if (!halted_.ok()) return;
  const MonoTime now = clock(host_.loop().now());
  for (; !drafts_.empty(); drafts_.pop_front()) {
    EntryDraft& draft = drafts_.front();
    kv::stamp_entry(draft.bytes, version_at(host_.loop().wall_now()));
    const uint64_t ticket = next_ticket_++;
    SharedBytes data(std::move(draft.bytes));
    proposed_.emplace(ticket, ProposedEntry{.data = data, .waiters = std::move(draft.waiters)});
    core_->step(now, raft::Proposal{.ticket = ticket, .data = std::move(data)});
  }
  draft_bytes_ = 0;
  if (!new_reads_.empty()) {
    // All reads of a turn share one confirmation; the strictest decides how.
    const bool lease = std::all_of(new_reads_.begin(), new_reads_.end(), [](const WaitingRead& read) {
      return read.consistency == api::Consistency::kLease;
    });
    const uint64_t ticket = next_ticket_++;
    asked_reads_.emplace(ticket, std::exchange(new_reads_, {}));
    core_->step(now, raft::ReadRequested{
                         .ticket = ticket,
                         .mode = lease ? raft::ReadMode::kLease : raft::ReadMode::kLinearizable,
                     });
  }
  if (core_->next_deadline() <= now) core_->step(now, raft::Tick{});
  take_updates();
}

void Group::take_updates() {
  // One bounded piece of what is committed a turn: a node that has much to catch up with goes on answering its peers.
  while (core_->has_update()) {
    updates_.push_back(core_->take_update());
    if (!updates_.back().committed.empty()) break;
  }
}

void Group::send_now() {
  if (!halted_.ok()) return;
  for (const raft::Update& update : updates_) {
    for (const raft::Message& message : update.send_now) send(message);
  }
}

bool Group::persist() {
  if (!halted_.ok()) updates_.clear();
  bool appended = false;
  for (raft::Update& update : updates_) {
    Status status;
    if (update.hard_state) status = wal_.set_hard_state(id_, *update.hard_state);
    if (status.ok() && !update.append.empty()) status = wal_.append(id_, update.append);
    if (!status.ok()) {
      halt(std::move(status).with("the log refused an append"));
      return appended;
    }
    appended = appended || update.needs_persist();
    if (update.needs_persist() || !update.send_after_persist.empty() || update.install_snapshot) {
      under_way_.push_back({.number = update.number,
                            .ticket = wal_.appended_through(),
                            .messages = std::move(update.send_after_persist),
                            .install = std::move(update.install_snapshot)});
      // It may wait for what something else has appended, such as a compaction.
      appended = appended || wal_.written_through() < under_way_.back().ticket;
    }
    for (raft::ProposalResult& result : update.proposals) on_proposal_result(result);
    for (raft::ReadResult& result : update.reads) on_read_result(result);
    for (raft::TransferResult& result : update.transfers) {
      if (auto node = admin_.extract(result.ticket)) node.mapped()(result.status);
    }
    for (const raft::SnapshotRequest& request : update.send_snapshots) host_.send_snapshot(*this, request);
    std::move(update.committed.begin(), update.committed.end(), std::back_inserter(committed_));
    if (update.role_change) on_role_change(*update.role_change);
    if (update.fatal) {
      halt(*update.fatal);
      break;
    }
  }
  // An offer that the core has seen and not taken up is declined.
  if (offered_ && !updates_.empty() && !install_) {
    const bool taken = std::any_of(under_way_.begin(), under_way_.end(),
                                   [](const UnderWay& under_way) { return under_way.install.has_value(); });
    if (!taken) offered_.reset();
  }
  updates_.clear();
  return appended;
}

void Group::send_after_persist(wal::Ticket durable) {
  if (!halted_.ok()) return;
  uint64_t persisted = 0;
  while (!under_way_.empty() && under_way_.front().ticket <= durable && !install_) {
    UnderWay& front = under_way_.front();
    for (const raft::Message& message : front.messages) send(message);
    if (front.installed) core_->step(clock(host_.loop().now()), raft::SnapshotPersisted{.meta = *front.installed});
    if (front.number != 0) persisted = front.number;
    install_ = std::move(front.install);
    under_way_.pop_front();
  }
  if (persisted != 0) core_->step(clock(host_.loop().now()), raft::Persisted{.number = persisted});
}

void Group::apply() {
  if (!halted_.ok()) return;
  std::vector<Entry> committed = std::exchange(committed_, {});
  if (committed.empty()) return;
  for (const Entry& entry : committed) {
    apply_entry(entry);
    if (!halted_.ok()) return;
  }
  if (Status status = state_machine_.commit(); !status.ok()) return halt(std::move(status).with("the engine failed"));
  core_->step(clock(host_.loop().now()), raft::Applied{.index = committed.back().index});
}

void Group::apply_entry(const Entry& entry) {
  const bool awaited = waiters_.waits_for(entry.id());
  replies_.clear();
  if (Status status = state_machine_.apply(entry, awaited ? &replies_ : nullptr); !status.ok()) {
    return halt(std::move(status).with("an entry cannot be applied"));
  }
  if (Observer* observer = host_.observer()) observer->applied(*this, entry);
  bytes_since_snapshot_ += entry.data.size() + 64;
  if (entry.type == EntryType::kConfig) {
    const Result<raft::ConfigRecord> record = raft::decode_config(entry.data.view());
    if (!record.ok()) return halt(record.status());
    std::string bytes;
    Encoder encoder(bytes);
    raft::encode(encoder, record->membership);
    state_machine_.put_system(kMembershipName, bytes);
    state_changed_ = true;
    log::info("group {}: {} is in force at {}", id_, raft::to_string(record->membership), entry.id());
  }
  // With the first entry of its own term a leader knows all that was committed before.
  if (entry.type == EntryType::kNoop) state_changed_ = true;
  if (!awaited) return;
  std::vector<WriteWaiter> lost;
  std::vector<WriteWaiter> waiters = waiters_.resolve(entry.id(), lost);
  // The entry that carried these was replaced by another leader's: it will never be applied.
  refuse(std::move(lost), Status(ErrorCode::kUnavailable, "the leader changed before the write was replicated"));
  // A change of the membership has no commands: that it is applied is the answer.
  if (entry.type == EntryType::kConfig) replies_.resize(waiters.size());
  FLUX_CHECK(waiters.empty() || waiters.size() == replies_.size());
  size_t at = kv::kEntryHeaderBytes;
  for (size_t i = 0; i < waiters.size(); ++i) {
    const size_t begin = std::exchange(at, at + waiters[i].bytes);
    if (!waiters[i].done) continue;
    if (replies_[i].status.code() == ErrorCode::kWrongShard && waiters[i].may_reroute) {
      FLUX_PROBE("a shard went between a request's proposal and its turn");
      --requests_;
      std::string request(entry.data.view().substr(begin, waiters[i].bytes));
      host_.reroute({.request = std::move(request), .waiter = std::move(waiters[i])});
      continue;
    }
    answers_.push_back({.done = std::move(waiters[i].done), .reply = std::move(replies_[i])});
  }
}

void Group::answer() {
  std::vector<Answer> answers = std::exchange(answers_, {});
  requests_ -= answers.size();
  for (Answer& answer : answers) answer.done(std::move(answer.reply));
  answer_reads();
  if (leads()) sweep_expired();
  const bool shards_changed = state_machine_.take_shards_changed();
  if (std::exchange(state_changed_, false) || shards_changed || (control_ != nullptr && control_->changed())) {
    host_.state_changed(*this);
  }
}

bool Group::more_to_do() const {
  return halted_.ok() && (core_->has_update() || !committed_.empty() || !drafts_.empty() || !new_reads_.empty());
}

// --- Changes of state ---

void Group::on_role_change(const raft::RoleChange& change) {
  log::info("group {} t{}: now {}, leader {}", id_, change.term, raft::to_string(change.role), change.leader);
  if (change.role != raft::Role::kLeader) {
    // Writes that were proposed go on waiting: the log tells what became of them, whoever leads.
    host_.loop().cancel(sweep_timer_);
    sweep_at_ = WallMillis(UINT64_MAX);
    sweeping_ = false;
  }
  state_changed_ = true;
  dispatch_parked();
}

void Group::installed(const raft::SnapshotMeta& meta, Status status) {
  FLUX_CHECK(install_ == meta);
  install_.reset();
  offered_.reset();
  if (status.ok()) status = state_machine_.load();
  if (!status.ok()) return halt(std::move(status).with("a snapshot could not be installed"));
  log::info("group {}: installed snapshot {}", id_, meta.last);
  last_snapshot_ = meta.last;
  bytes_since_snapshot_ = 0;
  state_changed_ = true;
  refuse_unknown(waiters_.take_through(meta.last.index));
  // The log's new beginning must be durable before the core promises on it.
  under_way_.push_front(
      {.number = 0, .ticket = wal_.appended_through(), .messages = {}, .install = {}, .installed = meta});
  host_.wake(*this);
}

void Group::install_declined(const raft::SnapshotMeta& meta, const Status& why) {
  FLUX_CHECK(install_ == meta);
  log::info("group {}: snapshot {} is not installed: {}", id_, meta.last, why.to_string());
  install_.reset();
  offered_.reset();
  step(raft::SnapshotRefused{.meta = meta});
}

void Group::snapshot_saved(EntryId last) {
  if (!halted_.ok() || last.index <= last_snapshot_.index) return;
  // At most a quarter of what came since the last snapshot: entries may be large.
  const uint64_t kept = std::min(host_.options().log_entries_kept, (last.index - last_snapshot_.index) / 4);
  last_snapshot_ = last;
  bytes_since_snapshot_ = 0;
  const Index base = core_->base_id().index;
  Index upto = last.index.value() > kept ? last.index - kept : Index(0);
  if (upto <= base) return;
  const EntryId id = core_->snapshot_meta(upto).last;
  if (Status status = wal_.compact(id_, id); !status.ok()) return halt(std::move(status));
  step(raft::Compacted{.last = id});
}

void Group::halt(Status why) {
  if (!halted_.ok()) return;
  log::error("group {}: {} -> this replica stops", id_, why.to_string());
  halted_ = std::move(why);
  // Nobody is left waiting: the core, which would have answered, is asked nothing any more.
  send_away(Status(ErrorCode::kUnavailable, "the replica has stopped"));
  host_.halted(*this, halted_);
}

void Group::send_away(const Status& why) {
  const Status unknown(ErrorCode::kOutcomeUnknown, "the replica has stopped before the outcome was known");
  std::vector<WriteWaiter> proposed = waiters_.take_all();
  for (auto& [ticket, entry] : std::exchange(proposed_, {})) {
    std::move(entry.waiters.begin(), entry.waiters.end(), std::back_inserter(proposed));
  }
  for (auto& [ticket, waiter] : std::exchange(forwarded_, {})) proposed.push_back(std::move(waiter));
  std::vector<WriteWaiter> gathered;
  for (EntryDraft& draft : std::exchange(drafts_, {})) {
    std::move(draft.waiters.begin(), draft.waiters.end(), std::back_inserter(gathered));
  }
  draft_bytes_ = 0;
  for (ParkedWrite& write : std::exchange(parked_, {})) gathered.push_back(std::move(write.waiter));
  parked_bytes_ = 0;
  refuse(std::move(proposed), unknown);
  refuse(std::move(gathered), why);
  refuse_reads(why);
  for (auto& [ticket, done] : std::exchange(admin_, {})) done(unknown);
}

void Group::count_operations(MonoTime now) {
  const Micros passed = now - loads_counted_;
  if (passed < Millis(1000)) return;
  loads_counted_ = now;
  std::map<ShardId, ShardLoad> loads;
  for (const kv::ShardInfo& shard : state_machine_.shards()) {
    const uint64_t before = loads_[shard.shard].counted;
    const uint64_t more = shard.operations > before ? shard.operations - before : 0;
    loads[shard.shard] = {.counted = shard.operations,
                          .per_second = more * 1'000'000 / static_cast<uint64_t>(passed.count())};
  }
  loads_ = std::move(loads);
}

uint64_t Group::operations_per_second(ShardId shard) const {
  const auto load = loads_.find(shard);
  return load == loads_.end() ? 0 : load->second.per_second;
}

void Group::retire() {
  if (!halted_.ok() || std::exchange(retiring_, true)) return;
  std::vector<ParkedWrite> writes;
  for (EntryDraft& draft : std::exchange(drafts_, {})) {
    for_each_request(draft.bytes, draft.waiters, [&](std::string_view request, WriteWaiter waiter) {
      writes.push_back({.request = std::string(request), .waiter = std::move(waiter)});
    });
  }
  draft_bytes_ = 0;
  for (ParkedWrite& write : std::exchange(parked_, {})) writes.push_back(std::move(write));
  parked_bytes_ = 0;
  requests_ -= writes.size();
  for (ParkedWrite& write : writes) send_elsewhere(std::move(write));
  for (WaitingRead& read : take_reads()) send_elsewhere(std::move(read));
}

void Group::end() {
  retire();
  ended_ = true;
  if (!halted_.ok()) return;
  halted_ = Status(ErrorCode::kUnavailable, "this node has no replica of the group any more");
  send_away(halted_);
}

api::GroupStatus Group::status() const {
  api::GroupStatus status;
  status.id = id_;
  status.shards = static_cast<uint64_t>(
      std::count_if(state_machine_.shards().begin(), state_machine_.shards().end(), [](const kv::ShardInfo& shard) {
        return shard.state == kv::ShardState::kServing || shard.state == kv::ShardState::kGcing;
      }));
  status.keys = engine_->count();
  status.snapshot_index = last_snapshot_.index;
  if (!halted_.ok()) status.halted = halted_.to_string();
  if (core_ == nullptr) return status;
  const raft::Membership& membership = core_->membership();
  status.role = membership.is_learner(core_->id()) ? "learner"
                : membership.contains(core_->id()) ? std::string(raft::to_string(core_->role()))
                                                   : "removed";
  status.term = core_->term();
  status.leader = core_->leader();
  status.commit_index = core_->commit_index();
  status.applied_index = core_->applied_index();
  status.first_index = core_->base_id().index + 1;
  status.last_index = core_->last_index();
  status.voters.assign(membership.voters.begin(), membership.voters.end());
  status.learners.assign(membership.learners.begin(), membership.learners.end());
  status.joint = membership.joint();
  status.idle = core_->idles();
  for (const raft::PeerStatus& peer : core_->peers(host_.loop().now())) {
    status.peers.push_back({.id = peer.id,
                            .state = std::string(raft::to_string(peer.state)),
                            .match = peer.match,
                            .recently_active = peer.recently_active});
  }
  return status;
}

}  // namespace flux::node
