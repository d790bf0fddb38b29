#include "node/requests.h"

#include <iterator>

#include "base/overloaded.h"

namespace flux::node {

WaitingRead::WaitingRead(const api::ReadRequest& request, api::Consistency level, api::ReadDone on_done, MonoTime until)
    : consistency(level), done(std::move(on_done)), deadline(until), kind_(Kind::kCount) {
  const auto keep = [this](std::string_view bytes) {
    bytes_.append(bytes);
    ends_.push_back(static_cast<uint32_t>(bytes_.size()));
  };
  std::visit(Overloaded{
                 [&](const api::GetRequest& get) {
                   kind_ = Kind::kGet;
                   ends_.reserve(get.keys.size());
                   for (const std::string_view key : get.keys) keep(key);
                 },
                 [&](const api::ScanRequest& scan) {
                   kind_ = Kind::kScan;
                   scan_ = scan;
                   keep(scan.start);
                   keep(scan.end);
                 },
                 [&](const api::CountRequest&) { kind_ = Kind::kCount; },
                 [&](const api::RandomKeyRequest&) { kind_ = Kind::kRandomKey; },
             },
             request.what);
}

api::ReadRequest WaitingRead::view(std::vector<std::string_view>& keys) const {
  keys.clear();
  uint32_t start = 0;
  for (const uint32_t end : ends_) {
    keys.push_back(std::string_view(bytes_).substr(start, end - start));
    start = end;
  }
  switch (kind_) {
    case Kind::kGet:
      return {.what = api::GetRequest{.keys = keys}, .consistency = consistency};
    case Kind::kScan: {
      api::ScanRequest scan = scan_;
      scan.start = keys.at(0);
      scan.end = keys.at(1);
      return {.what = scan, .consistency = consistency};
    }
    case Kind::kCount:
      return {.what = api::CountRequest{}, .consistency = consistency};
    case Kind::kRandomKey:
      break;
  }
  return {.what = api::RandomKeyRequest{}, .consistency = consistency};
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

std::vector<WriteWaiter> Waiters::take_all() {
  std::vector<WriteWaiter> all;
  for (Entry& entry : entries_) std::move(entry.waiters.begin(), entry.waiters.end(), std::back_inserter(all));
  entries_.clear();
  return all;
}

}  // namespace flux::node
