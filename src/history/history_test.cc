#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "base/rng.h"
#include "history/linearizability.h"

namespace flux::history {
namespace {

using Answer = Verdict::Answer;

Operation op(Kind kind, int64_t called, int64_t returned, std::string argument,
             std::optional<std::string> result = {}) {
  static uint64_t number = 0;
  return {.client = 1,
          .number = ++number,
          .key = "k",
          .kind = kind,
          .argument = std::move(argument),
          .outcome = Outcome::kOk,
          .result = std::move(result),
          .called_us = called,
          .returned_us = returned};
}
Operation set(int64_t called, int64_t returned, std::string value) { return op(Kind::kSet, called, returned, value); }
Operation get(int64_t called, int64_t returned, std::optional<std::string> value) {
  return op(Kind::kGet, called, returned, "", std::move(value));
}
Operation unknown(Operation operation) {
  operation.outcome = Outcome::kUnknown;
  operation.result.reset();
  return operation;
}
Answer answer_of(const History& history) { return check_linearizable(history).answer; }

TEST(Linearizability, nothing_and_one_after_the_other) {
  EXPECT_EQ(answer_of({}), Answer::kYes);
  EXPECT_EQ(answer_of({get(1, 2, {}), set(3, 4, "a"), get(5, 6, "a"), set(7, 8, "b"), get(9, 10, "b")}), Answer::kYes);
}

TEST(Linearizability, a_lost_write_is_found) {
  const Verdict verdict = check_linearizable({set(1, 2, "a"), get(3, 4, "a"), get(5, 6, {})});
  EXPECT_EQ(verdict.answer, Answer::kNo);
  EXPECT_EQ(verdict.key, "k");
}

TEST(Linearizability, a_stale_read_is_found) {
  EXPECT_EQ(answer_of({set(1, 2, "a"), set(3, 4, "b"), get(5, 6, "a")}), Answer::kNo);
  // Overlapping, both orders can be.
  EXPECT_EQ(answer_of({set(1, 2, "a"), set(3, 6, "b"), get(4, 5, "a")}), Answer::kYes);
  EXPECT_EQ(answer_of({set(1, 2, "a"), set(3, 6, "b"), get(4, 5, "b")}), Answer::kYes);
}

TEST(Linearizability, reads_never_go_back) {
  EXPECT_EQ(answer_of({set(1, 2, "a"), set(3, 20, "b"), get(4, 5, "b"), get(6, 7, "a")}), Answer::kNo);
}

TEST(Linearizability, a_dirty_read_is_found) {
  Operation failed = set(1, 2, "a");
  failed.outcome = Outcome::kFailed;
  EXPECT_EQ(answer_of({failed, get(3, 4, "a")}), Answer::kNo);
  EXPECT_EQ(answer_of({failed, get(3, 4, {})}), Answer::kYes);
}

TEST(Linearizability, an_unknown_outcome_may_come_late_once_or_never) {
  const Operation lost = unknown(set(1, 2, "a"));
  EXPECT_EQ(answer_of({lost, get(100, 101, {})}), Answer::kYes);
  EXPECT_EQ(answer_of({lost, get(100, 101, {}), get(102, 103, "a")}), Answer::kYes);
  EXPECT_EQ(answer_of({lost, get(100, 101, "a"), get(102, 103, {})}), Answer::kNo);
  // Not before it was sent.
  EXPECT_EQ(answer_of({get(1, 2, "a"), unknown(set(3, 4, "a"))}), Answer::kNo);
  // Twice would be two effects of one operation.
  EXPECT_EQ(answer_of({lost, get(3, 4, "a"), set(5, 6, "b"), get(7, 8, "b"), get(9, 10, "a")}), Answer::kNo);
}

TEST(Linearizability, increments_count_every_acknowledged_one_once) {
  const auto add = [](int64_t called, int64_t returned, std::string sum) {
    return op(Kind::kAdd, called, returned, "1", std::move(sum));
  };
  EXPECT_EQ(answer_of({add(1, 10, "2"), add(1, 10, "1"), get(11, 12, "2")}), Answer::kYes);
  EXPECT_EQ(answer_of({add(1, 10, "1"), add(1, 10, "1")}), Answer::kNo);
  EXPECT_EQ(answer_of({add(1, 2, "1"), unknown(add(3, 4, "")), get(20, 21, "2"), get(22, 23, "3")}), Answer::kNo);
}

TEST(Linearizability, conditional_operations_tell_what_they_met) {
  const auto nx = [](int64_t called, int64_t returned, std::string value, std::string result) {
    return op(Kind::kSetNx, called, returned, std::move(value), std::move(result));
  };
  EXPECT_EQ(answer_of({nx(1, 5, "a", "1"), nx(1, 5, "b", "0"), get(6, 7, "a")}), Answer::kYes);
  EXPECT_EQ(answer_of({nx(1, 5, "a", "1"), nx(1, 5, "b", "1")}), Answer::kNo);
  EXPECT_EQ(answer_of({nx(1, 2, "a", "1"), op(Kind::kDelete, 3, 4, "", "1"), nx(5, 6, "b", "1"),
                       op(Kind::kGetSet, 7, 8, "c", "b"), op(Kind::kAppend, 9, 10, "dd", "3"), get(11, 12, "cdd")}),
            Answer::kYes);
}

TEST(Linearizability, what_expires_takes_no_other_value_with_it) {
  const auto expire = [](int64_t called, std::string value) {
    return unknown(op(Kind::kExpire, called, called, std::move(value)));
  };
  EXPECT_EQ(answer_of({set(1, 2, "a"), expire(5, "a"), get(3, 4, "a"), get(6, 7, {})}), Answer::kYes);
  EXPECT_EQ(answer_of({set(1, 2, "a"), expire(5, "a"), get(6, 7, "a"), get(8, 9, {})}), Answer::kYes);
  EXPECT_EQ(answer_of({set(1, 2, "a"), expire(5, "a"), get(3, 4, {})}), Answer::kNo) << "too early";
  EXPECT_EQ(answer_of({set(1, 2, "a"), expire(5, "a"), set(3, 4, "b"), get(6, 7, {})}), Answer::kNo) << "renewed";
}

TEST(Linearizability, keys_are_independent) {
  Operation other = get(3, 4, {});
  other.key = "other";
  EXPECT_EQ(answer_of({set(1, 2, "a"), other}), Answer::kYes);
}

TEST(Linearizability, the_counterexample_is_small) {
  History history;
  for (int64_t i = 0; i < 200; ++i) {
    history.push_back(set(i * 10, i * 10 + 1, std::to_string(i)));
    history.push_back(get(i * 10 + 2, i * 10 + 3, i == 150 ? "149" : std::to_string(i)));
  }
  const Verdict verdict = check_linearizable(history);
  ASSERT_EQ(verdict.answer, Answer::kNo);
  EXPECT_LE(verdict.counterexample.size(), 160u);
  EXPECT_EQ(std::count_if(verdict.counterexample.begin(), verdict.counterexample.end(),
                          [](const Operation& operation) { return operation.kind == Kind::kGet; }),
            1);
  EXPECT_EQ(check_linearizable(verdict.counterexample).answer, Answer::kNo);
}

// Tries every order of every subset that has all acknowledged operations.
bool naive(const History& history) {
  std::vector<size_t> order(history.size());
  std::iota(order.begin(), order.end(), 0);
  do {
    // A prefix may leave out trailing unknown ones; leaving out earlier ones is another permutation's prefix.
    std::optional<std::string> state;
    bool possible = true;
    for (size_t used = 0; possible; ++used) {
      const bool complete = std::all_of(order.begin() + static_cast<std::ptrdiff_t>(used), order.end(),
                                        [&](size_t i) { return history[i].outcome != Outcome::kOk; });
      if (complete) return true;
      if (used == order.size()) break;
      const Operation& next = history[order[used]];
      for (size_t later = used + 1; later < order.size(); ++later) {
        const Operation& after = history[order[later]];
        if (after.outcome == Outcome::kOk && after.returned_us < next.called_us) possible = false;
      }
      const Transition transition = effect_of(next, state);
      possible = possible && transition.possible;
      state = transition.after;
    }
  } while (std::next_permutation(order.begin(), order.end()));
  return false;
}

// What the keys of a workload see: all kinds, whole values, values that grow.
const std::vector<std::vector<Kind>> kKindsOfKeys = {
    {Kind::kGet, Kind::kSet, Kind::kSetNx, Kind::kGetSet, Kind::kDelete, Kind::kAdd, Kind::kAppend},
    {Kind::kGet, Kind::kSet, Kind::kSetNx, Kind::kGetSet, Kind::kDelete},
    {Kind::kGet, Kind::kSet, Kind::kDelete},
    {Kind::kGet, Kind::kSet, Kind::kDelete, Kind::kExpire},
    {Kind::kGet, Kind::kAdd},
    {Kind::kGet, Kind::kAppend},
};

History random_history(Rng& rng, size_t operations, bool honest) {
  const std::vector<Kind>& kinds = kKindsOfKeys[rng.below(kKindsOfKeys.size())];
  const double losses = 0.1 + 0.5 * rng.unit();
  // An honest store takes each operation at a moment between call and return; a dishonest one answers at random.
  struct Draft {
    Operation operation;
    int64_t moment;
  };
  std::vector<Draft> drafts;
  for (size_t i = 0; i < operations; ++i) {
    const auto called = static_cast<int64_t>(rng.below(operations * 4));
    const auto length = static_cast<int64_t>(rng.below(12));
    Operation operation = op(kinds[rng.below(kinds.size())], called, called + length, "");
    if (operation.kind != Kind::kGet && operation.kind != Kind::kDelete) {
      operation.argument = std::to_string(rng.below(4));
    }
    drafts.push_back({operation, called + static_cast<int64_t>(rng.below(static_cast<uint64_t>(length) + 1))});
  }
  std::sort(drafts.begin(), drafts.end(), [](const Draft& a, const Draft& b) {
    return std::pair(a.moment, a.operation.number) < std::pair(b.moment, b.operation.number);
  });
  std::optional<std::string> state;
  History history;
  for (Draft& draft : drafts) {
    Operation& operation = draft.operation;
    const std::optional<std::string> before = honest || rng.chance(0.7) ? state : std::to_string(rng.below(3));
    switch (operation.kind) {
      case Kind::kGet:
      case Kind::kGetSet:
        operation.result = before;
        break;
      case Kind::kSetNx:
        operation.result = before ? "0" : "1";
        break;
      case Kind::kDelete:
        operation.result = before ? "1" : "0";
        break;
      case Kind::kAdd:
        operation.result = std::to_string(std::stoll(before.value_or("0")) + std::stoll(operation.argument));
        break;
      case Kind::kAppend:
        operation.result = std::to_string(before.value_or("").size() + operation.argument.size());
        break;
      case Kind::kSet:
      case Kind::kExpire:
        break;
    }
    const bool lost = operation.kind == Kind::kExpire || rng.chance(losses);
    const Transition effect = effect_of(unknown(operation), state);
    if (effect.possible && (!lost || rng.chance(0.5))) state = effect.after;
    history.push_back(lost ? unknown(operation) : operation);
  }
  return history;
}

TEST(Linearizability, agrees_with_trying_every_order) {
  Rng rng(11);
  size_t rejected = 0;
  for (int i = 0; i < 12'000; ++i) {
    const History history = random_history(rng, 1 + rng.below(6), false);
    const bool expected = naive(history);
    rejected += expected ? 0 : 1;
    std::string story;
    for (const Operation& operation : history) story += to_text(operation) + "\n";
    ASSERT_EQ(answer_of(history) == Answer::kYes, expected) << story;
  }
  EXPECT_GT(rejected, 300u);
}

TEST(Linearizability, an_honest_store_is_believed) {
  Rng rng(12);
  for (int i = 0; i < 200; ++i) {
    const History history = random_history(rng, 60, true);
    ASSERT_EQ(answer_of(history), Answer::kYes);
  }
}

TEST(Linearizability, work_is_bounded) {
  Rng rng(13);
  History history;
  for (int64_t i = 0; i < 40; ++i) history.push_back(op(Kind::kAppend, 0, 1000, std::to_string(i), "1"));
  EXPECT_EQ(check_linearizable(history, {.steps_max_per_key = 3, .initial = {}}).answer, Answer::kUndecided);
}

TEST(Operation, json_round_trip) {
  Operation operation = get(5, 9, std::string("a\"\\\0\xFFz", 6));
  operation.key = "sp ace\n";
  const Result<Operation> back = operation_from_json(to_json(operation));
  ASSERT_TRUE(back.ok()) << back.status().to_string();
  EXPECT_EQ(to_json(*back), to_json(operation));
  EXPECT_EQ(back->result, operation.result);
  operation.result.reset();
  EXPECT_EQ(operation_from_json(to_json(operation))->result, std::nullopt);
}

TEST(Operation, bad_lines_say_what_is_wrong) {
  const auto why = [](std::string_view line) { return operation_from_json(line).status().message(); };
  const std::string good = to_json(set(1, 2, "a"));
  const auto with = [&](std::string_view from, std::string_view to) {
    std::string line = good;
    line.replace(line.find(from), from.size(), to);
    return line;
  };
  EXPECT_THAT(why("nonsense"), ::testing::HasSubstr("not a JSON object"));
  EXPECT_THAT(why("{}"), ::testing::HasSubstr("must be a string"));
  EXPECT_THAT(why(with("\"set\"", "\"sit\"")), ::testing::HasSubstr("'kind' cannot be 'sit'"));
  EXPECT_THAT(why(with("\"ok\"", "\"okay\"")), ::testing::HasSubstr("'outcome' cannot be 'okay'"));
  EXPECT_THAT(why(with("\"returned_us\":2", "\"returned_us\":0")), ::testing::HasSubstr("before"));
  EXPECT_THAT(why(with("\"called_us\":1", "\"called_us\":\"x\"")), ::testing::HasSubstr("must be a number"));
  EXPECT_THAT(why(with("\"key\":\"k\"", "\"key\":\"\xE2\x82\xAC\"")), ::testing::HasSubstr("'key' must be a string"));
}

}  // namespace
}  // namespace flux::history
