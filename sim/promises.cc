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
  const std::optional<Term> term = core.term_at(ack->index);
  if (term && ack->index > promised.log.index) promised.log = {.index = ack->index, .term = *term};
}

void Promises::voted(NodeId voter, Term term, NodeId candidate) {
  const auto [vote, fresh] = promised_[voter].votes.emplace(term, candidate);
  if (fresh || vote->second == candidate) return;
  report_(fmt::format("node {} votes for {} in term {}, in which it has voted for {}", voter, candidate, term,
                      vote->second));
}

void Promises::check_restart(const raft::Core& core) {
  const Promised& promised = promised_[core.id()];
  if (core.term() < promised.term) {
    report_(
        fmt::format("node {} comes back in term {} and has spoken in term {}", core.id(), core.term(), promised.term));
  }
  if (promised.log.index <= core.base_id().index || core.term_at(promised.log.index) == promised.log.term) return;
  report_(fmt::format("node {} comes back with its log at {} and has acknowledged {}", core.id(), core.last_id(),
                      promised.log));
}

void Promises::left(NodeId node) { promised_[node].log = {}; }

void Promises::withdraw_truncated(const raft::Core& core) {
  EntryId& log = promised_[core.id()].log;
  if (log.index <= core.base_id().index || core.term_at(log.index) == log.term) return;
  log = {.index = core.applied_index(), .term = *core.term_at(core.applied_index())};
}

}  // namespace flux::sim
