#include "raft/testing/dialog.h"

#include <functional>
#include <sstream>

namespace flux::raft::testing {
namespace {

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) {
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

Micros parse_time(const std::string& text) {
  size_t used = 0;
  const int64_t n = std::stoll(text, &used);
  const std::string unit = text.substr(used);
  FLUX_CHECK(unit == "ms" || unit == "s", "not a time: {}", text);
  return Micros(n * (unit == "s" ? 1'000'000 : 1'000));
}

NodeSet parse_nodes(const std::string& text) {
  NodeSet nodes;
  for (const std::string& part : split(text, ',')) nodes.insert(NodeId(std::stoull(part)));
  return nodes;
}

// A command's words: plain ones, and key=value.
struct Words {
  explicit Words(const std::string& line) {
    for (const std::string& word : split(line, ' ')) {
      const size_t equals = word.find('=');
      if (equals == std::string::npos) {
        plain.push_back(word);
      } else {
        keyed.emplace_back(word.substr(0, equals), word.substr(equals + 1));
      }
    }
  }
  uint64_t node(size_t at = 1) const { return std::stoull(plain.at(at)); }
  std::pair<uint64_t, uint64_t> link(size_t at = 1) const {
    const std::string& text = plain.at(at);
    const size_t arrow = text.find("->");
    return {std::stoull(text.substr(0, arrow)), std::stoull(text.substr(arrow + 2))};
  }
  bool has(const std::string& word) const { return std::find(plain.begin(), plain.end(), word) != plain.end(); }

  std::vector<std::string> plain;
  std::vector<std::pair<std::string, std::string>> keyed;
};

class Dialog final : public Cluster {
 public:
  Dialog() {
    on_trace_line = [this](NodeId node, std::string_view line) {
      if (!quiet_) say("{}> {}", node, line);
    };
    on_message_sent = [this](const Message& message) {
      if (!quiet_) say("   {}{}", to_string(message), is_cut(message.from, message.to) ? " (cut)" : "");
    };
  }

  std::string run(const std::string& line) {
    out_.clear();
    const Words words(line);
    const auto verb = verbs().find(words.plain.at(0));
    FLUX_CHECK(verb != verbs().end(), "unknown command: {}", line);
    verb->second(*this, words, line);
    for (const std::string& violation : std::exchange(violations, {})) say("VIOLATION {}", violation);
    check_log_matching();
    for (const std::string& violation : std::exchange(violations, {})) say("VIOLATION {}", violation);
    return out_;
  }

 private:
  using Verb = std::function<void(Dialog&, const Words&, const std::string&)>;

  template <typename... Args>
  void say(fmt::format_string<Args...> format, Args&&... args) {
    out_ += fmt::format(format, std::forward<Args>(args)...);
    while (!out_.empty() && out_.back() == ' ') out_.pop_back();
    out_ += '\n';
  }

  void set_options(const Words& words) {
    for (const auto& [key, value] : words.keyed) {
      if (key == "pre-vote") options.pre_vote = value != "no";
      if (key == "check-quorum") options.check_quorum = value != "no";
      if (key == "window") options.inflight_messages_max = std::stoull(value);
      if (key == "append-bytes") options.append_bytes_max = std::stoull(value);
      if (key == "lag") options.learner_promote_lag = std::stoull(value);
      if (key == "uncommitted") options.uncommitted_bytes_max = options.entry_bytes_max = std::stoull(value);
      if (key == "lease") {
        options.leader_lease = true;
        options.clock_drift_ppm_max = static_cast<uint32_t>(std::stoul(value));
      }
    }
  }

  void make_group(const Words& words) {
    set_options(words);
    uint64_t learners = 0;
    for (const auto& [key, value] : words.keyed) {
      if (key == "learners") learners = std::stoull(value);
    }
    bootstrap(words.node(), learners);
  }

  void make_node(const Words& words) {
    set_options(words);
    Disk disk;
    for (const auto& [key, value] : words.keyed) {
      if (key == "voters") disk.base.membership.voters = parse_nodes(value);
      if (key == "learners") disk.base.membership.learners = parse_nodes(value);
      if (key == "term") disk.hard_state.term = Term(std::stoull(value));
      if (key == "vote") disk.hard_state.vote = NodeId(std::stoull(value));
      if (key != "log") continue;
      for (const std::string& term : split(value, ',')) {
        disk.log.push_back({.index = disk.last() + 1,
                            .term = Term(std::stoull(term)),
                            .type = EntryType::kCommand,
                            .data = SharedBytes("t" + term)});
      }
    }
    if (!disk.log.empty()) disk.hard_state.term = std::max(disk.hard_state.term, disk.log.back().term);
    add(NodeId(words.node()), std::move(disk));
  }

  void change(const Words& words) {
    static const std::map<std::string, ConfigStepKind> kKinds = {{"add-voter", ConfigStepKind::kAddVoter},
                                                                 {"add-learner", ConfigStepKind::kAddLearner},
                                                                 {"remove", ConfigStepKind::kRemove},
                                                                 {"promote", ConfigStepKind::kPromote}};
    std::vector<ConfigStep> list;
    for (const auto& [key, value] : words.keyed) list.push_back({kKinds.at(key), NodeId(std::stoull(value))});
    propose_config(words.node(), std::move(list));
  }

  static std::function<bool(const Message&)> pick(const Words& words) {
    if (words.plain.at(1) == "all") return {};
    const auto [from, to] = words.link();
    return
        [source = NodeId(from), target = NodeId(to)](const Message& m) { return m.from == source && m.to == target; };
  }

  void deliver(const Words& words) {
    size_t count = words.plain.size() > 2 ? std::stoull(words.plain[2]) : network().size();
    // Only what is there now: answers wait for another command.
    if (words.plain.at(1) != "all") {
      size_t there = 0;
      for (const Message& message : network()) there += pick(words)(message) ? 1U : 0U;
      count = std::min(count, there);
    }
    for (; count > 0; --count) deliver_one(pick(words));
  }

  void repeat(const Words& words) {
    const auto like = pick(words);
    const std::deque<Message> now_there = network();
    for (const Message& message : now_there) {
      if (like(message)) network().push_back(message);
    }
  }

  void pass_time(const Words& words) {
    now = now + parse_time(words.plain.at(1));
    for (const auto& [id, replica] : replicas()) {
      if (words.plain.size() > 2 && !words.has(std::to_string(id.value()))) continue;
      tick(id.value());
    }
  }

  void quietly(bool quiet, const std::function<void()>& act) {
    quiet_ = quiet;
    act();
    quiet_ = false;
  }

  void silently(const std::function<void()>& act) {
    const std::string before = out_;
    act();
    out_ = before;
  }

  // The stream ends at the receiver; its sender does not know yet.
  void offer(const Words& words) {
    const auto [from, to] = words.link();
    const auto [meta, state] = at(from).snapshot(Index(1));
    at(to).offer(now, {NodeId(from), NodeId(to), core(from).term(), SnapshotOffer{meta}}, state);
  }
  void stream_done(const Words& words) {
    const auto [from, to] = words.link();
    step(from, SnapshotSent{.to = NodeId(to), .index = at(from).snapshot(Index(1)).first.last.index, .ok = true});
  }

  void status() {
    for (const auto& [id, replica] : replicas()) {
      if (!replica->alive()) {
        say("{}: down", id);
        continue;
      }
      const Core& c = replica->core();
      say("{}: {} t{} leader={} last={} persisted={} commit={} applied={} {}", id, to_string(c.role()), c.term(),
          c.leader(), c.last_id(), c.persisted_index(), c.commit_index(), c.applied_index(), to_string(c.membership()));
      for (const PeerStatus& peer : c.peers(local_now(id.value()))) {
        say("   {}: {} match={} next={}{}{}", peer.id, to_string(peer.state), peer.match, peer.next,
            peer.voter ? "" : " learner", peer.recently_active ? "" : " silent");
      }
    }
  }

  void show_log(uint64_t id) {
    const Core& c = core(id);
    std::string line;
    for (Index index = c.base_id().index + 1; index <= c.last_index(); ++index) {
      line += fmt::format(" {}^{}", index, *c.term_at(index));
    }
    say("{}: after {}:{}", id, c.base_id(), line);
  }

  static const std::map<std::string, Verb>& verbs();

  // Effects.
  void on_role(NodeId node, const RoleChange& change) override {
    say("{}: is {} in t{}, leader={}", node, to_string(change.role), change.term, change.leader);
    Cluster::on_role(node, change);
  }
  void on_committed(NodeId node, const Entry& entry, uint64_t state) override {
    if (!quiet_) {
      std::string what(entry.data.view());
      if (entry.type == EntryType::kNoop) what = "noop";
      if (entry.type == EntryType::kConfig) what = to_string(decode_config(entry.data.view()).value().membership);
      say("{}: applies {} {}", node, entry.id(), what);
    }
    Cluster::on_committed(node, entry, state);
  }
  void on_installed(NodeId node, const SnapshotMeta& meta, uint64_t state) override {
    say("{}: has installed snapshot {} {}", node, meta.last, to_string(meta.membership));
    Cluster::on_installed(node, meta, state);
  }
  void on_proposal(NodeId node, const ProposalResult& result) override {
    if (result.status.ok()) {
      say("{}: proposal {} -> {}", node, result.ticket, result.id);
    } else {
      say("{}: proposal {} -> {}", node, result.ticket, result.status.to_string());
    }
    Cluster::on_proposal(node, result);
  }
  void on_read(NodeId node, const ReadResult& result) override {
    if (result.status.ok()) {
      say("{}: read {} -> ok at {}", node, result.ticket, result.index);
    } else {
      say("{}: read {} -> {}", node, result.ticket, result.status.to_string());
    }
    Cluster::on_read(node, result);
  }
  void on_transfer(NodeId node, const TransferResult& result) override {
    say("{}: transfer {} -> {}", node, result.ticket, result.status.to_string());
    Cluster::on_transfer(node, result);
  }
  void on_snapshot_request(NodeId node, const SnapshotRequest& request) override {
    say("{}: wants a snapshot streamed to {}, at least {}", node, request.to, request.index_min);
    Cluster::on_snapshot_request(node, request);
  }
  void on_fatal(NodeId node, const Status& status) override { say("{}: stops, {}", node, status.to_string()); }

  std::string out_;
  bool quiet_ = false;
};

const std::map<std::string, Dialog::Verb>& Dialog::verbs() {
  using W = const Words&;
  using L = const std::string&;
  static const std::map<std::string, Verb> kVerbs = {
      {"voters", [](Dialog& d, W w, L) { d.make_group(w); }},
      {"node", [](Dialog& d, W w, L) { d.make_node(w); }},
      {"options", [](Dialog& d, W w, L) { d.set_options(w); }},
      {"campaign", [](Dialog& d, W w, L) { d.campaign(w.node()); }},
      {"elect", [](Dialog& d, W w, L) { d.silently([&] { d.elect(w.node()); }); }},
      {"propose", [](Dialog& d, W w, L) { d.propose(w.node(), w.plain.at(2)); }},
      {"read",
       [](Dialog& d, W w, L) { d.read(w.node(), w.has("lease") ? ReadMode::kLease : ReadMode::kLinearizable); }},
      {"transfer", [](Dialog& d, W w, L) { d.transfer(w.node(1), w.node(2)); }},
      {"change", [](Dialog& d, W w, L) { d.change(w); }},
      {"deliver", [](Dialog& d, W w, L) { d.deliver(w); }},
      {"drop", [](Dialog& d, W w, L) { d.say("dropped {}", d.drop(pick(w))); }},
      {"repeat", [](Dialog& d, W w, L) { d.repeat(w); }},
      {"cut", [](Dialog& d, W w, L) { d.cut(w.link().first, w.link().second); }},
      {"isolate", [](Dialog& d, W w, L) { d.isolate(w.node()); }},
      {"heal", [](Dialog& d, W, L) { d.heal(); }},
      {"tick", [](Dialog& d, W w, L) { d.pass_time(w); }},
      {"run", [](Dialog& d, W w, L) { d.quietly(true, [&] { d.Cluster::run(parse_time(w.plain.at(1))); }); }},
      {"stabilize", [](Dialog& d, W w, L) { d.quietly(w.has("quiet"), [&] { d.stabilize(); }); }},
      {"persist",
       [](Dialog& d, W w, L) {
         size_t count = w.plain.size() > 2 ? w.node(2) : d.at(w.node()).writes_under_way();
         for (; count > 0; --count) d.at(w.node()).persist_one(d.now);
       }},
      {"manual-persist", [](Dialog& d, W w, L) { d.at(w.node()).auto_persist = false; }},
      {"auto-persist", [](Dialog& d, W w, L) { d.at(w.node()).auto_persist = true; }},
      {"crash", [](Dialog& d, W w, L) { d.crash(w.node()); }},
      {"restart", [](Dialog& d, W w, L) { d.restart(w.node()); }},
      {"compact", [](Dialog& d, W w, L) { d.at(w.node()).compact(d.now, Index(w.plain.size() > 2 ? w.node(2) : 0)); }},
      {"manual-snapshots", [](Dialog& d, W, L) { d.auto_snapshot = false; }},
      {"stream", [](Dialog& d, W w, L) { d.stream_snapshot(w.link().first, w.link().second, Index(1)); }},
      {"offer", [](Dialog& d, W w, L) { d.offer(w); }},
      {"stream-done", [](Dialog& d, W w, L) { d.stream_done(w); }},
      {"fail-stream",
       [](Dialog& d, W w, L) {
         d.step(w.link().first, SnapshotSent{.to = NodeId(w.link().second), .index = {}, .ok = false});
       }},
      {"leader-gone", [](Dialog& d, W w, L) { d.step(w.node(1), LeaderGone{NodeId(w.node(2))}); }},
      {"unreachable", [](Dialog& d, W w, L) { d.step(w.node(1), PeerUnreachable{NodeId(w.node(2))}); }},
      {"reachable", [](Dialog& d, W w, L) { d.step(w.node(1), PeerReachable{NodeId(w.node(2))}); }},
      {"status", [](Dialog& d, W, L) { d.status(); }},
      {"log", [](Dialog& d, W w, L) { d.show_log(w.node()); }},
      {"network",
       [](Dialog& d, W, L) {
         for (const Message& message : d.network()) d.say("   {}", to_string(message));
       }},
  };
  return kVerbs;
}

}  // namespace

std::string run_dialog(const std::string& text) {
  Dialog dialog;
  std::string result;
  std::string output;
  bool in_output = false;
  bool pending = false;
  std::stringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    if (in_output) {
      in_output = !line.empty();
      if (!in_output) result += '\n';
      continue;
    }
    if (line == "----") {
      result += "----\n" + std::exchange(output, {});
      in_output = true;
      pending = false;
      continue;
    }
    result += line + '\n';
    if (line.empty() || line[0] == '#') continue;
    output += dialog.run(line);
    pending = true;
  }
  // The last commands may not have their line yet.
  if (pending) result += "----\n" + output;
  return result;
}

}  // namespace flux::raft::testing
