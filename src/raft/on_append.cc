// The follower's side of the log (paper, section 5.3; Figure 2, AppendEntries).
#include "base/overloaded.h"
#include "base/probe.h"
#include "raft/core.h"

namespace flux::raft {
namespace {

// Consecutive after prev, terms ascending and within the message's, configurations readable.
bool well_formed(const Append& append, Term term) {
  EntryId last = append.prev;
  if (last.term > term) return false;
  for (const Entry& entry : append.entries) {
    if (entry.index != last.index + 1 || entry.term < last.term || entry.term > term) return false;
    if (entry.term == Term(0)) return false;
    switch (entry.type) {
      case EntryType::kNoop:
      case EntryType::kCommand:
        break;
      case EntryType::kConfig:
        if (!decode_config(entry.data.view()).ok()) return false;
        break;
    }
    last = entry.id();
  }
  return true;
}

}  // namespace

void Core::on_message(const Message& message, Append& append) {
  if (!well_formed(append, message.term)) return drop(message, "malformed");
  if (!follow(message)) return;
  leader_since_ = append.since;
  if (installing_) {
    FLUX_PROBE("an append meets an installation");
    trace("append from {} while a snapshot is installed -> ignore", message.from);
    return;
  }

  AppendResult result{.accepted = false, .index = append.prev.index, .round = append.round, .since = append.since};
  const auto accept_up_to = [&](Index index) {
    result.accepted = true;
    result.index = index;
    send(message.from, result, Durable::kLog);
  };
  if (membership().voters.empty()) {
    // We are new here and start with a snapshot, whatever an old message may bring.
    FLUX_PROBE("an append comes before the first snapshot");
    trace("append from {} before our first snapshot -> reject", message.from);
    return send(message.from, result);
  }
  size_t skip = 0;
  EntryId prev = append.prev;

  // What is committed here is the same everywhere: start from there, and never look at what was compacted.
  if (prev.index < commit_) {
    skip = static_cast<size_t>(commit_ - prev.index);
    if (skip > append.entries.size()) {
      FLUX_PROBE("a late append is behind the commit");
      trace("append from {} prev={} is behind commit {} -> accept that", message.from, prev, commit_);
      return accept_up_to(commit_);
    }
    prev = append.entries[skip - 1].id();
    if (!log_.contains(prev)) return drop(message, "contradicts a committed entry");
  }

  if (!log_.contains(prev)) {
    result.hint = log_.newest(prev.index, prev.term);
    const std::optional<Term> ours = log_.term_at(prev.index);
    if (ours) {
      FLUX_PROBE("an append does not agree with the log");
      trace("append from {} prev={} conflicts (ours {}^{}) -> reject, hint={}", message.from, prev, prev.index, *ours,
            result.hint);
    } else {
      trace("append from {} prev={} beyond our last {} -> reject, hint={}", message.from, prev, log_.last(),
            result.hint);
    }
    return send(message.from, result);
  }

  // Entries that are here already are left alone: an old, shorter append must not cut what a newer one brought.
  while (skip < append.entries.size() && log_.contains(append.entries[skip].id())) ++skip;
  const Index matched = append.prev.index + append.entries.size();
  if (skip < append.entries.size()) {
    const Index from = append.entries[skip].index;
    if (from <= log_.last().index) {
      FLUX_CHECK(from > commit_);
      trace("append from {} conflicts at {} (ours {}^{}) -> truncate", message.from, append.entries[skip].id(), from,
            *log_.term_at(from));
      FLUX_PROBE("a conflict cuts the log");
      log_.truncate(from);
      truncate_configs(from);
    }
    for (; skip < append.entries.size(); ++skip) {
      Entry& entry = append.entries[skip];
      const Index index = entry.index;
      if (entry.type == EntryType::kConfig) push_config(index, decode_config(entry.data.view()).value().membership);
      log_.append(std::move(entry));
    }
  }
  // Only what this append has matched is known to be the leader's.
  commit_to(std::min(append.commit, matched));
  accept_up_to(matched);
}

}  // namespace flux::raft
