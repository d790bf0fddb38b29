// What a session promises: the same (client, sequence) takes effect at most once however often it is sent, exactly once
// if it was acknowledged, and every try is told the same.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/kv_service.h"
#include "history/operation.h"

namespace flux::sim {

// One command of a request, as a history knows it.
struct Write {
  history::Kind kind = history::Kind::kSet;
  std::string key;
  std::string argument;
};

// Hears of every try and every answer, late ones too. Lists are made of tokens that end with a comma and are unique to
// one request; counters are raised by positive numbers. Both are written through sessions only.
class ExactlyOnce {
 public:
  using Report = std::function<void(std::string)>;
  // `window`: how many replies a session keeps.
  ExactlyOnce(size_t window, Report report) : window_(window), report_(std::move(report)) {}

  // A request is sent for the first time. Its client has no other that is not answered.
  void called(const api::SessionRef& ref, std::vector<Write> writes);
  // One of its tries was answered.
  void answered(const api::SessionRef& ref, const api::WriteReply& reply);

  // What a key holds when all is over and every client was answered, or has given its session up.
  void check_list(const std::string& key, std::string_view value) const;
  void check_counter(const std::string& key, std::string_view value) const;
  // The keys that were written so.
  std::vector<std::string> keys(history::Kind kind) const;

 private:
  using Name = std::pair<uint64_t, uint64_t>;  // client, sequence
  struct Request {
    std::vector<Write> writes;
    std::optional<std::string> answer;  // the first, as text
  };

  const size_t window_;
  const Report report_;
  std::map<Name, Request> requests_;
  std::map<uint64_t, uint64_t> newest_;  // sequence by client
};

}  // namespace flux::sim
