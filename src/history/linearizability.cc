#include "history/linearizability.h"

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <map>
#include <tuple>
#include <utility>

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
      : steps_max_(steps_max) {
    // In the order of their calls, so that twins are found in it.
    std::vector<std::pair<int64_t, size_t>> calls;
    for (size_t i = 0; i < operations.size(); ++i) calls.emplace_back(operations[i]->called_us, i);
    std::sort(calls.begin(), calls.end());
    for (const auto& [called_us, i] : calls) operations_.push_back(*operations[i]);
    states_.push_back(initial);
    state_numbers_.emplace(initial, 0);
    forget_unseen_values();
    find_twins();
    find_sizes();
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
    bool forced;  // nothing else need be tried in its place
  };
  // What a key's answers say of its size before them, where it only grows.
  enum class Grows : uint8_t { kNo, kSum, kLength };

  void forget_unseen_values();
  void find_twins();
  void find_sizes();
  void build_list();
  bool known(size_t operation) const { return operations_[operation].outcome == Outcome::kOk; }
  bool done(size_t operation) const { return (done_[operation / 8] & (1 << operation % 8)) != 0; }
  // Whether the effect leaves no trace of the state before, and the answer tells nothing of it.
  bool blind(size_t operation) const;
  std::optional<int64_t> size_of(const State& state) const;
  // How large the key was when the operation took effect.
  std::optional<int64_t> size_before(const Operation& operation) const;
  bool outgrows(const State& state) const;
  // Whether the answer says that nothing was changed.
  bool only_looked(size_t operation) const;
  // One of these that may come next.
  size_t find_free(size_t state) const;
  bool worth_trying(size_t operation) const;
  bool take(size_t call, size_t state, const State& after, bool forced);
  void lift(size_t call);
  void unlift(size_t call);
  void flip(size_t operation) { done_[operation / 8] = static_cast<char>(done_[operation / 8] ^ (1 << operation % 8)); }
  void unlink(size_t event);
  void relink(size_t event);
  size_t number_of(const State& state);
  bool remember(size_t state);

  std::vector<Operation> operations_;
  const uint64_t steps_max_;
  std::vector<size_t> twin_before_;  // of an unknown operation: one that does the same and was called before; or kEnd
  Grows grows_ = Grows::kNo;
  std::vector<int64_t> sizes_;  // ascending: before each known operation
  size_t known_done_ = 0;
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
    points.push_back({operations_[i].called_us, true, i});
    if (known(i)) points.push_back({operations_[i].returned_us, false, i});
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
  ++known_done_;
}

void Search::unlift(size_t call) {
  if (events_[call].match != kEnd) {
    relink(events_[call].match);
    ++returns_left_;
    --known_done_;
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

// --- What need not be tried ------------------------------------------------------------------------------------------

// Where values come whole and go whole, all that nobody was shown are one.
void Search::forget_unseen_values() {
  absl::flat_hash_set<std::string> seen;
  for (const Operation& operation : operations_) {
    if (operation.kind == Kind::kAdd || operation.kind == Kind::kAppend) return;
    if (operation.result && (operation.kind == Kind::kGet || operation.kind == Kind::kGetSet)) {
      seen.insert(*operation.result);
    }
    if (operation.kind == Kind::kExpire) seen.insert(operation.argument);  // it tells one value from another
  }
  const std::string* unseen = nullptr;
  for (Operation& operation : operations_) {
    if (operation.kind == Kind::kGet || operation.kind == Kind::kDelete || seen.contains(operation.argument)) continue;
    if (unseen == nullptr) unseen = &operation.argument;
    operation.argument = *unseen;
  }
}

void Search::find_twins() {
  std::map<std::pair<Kind, std::string_view>, size_t> newest;
  twin_before_.assign(operations_.size(), kEnd);
  for (size_t i = 0; i < operations_.size(); ++i) {
    if (known(i)) continue;
    const auto [twin, first] = newest.try_emplace({operations_[i].kind, operations_[i].argument}, i);
    if (!first) twin_before_[i] = std::exchange(twin->second, i);
  }
}

void Search::find_sizes() {
  const auto only = [&](Kind kind) {
    return std::all_of(operations_.begin(), operations_.end(),
                       [kind](const Operation& each) { return each.kind == Kind::kGet || each.kind == kind; });
  };
  const bool positive = std::all_of(operations_.begin(), operations_.end(), [](const Operation& each) {
    return each.kind == Kind::kGet || parse_number(each.argument).value_or(0) > 0;
  });
  grows_ = only(Kind::kAdd) && positive ? Grows::kSum : only(Kind::kAppend) ? Grows::kLength : Grows::kNo;
  for (size_t i = 0; i < operations_.size() && grows_ != Grows::kNo; ++i) {
    if (!known(i)) continue;
    const std::optional<int64_t> size = size_before(operations_[i]);
    if (!size) grows_ = Grows::kNo;
    sizes_.push_back(size.value_or(0));
  }
  if (!size_of(states_.front())) grows_ = Grows::kNo;
  std::sort(sizes_.begin(), sizes_.end());
}

std::optional<int64_t> Search::size_of(const State& state) const {
  if (!state) return 0;
  return grows_ == Grows::kSum ? parse_number(*state) : static_cast<int64_t>(state->size());
}

std::optional<int64_t> Search::size_before(const Operation& operation) const {
  if (operation.kind == Kind::kGet) return size_of(operation.result);
  const std::optional<int64_t> after = operation.result ? parse_number(*operation.result) : std::nullopt;
  const std::optional<int64_t> added =
      grows_ == Grows::kSum ? parse_number(operation.argument) : static_cast<int64_t>(operation.argument.size());
  if (!after || !added) return std::nullopt;
  return *after - *added;
}

bool Search::outgrows(const State& state) const {
  return grows_ != Grows::kNo && known_done_ < sizes_.size() && size_of(state) > sizes_[known_done_];
}

bool Search::blind(size_t operation) const {
  const Kind kind = operations_[operation].kind;
  return kind == Kind::kSet || (!known(operation) && (kind == Kind::kGetSet || kind == Kind::kDelete));
}

bool Search::worth_trying(size_t operation) const {
  if (twin_before_[operation] != kEnd && !done(twin_before_[operation])) return false;
  const bool after_unknown = !path_.empty() && !known(events_[path_.back().event].operation);
  return !after_unknown || !blind(operation);
}

bool Search::only_looked(size_t operation) const {
  const Operation& each = operations_[operation];
  if (!known(operation)) return false;
  return each.kind == Kind::kGet || ((each.kind == Kind::kSetNx || each.kind == Kind::kDelete) && each.result == "0");
}

size_t Search::find_free(size_t state) const {
  for (size_t at = events_[head_].next; at != kEnd && events_[at].is_call; at = events_[at].next) {
    const size_t operation = events_[at].operation;
    if (only_looked(operation) && effect_of(operations_[operation], states_[state]).possible) return at;
  }
  return kEnd;
}

// --- The search ------------------------------------------------------------------------------------------------------

// Whether that leads somewhere new.
bool Search::take(size_t call, size_t state, const State& after, bool forced) {
  const size_t number = number_of(after);
  lift(call);
  if (!outgrows(after) && remember(number)) {
    path_.push_back({.event = call, .state_before = state, .forced = forced});
    return true;
  }
  unlift(call);
  return false;
}

Verdict::Answer Search::run() {
  size_t state = 0;
  size_t at = events_[head_].next;
  bool fresh = true;     // nothing was tried yet from here
  bool unknown = false;  // known operations were tried from here, now the others are
  while (returns_left_ > 0) {
    if (++steps_ > steps_max_) return Verdict::Answer::kUndecided;
    if (std::exchange(fresh, false)) {
      if (const size_t free = find_free(state); free != kEnd) {
        fresh = take(free, state, states_[state], true);
        at = fresh ? events_[head_].next : kEnd;
        unknown = !fresh;
        continue;
      }
    }
    if (at != kEnd && events_[at].is_call) {
      const size_t operation = events_[at].operation;
      if (known(operation) != unknown && worth_trying(operation)) {
        const Transition transition = effect_of(operations_[operation], states_[state]);
        const bool idle = unknown && transition.after == states_[state];
        if (transition.possible && !idle && take(at, state, transition.after, false)) {
          state = number_of(transition.after);
          at = events_[head_].next;
          fresh = true;
          unknown = false;
          continue;
        }
      }
      at = events_[at].next;
      continue;
    }
    // A return whose operation has not taken effect yet, or the end.
    if (!std::exchange(unknown, true)) {
      at = events_[head_].next;
      continue;
    }
    // Undo the last choice and try what comes after it.
    Choice choice{};
    do {
      if (path_.empty()) return Verdict::Answer::kNo;
      choice = path_.back();
      path_.pop_back();
      unlift(choice.event);
      state = choice.state_before;
    } while (choice.forced);
    unknown = !known(events_[choice.event].operation);
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
      return {.possible = !operation.result || flag(before.has_value()), .after = std::nullopt};
    case Kind::kAdd: {
      const std::optional<int64_t> left = before ? parse_number(*before) : 0;
      const std::optional<int64_t> right = parse_number(operation.argument);
      if (!left || !right) return {.possible = !known, .after = before};
      const std::string sum =
          std::to_string(static_cast<int64_t>(static_cast<uint64_t>(*left) + static_cast<uint64_t>(*right)));
      return {.possible = !known || operation.result == sum, .after = sum};
    }
    case Kind::kExpire:  // where it does nothing it need not have been
      return {.possible = before == operation.argument, .after = std::nullopt};
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
