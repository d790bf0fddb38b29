// A message's way to its handler: is it for us, and what does its term say?
#include "base/overloaded.h"
#include "base/probe.h"
#include "raft/core.h"

namespace flux::raft {
namespace {

// Far beyond what elections can reach, far below where arithmetic wraps.
constexpr Term kTermMax{uint64_t{1} << 62};
constexpr Index kIndexMax{uint64_t{1} << 62};

// Only a leader sends these.
bool is_from_leader(const MessageBody& body) {
  return std::holds_alternative<Append>(body) || std::holds_alternative<Heartbeat>(body) ||
         std::holds_alternative<SnapshotOffer>(body) || std::holds_alternative<TimeoutNow>(body);
}

// A term that is not (yet) anybody's: it must not raise ours.
bool is_hypothetical(const MessageBody& body) {
  if (const Vote* vote = std::get_if<Vote>(&body)) return vote->pre;
  if (const VoteResult* result = std::get_if<VoteResult>(&body)) return result->pre && result->granted;
  return false;
}

Index highest_index(const MessageBody& body) {
  return std::visit(Overloaded{
                        [](const Append& m) { return std::max(m.prev.index, m.commit); },
                        [](const AppendResult& m) { return std::max(m.index, m.hint.index); },
                        [](const Vote& m) { return m.last.index; },
                        [](const Heartbeat& m) { return m.commit; },
                        [](const SnapshotOffer& m) { return m.meta.last.index; },
                        [](const ReadIndexResult& m) { return m.index; },
                        [](const auto&) { return Index(0); },
                    },
                    body);
}

}  // namespace

void Core::on_received(Message&& message) {
  if (!admit(message)) return;
  if (!reconcile_term(message)) return;
  std::visit([&](auto& body) { on_message(message, body); }, message.body);
}

bool Core::admit(const Message& message) {
  if (message.to != id() || message.from == kNobody || message.from == id()) {
    return drop(message, "not between us and a peer"), false;
  }
  if (message.term == Term(0) || message.term > kTermMax) return drop(message, "absurd term"), false;
  if (highest_index(message.body) > kIndexMax) return drop(message, "absurd index"), false;
  return true;
}

// Paper, section 5.1: a higher term makes a follower of anybody, a lower one is told off. Returns whether the message
// is of our term now and may go to its handler.
bool Core::reconcile_term(const Message& message) {
  const Vote* vote = std::get_if<Vote>(&message.body);
  // Whoever still hears a leader does not help to replace it, nor lets itself be disturbed (dissertation, 4.2.3).
  if (vote != nullptr && !vote->transfer && message.term >= term_ && hears_leader()) {
    FLUX_PROBE("a vote is asked for while a leader is heard");
    wake();  // whoever asks does not hear us
    trace("{}vote from {} t{} while leader {} is heard -> ignore", vote->pre ? "pre-" : "", message.from, message.term,
          leader_);
    return false;
  }
  if (message.term > term_) {
    if (is_hypothetical(message.body)) return true;
    become_follower(message.term, is_from_leader(message.body) ? message.from : kNobody);
    return true;
  }
  if (message.term == term_) return true;

  FLUX_PROBE("a message of an old term");
  trace("{} from {} of old term {} -> {}", name_of(message.body), message.from, message.term,
        is_from_leader(message.body) || std::holds_alternative<Vote>(message.body) ? "tell ours" : "ignore");
  std::visit(Overloaded{
                 // A leader of the past learns of the new term, and a node that is stuck in a term above its leader's
                 // frees itself: the leader steps down and the next election passes both.
                 [&](const Append& m) { send(message.from, AppendResult{.index = m.prev.index}); },
                 [&](const Heartbeat&) { send(message.from, HeartbeatResult{}); },
                 [&](const SnapshotOffer& m) { send(message.from, AppendResult{.index = m.meta.last.index}); },
                 [&](const Vote& m) { send(message.from, VoteResult{.pre = m.pre}); },
                 [&](const auto&) {},
             },
             message.body);
  return false;
}

void Core::drop(const Message& message, std::string_view why) {
  ++counters_.messages_dropped;
  trace("{} from {} t{}: {} -> drop", name_of(message.body), message.from, message.term, why);
}

// A message of our term that only its leader can have sent. Returns false, having dropped it, if that cannot be.
bool Core::follow(const Message& message) {
  if (role_ == Role::kLeader || (leader_ != kNobody && leader_ != message.from)) {
    return drop(message, "a second leader in one term"), false;
  }
  if (role_ != Role::kFollower) become_follower(term_, message.from);
  set_leader(message.from);
  leader_heard_ = now_;
  // A leader that has something to say is not idle.
  patience_ = std::min(patience_, options_.heartbeat_interval);
  reset_election_timer();
  return true;
}

}  // namespace flux::raft
