// Requests on their way through a group.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/kv_service.h"
#include "api/read_codec.h"
#include "base/check.h"
#include "base/log_entry.h"
#include "base/status.h"
#include "base/types.h"
#include "kv/entry_codec.h"

namespace flux::node {

// Who waits for a write. Kept beside the entry that carries its bytes.
struct WriteWaiter {
  api::WriteDone done;  // empty: was answered because its time was over
  MonoTime deadline;
  size_t bytes = 0;  // of its request in the entry
  // What may become of a request that this group's replica here cannot carry out: passed on to the group's leader;
  // routed anew, if the group does not serve its keys. Whoever sent it here does otherwise what is left to do.
  bool may_forward = true;
  bool may_reroute = true;
  uint32_t attempts = 0;  // at finding a group
  // Has no keys to be routed by: it is for this group, or for nobody if that has gone.
  std::optional<GroupId> bound;
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

// The requests of an entry, and who waits for them. `visit` takes the waiter over.
template <typename Visit>
void for_each_request(std::string_view entry, std::vector<WriteWaiter>& waiters, Visit visit) {
  std::string_view left = entry.substr(kv::kEntryHeaderBytes);
  for (WriteWaiter& waiter : waiters) {
    FLUX_CHECK(waiter.bytes <= left.size());
    const std::string_view request = left.substr(0, waiter.bytes);
    left.remove_prefix(waiter.bytes);
    visit(request, std::move(waiter));
  }
}

// An entry that the core has been asked to append. The bytes are kept until it says whether it has.
struct ProposedEntry {
  SharedBytes data;
  std::vector<WriteWaiter> waiters;
};

// A read on its way, and who waits for it.
struct WaitingRead : api::OwnedRead {
  WaitingRead(const api::ReadRequest& request, api::ReadDone on_done, MonoTime until)
      : WaitingRead(api::OwnedRead(request), std::move(on_done), until) {}
  WaitingRead(api::OwnedRead read, api::ReadDone on_done, MonoTime until)
      : OwnedRead(std::move(read)), done(std::move(on_done)), deadline(until) {}
  static Result<WaitingRead> decode(std::string_view bytes, api::ReadDone on_done, MonoTime until);

  api::ReadDone done;
  MonoTime deadline;
  bool may_reroute = true;  // as WriteWaiter has it
  uint32_t attempts = 0;
};

// Waiters of entries that this node has appended as leader, in log order. They go on waiting when another leads: what
// is applied at the entry's index is the entry, and the write has happened, or is not, and it never will.
class Waiters {
 public:
  struct Entry {
    EntryId id;
    std::vector<WriteWaiter> waiters;
  };
  // Returns those of entries that are not before this one: they were appended while the node led earlier and had left
  // its log when it came to lead again. Nothing that follows here tells what has become of them.
  [[nodiscard]] std::vector<WriteWaiter> add(EntryId id, std::vector<WriteWaiter> waiters);
  // The waiters of an entry that is being applied, and those of entries that it has replaced: `lost`.
  std::vector<WriteWaiter> resolve(EntryId id, std::vector<WriteWaiter>& lost);
  // Those of entries up to there: a snapshot has taken the place of the log, and which entries it was made of is not
  // known.
  std::vector<WriteWaiter> take_through(Index index);
  std::vector<WriteWaiter> take_all();
  // Those whose time is over. Their entries stay, and are resolved without them.
  std::vector<api::WriteDone> take_late(MonoTime now);
  bool waits_for(EntryId id) const { return !entries_.empty() && entries_.front().id.index <= id.index; }
  bool empty() const { return entries_.empty(); }

 private:
  std::deque<Entry> entries_;
};

}  // namespace flux::node
