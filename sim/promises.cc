#include "promises.h"

#include <fmt/core.h>

namespace flux::sim {
namespace {

// All messages but a pre-vote and its grant carry their sender's term.
bool speaks_in_own_term(const raft::Message& message) {
  if (const auto* vote = std::get_if<raft::Vote>(&message.body)) return !vote->pre;
  if (const auto* result = std::get_if<raft::VoteResult>(&message.body)) return !result->pre || !result->granted;
  return true;
}

}  // namespace

std::optional<Term> Promises::Promised::term_at(Index index) const {
  for (const EntryId& run : log) {
    if (index >= first && index <= run.index) return run.term;
  }
  return std::nullopt;
}

void Promises::Promised::acknowledge(const raft::Core& core, Index upto) {
  Index at = std::max(last().index + 1, core.base_id().index);
  if (log.empty()) first = at;
  for (; at <= upto; at = at + 1) {
    const Term written = *core.term_at(at);
    if (log.empty() || log.back().term != written) log.emplace_back();
    log.back() = {.index = at, .term = written};
  }
}

// What was acknowledged ends here at the latest.
void Promises::Promised::cut(EntryId last) {
  while (!log.empty() && log.back().index > last.index) log.pop_back();
  if (log.empty()) first = last.index;
  if (log.empty() || log.back().index < last.index) log.push_back(last);
}

void Promises::sending(const raft::Core& core, const raft::Message& message) {
  if (!speaks_in_own_term(message)) return;
  Promised& promised = promised_[message.from];
  promised.term = std::max(promised.term, message.term);
  if (std::holds_alternative<raft::Vote>(message.body)) voted(message.from, message.term, message.from);
  if (const auto* result = std::get_if<raft::VoteResult>(&message.body); result != nullptr && result->granted) {
    voted(message.from, message.term, message.to);
  }
  const auto* ack = std::get_if<raft::AppendResult>(&message.body);
  // One that was meant for an older leader may speak of entries that are gone by now.
  if (ack == nullptr || !ack->accepted || message.term != core.term()) return;
  if (core.term_at(ack->index)) promised.acknowledge(core, ack->index);
}

void Promises::voted(NodeId voter, Term term, NodeId candidate) {
  const auto [vote, fresh] = promised_[voter].votes.emplace(term, candidate);
  if (fresh || vote->second == candidate) return;
  report_(fmt::format("node {} votes for {} in term {}, in which it has voted for {}", voter, candidate, term,
                      vote->second));
}

void Promises::check_restart(const raft::Core& core) {
  Promised& promised = promised_[core.id()];
  if (core.term() < promised.term) {
    report_(
        fmt::format("node {} comes back in term {} and has spoken in term {}", core.id(), core.term(), promised.term));
  }
  // It has installed a snapshot that a later leader's log stands behind, and then its process ended.
  const EntryId base = core.base_id();
  if (const std::optional<Term> term = promised.term_at(base.index); term && *term != base.term) promised.cut(base);
  const EntryId last = promised.last();
  if (last.index <= base.index || core.term_at(last.index) == last.term) return;
  report_(
      fmt::format("node {} comes back with its log at {} and has acknowledged {}", core.id(), core.last_id(), last));
}

void Promises::left(NodeId node) { promised_[node].log = {}; }

void Promises::withdraw_truncated(const raft::Core& core) {
  Promised& promised = promised_[core.id()];
  const EntryId last = promised.last();
  if (last.index <= core.base_id().index || core.term_at(last.index) == last.term) return;
  promised.cut({.index = core.applied_index(), .term = *core.term_at(core.applied_index())});
}

}  // namespace flux::sim
