// A log store on a fake disk, spoken to in few words:
//
//   append(1, 5, 2, {"a", "b"})   group 1 gets entries 5^2 "a" and 6^2 "b"
//   commit()                      seal, write, sync
//   crash(), reopen()             the power goes; the log is opened again
//   log(1)                        "5^2=a 6^2=b"
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "env/testing/fake_fs.h"
#include "wal/wal.h"
#include "wal/wal_format.h"

namespace flux::wal::testing {

using env::testing::CrashPolicy;
using env::testing::FakeFs;
using env::testing::FsOp;

class WalFixture : public ::testing::Test {
 protected:
  WalFixture() { options.store_id = StoreId(7), options.segment_bytes = 16 * kPageBytes, options.prefill = false; }

  Status try_open() {
    wal.reset();
    Result<std::unique_ptr<Wal>> opened = Wal::open(fs, "wal", options);
    if (!opened.ok()) return opened.status();
    wal = std::move(opened).value();
    return {};
  }
  void open() {
    const Status status = try_open();
    ASSERT_TRUE(status.ok()) << status.to_string();
  }
  void crash(const CrashPolicy& policy = CrashPolicy::drop_all()) {
    wal.reset();
    fs.crash(policy);
  }
  void reopen(const CrashPolicy& policy = CrashPolicy::drop_all()) {
    crash(policy);
    open();
  }

  static std::vector<Entry> entries(uint64_t first, uint64_t term, const std::vector<std::string>& data) {
    std::vector<Entry> out;
    for (const std::string& bytes : data) {
      out.push_back(
          {.index = Index(first++), .term = Term(term), .type = EntryType::kCommand, .data = SharedBytes(bytes)});
    }
    return out;
  }
  void append(uint64_t group, uint64_t first, uint64_t term, const std::vector<std::string>& data) {
    const Status status = wal->append(GroupId(group), entries(first, term, data));
    ASSERT_TRUE(status.ok()) << status.to_string();
  }
  void vote(uint64_t group, uint64_t term, uint64_t node) {
    ASSERT_TRUE(wal->set_hard_state(GroupId(group), {.term = Term(term), .vote = NodeId(node)}).ok());
  }
  void compact(uint64_t group, uint64_t index, uint64_t term) {
    ASSERT_TRUE(wal->compact(GroupId(group), {.index = Index(index), .term = Term(term)}).ok());
  }
  void commit() {
    const Status status = wal->flush();
    ASSERT_TRUE(status.ok()) << status.to_string();
  }
  void maintain() {
    const Status status = wal->maintain();
    ASSERT_TRUE(status.ok()) << status.to_string();
  }

  GroupLogState state(uint64_t group) { return wal->state(GroupId(group)); }
  HardState hard_state(uint64_t group) { return state(group).hard_state; }
  // The entries, or the error that reading them gives.
  std::string log(uint64_t group) {
    if (!wal->has_group(GroupId(group))) return "none";
    std::string text;
    const Status status = wal->for_each(GroupId(group), [&](const Entry& entry) {
      if (!text.empty()) text += ' ';
      const std::string_view data = entry.data.view();
      text += fmt::format("{}={}", entry.id(),
                          data.size() > 8 ? fmt::format("{}*{}", data[0], data.size()) : std::string(data));
      return Status();
    });
    return status.ok() ? text : status.to_string();
  }
  std::string damage(uint64_t group) {
    const Damage d = state(group).damage;
    std::string text;
    if (d.hard_state_lost) text += "hard-state ";
    if (d.entries_lost) text += fmt::format("entries {}..{}", d.lost_first, d.lost_last_known);
    return text;
  }

  static std::string segment(uint64_t id) { return "wal/" + segment_name(SegmentId(id)); }
  // Where in the segment the bytes first stand.
  uint64_t find(uint64_t id, const std::string& bytes) {
    const size_t at = fs.contents(segment(id)).find(bytes);
    EXPECT_NE(at, std::string::npos) << bytes;
    return at;
  }
  void rot(uint64_t id, uint64_t offset) { fs.flip_bit(segment(id), offset * 8); }

  FakeFs fs;
  Options options;
  std::unique_ptr<Wal> wal;
};

}  // namespace flux::wal::testing
