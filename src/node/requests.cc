#include "node/requests.h"

#include <iterator>

namespace flux::node {

Result<WaitingRead> WaitingRead::decode(std::string_view bytes, api::ReadDone on_done, MonoTime until) {
  FLUX_TRY(api::OwnedRead read, api::OwnedRead::decode(bytes));
  return WaitingRead(std::move(read), std::move(on_done), until);
}

std::vector<WriteWaiter> Waiters::add(EntryId id, std::vector<WriteWaiter> waiters) {
  std::vector<WriteWaiter> overtaken;
  for (; !entries_.empty() && entries_.back().id.index >= id.index; entries_.pop_back()) {
    FLUX_CHECK(entries_.back().id.term < id.term);
    std::vector<WriteWaiter>& back = entries_.back().waiters;
    std::move(back.begin(), back.end(), std::back_inserter(overtaken));
  }
  entries_.push_back({.id = id, .waiters = std::move(waiters)});
  return overtaken;
}

std::vector<WriteWaiter> Waiters::resolve(EntryId id, std::vector<WriteWaiter>& lost) {
  while (!entries_.empty() && entries_.front().id.index <= id.index) {
    Entry front = std::move(entries_.front());
    entries_.pop_front();
    if (front.id == id) return std::move(front.waiters);
    std::move(front.waiters.begin(), front.waiters.end(), std::back_inserter(lost));
  }
  return {};
}

std::vector<api::WriteDone> Waiters::take_late(MonoTime now) {
  std::vector<api::WriteDone> late;
  for (Entry& entry : entries_) {
    bool in_time = false;
    for (WriteWaiter& waiter : entry.waiters) {
      if (!waiter.done) continue;
      if (waiter.deadline <= now) {
        late.push_back(std::exchange(waiter.done, nullptr));
      } else {
        in_time = true;
      }
    }
    if (in_time) break;  // those behind it came later
  }
  return late;
}

std::vector<WriteWaiter> Waiters::take_through(Index index) {
  std::vector<WriteWaiter> all;
  for (; !entries_.empty() && entries_.front().id.index <= index; entries_.pop_front()) {
    std::vector<WriteWaiter>& front = entries_.front().waiters;
    std::move(front.begin(), front.end(), std::back_inserter(all));
  }
  return all;
}

std::vector<WriteWaiter> Waiters::take_all() { return take_through(Index(UINT64_MAX)); }

}  // namespace flux::node
