// What consensus, the log store and the node all speak of: entries of a group's log and the state that a vote needs.
#pragma once

#include "base/bytes.h"
#include "base/types.h"

namespace flux {

// Numbers are stored on disk and sent to peers: never change or reuse them.
enum class EntryType : uint8_t {
  kNoop = 0,     // empty; the first entry of every term
  kCommand = 1,  // for the state machine
  kConfig = 2,   // a change of membership
};

// The name of an entry: two logs that hold the same EntryId are equal up to it. Written index^term in logs and traces.
struct EntryId {
  Index index;
  Term term;
  bool operator==(const EntryId&) const = default;
};

struct Entry {
  Index index;
  Term term;
  EntryType type = EntryType::kNoop;
  SharedBytes data;

  EntryId id() const { return {.index = index, .term = term}; }
  bool operator==(const Entry&) const = default;
};

// What must be durable before a vote, an append or their answers leave the node (Raft paper, Figure 2).
struct HardState {
  Term term;
  NodeId vote;  // kNobody: has not voted in `term`
  bool operator==(const HardState&) const = default;
};

}  // namespace flux

template <>
struct fmt::formatter<flux::EntryId> {
  constexpr auto parse(fmt::format_parse_context& context) { return context.begin(); }
  template <typename Context>
  auto format(const flux::EntryId& id, Context& context) const {
    context.advance_to(fmt::formatter<flux::Index>().format(id.index, context));
    auto out = context.out();
    *out++ = '^';
    context.advance_to(out);
    return fmt::formatter<flux::Term>().format(id.term, context);
  }
};
