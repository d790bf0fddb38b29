#include "wal/dump.h"

#include <fmt/core.h>

#include "base/crc32c.h"
#include "wal/scan.h"

namespace flux::wal {
namespace {

std::string_view name_of(EntryType type) {
  switch (type) {
    case EntryType::kNoop:
      return "noop";
    case EntryType::kCommand:
      return "command";
    case EntryType::kConfig:
      return "config";
  }
  return "unknown";
}

std::string describe(const RecordView& record) {
  switch (record.type) {
    case RecordType::kEntry:
      return fmt::format("entry {} {} {} bytes crc {:08x}", record.id(), name_of(record.entry_type),
                         record.payload.size(), crc32c(record.payload));
    case RecordType::kHardState:
      return fmt::format("hard state: term {} vote {}", record.term, record.index);
    case RecordType::kCompact:
      return fmt::format("compact to {}", record.id());
    case RecordType::kReset:
      return fmt::format("reset to {}", record.id());
    case RecordType::kRemove:
      return "remove";
    case RecordType::kRepaired:
      return "repaired";
    case RecordType::kGroupState: {
      const std::optional<GroupSummary> summary = group_summary(record);
      if (!summary) return "malformed group state";
      std::string text = fmt::format("state: base {} last {} term {} vote {}", summary->base, summary->last,
                                     summary->hard_state.term, summary->hard_state.vote);
      if (summary->damage.hard_state_lost) text += " HARD STATE LOST";
      if (summary->damage.entries_lost) {
        text += fmt::format(" ENTRIES LOST {}..{}", summary->damage.lost_first, summary->damage.lost_last_known);
      }
      return text;
    }
  }
  return fmt::format("unknown record type {}", static_cast<unsigned>(record.type));
}

class Printer final : public ScanVisitor {
 public:
  explicit Printer(const std::function<void(std::string_view)>& print) : print_(print) {}

  void on_segment(const SegmentFile& segment) override {
    print_(fmt::format("segment {:016x} {} {} bytes{}", segment.id.value(), segment.path, segment.bytes,
                       segment.header_damaged ? " DAMAGED HEADER" : ""));
  }
  void on_batch(size_t, uint64_t offset, const BatchHeader& header) override {
    print_(fmt::format("  batch {} at {}: {} records, {} bytes, epoch {}, durable through {}{}{}", header.sequence,
                       offset, header.record_count, header.records_bytes, header.epoch, header.durable_through,
                       (header.flags & BatchHeader::kCheckpoint) != 0 ? ", checkpoint" : "",
                       (header.flags & BatchHeader::kMark) != 0 ? ", mark" : ""));
  }
  void on_record(const BatchHeader&, size_t, const RecordView& record) override {
    print_(fmt::format("    group {} #{} {}", record.group, record.chain, describe(record)));
  }
  void on_batch_end(const BatchHeader&, bool) override {}
  void on_damage(GroupSet, const std::string& finding) override {
    print_(finding.empty() ? std::string("    DAMAGED") : fmt::format("  DAMAGE {}", finding));
  }

 private:
  const std::function<void(std::string_view)>& print_;
};

}  // namespace

Status dump(env::Fs& fs, const std::string& dir, const std::function<void(std::string_view line)>& print) {
  FLUX_TRY(const std::vector<SegmentFile> segments, open_segments(fs, dir, std::nullopt, env::OpenMode::kRead));
  Printer printer(print);
  FLUX_TRY(const ScanEnd end, scan(segments, printer));
  if (segments.empty()) {
    print("no segments");
    return {};
  }
  if (end.torn_bytes > 0) print(fmt::format("  TORN {} bytes that were never promised", end.torn_bytes));
  print(fmt::format("end of log: segment {:016x} at {}, next batch {}, {} batches, {} records",
                    segments[end.segment].id.value(), end.offset, end.next_sequence, end.batches, end.records));
  for (size_t i = end.segment + 1; i < segments.size(); ++i) print(fmt::format("spare {}", segments[i].path));
  return {};
}

}  // namespace flux::wal
