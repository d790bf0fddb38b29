#include "engine/batch.h"

#include <algorithm>

namespace flux::engine {
namespace {

std::string index_key(Family family, std::string_view key) {
  std::string out(1, static_cast<char>(family));
  out.append(key);
  return out;
}

}  // namespace

void Batch::put(Family family, std::string_view key, std::string_view value, Existed existed) {
  add(Kind::kPut, family, existed, key, value);
}

void Batch::erase(Family family, std::string_view key, Existed existed) { add(Kind::kErase, family, existed, key, {}); }

void Batch::erase_range(Family family, std::string_view low, std::string_view high) {
  add(Kind::kEraseRange, family, Existed::kUnknown, low, high);
}

void Batch::add(Kind kind, Family family, Existed existed, std::string_view key, std::string_view value) {
  changes_.push_back({.kind = kind,
                      .family = family,
                      .existed = existed,
                      .key_offset = buffer_.size(),
                      .key_size = static_cast<uint32_t>(key.size()),
                      .value_size = static_cast<uint32_t>(value.size())});
  buffer_.append(key).append(value);
}

Batch::Change Batch::change(size_t i) const {
  const Packed& packed = changes_[i];
  const std::string_view bytes = buffer_;
  return {.kind = packed.kind,
          .family = packed.family,
          .existed = packed.existed,
          .key = bytes.substr(packed.key_offset, packed.key_size),
          .value = bytes.substr(packed.key_offset + packed.key_size, packed.value_size)};
}

Batch::Found Batch::find(Family family, std::string_view key, std::string_view& value) const {
  bring_index_up_to_date();
  const auto found = last_change_.find(index_key(family, key));
  const size_t after = found == last_change_.end() ? 0 : found->second + 1;
  // A range erased after the last change of the key takes it along.
  for (auto range = ranges_.rbegin(); range != ranges_.rend() && *range >= after; ++range) {
    const Change erased = change(*range);
    if (erased.family == family && key >= erased.key && (erased.value.empty() || key < erased.value)) {
      return Found::kErased;
    }
  }
  if (after == 0) return Found::kNothing;
  const Change last = change(found->second);
  if (last.kind == Kind::kErase) return Found::kErased;
  value = last.value;
  return Found::kPut;
}

void Batch::bring_index_up_to_date() const {
  for (; indexed_ < changes_.size(); ++indexed_) {
    const Change one = change(indexed_);
    if (one.kind == Kind::kEraseRange) {
      ranges_.push_back(indexed_);
    } else {
      last_change_[index_key(one.family, one.key)] = indexed_;
    }
  }
}

void Batch::clear() {
  buffer_.clear();
  changes_.clear();
  last_change_.clear();
  ranges_.clear();
  indexed_ = 0;
}

}  // namespace flux::engine
