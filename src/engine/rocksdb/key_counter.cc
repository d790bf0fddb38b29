#include "engine/rocksdb/key_counter.h"

#include <algorithm>

#include "engine/rocksdb/rocks_slice.h"
#include "engine/rocksdb/rocks_status.h"

namespace flux::engine {
namespace {

bool within(std::string_view key, std::string_view low, std::string_view high) {
  return key >= low && (high.empty() || key < high);
}

}  // namespace

Result<int64_t> KeyCounter::change_by(const Batch& batch) {
  for (size_t i = 0; i < batch.size(); ++i) {
    const Batch::Change change = batch.change(i);
    if (change.family != Family::kData) continue;
    if (change.kind == Batch::Kind::kEraseRange) {
      FLUX_RETURN_IF_ERROR(erase_range(change.key, change.value));
    } else {
      FLUX_RETURN_IF_ERROR(change_key(change));
    }
  }
  return change_;
}

Status KeyCounter::change_key(const Batch::Change& change) {
  const auto [named, first] = named_.try_emplace(change.key, change.existed == Existed::kYes);
  if (first && change.existed == Existed::kUnknown && !erased_by_range(change.key)) {
    FLUX_TRY(named->second, stored(change.key));
  }
  const bool exists = change.kind == Batch::Kind::kPut;
  change_ += static_cast<int64_t>(exists) - static_cast<int64_t>(named->second);
  named->second = exists;
  return {};
}

Status KeyCounter::erase_range(std::string_view low, std::string_view high) {
  if (!high.empty() && high <= low) return {};
  const std::string end(key_.end_of(Family::kData, high));
  const rocksdb::Slice end_slice(end);
  rocksdb::ReadOptions options;
  options.iterate_upper_bound = &end_slice;
  const std::unique_ptr<rocksdb::Iterator> it(db_.NewIterator(options));
  for (it->Seek(slice(key_.of(Family::kData, low))); it->Valid(); it->Next()) {
    const std::string_view key = view(it->key()).substr(kKeyPrefixBytes);
    if (!named_.contains(key) && !erased_by_range(key)) change_ -= 1;
  }
  FLUX_RETURN_IF_ERROR(from_rocks(it->status(), "counting a range"));
  for (auto& [key, exists] : named_) {
    if (!within(key, low, high)) continue;
    change_ -= static_cast<int64_t>(exists);
    exists = false;
  }
  erased_.emplace_back(low, high);
  return {};
}

Result<bool> KeyCounter::stored(std::string_view key) {
  rocksdb::PinnableSlice value;
  const rocksdb::Status status = db_.Get({}, db_.DefaultColumnFamily(), slice(key_.of(Family::kData, key)), &value);
  if (status.IsNotFound()) return false;
  FLUX_RETURN_IF_ERROR(from_rocks(status, "get"));
  return true;
}

bool KeyCounter::erased_by_range(std::string_view key) const {
  return std::any_of(erased_.begin(), erased_.end(),
                     [&](const auto& range) { return within(key, range.first, range.second); });
}

}  // namespace flux::engine
