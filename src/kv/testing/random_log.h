// A log of random requests: every kind of command, conditions that hold and that do not, sessions that repeat
// themselves, expiry, leaders whose clocks disagree. The same seed gives the same log, entry by entry.
#pragma once

#include <deque>
#include <iterator>
#include <string>
#include <vector>

#include "base/log_entry.h"
#include "base/rng.h"
#include "kv/entry_codec.h"

namespace flux::kv::testing {

class RandomLog {
 public:
  static constexpr api::KeyspaceRef kKeyspaces[] = {{},
                                                    {.id = KeyspaceId(2), .kind = api::KeyspaceKind::kRange},
                                                    {.id = KeyspaceId(3), .kind = api::KeyspaceKind::kHash}};
  explicit RandomLog(uint64_t seed) : rng_(seed) {}

  Entry next() {
    if (rng_.chance(0.02)) ++term_;
    Entry entry{.index = ++index_, .term = term_, .type = EntryType::kNoop};
    if (rng_.chance(0.03)) return entry;
    entry.type = EntryType::kCommand;
    // Clocks mostly run on; a new leader's may be behind.
    wall_ms_ = rng_.chance(0.02) ? wall_ms_ - rng_.below(200) : wall_ms_ + rng_.below(30);
    if (rng_.chance(0.002)) wall_ms_ += 4'000'000;  // longer than a session may sleep
    const Version stamp = version_at(WallMillis(wall_ms_));
    std::string bytes;
    begin_entry(bytes);
    for (uint64_t n = rng_.between(1, 4); n > 0; --n) append(bytes, stamp);
    stamp_entry(bytes, stamp);
    entry.data = SharedBytes(std::move(bytes));
    return entry;
  }

 private:
  void append(std::string& bytes, Version stamp) {
    texts_.clear();
    api::WriteRequest request;
    std::vector<api::Command> commands;
    request.keyspace = keyspace_ = kKeyspaces[rng_.chance(0.5) ? 0 : rng_.below(std::size(kKeyspaces))];
    for (uint64_t n = rng_.chance(0.2) ? rng_.between(2, 12) : 1; n > 0; --n) commands.push_back(command());
    request.commands = commands;
    request.all_or_nothing = rng_.chance(0.2);
    if (rng_.chance(0.3)) request.session = {.client = rng_.between(1, 5), .sequence = sequence()};
    FLUX_CHECK(api::append_request(bytes, request).ok());
    last_version_ = next_version(last_version_, stamp);
    versions_.push_back(last_version_);
    if (versions_.size() > 30) versions_.pop_front();
  }

  api::Command command() {
    switch (rng_.below(20)) {
      case 0:
        return api::Delete{.key = key(), .return_old = rng_.chance(0.5)};
      case 1:
        return api::Delete{.key = key(), .condition = api::Condition::kIfVersion, .if_version = version()};
      case 2:
      case 3:
        return api::Increment{.key = key(), .delta = static_cast<int64_t>(rng_.below(100)) - 50};
      case 4:
        return api::IncrementFloat{.key = key(), .delta = rng_.chance(0.5) ? "0.25" : "-3e2"};
      case 5:
        return api::Append{.key = key(), .value = value()};
      case 6:
        return api::SetRange{.key = key(), .offset = rng_.below(40), .value = value()};
      case 7:
      case 8:
        return api::SetExpiry{.key = key(),
                              .expiry = expiry(),
                              .only = static_cast<uint8_t>(rng_.chance(0.5) ? 0 : 1 << rng_.below(4)),
                              .return_value = rng_.chance(0.3)};
      case 9:
        return api::Copy{
            .source = key(), .destination = key(), .replace = rng_.chance(0.5), .remove_source = rng_.chance(0.5)};
      case 10:
        if (rng_.chance(0.05)) return api::DeleteAll{};
        return api::ExpireDue{.encoded_key = text(api::encoded_key(keyspace_, key())),
                              .deadline = WallMillis(wall_ms_ - rng_.below(100))};
      case 11:
        return api::OpenSession{.client = rng_.between(1, 5)};
      case 12:
        if (rng_.chance(0.1)) return api::CloseSession{.client = rng_.between(1, 5)};
        [[fallthrough]];
      default:
        return api::Put{.key = key(),
                        .value = value(),
                        .expiry = expiry(),
                        .condition = static_cast<api::Condition>(rng_.chance(0.5) ? 0 : rng_.below(4)),
                        .if_version = version(),
                        .return_old = rng_.chance(0.3)};
    }
  }

  api::KeyspaceRef keyspace_;

  std::string_view text(std::string value) { return texts_.emplace_back(std::move(value)); }
  std::string_view key() { return text((rng_.chance(0.3) ? "{tag}k" : "k") + std::to_string(rng_.below(40))); }
  std::string_view value() {
    if (rng_.chance(0.5)) return text(std::to_string(rng_.below(1000)));
    return text(
        std::string(rng_.chance(0.05) ? rng_.below(20'000) : rng_.below(60), static_cast<char>(rng_.below(256))));
  }
  Version version() { return versions_.empty() ? Version(1) : versions_[rng_.below(versions_.size())]; }
  // Mostly the next, sometimes one of the last few again, sometimes one that is long past.
  uint64_t sequence() {
    if (rng_.chance(0.6)) return ++sequence_;
    return sequence_ - std::min(sequence_ - 1, rng_.below(rng_.chance(0.1) ? 300 : 5));
  }
  api::Expiry expiry() {
    using Kind = api::Expiry::Kind;
    if (rng_.chance(0.5)) return {.kind = rng_.chance(0.5) ? Kind::kClear : Kind::kKeep};
    if (rng_.chance(0.5)) return {.kind = Kind::kIn, .millis = static_cast<int64_t>(rng_.below(500)) - 10};
    return {.kind = Kind::kAt, .millis = static_cast<int64_t>(wall_ms_ + rng_.below(500)) - 10};
  }

  Rng rng_;
  Index index_;
  Term term_{1};
  uint64_t wall_ms_ = 1'000'000;
  uint64_t sequence_ = 1;
  Version last_version_;
  std::deque<Version> versions_;   // of the newest requests
  std::deque<std::string> texts_;  // what the commands of one request point into
};

}  // namespace flux::kv::testing
