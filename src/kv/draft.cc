#include "kv/draft.h"

#include <algorithm>
#include <utility>

#include "api/keyspace.h"
#include "kv/shards.h"

namespace flux::kv {

using engine::Existed;
using engine::Family;
using Found = engine::Batch::Found;

Result<std::optional<Record>> Draft::find(std::string_view encoded_key) {
  std::string_view bytes;
  if (!batch_.empty()) {
    const Found found = batch_.find(Family::kData, encoded_key, bytes);
    if (found == Found::kErased) return std::optional<Record>();
    if (found == Found::kPut) {
      scratch_.assign(bytes);  // the batch moves when it grows
      FLUX_TRY(const Record record, read_record(scratch_));
      return std::optional<Record>(record);
    }
  }
  FLUX_TRY(const bool exists, engine_.get(Family::kData, encoded_key, pinned_));
  if (!exists) return std::optional<Record>();
  FLUX_TRY(const Record record, read_record(pinned_.view()));
  return std::optional<Record>(record);
}

void Draft::store(std::string_view encoded_key, const Record& record, const std::optional<Record>& old) {
  if (old && old->deadline && old->deadline != record.deadline) {
    batch_.erase(Family::kExpiry, expiry_key(*old->deadline, encoded_key));
  }
  if (record.deadline && !(old && old->deadline == record.deadline)) {
    batch_.put(Family::kExpiry, expiry_key(*record.deadline, encoded_key), {});
    earliest_deadline_ = std::min(earliest_deadline_, *record.deadline);
  }
  std::string bytes;
  bytes.reserve(record.value.size() + 17);
  append_record(bytes, record);
  batch_.put(Family::kData, encoded_key, bytes, old ? Existed::kYes : Existed::kNo);
  if (!old) count(encoded_key, 1);
  if (shards_ != nullptr && shards_->any_feed()) shards_->on_change(*this, encoded_key);
}

void Draft::erase(std::string_view encoded_key, const Record& old) {
  if (old.deadline) batch_.erase(Family::kExpiry, expiry_key(*old.deadline, encoded_key));
  batch_.erase(Family::kData, encoded_key, Existed::kYes);
  count(encoded_key, -1);
  if (shards_ != nullptr && shards_->any_feed()) shards_->on_change(*this, encoded_key);
}

void Draft::erase_all_data() {
  batch_.erase_range(Family::kData, {}, {});
  batch_.erase_range(Family::kExpiry, {}, {});
  erase_raw_range(Family::kMeta, kCountPrefix, api::after_prefix(kCountPrefix));
  all_erased_ = true;
  count_delta_ = 0;
  keyspace_deltas_.clear();
}

Result<uint64_t> Draft::erase_data(std::string_view low, std::string_view high) {
  uint64_t erased = 0;
  Walk walk(*this, low, high);
  std::string key;
  Record record;
  for (;; ++erased) {
    FLUX_TRY(const bool more, walk.next(key, record));
    if (!more) break;
    count(key, -1);
    if (record.deadline) batch_.erase(Family::kExpiry, expiry_key(*record.deadline, key));
  }
  batch_.erase_range(Family::kData, low, high);
  return erased;
}

uint64_t Draft::count() const {
  const uint64_t before = all_erased_ ? 0 : engine_.count();
  return before + static_cast<uint64_t>(count_delta_);
}

Result<std::optional<std::string>> Draft::get_raw(Family family, std::string_view key) {
  std::string_view bytes;
  if (!batch_.empty()) {
    const Found found = batch_.find(family, key, bytes);
    if (found == Found::kErased) return std::optional<std::string>();
    if (found == Found::kPut) return std::optional<std::string>(bytes);
  }
  engine::PinnedValue value;
  FLUX_TRY(const bool exists, engine_.get(family, key, value));
  if (!exists) return std::optional<std::string>();
  return std::optional<std::string>(value.view());
}

Draft::Walk::Walk(Draft& draft, std::string_view low, std::string_view high)
    : draft_(draft), stored_(draft.engine_.iterate(Family::kData, low, high)) {
  for (size_t i = 0; i < draft.batch_.size(); ++i) {
    const engine::Batch::Change change = draft.batch_.change(i);
    const bool put = change.kind == engine::Batch::Kind::kPut && change.family == Family::kData;
    if (put && change.key >= low && (high.empty() || change.key < high)) fresh_.emplace(change.key);
  }
}

Result<bool> Draft::Walk::next(std::string& encoded_key, Record& record) {
  while (stored_->valid() || !fresh_.empty()) {
    if (!stored_->valid() || (!fresh_.empty() && *fresh_.begin() < stored_->key())) {
      encoded_key = std::move(fresh_.extract(fresh_.begin()).value());
    } else {
      encoded_key = stored_->key();
      fresh_.erase(encoded_key);
      stored_->next();
    }
    FLUX_TRY(const std::optional<Record> found, draft_.find(encoded_key));
    if (!found) continue;  // the round has erased it
    record = *found;
    return true;
  }
  FLUX_RETURN_IF_ERROR(stored_->status());
  return false;
}

void Draft::count(std::string_view encoded_key, int64_t change) {
  count_delta_ += change;
  const std::optional<api::KeyspaceRef> keyspace = api::keyspace_at(encoded_key);
  if (keyspace && !keyspace->is_default()) keyspace_deltas_[keyspace->id] += change;
}

Status Draft::write_counts() {
  for (const auto& [id, change] : std::exchange(keyspace_deltas_, {})) {
    const std::string key = count_key(id);
    FLUX_TRY(const std::optional<std::string> before, get_raw(Family::kMeta, key));
    FLUX_TRY(const uint64_t count, before ? read_count(*before) : Result<uint64_t>(0));
    const uint64_t after = count + static_cast<uint64_t>(change);
    after == 0 ? erase_raw(Family::kMeta, key) : put_raw(Family::kMeta, key, encode_count(after));
  }
  return {};
}

Status Draft::write() {
  Status status = engine_.write(std::move(batch_));
  begin();
  return status;
}

void Draft::drop() {
  keyspace_deltas_.clear();
  begin();
}

void Draft::begin() {
  batch_.clear();
  count_delta_ = 0;
  all_erased_ = false;
  earliest_deadline_ = WallMillis(UINT64_MAX);
}

}  // namespace flux::kv
