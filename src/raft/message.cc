#include "raft/message.h"

#include <fmt/core.h>

#include "base/overloaded.h"

namespace flux::raft {
namespace {

std::string describe(const Append& m) {
  std::string entries;
  for (const Entry& entry : m.entries) {
    if (!entries.empty()) entries += ' ';
    entries += fmt::format("{}", entry.id());
    if (entry.type == EntryType::kNoop) entries += " noop";
    if (entry.type == EntryType::kConfig) entries += " config";
  }
  return fmt::format("prev={} commit={} round={} [{}]", m.prev, m.commit, m.round, entries);
}
std::string describe(const AppendResult& m) {
  if (m.accepted) return fmt::format("accepted {} round={}", m.index, m.round);
  return fmt::format("rejected {} hint={} round={}", m.index, m.hint, m.round);
}
std::string describe(const Vote& m) {
  return fmt::format("{}last={}{}", m.pre ? "pre " : "", m.last, m.transfer ? " transfer" : "");
}
std::string describe(const VoteResult& m) {
  return fmt::format("{}{}", m.pre ? "pre " : "", m.granted ? "granted" : "rejected");
}
std::string describe(const Heartbeat& m) {
  return fmt::format("commit={} round={}{}", m.commit, m.round, m.wants_reply ? "" : " no-reply");
}
std::string describe(const HeartbeatResult& m) { return fmt::format("round={}", m.round); }
std::string describe(const SnapshotOffer& m) { return fmt::format("{} {}", m.meta.last, to_string(m.meta.membership)); }
std::string describe(const TimeoutNow&) { return {}; }
std::string describe(const ReadIndex&) { return {}; }
std::string describe(const ReadIndexResult& m) { return m.ok ? fmt::format("{}", m.index) : "refused"; }

}  // namespace

std::string_view name_of(const MessageBody& body) {
  return std::visit(Overloaded{
                        [](const Append&) { return "append"; },
                        [](const AppendResult&) { return "append_result"; },
                        [](const Vote&) { return "vote"; },
                        [](const VoteResult&) { return "vote_result"; },
                        [](const Heartbeat&) { return "heartbeat"; },
                        [](const HeartbeatResult&) { return "heartbeat_result"; },
                        [](const SnapshotOffer&) { return "snapshot_offer"; },
                        [](const TimeoutNow&) { return "timeout_now"; },
                        [](const ReadIndex&) { return "read_index"; },
                        [](const ReadIndexResult&) { return "read_index_result"; },
                    },
                    body);
}

std::string to_string(const Message& message) {
  std::string out = fmt::format("{}->{} t{} {}", message.from, message.to, message.term, name_of(message.body));
  const std::string detail = std::visit([](const auto& body) { return describe(body); }, message.body);
  return detail.empty() ? out : out + ' ' + detail;
}

}  // namespace flux::raft
