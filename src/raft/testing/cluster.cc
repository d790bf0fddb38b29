#include "raft/testing/cluster.h"

namespace flux::raft::testing {

std::vector<ConfigStep> steps(std::initializer_list<std::pair<ConfigStepKind, uint64_t>> list) {
  std::vector<ConfigStep> out;
  for (const auto& [kind, node] : list) out.push_back({.kind = kind, .node = NodeId(node)});
  return out;
}

void Cluster::bootstrap(uint64_t voters, uint64_t learners) {
  Disk disk;
  for (uint64_t id = 1; id <= voters; ++id) disk.base.membership.voters.insert(NodeId(id));
  for (uint64_t id = voters + 1; id <= voters + learners; ++id) disk.base.membership.learners.insert(NodeId(id));
  for (uint64_t id = 1; id <= voters + learners; ++id) add(NodeId(id), disk);
}

Replica& Cluster::add(NodeId id, Disk disk) {
  Options own = options;
  own.id = id;
  own.check_invariants = true;
  auto [at, fresh] =
      replicas_.insert_or_assign(id, std::make_unique<Replica>(own, std::move(disk), *this, rng_.next()));
  at->second->start(local_now(id.value()));
  return *at->second;
}

MonoTime Cluster::local_now(uint64_t id) const {
  const auto drift = clock_drift_ppm.find(id);
  if (drift == clock_drift_ppm.end()) return now;
  return now + Micros(now.since_start().count() * drift->second / 1'000'000);
}

bool Cluster::is_due(uint64_t id) { return at(id).alive() && core(id).next_deadline() <= local_now(id); }

void Cluster::crash(uint64_t id) {
  at(id).crash();
  open.erase(NodeId(id));
}

uint64_t Cluster::open_ticket(uint64_t id) {
  ++tickets_;
  if (at(id).alive()) open[NodeId(id)].insert(tickets_);
  return tickets_;
}

void Cluster::close_ticket(NodeId node, uint64_t ticket, std::string_view what) {
  if (open[node].erase(ticket) == 0) {
    violations.push_back(fmt::format("{} answers {} {} which is not open", node, what, ticket));
  }
}

void Cluster::step(uint64_t id, Event event) {
  if (at(id).alive()) at(id).step(local_now(id), std::move(event));
}

void Cluster::receive(uint64_t from, uint64_t to, uint64_t term, MessageBody body) {
  step(to, Received{Message{.from = NodeId(from), .to = NodeId(to), .term = Term(term), .body = std::move(body)}});
}

void Cluster::run(Micros duration) {
  const MonoTime end = now + duration;
  stabilize();
  while (true) {
    Micros wait = end - now + Micros(1);
    for (const auto& [id, replica] : replicas_) {
      if (!replica->alive() || replica->core().next_deadline() == MonoTime::infinite()) continue;
      wait = std::min(wait, replica->core().next_deadline() - local_now(id.value()));
    }
    if (now + wait > end) break;
    now = now + std::max(wait, Micros(1));
    for (const auto& [id, replica] : replicas_) {
      if (is_due(id.value())) tick(id.value());
    }
    stabilize();
  }
  now = std::max(now, end);
}

bool Cluster::deliver_one(const std::function<bool(const Message&)>& pick) {
  for (auto it = network_.begin(); it != network_.end(); ++it) {
    if (pick && !pick(*it)) continue;
    Message message = std::move(*it);
    network_.erase(it);
    const auto target = replicas_.find(message.to);
    if (target != replicas_.end()) step(message.to.value(), Received{message});
    return true;
  }
  return false;
}

size_t Cluster::drop(const std::function<bool(const Message&)>& pick) {
  return std::erase_if(network_, [&](const Message& message) { return !pick || pick(message); });
}

void Cluster::stabilize() {
  for (bool busy = true; busy;) {
    busy = deliver_one();
    for (const auto& [id, replica] : replicas_) {
      if (replica->alive() && replica->auto_persist) busy |= replica->persist_one(local_now(id.value()));
    }
    if (!auto_snapshot) continue;
    for (const auto& [from, request] : std::exchange(snapshot_requests, {})) {
      stream_snapshot(from.value(), request.to.value(), request.index_min);
      busy = true;
    }
  }
}

void Cluster::isolate(uint64_t id) {
  for (const auto& [other, replica] : replicas_) {
    if (other != NodeId(id)) cut_both(id, other.value());
  }
}

void Cluster::elect(uint64_t id) {
  campaign(id);
  stabilize();
  FLUX_CHECK(core(id).role() == Role::kLeader, "node {} did not win", id);
}

uint64_t Cluster::propose(uint64_t id, std::string data) {
  const uint64_t ticket = open_ticket(id);
  step(id, Proposal{.ticket = ticket, .data = SharedBytes(std::move(data))});
  return ticket;
}

uint64_t Cluster::propose_config(uint64_t id, std::vector<ConfigStep> change) {
  const uint64_t ticket = open_ticket(id);
  step(id, ConfigProposed{.ticket = ticket, .change = {.steps = std::move(change), .context = {}}});
  return ticket;
}

void Cluster::join(uint64_t leader, uint64_t id) {
  add_empty(NodeId(id));
  propose_config(leader, steps({{ConfigStepKind::kAddLearner, id}}));
  run(Micros(200'000));
}

uint64_t Cluster::read(uint64_t id, ReadMode mode) {
  const uint64_t ticket = open_ticket(id);
  read_floor_[ticket] = committed.empty() ? Index(0) : committed.rbegin()->first;
  step(id, ReadRequested{.ticket = ticket, .mode = mode});
  return ticket;
}

uint64_t Cluster::transfer(uint64_t id, uint64_t target) {
  const uint64_t ticket = open_ticket(id);
  step(id, TransferRequested{.ticket = ticket, .target = NodeId(target)});
  return ticket;
}

void Cluster::stream_snapshot(uint64_t from, uint64_t to, Index index_min) {
  if (!at(from).alive()) return;
  const auto [meta, state] = at(from).snapshot(index_min);
  const bool ok = at(to).alive() && !is_cut(NodeId(from), NodeId(to));
  if (ok) {
    const Message offer{.from = NodeId(from), .to = NodeId(to), .term = core(from).term(), .body = SnapshotOffer{meta}};
    at(to).offer(local_now(to), offer, state);
  }
  step(from, SnapshotSent{.to = NodeId(to), .index = meta.last.index, .ok = ok});
}

uint64_t Cluster::leader() const {
  NodeId best;
  Term term;
  for (const auto& [id, replica] : replicas_) {
    if (!replica->alive() || replica->core().role() != Role::kLeader || replica->core().term() < term) continue;
    best = id;
    term = replica->core().term();
  }
  return best.value();
}

std::vector<std::string> Cluster::applied_commands() const {
  std::vector<std::string> out;
  for (const auto& [index, item] : committed) {
    if (item.entry.type == EntryType::kCommand) out.emplace_back(item.entry.data.view());
  }
  return out;
}

// Log matching (paper, figure 3): where two logs agree on an entry's term they agree on all before it.
void Cluster::check_log_matching() {
  for (auto a = replicas_.begin(); a != replicas_.end(); ++a) {
    for (auto b = std::next(a); b != replicas_.end(); ++b) {
      if (!a->second->alive() || !b->second->alive()) continue;
      const Core& one = a->second->core();
      const Core& two = b->second->core();
      bool agreed = false;
      const Index low = std::max(one.base_id().index, two.base_id().index);
      for (Index index = std::min(one.last_index(), two.last_index()); index > low; --index) {
        const bool same = one.term_at(index) == two.term_at(index);
        if (agreed && !same)
          violations.push_back(fmt::format("logs of {} and {} differ at {}", a->first, b->first, index));
        agreed = agreed || same;
      }
    }
  }
}

void Cluster::on_send(const Message& message) {
  if (on_message_sent) on_message_sent(message);
  if (!is_cut(message.from, message.to)) network_.push_back(message);
}

void Cluster::on_trace(NodeId node, std::string_view line) {
  if (on_trace_line) on_trace_line(node, line);
}

// Election safety and leader completeness (paper, figure 3).
void Cluster::on_role(NodeId node, const RoleChange& change) {
  ++role_changes;
  if (change.role != Role::kLeader) return;
  const auto [known, fresh] = leaders.emplace(change.term, node);
  if (!fresh && known->second != node) {
    violations.push_back(fmt::format("{} and {} both lead term {}", known->second, node, change.term));
  }
  if (!fresh) return;
  ++counts["leader"];
  const Core& core = at(node.value()).core();
  for (auto it = committed.upper_bound(core.base_id().index); it != committed.end(); ++it) {
    if (it->second.entry.term >= change.term) continue;
    if (core.term_at(it->first) == it->second.entry.term) continue;
    violations.push_back(
        fmt::format("leader {} of term {} lacks committed {}", node, change.term, it->second.entry.id()));
  }
}

// State machine safety (paper, figure 3).
void Cluster::on_committed(NodeId node, const Entry& entry, uint64_t state) {
  const auto [known, fresh] = committed.emplace(entry.index, Committed{.entry = entry, .state = state});
  if (fresh && entry.type == EntryType::kConfig) ++counts["membership committed"];
  if (known->second.entry == entry && known->second.state == state) return;
  violations.push_back(fmt::format("{} applies {} where {} was", node, entry.id(), known->second.entry.id()));
}

void Cluster::on_installed(NodeId node, const SnapshotMeta& meta, uint64_t state) {
  ++counts["snapshot installed"];
  const auto known = committed.find(meta.last.index);
  if (known == committed.end()) {
    violations.push_back(fmt::format("{} installs {} which nobody committed", node, meta.last));
  } else if (known->second.state != state || known->second.entry.term != meta.last.term) {
    violations.push_back(fmt::format("{} installs another {}", node, meta.last));
  }
}

void Cluster::on_proposal(NodeId node, const ProposalResult& result) {
  close_ticket(node, result.ticket, "proposal");
  ++counts[fmt::format("proposal {}", to_string(result.status.code()))];
  proposals.emplace(result.ticket, result);
}

// Linearizable: a read sees everything that anybody had applied when it was asked for.
void Cluster::on_read(NodeId node, const ReadResult& result) {
  close_ticket(node, result.ticket, "read");
  ++counts[fmt::format("read {}", to_string(result.status.code()))];
  reads.emplace(result.ticket, result);
  if (result.status.ok() && result.index < read_floor_[result.ticket]) {
    violations.push_back(fmt::format("{} answers read {} at {} although {} was applied before it was asked", node,
                                     result.ticket, result.index, read_floor_[result.ticket]));
  }
}

void Cluster::on_transfer(NodeId node, const TransferResult& result) {
  close_ticket(node, result.ticket, "transfer");
  ++counts[fmt::format("transfer {}", to_string(result.status.code()))];
  transfers.emplace(result.ticket, result);
}

void Cluster::on_snapshot_request(NodeId node, const SnapshotRequest& request) {
  snapshot_requests.emplace_back(node, request);
}

void Cluster::on_violation(NodeId node, const std::string& what) {
  violations.push_back(fmt::format("{}: {}", node, what));
}

void Cluster::on_fatal(NodeId node, const Status& status) { fatals.emplace_back(node, status); }

}  // namespace flux::raft::testing
