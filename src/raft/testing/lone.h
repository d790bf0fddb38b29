// One core without a driver or peers: the test plays both, step by step.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "raft/core.h"

namespace flux::raft::testing {

// A log of entries with these terms, from index 1 on.
inline std::vector<Entry> log_of(const std::vector<uint64_t>& terms, uint64_t first = 1) {
  std::vector<Entry> entries;
  for (const uint64_t term : terms) {
    entries.push_back({.index = Index(first++),
                       .term = Term(term),
                       .type = EntryType::kCommand,
                       .data = SharedBytes("t" + std::to_string(term))});
  }
  return entries;
}

inline EntryId id_of(uint64_t index, uint64_t term) { return {.index = Index(index), .term = Term(term)}; }

class Lone final : private LogReader {
 public:
  struct Setup {
    uint64_t voters = 3;
    std::vector<Entry> log = {};
    uint64_t term = 0;
    uint64_t vote = 0;
    uint64_t applied = 0;
    Options options = {};
  };

  explicit Lone(Setup setup) : disk_(std::move(setup.log)) {
    SnapshotMeta base;
    for (uint64_t node = 1; node <= setup.voters; ++node) base.membership.voters.insert(NodeId(node));
    const uint64_t term = disk_.empty() ? setup.term : std::max(setup.term, disk_.back().term.value());
    RestoreBuilder builder({.term = Term(term), .vote = NodeId(setup.vote)}, base);
    for (const Entry& entry : disk_) {
      const Status added = builder.add(entry.index, entry.term, entry.type, entry.data.view());
      FLUX_CHECK(added.ok());
    }
    setup.options.id = NodeId(1);
    setup.options.check_invariants = true;
    core_ = std::make_unique<Core>(setup.options, std::move(builder).build(Index(setup.applied)).value(),
                                   static_cast<LogReader&>(*this), Rng(7), now);
  }

  Lone(const Lone&) = delete;
  Lone& operator=(const Lone&) = delete;

  Core& core() { return *core_; }
  void step(Event event) { core_->step(now, std::move(event)); }
  void receive(uint64_t from, uint64_t term, MessageBody body) {
    step(Received{{.from = NodeId(from), .to = NodeId(1), .term = Term(term), .body = std::move(body)}});
  }
  Update take() { return core_->take_update(); }
  // Takes updates and reports their writes as durable until there is nothing left; returns what was sent.
  std::vector<Message> settle() {
    std::vector<Message> sent;
    while (core_->has_update()) {
      Update update = take();
      for (Message& message : update.send_now) sent.push_back(std::move(message));
      for (Message& message : update.send_after_persist) sent.push_back(std::move(message));
      for (Entry& entry : update.append) {
        disk_.resize(entry.index.value() - 1);
        disk_.push_back(std::move(entry));
      }
      for (const Entry& entry : update.committed) committed.push_back(entry.id());
      for (ReadResult& read : update.reads) reads.push_back(std::move(read));
      step(Persisted{update.number});
      if (!update.committed.empty()) step(Applied{update.committed.back().index});
    }
    return sent;
  }
  // Leads the next term, elected by node 2.
  void lead() {
    step(Campaign{});
    settle();
    receive(2, core_->term().value() + 1, VoteResult{.pre = true, .granted = true});
    settle();
    receive(2, core_->term().value(), VoteResult{.granted = true});
    settle();
    FLUX_CHECK(core_->role() == Role::kLeader);
  }
  void pass(Millis time) { now = now + time; }

  MonoTime now{Micros(1'000'000)};
  std::vector<EntryId> committed;
  std::vector<ReadResult> reads;

 private:
  Result<std::vector<Entry>> read(Index first, Index last, size_t) override {
    if (last.value() > disk_.size()) return Status(ErrorCode::kDataLoss, "not on disk");
    return std::vector<Entry>(disk_.begin() + static_cast<std::ptrdiff_t>(first.value() - 1),
                              disk_.begin() + static_cast<std::ptrdiff_t>(last.value()));
  }

  std::vector<Entry> disk_;
  std::unique_ptr<Core> core_;
};

// The messages of type T in `sent`, in order.
template <typename T>
std::vector<std::pair<Message, T>> all_of(const std::vector<Message>& sent) {
  std::vector<std::pair<Message, T>> found;
  for (const Message& message : sent) {
    if (const T* body = std::get_if<T>(&message.body)) found.emplace_back(message, *body);
  }
  return found;
}

}  // namespace flux::raft::testing
