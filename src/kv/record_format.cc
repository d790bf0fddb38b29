#include "kv/record_format.h"

#include <bit>

#include "base/codec.h"

namespace flux::kv {
namespace {

constexpr uint8_t kHasDeadline = 1;

}  // namespace

void append_u64_ordered(std::string& out, uint64_t value) {
  const uint64_t big = __builtin_bswap64(value);
  out.append(reinterpret_cast<const char*>(&big), sizeof(big));
}

uint64_t read_u64_ordered(std::string_view eight_bytes) {
  FLUX_CHECK(eight_bytes.size() >= sizeof(uint64_t));
  return __builtin_bswap64(get_fixed_at<uint64_t>(eight_bytes.data()));
}

void append_record(std::string& out, const Record& record) {
  Encoder encoder(out);
  encoder.u8(record.deadline ? kHasDeadline : 0);
  encoder.u64(record.version.value());
  if (record.deadline) encoder.u64(record.deadline->value());
  encoder.raw(record.value);
}

Result<Record> read_record(std::string_view bytes) {
  Decoder decoder(bytes);
  Record record;
  const uint8_t flags = decoder.u8();
  record.version = Version(decoder.u64());
  if ((flags & kHasDeadline) != 0) record.deadline = WallMillis(decoder.u64());
  if (!decoder.ok() || (flags & ~kHasDeadline) != 0) {
    return Status(ErrorCode::kCorruption, "a stored value has a malformed header");
  }
  record.value = decoder.raw(decoder.remaining());
  return record;
}

std::string expiry_key(WallMillis deadline, std::string_view encoded_key) {
  std::string out;
  out.reserve(sizeof(uint64_t) + encoded_key.size());
  append_u64_ordered(out, deadline.value());
  out.append(encoded_key);
  return out;
}

Result<ExpiryEntry> read_expiry_key(std::string_view bytes) {
  if (bytes.size() < sizeof(uint64_t) + 2) return Status(ErrorCode::kCorruption, "an expiry index key is too short");
  return ExpiryEntry{.deadline = WallMillis(read_u64_ordered(bytes)), .encoded_key = bytes.substr(sizeof(uint64_t))};
}

std::string count_key(KeyspaceId keyspace) {
  std::string key(kCountPrefix);
  append_u64_ordered(key, keyspace.value());
  return key;
}

std::string encode_count(uint64_t count) {
  std::string out;
  Encoder(out).u64(count);
  return out;
}

Result<uint64_t> read_count(std::string_view bytes) {
  Decoder decoder(bytes);
  const uint64_t count = decoder.u64();
  FLUX_RETURN_IF_ERROR(decoder.finish("a count of keys"));
  return count;
}

std::string encode_applied(const Applied& applied) {
  std::string out;
  Encoder encoder(out);
  encoder.u64(applied.id.index.value());
  encoder.u64(applied.id.term.value());
  encoder.u64(applied.last_version.value());
  return out;
}

Result<Applied> decode_applied(std::string_view bytes) {
  Decoder decoder(bytes);
  Applied applied;
  applied.id.index = Index(decoder.u64());
  applied.id.term = Term(decoder.u64());
  applied.last_version = Version(decoder.u64());
  FLUX_RETURN_IF_ERROR(decoder.finish("the applied record"));
  return applied;
}

}  // namespace flux::kv
