#include "exactly_once.h"

#include <fmt/core.h>

#include <charconv>
#include <set>

namespace flux::sim {
namespace {

int64_t number_in(std::string_view text) {
  int64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

std::string name_of(const std::pair<uint64_t, uint64_t>& request) {
  return fmt::format("session {:x} #{}", request.first, request.second);
}

std::string text_of(const api::WriteReply& reply) {
  std::string text = fmt::format("{} v{}", reply.position.index, reply.position.version);
  for (const api::CommandResult& result : reply.results) {
    text += fmt::format(", {}{} {} '{}'", to_string(result.code), result.applied ? " applied" : "", result.integer,
                        result.had_value ? result.value : "");
  }
  return text;
}

}  // namespace

void ExactlyOnce::called(const api::SessionRef& ref, std::vector<Write> writes) {
  requests_[{ref.client, ref.sequence}].writes = std::move(writes);
  newest_[ref.client] = std::max(newest_[ref.client], ref.sequence);
}

void ExactlyOnce::answered(const api::SessionRef& ref, const api::WriteReply& reply) {
  const Name name(ref.client, ref.sequence);
  Request& request = requests_.at(name);
  const ErrorCode code = reply.status.code();
  if (code == ErrorCode::kStaleRequest) {
    // It was run before it could be followed by so many others.
    if (newest_[ref.client] < ref.sequence + window_) {
      report_(fmt::format("{} is called stale; the newest is #{}", name_of(name), newest_[ref.client]));
    }
    return;
  }
  if (code != ErrorCode::kOk) return;
  const std::string answer = text_of(reply);
  if (!request.answer) request.answer = answer;
  if (*request.answer == answer) return;
  report_(fmt::format("{} was answered '{}', and then '{}'", name_of(name), *request.answer, answer));
}

void ExactlyOnce::check_list(const std::string& key, std::string_view value) const {
  std::map<std::string_view, Name> known;
  for (const auto& [name, request] : requests_) {
    for (const Write& write : request.writes) {
      if (write.kind == history::Kind::kAppend && write.key == key) known[write.argument] = name;
    }
  }
  std::set<std::string_view> seen;
  while (!value.empty()) {
    const std::string_view token = value.substr(0, value.find(',') + 1);
    value.remove_prefix(token.empty() ? value.size() : token.size());
    const auto found = known.find(token);
    if (found == known.end()) return report_(fmt::format("{} holds '{}', which nobody has written", key, token));
    if (seen.insert(token).second) continue;
    return report_(fmt::format("{} took effect twice: {} holds '{}' again", name_of(found->second), key, token));
  }
  for (const auto& [token, name] : known) {
    if (!requests_.at(name).answer || seen.contains(token)) continue;
    return report_(fmt::format("{} was acknowledged, but {} lacks '{}'", name_of(name), key, token));
  }
}

void ExactlyOnce::check_counter(const std::string& key, std::string_view value) const {
  int64_t sure = 0;
  int64_t perhaps = 0;
  for (const auto& [name, request] : requests_) {
    for (const Write& write : request.writes) {
      if (write.kind != history::Kind::kAdd || write.key != key) continue;
      (request.answer ? sure : perhaps) += number_in(write.argument);
    }
  }
  const int64_t sum = number_in(value);
  if (sum >= sure && sum <= sure + perhaps) return;
  report_(fmt::format("{} holds {}; {} were acknowledged, {} more may have been added", key, sum, sure, perhaps));
}

std::vector<std::string> ExactlyOnce::keys(history::Kind kind) const {
  std::set<std::string> keys;
  for (const auto& [name, request] : requests_) {
    for (const Write& write : request.writes) {
      if (write.kind == kind) keys.insert(write.key);
    }
  }
  return {keys.begin(), keys.end()};
}

}  // namespace flux::sim
