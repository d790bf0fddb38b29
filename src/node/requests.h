// Requests on their way through a group.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/kv_service.h"
#include "base/log_entry.h"
#include "base/types.h"

namespace flux::node {

// Who waits for a write. Kept beside the entry that carries its bytes.
struct WriteWaiter {
  api::WriteDone done;  // empty: was answered because its time was over
  MonoTime deadline;
  size_t bytes = 0;  // of its request in the entry
  // False for requests that another node forwarded to us: they go no further.
  bool may_forward = true;
};

// A write that has no leader to go to yet.
struct ParkedWrite {
  std::string request;  // encoded, kv/command_codec.h
  WriteWaiter waiter;
};

// An entry under construction: the requests that reach a group in one turn share it.
struct EntryDraft {
  std::string bytes;
  std::vector<WriteWaiter> waiters;  // one per request, in order
};

// An entry that the core has been asked to append. The bytes are kept until it says whether it has.
struct ProposedEntry {
  SharedBytes data;
  std::vector<WriteWaiter> waiters;
};

// A read that owns what it asks for.
class WaitingRead {
 public:
  WaitingRead(const api::ReadRequest& request, api::Consistency consistency, api::ReadDone on_done, MonoTime until);

  // The request; points into this object and `keys`, which must not be moved meanwhile.
  api::ReadRequest view(std::vector<std::string_view>& keys) const;

  api::Consistency consistency;
  api::ReadDone done;
  MonoTime deadline;

 private:
  enum class Kind : uint8_t { kGet, kScan, kCount, kRandomKey };
  Kind kind_;
  std::string bytes_;           // all keys, one after the other
  std::vector<uint32_t> ends_;  // where each ends
  api::ScanRequest scan_;       // without its views
};

// Waiters of entries that were appended, in log order.
class Waiters {
 public:
  struct Entry {
    EntryId id;
    std::vector<WriteWaiter> waiters;
  };
  // REQUIRES: id is after all that were added before.
  void add(EntryId id, std::vector<WriteWaiter> waiters) {
    entries_.push_back({.id = id, .waiters = std::move(waiters)});
  }
  // The waiters of an entry that is being applied, and those of entries before it, which another leader's entries have
  // replaced: `lost`.
  std::vector<WriteWaiter> resolve(EntryId id, std::vector<WriteWaiter>& lost);
  // All of them: leadership is lost, and with it the knowledge of what becomes of them.
  std::vector<WriteWaiter> take_all();
  // Those whose time is over. Their entries stay, and are resolved without them.
  std::vector<api::WriteDone> take_late(MonoTime now);
  bool waits_for(EntryId id) const { return !entries_.empty() && entries_.front().id.index <= id.index; }
  bool empty() const { return entries_.empty(); }

 private:
  std::deque<Entry> entries_;
};

}  // namespace flux::node
