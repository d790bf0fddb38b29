// What a leader knows of one peer, and how it may send to it.
//
//   probe      does not know where the logs agree: one append, then waits for an answer or a heartbeat's
//   replicate  knows: sends ahead, within the window
//   snapshot   the peer needs what the log no longer has: waits for the driver to stream a snapshot
#pragma once

#include <cstdint>
#include <deque>
#include <string_view>

#include "base/log_entry.h"
#include "base/types.h"

namespace flux::raft {

enum class ProgressState : uint8_t { kProbe, kReplicate, kSnapshot };
std::string_view to_string(ProgressState state);

// Appends under way to one peer. Bounded by the caller through full().
class Inflight {
 public:
  void add(Index last, size_t bytes);
  // The peer has everything up to `index`.
  void release(Index index);
  // One message may have been lost: make room so that the peer is spoken to.
  void release_oldest();
  void clear();
  bool full(size_t messages_max, size_t bytes_max) const { return sent_.size() >= messages_max || bytes_ >= bytes_max; }
  size_t messages() const { return sent_.size(); }
  size_t bytes() const { return bytes_; }

 private:
  struct Sent {
    Index last;
    size_t bytes;
  };
  std::deque<Sent> sent_;  // Invariant: last ascending.
  size_t bytes_ = 0;
};

// Part of one core; not thread-safe.
struct Progress {
  ProgressState state = ProgressState::kProbe;
  // Durable at the peer and equal to the leader's log up to here. Never goes back within a stay.
  Index match;
  // First entry to send. Invariant: match < next.
  Index next;
  // Probe: an append is on its way.
  bool probe_sent = false;
  // Replicate: what is on its way.
  Inflight inflight;
  // The driver is streaming; it comes back in SnapshotSent, whatever the state is by then.
  bool snapshot_streaming = false;
  // No snapshot is asked for before then, after one failed.
  MonoTime snapshot_retry_at;
  uint32_t snapshot_failures = 0;

  // When its newest answer of this term came in; the start of the term or of its membership before that.
  MonoTime heard;
  // It has answered in this term.
  bool answered = false;
  // Membership::since of the peer. It is sent nothing from before, and answers to an earlier stay do not count: the
  // node may have lost its log in between.
  Index since;
  // Newest leadership round that it has answered.
  uint64_t round = 0;
  // match when it last answered a heartbeat: if that does not move, something sent was lost.
  Index match_at_heartbeat;
  // Highest commit index it was told, and that it has to know for its own reads.
  Index commit_sent;
  Index reads;

  void become_probe();
  void become_replicate();
  void become_snapshot();

  // An append up to `last` was sent.
  void on_sent(Index last, size_t bytes);
  // The peer has the log up to `index`. Returns whether that is news.
  bool on_accept(Index index);
  // The peer has no `rejected`; `next_hint` is the entry to try next. Returns false for an old answer.
  bool on_reject(Index rejected, Index next_hint);
};

}  // namespace flux::raft
