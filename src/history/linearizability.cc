#include "history/linearizability.h"

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <map>
#include <tuple>

#include "base/check.h"

namespace flux::history {
namespace {

using State = std::optional<std::string>;

std::optional<int64_t> parse_number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// Operations on one key, and the search for an order that explains them.
class Search {
 public:
  Search(const std::vector<const Operation*>& operations, const State& initial, uint64_t steps_max)
      : operations_(operations), steps_max_(steps_max) {
    states_.push_back(initial);
    state_numbers_.emplace(initial, 0);
    build_list();
  }

  Verdict::Answer run();
  uint64_t steps() const { return steps_; }

 private:
  static constexpr size_t kEnd = std::numeric_limits<size_t>::max();
  // A doubly linked list of calls and returns by time, as Lowe's "just-in-time" search wants it. An operation of
  // unknown outcome has no return: it may take effect anywhere after its call, or never.
  struct Event {
    size_t operation = 0;
    bool is_call = false;
    size_t match = kEnd;  // of a call: its return
    size_t previous = kEnd;
    size_t next = kEnd;
  };
  struct Choice {
    size_t event;
    size_t state_before;
  };

  void build_list();
  void lift(size_t call);
  void unlift(size_t call);
  void flip(size_t operation) { done_[operation / 8] = static_cast<char>(done_[operation / 8] ^ (1 << operation % 8)); }
  void unlink(size_t event);
  void relink(size_t event);
  size_t number_of(const State& state);
  bool remember(size_t state);

  const std::vector<const Operation*>& operations_;
  const uint64_t steps_max_;
  std::vector<Event> events_;
  size_t head_ = 0;  // a sentinel
  size_t returns_left_ = 0;
  std::string done_;  // a bit for every operation that took effect
  std::vector<Choice> path_;
  std::vector<State> states_;
  absl::flat_hash_map<State, size_t> state_numbers_;
  absl::flat_hash_set<std::string> seen_;  // done_ and the state's number, as bytes
  uint64_t steps_ = 0;
};

void Search::build_list() {
  struct Point {
    int64_t time;
    bool is_call;
    size_t operation;
  };
  std::vector<Point> points;
  for (size_t i = 0; i < operations_.size(); ++i) {
    points.push_back({operations_[i]->called_us, true, i});
    if (operations_[i]->outcome == Outcome::kOk) points.push_back({operations_[i]->returned_us, false, i});
  }
  // At one instant calls come first: operations that touch may have overlapped.
  std::sort(points.begin(), points.end(), [](const Point& a, const Point& b) {
    return std::tuple(a.time, !a.is_call, a.operation) < std::tuple(b.time, !b.is_call, b.operation);
  });
  events_.push_back({});
  std::vector<size_t> call_of(operations_.size(), kEnd);
  for (const Point& point : points) {
    const size_t at = events_.size();
    events_.push_back({.operation = point.operation, .is_call = point.is_call, .previous = at - 1});
    events_[at - 1].next = at;
    if (point.is_call) {
      call_of[point.operation] = at;
    } else {
      events_[call_of[point.operation]].match = at;
      ++returns_left_;
    }
  }
  done_.assign((operations_.size() + 7) / 8, '\0');
}

void Search::unlink(size_t event) {
  Event& gone = events_[event];
  events_[gone.previous].next = gone.next;
  if (gone.next != kEnd) events_[gone.next].previous = gone.previous;
}

void Search::relink(size_t event) {
  const Event& back = events_[event];
  events_[back.previous].next = event;
  if (back.next != kEnd) events_[back.next].previous = event;
}

void Search::lift(size_t call) {
  unlink(call);
  flip(events_[call].operation);
  if (events_[call].match == kEnd) return;
  unlink(events_[call].match);
  --returns_left_;
}

void Search::unlift(size_t call) {
  if (events_[call].match != kEnd) {
    relink(events_[call].match);
    ++returns_left_;
  }
  relink(call);
  flip(events_[call].operation);
}

size_t Search::number_of(const State& state) {
  const auto [it, fresh] = state_numbers_.emplace(state, states_.size());
  if (fresh) states_.push_back(state);
  return it->second;
}

// Whether this configuration is new: the operations that took effect, and what they left.
bool Search::remember(size_t state) {
  std::string key = done_;
  key.append(reinterpret_cast<const char*>(&state), sizeof(state));
  return seen_.insert(std::move(key)).second;
}

Verdict::Answer Search::run() {
  size_t state = 0;
  size_t at = events_[head_].next;
  while (returns_left_ > 0) {
    if (++steps_ > steps_max_) return Verdict::Answer::kUndecided;
    if (at != kEnd && events_[at].is_call) {
      const Transition transition = effect_of(*operations_[events_[at].operation], states_[state]);
      if (transition.possible) {
        const size_t after = number_of(transition.after);
        lift(at);
        if (remember(after)) {
          path_.push_back({.event = at, .state_before = state});
          state = after;
          at = events_[head_].next;
          continue;
        }
        unlift(at);
      }
      at = events_[at].next;
      continue;
    }
    // A return whose operation has not taken effect yet, or the end: undo the last choice and try what came after it.
    if (path_.empty()) return Verdict::Answer::kNo;
    const Choice choice = path_.back();
    path_.pop_back();
    unlift(choice.event);
    state = choice.state_before;
    at = events_[choice.event].next;
  }
  return Verdict::Answer::kYes;
}

Verdict::Answer explain(const std::vector<const Operation*>& operations, const CheckOptions& options, uint64_t& steps) {
  Search search(operations, options.initial, options.steps_max_per_key);
  const Verdict::Answer answer = search.run();
  steps += search.steps();
  return answer;
}

// Leaves out what is not needed for the contradiction: first everything after it, then one operation at a time. An
// operation that left something in the state cannot go without those that saw it, so whole values go together.
std::vector<const Operation*> shrink(std::vector<const Operation*> operations, const CheckOptions& options) {
  uint64_t steps = 0;
  const auto fails = [&](const std::vector<const Operation*>& part) {
    return explain(part, options, steps) == Verdict::Answer::kNo;
  };
  // The shortest failing beginning, by the time of the return that cannot be explained.
  std::vector<int64_t> ends;
  for (const Operation* operation : operations) {
    if (operation->outcome == Outcome::kOk) ends.push_back(operation->returned_us);
  }
  std::sort(ends.begin(), ends.end());
  const auto until = [&](int64_t end) {
    std::vector<const Operation*> part;
    std::copy_if(operations.begin(), operations.end(), std::back_inserter(part), [end](const Operation* operation) {
      return operation->called_us <= end && (operation->outcome != Outcome::kOk || operation->returned_us <= end);
    });
    return part;
  };
  // What was called but had not returned by then may have taken effect: it counts as of unknown outcome.
  std::vector<Operation> pending;
  const auto first = std::partition_point(ends.begin(), ends.end(), [&](int64_t end) {
    std::vector<const Operation*> part = until(end);
    pending.clear();
    for (const Operation* operation : operations) {
      if (operation->outcome == Outcome::kOk && operation->called_us <= end && operation->returned_us > end) {
        pending.push_back(*operation);
        pending.back().outcome = Outcome::kUnknown;
        pending.back().result.reset();
      }
    }
    for (const Operation& operation : pending) part.push_back(&operation);
    return !fails(part);
  });
  if (first != ends.end()) {
    const int64_t end = *first;
    std::erase_if(operations, [end](const Operation* operation) { return operation->called_us > end; });
  }
  // Reads change nothing: each may go alone. So may any other whose absence still leaves a contradiction.
  for (size_t i = operations.size(); i-- > 0 && operations.size() > 1;) {
    if (operations[i]->kind != Kind::kGet) continue;
    std::vector<const Operation*> part = operations;
    part.erase(part.begin() + static_cast<std::ptrdiff_t>(i));
    if (fails(part)) operations = std::move(part);
  }
  return operations;
}

}  // namespace

Transition effect_of(const Operation& operation, const State& before) {
  // Of an unknown outcome nothing is known but the argument: every result is possible.
  const bool known = operation.outcome == Outcome::kOk;
  const auto flag = [&](bool value) { return !known || operation.result == (value ? "1" : "0"); };
  switch (operation.kind) {
    case Kind::kGet:
      return {.possible = !known || operation.result == before, .after = before};
    case Kind::kSet:
      return {.possible = true, .after = operation.argument};
    case Kind::kSetNx:
      return {.possible = flag(!before), .after = before ? before : State(operation.argument)};
    case Kind::kGetSet:
      return {.possible = !known || operation.result == before, .after = operation.argument};
    case Kind::kDelete:
      return {.possible = flag(before.has_value()), .after = std::nullopt};
    case Kind::kAdd: {
      const std::optional<int64_t> left = before ? parse_number(*before) : 0;
      const std::optional<int64_t> right = parse_number(operation.argument);
      if (!left || !right) return {.possible = !known, .after = before};
      const std::string sum =
          std::to_string(static_cast<int64_t>(static_cast<uint64_t>(*left) + static_cast<uint64_t>(*right)));
      return {.possible = !known || operation.result == sum, .after = sum};
    }
    case Kind::kAppend: {
      const std::string after = before.value_or("") + operation.argument;
      return {.possible = !known || operation.result == std::to_string(after.size()), .after = after};
    }
  }
  FLUX_CHECK(false, "no such kind of operation");
}

Verdict check_linearizable(const History& history, const CheckOptions& options) {
  std::map<std::string_view, std::vector<const Operation*>> by_key;
  for (const Operation& operation : history) {
    if (operation.outcome == Outcome::kFailed) continue;
    // A read whose answer nobody saw constrains nothing.
    if (operation.outcome == Outcome::kUnknown && operation.kind == Kind::kGet) continue;
    by_key[operation.key].push_back(&operation);
  }
  Verdict verdict;
  for (auto& [key, operations] : by_key) {
    const Verdict::Answer answer = explain(operations, options, verdict.steps);
    if (answer == Verdict::Answer::kYes) continue;
    if (answer == Verdict::Answer::kUndecided && verdict.answer == Verdict::Answer::kUndecided) continue;
    verdict.answer = answer;
    verdict.key = key;
    if (answer == Verdict::Answer::kUndecided) continue;
    for (const Operation* operation : shrink(operations, options)) verdict.counterexample.push_back(*operation);
    std::sort(verdict.counterexample.begin(), verdict.counterexample.end(), [](const Operation& a, const Operation& b) {
      return std::tuple(a.called_us, a.client, a.number) < std::tuple(b.called_us, b.client, b.number);
    });
    return verdict;
  }
  return verdict;
}

}  // namespace flux::history
