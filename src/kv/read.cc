// Reads: of the committed state, with expiry judged by the log's clock.
#include <algorithm>

#include "api/keyspace.h"
#include "api/limits.h"
#include "api/slot.h"
#include "base/overloaded.h"
#include "kv/state_machine.h"

namespace flux::kv {

using engine::Family;

namespace {

// Of the keys of an ordered shard one of so many first ones is taken for a random one.
constexpr uint64_t kRandomKeyPasses = 64;

Status not_served() { return Status(ErrorCode::kWrongShard, "the group does not serve all that is asked for"); }

}  // namespace

void StateMachine::read(const api::ReadRequest& request, WallMillis wall, Rng& rng, ReadOutcome& outcome) {
  FLUX_CHECK(!uncommitted_);
  outcome = {};
  std::visit(Overloaded{
                 [&](const api::GetRequest& get) { read_get(get, request.keyspace, wall, outcome); },
                 [&](const api::ScanRequest& scan) { read_scan(scan, request.keyspace, wall, outcome); },
                 [&](const api::CountRequest&) {
                   const Result<uint64_t> count = count_served(request.keyspace);
                   outcome.status = count.status();
                   outcome.count = count.ok() ? *count : 0;
                 },
                 [&](const api::RandomKeyRequest&) { read_random(request.keyspace, wall, rng, outcome); },
             },
             request.what);
}

bool StateMachine::visible(const Record& record, std::string_view encoded_key, WallMillis wall,
                           ReadOutcome& outcome) const {
  if (record.expired_at(clock())) return false;
  if (record.expired_at(wall)) {
    outcome.overdue.push_back({.encoded_key = std::string(encoded_key), .deadline = *record.deadline});
  }
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

Result<std::map<KeyspaceId, uint64_t>> StateMachine::counts() const {
  std::map<KeyspaceId, uint64_t> counts;
  uint64_t left = engine_.count();
  auto it = engine_.iterate(Family::kMeta, kCountPrefix, api::after_prefix(kCountPrefix));
  for (; it->valid(); it->next()) {
    const std::string_view id = it->key().substr(kCountPrefix.size());
    if (id.size() != sizeof(uint64_t)) return Status(ErrorCode::kCorruption, "a count of keys has a malformed name");
    FLUX_TRY(const uint64_t count, read_count(it->value()));
    counts.emplace(KeyspaceId(read_u64_ordered(id)), count);
    left -= std::min(left, count);
  }
  FLUX_RETURN_IF_ERROR(it->status());
  counts.emplace(api::kDefaultKeyspaceId, left);
  return counts;
}

Result<uint64_t> StateMachine::count_served(api::KeyspaceRef keyspace) const {
  FLUX_TRY(const auto all, counts());
  const auto found = all.find(keyspace.id);
  uint64_t count = found != all.end() ? found->second : 0;
  // What is here and is not served.
  for (const ShardInfo& shard : shards_.all()) {
    if (shard.served() || api::keyspace_at(shard.start) != keyspace) continue;
    count -= std::min(count, engine_.approximate_count(Family::kData, shard.start, shard.end));
  }
  return count;
}

void StateMachine::read_get(const api::GetRequest& request, api::KeyspaceRef keyspace, WallMillis wall,
                            ReadOutcome& outcome) {
  outcome.lookup_keys.reserve(request.keys.size());
  outcome.lookups.resize(request.keys.size());
  outcome.items.resize(request.keys.size());
  for (size_t i = 0; i < request.keys.size(); ++i) {
    outcome.lookup_keys.push_back(api::encoded_key(keyspace, request.keys[i]));
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
    if (!visible(*record, outcome.lookup_keys[i], wall, outcome)) continue;
    outcome.items[i] = {
        .found = true, .key = {}, .value = record->value, .version = record->version, .deadline = record->deadline};
  }
}

void StateMachine::read_scan(const api::ScanRequest& request, api::KeyspaceRef keyspace, WallMillis wall,
                             ReadOutcome& outcome) {
  const size_t keys_max = std::clamp<size_t>(request.keys_max, 1, api::kScanKeysMax);
  const api::KeyRange range = api::within(keyspace, request.start, request.end);
  if (range.empty()) return;
  if (!serves(range.start, range.end)) {
    outcome.status = not_served();
    return;
  }
  if (sharded()) shards_.use(range.start);
  auto it = engine_.iterate(Family::kData, range.start, range.end);
  outcome.copies.reserve(keys_max * 2);
  size_t bytes = 0;
  // Expired keys count towards the page too, so that one call does a bounded amount of work.
  for (size_t seen = 0; it->valid(); it->next()) {
    if (seen == keys_max || bytes >= api::kScanBytesTarget) {
      outcome.scan_resume = it->key();
      break;
    }
    ++seen;
    bytes += it->key().size() + (request.values ? it->value().size() : 0);
    const Result<Record> record = read_record(it->value());
    if (!record.ok()) {
      outcome.status = record.status();
      return;
    }
    if (!visible(*record, it->key(), wall, outcome)) continue;
    api::Item item{.found = true, .key = {}, .value = {}, .version = record->version, .deadline = record->deadline};
    item.key = outcome.copies.emplace_back(api::decoded_key(it->key()));
    if (request.values) item.value = outcome.copies.emplace_back(record->value);
    outcome.items.push_back(item);
  }
  outcome.status = it->status();
}

void StateMachine::read_random(api::KeyspaceRef keyspace, WallMillis wall, Rng& rng, ReadOutcome& outcome) {
  const api::KeyRange all = api::keyspace_range(keyspace);
  // From a random place to the end, then from the beginning. Slots spread keys evenly; where keys are in order a shard
  // is the place, and some keys are passed over.
  std::string from;
  uint64_t pass = 0;
  if (keyspace.kind == api::KeyspaceKind::kHash) {
    from = api::keyspace_prefix(keyspace) + api::slot_start(static_cast<uint16_t>(rng.below(api::kSlotCount)));
  } else if (const auto served = served_parts(all.start, all.end); !served.empty()) {
    from = served[rng.below(served.size())].first;
    pass = rng.below(kRandomKeyPasses);
  }
  auto parts = served_parts(from, all.end);
  for (auto& part : served_parts(all.start, from)) parts.push_back(std::move(part));
  outcome.copies.reserve(1);
  for (const auto& [low, high] : parts) {
    auto it = engine_.iterate(Family::kData, low, high);
    for (; it->valid(); it->next()) {
      const Result<Record> record = read_record(it->value());
      if (!record.ok()) {
        outcome.status = record.status();
        return;
      }
      const auto earlier = static_cast<ptrdiff_t>(outcome.overdue.size());
      if (!visible(*record, it->key(), wall, outcome)) continue;
      // What is passed over is not shown, so nothing hangs on its expiry.
      outcome.overdue.erase(outcome.overdue.begin(), outcome.overdue.begin() + earlier);
      outcome.copies.assign(1, std::string(api::decoded_key(it->key())));
      outcome.items.assign(1, {.found = true,
                               .key = outcome.copies.front(),
                               .value = {},
                               .version = record->version,
                               .deadline = record->deadline});
      if (pass-- == 0) return;
    }
    outcome.status = it->status();
    if (!outcome.status.ok()) return;
  }
}

}  // namespace flux::kv
