#include "raft/progress.h"

#include <algorithm>

#include "base/check.h"

namespace flux::raft {

std::string_view to_string(ProgressState state) {
  switch (state) {
    case ProgressState::kProbe:
      return "probe";
    case ProgressState::kReplicate:
      return "replicate";
    case ProgressState::kSnapshot:
      return "snapshot";
  }
  return "?";
}

void Inflight::add(Index last, size_t bytes) {
  FLUX_CHECK(sent_.empty() || sent_.back().last <= last);
  sent_.push_back({.last = last, .bytes = bytes});
  bytes_ += bytes;
}

void Inflight::release(Index index) {
  while (!sent_.empty() && sent_.front().last <= index) release_oldest();
}

void Inflight::release_oldest() {
  if (sent_.empty()) return;
  bytes_ -= sent_.front().bytes;
  sent_.pop_front();
}

void Inflight::clear() {
  sent_.clear();
  bytes_ = 0;
}

void Progress::become_probe() {
  state = ProgressState::kProbe;
  next = match + 1;
  probe_sent = false;
  inflight.clear();
}

void Progress::become_replicate() {
  state = ProgressState::kReplicate;
  next = match + 1;
  probe_sent = false;
  inflight.clear();
  snapshot_failures = 0;
}

void Progress::become_snapshot() {
  state = ProgressState::kSnapshot;
  next = match + 1;
  probe_sent = false;
  inflight.clear();
}

void Progress::on_sent(Index last, size_t bytes) {
  if (state == ProgressState::kProbe) {
    probe_sent = true;
  } else {
    FLUX_CHECK(state == ProgressState::kReplicate);
    inflight.add(last, bytes);
    next = std::max(next, last + 1);
  }
}

bool Progress::on_accept(Index index) {
  inflight.release(index);
  if (index <= match) return false;
  match = index;
  next = std::max(next, index + 1);
  return true;
}

bool Progress::on_reject(Index rejected, Index next_hint) {
  if (state == ProgressState::kReplicate) {
    // Something sent ahead was lost; what is acknowledged stays so.
    if (rejected <= match) return false;
    become_probe();
    return true;
  }
  if (state == ProgressState::kSnapshot) return false;
  if (rejected != next - 1) return false;
  next = std::max(match + 1, std::min(next_hint, rejected));
  probe_sent = false;
  return true;
}

}  // namespace flux::raft
