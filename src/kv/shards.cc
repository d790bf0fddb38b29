#include "kv/shards.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/codec.h"
#include "base/probe.h"
#include "kv/draft.h"

namespace flux::kv {
namespace {

using engine::Family;

constexpr uint8_t kChanged = 1;

// One key of so many operations is kept, so many keys, so much of each: enough to tell halves from each other.
constexpr uint64_t kSampleEvery = 16;
constexpr size_t kSampleKeys = 64;
constexpr size_t kSampleKeyBytes = 64;

std::string shard_key(ShardId shard) {
  std::string key(kShardPrefix);
  append_u64_ordered(key, shard.value());
  return key;
}

std::string feed_head_key(ShardId shard) {
  std::string key;
  append_u64_ordered(key, shard.value());
  return key;
}

std::string encode_shard(const ShardInfo& info) {
  std::string out;
  Encoder encoder(out);
  encoder.u8(static_cast<uint8_t>(info.state));
  encoder.bytes(info.start);
  encoder.bytes(info.end);
  encoder.id(info.since);
  encoder.id(info.peer);
  encoder.varint(info.plan);
  encoder.varint(info.step);
  append_cursor(encoder, info.cursor);
  encoder.u8(info.feed ? 1 : 0);
  if (info.feed) {
    encoder.varint(info.feed_plan);
    encoder.varint(info.feed_step);
  }
  return out;
}

Result<ShardInfo> decode_shard(ShardId shard, std::string_view bytes) {
  Decoder decoder(bytes);
  ShardInfo info{.shard = shard, .start = {}, .end = {}, .cursor = {}};
  const uint8_t state = decoder.u8();
  info.state = static_cast<ShardState>(state);
  info.start = decoder.bytes();
  info.end = decoder.bytes();
  info.since = decoder.id<ConfigNum>();
  info.peer = decoder.id<GroupId>();
  info.plan = decoder.varint();
  info.step = static_cast<uint32_t>(decoder.varint());
  info.cursor = read_cursor(decoder);
  info.feed = decoder.u8() != 0;
  if (info.feed) {
    info.feed_plan = decoder.varint();
    info.feed_step = static_cast<uint32_t>(decoder.varint());
  }
  FLUX_RETURN_IF_ERROR(decoder.finish("a shard's record"));
  if (to_string(info.state) == "unknown") {
    return Status(ErrorCode::kUnsupported, fmt::format("shard state {} is not known to this version", state));
  }
  return info;
}

Status read_feed_head(engine::Engine& engine, ShardInfo& info) {
  engine::PinnedValue value;
  FLUX_TRY(const bool exists, engine.get(Family::kFeed, feed_head_key(info.shard), value));
  if (!exists) return Status(ErrorCode::kCorruption, "a shard's feed has no head");
  Decoder decoder(value.view());
  info.feed_epoch = Version(decoder.u64());
  info.feed_first = decoder.u64();
  info.feed_length = decoder.u64() - info.feed_first;
  return decoder.finish("the head of a feed");
}

bool before_end(std::string_view key, std::string_view end) { return end.empty() || key < end; }

}  // namespace

std::string feed_key(ShardId shard, uint64_t sequence) {
  std::string key = feed_head_key(shard);
  append_u64_ordered(key, sequence);
  return key;
}

Result<std::string_view> read_feed_record(std::string_view bytes) {
  if (bytes.empty() || static_cast<uint8_t>(bytes[0]) != kChanged) {
    return Status(ErrorCode::kCorruption, "a feed's record is of no known kind");
  }
  return bytes.substr(1);
}

Status Shards::load(engine::Engine& engine) {
  config_num_ = {};
  table_.clear();
  feeds_ = 0;
  changed_ = true;
  engine::PinnedValue value;
  FLUX_TRY(const bool exists, engine.get(Family::kMeta, kConfigKey, value));
  if (exists) {
    Decoder decoder(value.view());
    config_num_ = ConfigNum(decoder.u64());
    FLUX_RETURN_IF_ERROR(decoder.finish("the number of the configuration"));
  }
  auto it = engine.iterate(Family::kMeta, kShardPrefix, {});
  for (; it->valid() && it->key().starts_with(kShardPrefix); it->next()) {
    const std::string_view id = it->key().substr(kShardPrefix.size());
    if (id.size() != sizeof(uint64_t)) return Status(ErrorCode::kCorruption, "a shard's record has a malformed key");
    FLUX_TRY(ShardInfo info, decode_shard(ShardId(read_u64_ordered(id)), it->value()));
    table_.push_back(std::move(info));
  }
  FLUX_RETURN_IF_ERROR(it->status());
  std::sort(table_.begin(), table_.end(), [](const ShardInfo& a, const ShardInfo& b) { return a.start < b.start; });
  for (size_t i = 0; i < table_.size(); ++i) {
    if (i > 0 && before_end(table_[i].start, table_[i - 1].end)) {
      return Status(ErrorCode::kCorruption,
                    fmt::format("the ranges of shards {} and {} overlap", table_[i - 1].shard, table_[i].shard));
    }
    if (!table_[i].feed) continue;
    ++feeds_;
    FLUX_RETURN_IF_ERROR(read_feed_head(engine, table_[i]));
  }
  return {};
}

const ShardInfo* Shards::find(ShardId shard) const {
  const auto it = std::find_if(table_.begin(), table_.end(), [&](const ShardInfo& s) { return s.shard == shard; });
  return it == table_.end() ? nullptr : &*it;
}

ShardInfo* Shards::mutable_find(ShardId shard) {
  const auto it = std::find_if(table_.begin(), table_.end(), [&](const ShardInfo& s) { return s.shard == shard; });
  FLUX_CHECK(it != table_.end(), "shard {}", shard);
  return &*it;
}

const ShardInfo* Shards::at(std::string_view encoded_key) const {
  const auto above = std::upper_bound(table_.begin(), table_.end(), encoded_key,
                                      [](std::string_view key, const ShardInfo& info) { return key < info.start; });
  if (above == table_.begin()) return nullptr;
  const ShardInfo& info = *std::prev(above);
  return before_end(encoded_key, info.end) ? &info : nullptr;
}

bool Shards::serves(std::string_view encoded_key) const {
  const ShardInfo* const info = at(encoded_key);
  return info != nullptr && info->served();
}

bool Shards::serves(std::string_view low, std::string_view high) const {
  if (!before_end(low, high)) return true;  // nothing is asked
  for (const ShardInfo* info = at(low);; ++info) {
    const bool follows = info != nullptr && info != table_.data() + table_.size() && info->start <= low;
    if (!follows || !info->served()) return false;
    if (info->end.empty() || (!high.empty() && high <= info->end)) return true;
    low = info->end;
  }
}

bool Shards::use(std::string_view encoded_key) {
  const ShardInfo* const info = at(encoded_key);
  if (info == nullptr || !info->served()) return false;
  const uint64_t operations = ++table_[static_cast<size_t>(info - table_.data())].operations;
  if (operations % kSampleEvery == 0) sample(info->shard, encoded_key);
  return true;
}

void Shards::sample(ShardId shard, std::string_view encoded_key) {
  if (samples_.size() > table_.size()) {
    std::erase_if(samples_, [&](const auto& each) { return find(each.first) == nullptr; });
  }
  Sample& sample = samples_[shard];
  if (sample.keys.size() < kSampleKeys) sample.keys.emplace_back();
  sample.keys[sample.next % kSampleKeys] = encoded_key.substr(0, kSampleKeyBytes);
  ++sample.next;
}

std::string Shards::busy_middle(ShardId shard) const {
  const auto found = samples_.find(shard);
  if (found == samples_.end() || found->second.keys.size() < kSampleKeys) return {};
  std::vector<std::string> keys = found->second.keys;
  const auto middle = keys.begin() + kSampleKeys / 2;
  std::nth_element(keys.begin(), middle, keys.end());
  return *middle;
}

bool Shards::settled() const {
  return std::all_of(table_.begin(), table_.end(), [](const ShardInfo& info) {
    return info.state == ShardState::kServing || info.state == ShardState::kStaged ||
           info.state == ShardState::kErasing;
  });
}

void Shards::put(Draft& draft, ShardInfo info) {
  changed_ = true;
  write(draft, info);
  const auto same =
      std::find_if(table_.begin(), table_.end(), [&](const ShardInfo& s) { return s.shard == info.shard; });
  if (same != table_.end()) {
    FLUX_CHECK(same->start == info.start);
    FLUX_CHECK(same->end == info.end);
    FLUX_CHECK(same->feed == info.feed);
    *same = std::move(info);
    return;
  }
  const auto place = std::upper_bound(table_.begin(), table_.end(), info.start,
                                      [](std::string_view key, const ShardInfo& s) { return key < s.start; });
  table_.insert(place, std::move(info));
}

void Shards::remove(Draft& draft, ShardId shard) {
  changed_ = true;
  ShardInfo& info = *mutable_find(shard);
  if (info.feed) forget_feed(draft, info);
  draft.erase_raw(Family::kMeta, shard_key(shard));
  table_.erase(table_.begin() + (&info - table_.data()));
}

void Shards::replace(Draft& draft, ConfigNum num, std::vector<ShardInfo> table) {
  changed_ = true;
  config_num_ = num;
  std::string value;
  Encoder(value).u64(num.value());
  draft.put_raw(Family::kMeta, kConfigKey, value);
  std::sort(table.begin(), table.end(), [](const ShardInfo& a, const ShardInfo& b) { return a.start < b.start; });
  std::map<ShardId, ShardInfo> old;
  for (ShardInfo& before : table_) old.emplace(before.shard, std::move(before));
  table_ = std::move(table);
  for (const ShardInfo& now : table_) {
    auto before = old.extract(now.shard);
    if (!before.empty() && before.mapped().feed && !now.feed) forget_feed(draft, before.mapped());
    if (before.empty() || before.mapped() != now) write(draft, now);
  }
  for (auto& [shard, gone] : old) {
    if (gone.feed) forget_feed(draft, gone);
    draft.erase_raw(Family::kMeta, shard_key(shard));
  }
}

void Shards::begin_feed(Draft& draft, ShardId shard, uint64_t plan, uint32_t step, Version epoch) {
  changed_ = true;
  ShardInfo& info = *mutable_find(shard);
  if (info.feed) forget_feed(draft, info);
  ++feeds_;
  info.feed = true;
  info.feed_plan = plan;
  info.feed_step = step;
  info.feed_epoch = epoch;
  info.feed_first = 1;
  info.feed_length = 0;
  write(draft, info);
  write_feed_head(draft, info);
}

void Shards::end_feed(Draft& draft, ShardId shard) {
  changed_ = true;
  ShardInfo& info = *mutable_find(shard);
  forget_feed(draft, info);
  write(draft, info);
}

void Shards::renumber_feed(Draft& draft, ShardId shard, Version epoch) {
  ShardInfo& info = *mutable_find(shard);
  FLUX_CHECK(epoch > info.feed_epoch);
  draft.erase_raw_range(Family::kFeed, feed_key(shard, 0), feed_key(shard, UINT64_MAX));
  info.feed_epoch = epoch;
  info.feed_first = 1;
  info.feed_length = 0;
  write_feed_head(draft, info);
}

void Shards::trim_feed(Draft& draft, ShardId shard, uint64_t through) {
  ShardInfo& info = *mutable_find(shard);
  FLUX_CHECK(through >= info.feed_first);
  FLUX_CHECK(through <= info.feed_next());
  draft.erase_raw_range(Family::kFeed, feed_key(shard, info.feed_first), feed_key(shard, through));
  info.feed_length -= through - info.feed_first;
  info.feed_first = through;
  write_feed_head(draft, info);
}

void Shards::on_change(Draft& draft, std::string_view encoded_key) {
  const ShardInfo* const found = at(encoded_key);
  if (found == nullptr || !found->feed) return;
  ShardInfo& info = table_[static_cast<size_t>(found - table_.data())];
  if (info.feed_length >= feed_records_max_) {
    FLUX_PROBE("a feed is full, and its reader must start over");
    // Several requests lie between two of these, so that no later epoch is the same.
    renumber_feed(draft, info.shard, info.feed_epoch + 1);
    return;
  }
  std::string value(1, static_cast<char>(kChanged));
  value.append(encoded_key);
  draft.put_raw(Family::kFeed, feed_key(info.shard, info.feed_next()), value);
  ++info.feed_length;
  write_feed_head(draft, info);
}

void Shards::write(Draft& draft, const ShardInfo& info) {
  draft.put_raw(Family::kMeta, shard_key(info.shard), encode_shard(info));
}

void Shards::write_feed_head(Draft& draft, const ShardInfo& info) {
  std::string value;
  Encoder encoder(value);
  encoder.u64(info.feed_epoch.value());
  encoder.u64(info.feed_first);
  encoder.u64(info.feed_next());
  draft.put_raw(Family::kFeed, feed_head_key(info.shard), value);
}

void Shards::forget_feed(Draft& draft, ShardInfo& info) {
  --feeds_;
  draft.erase_raw(Family::kFeed, feed_head_key(info.shard));
  draft.erase_raw_range(Family::kFeed, feed_key(info.shard, 0), feed_key(info.shard, UINT64_MAX));
  info.feed = false;
  info.feed_plan = 0;
  info.feed_step = 0;
  info.feed_epoch = {};
  info.feed_first = 0;
  info.feed_length = 0;
}

}  // namespace flux::kv
