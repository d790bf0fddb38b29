#include "wal/recovery.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>

#include "wal/group_replay.h"

namespace flux::wal {
namespace {

class Replayer final : public ScanVisitor {
 public:
  Replayer(StoreId store, Recovered& out) : store_(store), out_(out) {}

  void on_batch(size_t segment, uint64_t offset, const BatchHeader& header) override {
    checkpoint_ = (header.flags & BatchHeader::kCheckpoint) != 0;
    if (checkpoint_) {
      in_checkpoint_.clear();
      return;
    }
    out_.segments[segment]->batches.push_back({.begin = out_.end, .offset = offset, .salt = header.salt(store_)});
    batch_begin_ = out_.end;
    out_.end = out_.end + header.records_bytes;
    out_.segments[segment]->end = out_.end;
  }

  void on_record(const BatchHeader&, size_t offset, const RecordView& record) override {
    if (record.type == RecordType::kRemove) {
      groups_.erase(record.group);
      return;
    }
    groups_[record.group].apply(record, batch_begin_ + offset);
    if (checkpoint_) in_checkpoint_.push_back(record.group);
  }

  void on_batch_end(const BatchHeader&, bool whole) override {
    // A checkpoint names all groups: one that it leaves out was removed, though the record of it is lost.
    if (!checkpoint_ || !whole) return;
    std::sort(in_checkpoint_.begin(), in_checkpoint_.end());
    std::erase_if(groups_, [&](const auto& entry) {
      return !std::binary_search(in_checkpoint_.begin(), in_checkpoint_.end(), entry.first);
    });
    out_.report.new_groups_lost = false;
  }

  void on_damage(GroupSet groups, const std::string& finding) override {
    if (!finding.empty()) out_.report.findings.push_back(finding);
    out_.report.new_groups_lost = true;
    for (auto& [id, group] : groups_) {
      if (groups.may_contain(id)) group.suspect();
    }
  }

  void finish() {
    for (auto& [id, replay] : groups_) {
      const bool newly = replay.finish();
      GroupLog& log = out_.groups[id] = std::move(replay.log());
      if (newly) out_.newly_damaged.push_back(id);
      if (log.damage.any()) out_.report.damaged.push_back({.group = id, .damage = log.damage});
    }
  }

 private:
  const StoreId store_;
  Recovered& out_;
  std::map<GroupId, GroupReplay> groups_;
  std::vector<GroupId> in_checkpoint_;
  Position batch_begin_;
  bool checkpoint_ = false;
};

std::string describe(const GroupDamage& damaged) {
  std::string text = fmt::format("group {}:", damaged.group);
  if (damaged.damage.hard_state_lost) text += " term and vote may be older than what was promised;";
  const Damage& d = damaged.damage;
  if (d.entries_lost && d.lost_last_known >= d.lost_first) {
    text += fmt::format(" entries {} to {} are lost, and perhaps later ones;", d.lost_first, d.lost_last_known);
  } else if (d.entries_lost) {
    text += fmt::format(" entries from {} on may be lost;", d.lost_first);
  }
  return text + " it must not vote before it is repaired from its peers";
}

}  // namespace

Result<Recovered> recover(std::vector<SegmentFile> files) {
  Recovered out;
  for (const SegmentFile& file : files) {
    out.segments.push_back(std::make_shared<Segment>(Segment{.id = file.id, .path = file.path, .bytes = file.bytes}));
    if (file.header_damaged) out.report.findings.push_back(fmt::format("{}: the header page is damaged", file.path));
  }
  FLUX_CHECK(!files.empty());
  Replayer replayer(files.front().store, out);
  FLUX_TRY(out.scan, scan(files, replayer));
  replayer.finish();
  for (size_t i = 0; i < files.size(); ++i) out.segments[i]->file = std::move(files[i].file);

  RecoveryReport& report = out.report;
  report.segments = out.segments.size();
  report.batches = out.scan.batches;
  report.records = out.scan.records;
  report.torn_bytes = out.scan.torn_bytes;
  for (const GroupDamage& damaged : report.damaged) report.findings.push_back(describe(damaged));
  if (report.torn_bytes > 0) {
    report.findings.push_back(fmt::format("{} at {}: a torn write of {} bytes that was never promised is cut off",
                                          out.segments[out.scan.segment]->path, out.scan.offset, report.torn_bytes));
  }
  return out;
}

}  // namespace flux::wal
