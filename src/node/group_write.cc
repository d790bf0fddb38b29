// The way of a write into the log: gathered, proposed, awaited; or forwarded to the leader; or parked until there is
// one.
#include <fmt/core.h>

#include "api/limits.h"
#include "base/codec.h"
#include "base/probe.h"
#include "kv/entry_codec.h"
#include "node/group.h"

namespace flux::node {
namespace {

// Whether the group itself is meant, so that another has no use for it.
bool is_about_the_group(std::span<const api::Command> commands) {
  return std::any_of(commands.begin(), commands.end(), [](const api::Command& command) {
    return std::holds_alternative<api::ShardChange>(command) || std::holds_alternative<api::Control>(command);
  });
}

}  // namespace

Status Group::admit(bool erases_only) const {
  if (!halted_.ok()) return Status(ErrorCode::kUnavailable, "this replica has stopped: " + halted_.message());
  if (retiring_) return Status(ErrorCode::kUnavailable, "this node's replica of the group goes");
  if (requests_ >= api::kGroupRequestsMax) return Status(ErrorCode::kOverloaded, "too many requests are waiting");
  if (draft_bytes_ + parked_bytes_ >= api::kGroupQueuedBytesMax) {
    return Status(ErrorCode::kOverloaded, "too many bytes are waiting to be written");
  }
  return host_.admission().check(erases_only);
}

void Group::write(const api::WriteRequest& request, api::WriteDone done) {
  if (Status status = admit(api::erases_only(request.commands)); !status.ok())
    return done({.status = std::move(status)});
  WriteWaiter waiter{.done = std::move(done),
                     .deadline = host_.loop().now() + host_.options().request_timeout,
                     .may_reroute = !is_about_the_group(request.commands)};
  if (core_->may_propose().ok()) {
    EntryDraft& draft = open_draft();
    const size_t before = draft.bytes.size();
    if (Status status = api::append_request(draft.bytes, request); !status.ok()) {
      return waiter.done({.status = std::move(status)});
    }
    return draft_finished(std::move(waiter), before);
  }
  ParkedWrite write{.request = {}, .waiter = std::move(waiter)};
  if (Status status = api::append_request(write.request, request); !status.ok()) {
    return write.waiter.done({.status = std::move(status)});
  }
  count_request();
  route(std::move(write));
}

void Group::write_encoded(std::string request, bool erases_only, Origin origin, api::WriteDone done) {
  WriteWaiter waiter{.done = std::move(done),
                     .deadline = host_.loop().now() + host_.options().request_timeout,
                     .may_forward = origin != Origin::kPeer,
                     .may_reroute = origin == Origin::kHere};
  submit({.request = std::move(request), .waiter = std::move(waiter)}, erases_only);
}

void Group::submit(ParkedWrite write, bool erases_only) {
  if (halted_.ok() && retiring_) return send_elsewhere(std::move(write));
  if (Status status = admit(erases_only); !status.ok()) return write.waiter.done({.status = std::move(status)});
  count_request();
  route(std::move(write));
}

EntryDraft& Group::open_draft() {
  if (drafts_.empty() || drafts_.back().bytes.size() >= api::kEntryBytesTarget) {
    kv::begin_entry(drafts_.emplace_back().bytes);
  }
  return drafts_.back();
}

void Group::draft_finished(WriteWaiter waiter, size_t bytes_before) {
  EntryDraft& draft = drafts_.back();
  const size_t size = draft.bytes.size() - bytes_before;
  if (bytes_before > kv::kEntryHeaderBytes && draft.bytes.size() > api::kEntryBytesMax) {
    // It does not fit behind the others: it begins an entry of its own.
    const std::string request = draft.bytes.substr(bytes_before);
    draft.bytes.resize(bytes_before);
    kv::begin_entry(drafts_.emplace_back().bytes);
    drafts_.back().bytes.append(request);
  }
  waiter.bytes = size;
  drafts_.back().waiters.push_back(std::move(waiter));
  draft_bytes_ += size;
  count_request();
  host_.wake(*this);
}

void Group::route(ParkedWrite write) {
  if (retiring_) {
    --requests_;
    return send_elsewhere(std::move(write));
  }
  if (core_->may_propose().ok()) {
    EntryDraft& draft = open_draft();
    const size_t before = draft.bytes.size();
    draft.bytes.append(write.request);
    --requests_;  // draft_finished() counts it again
    return draft_finished(std::move(write.waiter), before);
  }
  if (!write.waiter.may_forward) {
    --requests_;
    return write.waiter.done({.status = Status(ErrorCode::kNotLeader, "this node does not lead the group")});
  }
  const NodeId leader = core_->leader();
  if (leader == kNobody || leader == core_->id()) return park(std::move(write));
  forward(std::move(write));
}

void Group::forward(ParkedWrite write) {
  const uint64_t ticket = next_ticket_++;
  const NodeId leader = core_->leader();
  std::string request = std::move(write.request);
  forwarded_.emplace(ticket, std::move(write.waiter));
  // The request is kept by the callback, for a leader that turns out not to be one.
  auto kept = std::make_unique<std::string>(std::move(request));
  const std::string_view bytes = *kept;
  host_.forward_write(leader, id_, bytes,
                      [this, alive = alive_, ticket, kept = std::move(kept)](Result<std::string_view> answer) {
                        if (!*alive) return;
                        auto node = forwarded_.extract(ticket);
                        if (node.empty()) return;  // its time was over
                        api::WriteReply reply;
                        if (!answer.ok()) {
                          reply.status = answer.status();
                        } else if (!api::decode_results(*answer, reply).ok()) {
                          reply.status = Status(ErrorCode::kOutcomeUnknown, "the leader's answer is malformed");
                        }
                        const ErrorCode code = reply.status.code();
                        if (code == ErrorCode::kNotLeader || (!answer.ok() && code == ErrorCode::kUnavailable)) {
                          FLUX_PROBE("a forwarded write comes back unproposed");
                          return park({.request = std::move(*kept), .waiter = std::move(node.mapped())});
                        }
                        --requests_;
                        if (code == ErrorCode::kWrongShard && node.mapped().may_reroute) {
                          return host_.reroute({.request = std::move(*kept), .waiter = std::move(node.mapped())});
                        }
                        node.mapped().done(std::move(reply));
                      });
}

void Group::send_elsewhere(ParkedWrite write) {
  if (write.waiter.may_reroute) return host_.reroute(std::move(write));
  write.waiter.done({.status = Status(ErrorCode::kNotLeader, "this node's replica of the group goes")});
}

void Group::park(ParkedWrite write) {
  if (retiring_) {
    --requests_;
    return send_elsewhere(std::move(write));
  }
  FLUX_PROBE("a write waits for a leader");
  parked_bytes_ += write.request.size();
  parked_.push_back(std::move(write));
  host_.wake(*this);
}

void Group::dispatch_parked() {
  if (!halted_.ok()) return;
  if (!parked_reads_.empty() && core_->leader() != kNobody) {
    for (WaitingRead& read : std::exchange(parked_reads_, {})) new_reads_.push_back(std::move(read));
    host_.wake(*this);
  }
  const NodeId leader = core_->leader();
  if (leader == kNobody) return;
  // Once each: what comes back to the queue waits for the next occasion.
  for (size_t n = parked_.size(); n > 0; --n) {
    ParkedWrite write = std::move(parked_.front());
    parked_.pop_front();
    parked_bytes_ -= write.request.size();
    route(std::move(write));
  }
}

void Group::refuse(std::vector<WriteWaiter> waiters, const Status& status) {
  for (WriteWaiter& waiter : waiters) {
    if (!waiter.done) continue;
    --requests_;
    waiter.done({.status = status});
  }
}

void Group::refuse_unknown(std::vector<WriteWaiter> waiters) {
  refuse(std::move(waiters), Status(ErrorCode::kOutcomeUnknown,
                                    "leadership was lost before the write was known to be committed; it may yet be"));
}

void Group::on_proposal_result(raft::ProposalResult& result) {
  if (auto change = admin_.extract(result.ticket)) {
    if (!result.status.ok()) return change.mapped()(result.status);
    // Appended is not committed: another leader may replace the entry.
    std::vector<WriteWaiter> waiters;
    waiters.push_back(
        {.done = [done = std::move(change.mapped())](const api::WriteReply& reply) mutable { done(reply.status); },
         .deadline = host_.loop().now() + host_.options().request_timeout});
    count_request();
    return refuse_unknown(waiters_.add(result.id, std::move(waiters)));
  }
  auto node = proposed_.extract(result.ticket);
  FLUX_CHECK(!node.empty());
  const ErrorCode code = result.status.code();
  if (code == ErrorCode::kOk) {
    return refuse_unknown(waiters_.add(result.id, std::move(node.mapped().waiters)));
  }
  if (code != ErrorCode::kNotLeader && code != ErrorCode::kUnavailable) {
    return refuse(std::move(node.mapped().waiters), result.status);
  }
  FLUX_PROBE("leadership went before the proposal");
  // Leadership went, or began to be handed over, between gathering and proposing: the requests were definitely not
  // proposed and go to the next leader.
  for_each_request(node.mapped().data.view(), node.mapped().waiters,
                   [this](std::string_view request, WriteWaiter waiter) {
                     route({.request = std::string(request), .waiter = std::move(waiter)});
                   });
}

}  // namespace flux::node
