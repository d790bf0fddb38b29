// Reads: of the committed state, with expiry judged by the log's clock.
#include <algorithm>

#include "api/limits.h"
#include "api/slot.h"
#include "base/overloaded.h"
#include "kv/state_machine.h"

namespace flux::kv {

using engine::Family;

namespace {

Status not_served() { return Status(ErrorCode::kWrongShard, "the group does not serve all that is asked for"); }

}  // namespace

void StateMachine::read(const api::ReadRequest& request, WallMillis wall, Rng& rng, ReadOutcome& outcome) {
  FLUX_CHECK(!uncommitted_);
  outcome = {};
  std::visit(Overloaded{
                 [&](const api::GetRequest& get) { read_get(get, wall, outcome); },
                 [&](const api::ScanRequest& scan) { read_scan(scan, wall, outcome); },
                 [&](const api::CountRequest&) { outcome.count = count_served(); },
                 [&](const api::RandomKeyRequest&) { read_random(wall, rng, outcome); },
             },
             request.what);
}

bool StateMachine::visible(const Record& record, std::string_view key, WallMillis wall, ReadOutcome& outcome) const {
  if (record.expired_at(clock())) return false;
  if (record.expired_at(wall)) outcome.overdue.push_back({.key = std::string(key), .deadline = *record.deadline});
  return true;
}

std::vector<std::pair<std::string, std::string>> StateMachine::served_parts(std::string_view low,
                                                                            std::string_view high) const {
  std::vector<std::pair<std::string, std::string>> parts;
  if (!sharded()) parts.emplace_back(low, high);
  for (const ShardInfo& shard : shards_.all()) {
    const std::string_view from = std::max(low, std::string_view(shard.start));
    const bool open = shard.end.empty() || (!high.empty() && high < shard.end);
    const std::string_view to = open ? high : std::string_view(shard.end);
    if (shard.served() && (to.empty() || from < to)) parts.emplace_back(from, to);
  }
  return parts;
}

uint64_t StateMachine::count_served() const {
  uint64_t count = engine_.count();
  for (const ShardInfo& shard : shards_.all()) {
    if (shard.served()) continue;
    count -= std::min(count, engine_.approximate_count(Family::kData, shard.start, shard.end));
  }
  return count;
}

void StateMachine::read_get(const api::GetRequest& request, WallMillis wall, ReadOutcome& outcome) {
  outcome.lookup_keys.reserve(request.keys.size());
  outcome.lookups.resize(request.keys.size());
  outcome.items.resize(request.keys.size());
  for (size_t i = 0; i < request.keys.size(); ++i) {
    outcome.lookup_keys.push_back(api::encoded_key(request.keys[i]));
    if (sharded() && !shards_.use(outcome.lookup_keys.back())) {
      outcome.status = not_served();
      return;
    }
    outcome.lookups[i].key = outcome.lookup_keys.back();
  }
  outcome.status = engine_.multi_get(outcome.lookups);
  if (!outcome.status.ok()) return;
  for (size_t i = 0; i < request.keys.size(); ++i) {
    if (!outcome.lookups[i].found) continue;
    const Result<Record> record = read_record(outcome.lookups[i].value.view());
    if (!record.ok()) {
      outcome.status = record.status();
      return;
    }
    if (!visible(*record, request.keys[i], wall, outcome)) continue;
    outcome.items[i] = {
        .found = true, .key = {}, .value = record->value, .version = record->version, .deadline = record->deadline};
  }
}

void StateMachine::read_scan(const api::ScanRequest& request, WallMillis wall, ReadOutcome& outcome) {
  const size_t keys_max = std::clamp<size_t>(request.keys_max, 1, api::kScanKeysMax);
  std::string low(request.start);
  if (request.after_start) low.push_back('\0');  // the least key above it
  if (!serves(low, request.end)) {
    outcome.status = not_served();
    return;
  }
  if (sharded()) shards_.use(low);
  auto it = engine_.iterate(Family::kData, low, request.end);
  outcome.copies.reserve(keys_max * 2);
  // Expired keys count towards the page too, so that one call does a bounded amount of work.
  for (size_t seen = 0; it->valid(); it->next()) {
    if (seen == keys_max) {
      outcome.scan_resume = low;
      break;
    }
    ++seen;
    low.assign(it->key());
    const Result<Record> record = read_record(it->value());
    if (!record.ok()) {
      outcome.status = record.status();
      return;
    }
    const std::string_view key = api::decoded_key(it->key());
    if (!visible(*record, key, wall, outcome)) continue;
    api::Item item{.found = true, .key = {}, .value = {}, .version = record->version, .deadline = record->deadline};
    item.key = outcome.copies.emplace_back(key);
    if (request.values) item.value = outcome.copies.emplace_back(record->value);
    outcome.items.push_back(item);
  }
  outcome.status = it->status();
}

void StateMachine::read_random(WallMillis wall, Rng& rng, ReadOutcome& outcome) {
  // From a random place to the end, then from the beginning: the first live key.
  const std::string start = api::slot_start(static_cast<uint16_t>(rng.below(api::kSlotCount)));
  outcome.copies.reserve(1);
  auto parts = served_parts(start, "");
  for (auto& part : served_parts("", start)) parts.push_back(std::move(part));
  for (const auto& [low, high] : parts) {
    auto it = engine_.iterate(Family::kData, low, high);
    for (; it->valid(); it->next()) {
      const Result<Record> record = read_record(it->value());
      if (!record.ok()) {
        outcome.status = record.status();
        return;
      }
      const std::string_view key = api::decoded_key(it->key());
      if (!visible(*record, key, wall, outcome)) continue;
      outcome.items.push_back({.found = true,
                               .key = outcome.copies.emplace_back(key),
                               .value = {},
                               .version = record->version,
                               .deadline = record->deadline});
      return;
    }
    outcome.status = it->status();
    if (!outcome.status.ok()) return;
  }
}

}  // namespace flux::kv
