#include "wal/wal_format.h"

#include <fmt/core.h>

#include <charconv>
#include <cstring>

#include "base/crc32c.h"

namespace flux::wal {
namespace {

constexpr uint64_t kSegmentMagic = 0x314C'4157'5855'4C46;  // "FLUXWAL1"
constexpr uint32_t kBatchMagic = 0x4258'4C46;              // "FLXB"

constexpr uint8_t kHardStateLost = 1;
constexpr uint8_t kEntriesLost = 2;
constexpr uint8_t kSettles = 4;

}  // namespace

std::string encode_segment_header(const SegmentHeader& header) {
  std::string page(kPageBytes, '\0');
  put_fixed_at<uint64_t>(&page[0], kSegmentMagic);
  put_fixed_at<uint32_t>(&page[8], header.version);
  put_fixed_at<uint64_t>(&page[16], header.store_id.value());
  put_fixed_at<uint64_t>(&page[24], header.segment_id.value());
  put_fixed_at<uint64_t>(&page[32], header.segment_bytes);
  put_fixed_at<uint32_t>(&page[12], crc32c(page));
  return page;
}

std::optional<SegmentHeader> decode_segment_header(std::string_view page) {
  if (page.size() != kPageBytes || get_fixed_at<uint64_t>(page.data()) != kSegmentMagic) return std::nullopt;
  std::string copy(page);
  put_fixed_at<uint32_t>(&copy[12], 0);
  if (crc32c(copy) != get_fixed_at<uint32_t>(&page[12])) return std::nullopt;
  return SegmentHeader{.version = get_fixed_at<uint32_t>(&page[8]),
                       .store_id = StoreId(get_fixed_at<uint64_t>(&page[16])),
                       .segment_id = SegmentId(get_fixed_at<uint64_t>(&page[24])),
                       .segment_bytes = get_fixed_at<uint64_t>(&page[32])};
}

uint32_t BatchHeader::salt(StoreId store) const {
  char bytes[28];
  put_fixed_at<uint64_t>(&bytes[0], store.value());
  put_fixed_at<uint64_t>(&bytes[8], segment_id.value());
  put_fixed_at<uint64_t>(&bytes[16], sequence);
  put_fixed_at<uint32_t>(&bytes[24], epoch);
  return crc32c(std::string_view(bytes, sizeof(bytes)));
}

uint64_t group_bit(GroupId group) { return uint64_t{1} << ((group.value() * 0x9E3779B97F4A7C15ULL) >> 58); }

static uint32_t batch_header_crc(std::string_view header, StoreId store) {
  char bytes[8];
  put_fixed_at<uint64_t>(bytes, store.value());
  return crc32c(header.substr(8, kBatchHeaderBytes - 8), crc32c(std::string_view(bytes, sizeof(bytes))));
}

void encode_batch_header(const BatchHeader& header, StoreId store, char* target) {
  std::memset(target, 0, kBatchHeaderBytes);
  put_fixed_at<uint32_t>(target, kBatchMagic);
  put_fixed_at<uint64_t>(target + 8, header.segment_id.value());
  put_fixed_at<uint64_t>(target + 16, header.sequence);
  put_fixed_at<uint64_t>(target + 24, header.durable_through);
  put_fixed_at<uint64_t>(target + 32, header.groups);
  put_fixed_at<uint32_t>(target + 40, header.epoch);
  put_fixed_at<uint32_t>(target + 44, header.records_bytes);
  put_fixed_at<uint32_t>(target + 48, header.record_count);
  put_fixed_at<uint32_t>(target + 52, header.flags);
  put_fixed_at<uint32_t>(target + 4, batch_header_crc(std::string_view(target, kBatchHeaderBytes), store));
}

std::optional<BatchHeader> decode_batch_header(std::string_view bytes, StoreId store) {
  if (bytes.size() < kBatchHeaderBytes || get_fixed_at<uint32_t>(bytes.data()) != kBatchMagic) return std::nullopt;
  if (batch_header_crc(bytes, store) != get_fixed_at<uint32_t>(&bytes[4])) return std::nullopt;
  BatchHeader header{.segment_id = SegmentId(get_fixed_at<uint64_t>(&bytes[8])),
                     .sequence = get_fixed_at<uint64_t>(&bytes[16]),
                     .durable_through = get_fixed_at<uint64_t>(&bytes[24]),
                     .groups = get_fixed_at<uint64_t>(&bytes[32]),
                     .epoch = get_fixed_at<uint32_t>(&bytes[40]),
                     .records_bytes = get_fixed_at<uint32_t>(&bytes[44]),
                     .record_count = get_fixed_at<uint32_t>(&bytes[48]),
                     .flags = get_fixed_at<uint32_t>(&bytes[52])};
  if (header.sequence == 0 || header.durable_through >= header.sequence) return std::nullopt;
  if (header.sequence > kSequenceMax || header.epoch > kEpochMax) return std::nullopt;
  if (header.records_bytes > kSegmentBytesMax) return std::nullopt;
  return header;
}

void append_record(std::string& out, const RecordView& record) {
  const size_t start = out.size();
  out.resize(start + kRecordHeaderBytes);
  char* target = &out[start];
  put_fixed_at<uint32_t>(target, static_cast<uint32_t>(record.payload.size()));
  put_fixed_at<uint32_t>(target + 4, 0);
  put_fixed_at<uint8_t>(target + 8, static_cast<uint8_t>(record.type));
  put_fixed_at<uint8_t>(target + 9, static_cast<uint8_t>(record.entry_type));
  put_fixed_at<uint16_t>(target + 10, 0);
  put_fixed_at<uint32_t>(target + 12, record.chain);
  put_fixed_at<uint64_t>(target + 16, record.group.value());
  put_fixed_at<uint64_t>(target + 24, record.index);
  put_fixed_at<uint64_t>(target + 32, record.term.value());
  out.append(record.payload);
}

static uint32_t record_crc(std::string_view record, uint32_t salt) {
  return crc32c(record.substr(8), crc32c(record.substr(0, 4), salt));
}

void seal_record(char* record, size_t size, uint32_t salt) {
  put_fixed_at<uint32_t>(record + 4, record_crc(std::string_view(record, size), salt));
}

RecordView record_fields(std::string_view bytes) {
  return RecordView{.type = RecordType(get_fixed_at<uint8_t>(&bytes[8])),
                    .entry_type = EntryType(get_fixed_at<uint8_t>(&bytes[9])),
                    .chain = get_fixed_at<uint32_t>(&bytes[12]),
                    .group = GroupId(get_fixed_at<uint64_t>(&bytes[16])),
                    .index = get_fixed_at<uint64_t>(&bytes[24]),
                    .term = Term(get_fixed_at<uint64_t>(&bytes[32])),
                    .payload = bytes.substr(kRecordHeaderBytes, get_fixed_at<uint32_t>(bytes.data()))};
}

size_t record_size(std::string_view bytes) {
  if (bytes.size() < kRecordHeaderBytes) return 0;
  const size_t payload = get_fixed_at<uint32_t>(bytes.data());
  return payload > bytes.size() - kRecordHeaderBytes ? 0 : kRecordHeaderBytes + payload;
}

// What no writer writes is damage, whatever its checksum says.
static bool well_formed(const RecordView& record) {
  switch (record.type) {
    case RecordType::kHardState:
    case RecordType::kRemove:
    case RecordType::kRepaired:
      return true;
    case RecordType::kEntry:
    case RecordType::kCompact:
    case RecordType::kReset:
      return record.index <= kIndexMax;
    case RecordType::kGroupState:
      return group_summary(record).has_value();
  }
  return false;
}

std::optional<RecordView> decode_record(std::string_view bytes, uint32_t salt) {
  const size_t size = record_size(bytes);
  if (size == 0) return std::nullopt;
  const std::string_view record = bytes.substr(0, size);
  if (record_crc(record, salt) != get_fixed_at<uint32_t>(&record[4])) return std::nullopt;
  const RecordView fields = record_fields(record);
  return well_formed(fields) ? std::optional(fields) : std::nullopt;
}

void GroupSummary::apply(const RecordView& record) {
  if (record.type != RecordType::kGroupState) chain = record.chain;
  switch (record.type) {
    case RecordType::kEntry:
      last = record.id();
      break;
    case RecordType::kHardState:
      hard_state = {.term = record.term, .vote = NodeId(record.index)};
      break;
    case RecordType::kCompact:
      base = record.id();
      break;
    case RecordType::kReset:
      base = last = record.id();
      break;
    case RecordType::kRemove:
      FLUX_CHECK(false, "a removed group has no summary");
      break;
    case RecordType::kRepaired:
      damage = {};
      break;
    case RecordType::kGroupState: {
      const std::optional<GroupSummary> summary = group_summary(record);
      FLUX_CHECK(summary.has_value());
      *this = *summary;
      settles = false;
      break;
    }
  }
}

void append_group_state(std::string& out, GroupId group, const GroupSummary& summary) {
  char payload[kGroupStateBytes] = {};
  put_fixed_at<uint64_t>(&payload[0], summary.last.index.value());
  put_fixed_at<uint64_t>(&payload[8], summary.last.term.value());
  put_fixed_at<uint64_t>(&payload[16], summary.hard_state.term.value());
  put_fixed_at<uint64_t>(&payload[24], summary.hard_state.vote.value());
  put_fixed_at<uint64_t>(&payload[32], summary.damage.lost_first.value());
  put_fixed_at<uint64_t>(&payload[40], summary.damage.lost_last_known.value());
  const int flags = (summary.damage.hard_state_lost ? kHardStateLost : 0) |
                    (summary.damage.entries_lost ? kEntriesLost : 0) | (summary.settles ? kSettles : 0);
  put_fixed_at<uint8_t>(&payload[48], static_cast<uint8_t>(flags));
  append_record(out, {.type = RecordType::kGroupState,
                      .chain = summary.chain,
                      .group = group,
                      .index = summary.base.index.value(),
                      .term = summary.base.term,
                      .payload = std::string_view(payload, sizeof(payload))});
}

std::optional<GroupSummary> group_summary(const RecordView& record) {
  if (record.payload.size() != kGroupStateBytes) return std::nullopt;
  Decoder in(record.payload);
  GroupSummary summary;
  summary.chain = record.chain;
  summary.base = record.id();
  summary.last.index = Index(in.u64());
  summary.last.term = Term(in.u64());
  summary.hard_state.term = Term(in.u64());
  summary.hard_state.vote = NodeId(in.u64());
  summary.damage.lost_first = Index(in.u64());
  summary.damage.lost_last_known = Index(in.u64());
  const uint8_t flags = in.u8();
  summary.damage.hard_state_lost = (flags & kHardStateLost) != 0;
  summary.damage.entries_lost = (flags & kEntriesLost) != 0;
  summary.settles = (flags & kSettles) != 0;
  if (summary.last.index < summary.base.index || summary.last.index.value() > kIndexMax) return std::nullopt;
  return summary;
}

std::string segment_name(SegmentId id) { return fmt::format("wal-{:016x}.log", id.value()); }

std::optional<SegmentId> parse_segment_name(std::string_view name) {
  constexpr std::string_view kPrefix = "wal-";
  constexpr std::string_view kSuffix = ".log";
  if (name.size() != kPrefix.size() + 16 + kSuffix.size()) return std::nullopt;
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return std::nullopt;
  const std::string_view digits = name.substr(kPrefix.size(), 16);
  uint64_t id = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), id, 16);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  if (segment_name(SegmentId(id)) != name) return std::nullopt;  // one spelling
  return SegmentId(id);
}

}  // namespace flux::wal
