// Goal: a snapshot file is whole and right, or it is not used at all.
#include "engine/snapshot_file.h"

#include <gtest/gtest.h>

#include "engine/memory/memory_engine.h"
#include "env/testing/fake_fs.h"

namespace flux::engine {
namespace {

using env::testing::CrashPolicy;
using env::testing::FakeFs;
using env::testing::FsOp;

class SnapshotFileTest : public ::testing::Test {
 protected:
  static std::unique_ptr<Engine> engine(int keys, const std::string& value = "v") {
    std::unique_ptr<Engine> out = make_memory_engine({});
    Batch batch;
    for (int i = 0; i < keys; ++i) batch.put(Family::kData, fmt::format("k{}", i), value);
    batch.put(Family::kMeta, "applied", "7");
    EXPECT_TRUE(out->write(std::move(batch)).ok());
    return out;
  }
  Result<SnapshotInfo> save(Engine& from, const std::string& meta) {
    return save_snapshot(*from.snapshot(), fs, "snap", "s", meta);
  }
  Status open_status() { return SnapshotReader::open(fs, "snap/s").status(); }
  std::string meta_of() {
    Result<std::unique_ptr<SnapshotReader>> reader = SnapshotReader::open(fs, "snap/s");
    return reader.ok() ? (*reader)->meta() : reader.status().to_string();
  }

  FakeFs fs;
};

TEST_F(SnapshotFileTest, golden_bytes) {
  const std::unique_ptr<Engine> empty = make_memory_engine({});
  Batch batch;
  batch.put(Family::kData, "k", "v");
  ASSERT_TRUE(empty->write(std::move(batch)).ok());
  ASSERT_TRUE(save(*empty, "m").ok());
  std::string hex;
  for (const char c : fs.contents("snap/s")) hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
  EXPECT_EQ(hex,
            "464c585362c05b1201000000000000000600000000000000000000000000000001000000016d"
            "464c5853f074cad80200000001000000040000000100000062c05b1200000000016b0176"
            "464c5853ca2e026603000000020000003800000000000000f074cad8000000000100000005000000"
            "010000000000000000000000000000000000000000000000000000000000000000000000000000000200000000000000");
}

// F28.
TEST_F(SnapshotFileTest, F28_every_flipped_bit_is_found) {
  ASSERT_TRUE(save(*engine(40), "meta").ok());
  const uint64_t bits = fs.contents("snap/s").size() * 8;
  for (uint64_t bit = 0; bit < bits; ++bit) {
    fs.flip_bit("snap/s", bit);
    const Status status = open_status();
    ASSERT_FALSE(status.ok()) << "bit " << bit;
    ASSERT_TRUE(status.code() == ErrorCode::kCorruption || status.code() == ErrorCode::kUnsupported) << bit;
    fs.flip_bit("snap/s", bit);
  }
  EXPECT_TRUE(open_status().ok());
}

TEST_F(SnapshotFileTest, every_truncation_and_every_addition_is_found) {
  ASSERT_TRUE(save(*engine(40), "meta").ok());
  const std::string whole = fs.contents("snap/s");
  for (size_t size = 0; size < whole.size(); ++size) {
    fs.cut("snap/s", size);
    ASSERT_EQ(open_status().code(), ErrorCode::kCorruption) << size;
    fs.overwrite("snap/s", 0, whole);
  }
  fs.overwrite("snap/s", whole.size(), std::string(1, '\0'));
  EXPECT_EQ(open_status().code(), ErrorCode::kCorruption);
}

// F29: chunks in another order, or of another snapshot.
TEST_F(SnapshotFileTest, chunks_belong_to_their_place) {
  ASSERT_TRUE(save(*engine(4000, std::string(200, 'x')), "meta").ok());
  const std::string bytes = fs.contents("snap/s");
  std::vector<std::string> frames;
  for (size_t at = 0; at < bytes.size();) {
    const FrameHeader header = *decode_frame_header(std::string_view(bytes).substr(at));
    frames.push_back(bytes.substr(at, kFrameHeaderBytes + header.payload_bytes));
    at += frames.back().size();
  }
  ASSERT_GT(frames.size(), 4u);
  const auto with = [&](const std::vector<std::string>& list) {
    std::string joined;
    for (const std::string& frame : list) joined += frame;
    fs.cut("snap/s", 0);
    fs.overwrite("snap/s", 0, joined);
    return open_status().code();
  };
  std::vector<std::string> swapped = frames;
  std::swap(swapped[1], swapped[2]);
  EXPECT_EQ(with(swapped), ErrorCode::kCorruption);
  std::vector<std::string> dropped = frames;
  dropped.erase(dropped.begin() + 2);
  EXPECT_EQ(with(dropped), ErrorCode::kCorruption);
  std::vector<std::string> doubled = frames;
  doubled.insert(doubled.begin() + 2, frames[2]);
  EXPECT_EQ(with(doubled), ErrorCode::kCorruption);
  std::vector<std::string> headless(frames.begin() + 1, frames.end());
  EXPECT_EQ(with(headless), ErrorCode::kCorruption);
  std::vector<std::string> endless(frames.begin(), frames.end() - 1);
  EXPECT_EQ(with(endless), ErrorCode::kCorruption);
  EXPECT_EQ(with(frames), ErrorCode::kOk);
  // The same chunk of another snapshot, in order and of the same size.
  ASSERT_TRUE(save(*engine(4000, std::string(200, 'y')), "meta").ok());
  const std::string other = fs.contents("snap/s");
  ASSERT_EQ(other.size(), bytes.size());
  std::vector<std::string> mixed = frames;
  mixed[2] = other.substr(frames[0].size() + frames[1].size(), frames[2].size());
  EXPECT_EQ(with(mixed), ErrorCode::kCorruption);
}

// A footer that was made for other contents, with all checksums right.
TEST_F(SnapshotFileTest, the_footer_must_match) {
  ASSERT_TRUE(save(*engine(3), "meta").ok());
  std::string bytes = fs.contents("snap/s");
  size_t at = 0;
  uint32_t previous = 0;
  uint32_t number = 0;
  for (;;) {
    const FrameHeader header = *decode_frame_header(std::string_view(bytes).substr(at));
    if (header.kind == FrameKind::kFooter) break;
    previous = header.crc;
    number = header.number + 1;
    at += kFrameHeaderBytes + header.payload_bytes;
  }
  for (int field = 0; field < 3; ++field) {
    SnapshotInfo info = *decode_snapshot_footer(std::string_view(bytes).substr(at + kFrameHeaderBytes));
    field == 0 ? info.chunks += 1 : field == 1 ? info.records[1] -= 1 : info.content_bytes += 1;
    FrameHeader header{.kind = FrameKind::kFooter, .number = number, .previous_crc = previous};
    fs.cut("snap/s", at);
    fs.overwrite("snap/s", at, encode_frame(header, encode_snapshot_footer(info)));
    EXPECT_EQ(open_status().code(), ErrorCode::kCorruption) << field;
    fs.cut("snap/s", 0);
    fs.overwrite("snap/s", 0, bytes);
  }
}

TEST_F(SnapshotFileTest, records_out_of_order_are_refused) {
  FrameHeader head{.kind = FrameKind::kHeader, .number = 0};
  std::string bytes = encode_frame(head, encode_snapshot_meta(""));
  FrameHeader chunk{.kind = FrameKind::kChunk, .number = 1, .record_count = 2, .previous_crc = head.crc};
  bytes += encode_frame(chunk, std::string("\1b\0\1a\0", 6));
  FrameHeader foot{.kind = FrameKind::kFooter, .number = 2, .previous_crc = chunk.crc};
  bytes += encode_frame(foot, encode_snapshot_footer({.chunks = 1, .records = {2}, .content_bytes = 2}));
  ASSERT_TRUE(
      env::write_file_atomically(fs, (static_cast<void>(fs.create_dirs("snap").ok()), "snap"), "s", bytes).ok());
  EXPECT_EQ(open_status().code(), ErrorCode::kCorruption);
}

TEST_F(SnapshotFileTest, a_newer_format_is_refused) {
  FrameHeader head{.kind = FrameKind::kHeader, .number = 0};
  ASSERT_TRUE(fs.create_dirs("snap").ok());
  ASSERT_TRUE(env::write_file_atomically(fs, "snap", "s", encode_frame(head, std::string("\2\0\0\0\0", 5))).ok());
  EXPECT_EQ(open_status().code(), ErrorCode::kUnsupported);
}

// F26, F38: whatever happens while it is written, the old one or the new one is there, whole.
TEST_F(SnapshotFileTest, a_crash_while_writing_leaves_the_old_one) {
  bool seen_old = false;
  bool seen_new = false;
  for (uint64_t seed = 0; seed < 8; ++seed) {
    for (uint64_t stop = 1; stop < 40; ++stop) {
      fs.format();
      ASSERT_TRUE(save(*engine(10), "old").ok());
      fs.stop_after(stop);
      const bool saved = save(*engine(2000, std::string(300, 'x')), "new").ok();
      fs.crash(seed == 0 ? CrashPolicy::drop_all() : CrashPolicy::random(seed * 100 + stop));
      const std::string meta = meta_of();
      ASSERT_TRUE(meta == "new" || (meta == "old" && !saved)) << stop << ": " << meta;
      (meta == "new" ? seen_new : seen_old) = true;
      ASSERT_TRUE(save(*engine(5), "next").ok()) << "what the crash left is no hindrance";
      ASSERT_EQ(meta_of(), "next");
      if (saved) break;
    }
  }
  EXPECT_TRUE(seen_old);
  EXPECT_TRUE(seen_new);
}

TEST_F(SnapshotFileTest, a_failed_write_leaves_the_old_one_and_no_temporary_file) {
  ASSERT_TRUE(save(*engine(10), "old").ok());
  for (const FsOp op : {FsOp::kWrite, FsOp::kSync, FsOp::kRename}) {
    fs.fail_once(op, 1, ErrorCode::kIo);
    EXPECT_EQ(save(*engine(100), "new").status().code(), ErrorCode::kIo);
    EXPECT_EQ(meta_of(), "old");
    EXPECT_EQ(fs.list("snap").value().size(), 1u);
  }
  fs.set_fault(nullptr);
  fs.set_free_bytes(100);
  EXPECT_EQ(save(*engine(100), "new").status().code(), ErrorCode::kNoSpace);
  EXPECT_EQ(meta_of(), "old");
  EXPECT_EQ(fs.list("snap").value().size(), 1u);
}

TEST_F(SnapshotFileTest, rot_between_check_and_use_is_found) {
  const std::unique_ptr<Engine> source = engine(4000, std::string(200, 'x'));
  ASSERT_TRUE(save(*source, "meta").ok());
  const std::unique_ptr<SnapshotReader> reader = std::move(SnapshotReader::open(fs, "snap/s")).value();
  fs.flip_bit("snap/s", fs.contents("snap/s").size() * 4);
  const std::unique_ptr<Engine> target = engine(5);
  const uint64_t before = target->state_hash().value();
  EXPECT_EQ(target->load(*reader).code(), ErrorCode::kCorruption);
  EXPECT_EQ(target->state_hash().value(), before) << "the memory engine keeps what it had";
}

TEST_F(SnapshotFileTest, saving_in_steps_beside_writes) {
  const std::unique_ptr<Engine> source = engine(3000, std::string(100, 'x'));
  const uint64_t hash = source->state_hash().value();
  const std::unique_ptr<Snapshot> snapshot = source->snapshot();
  const std::unique_ptr<SnapshotWriter> writer = std::move(SnapshotWriter::create(fs, "snap", "s", "m")).value();
  SnapshotSave save(*snapshot, *writer);
  int steps = 0;
  for (; !save.step(1000).value(); ++steps) {
    Batch batch;
    batch.put(Family::kData, fmt::format("k{}", steps * 7 % 3000), "changed");
    batch.erase(Family::kData, fmt::format("k{}", steps * 11 % 3000));
    ASSERT_TRUE(source->write(std::move(batch)).ok());
  }
  EXPECT_GT(steps, 100);
  ASSERT_TRUE(writer->finish().ok());
  const std::unique_ptr<Engine> target = make_memory_engine({});
  ASSERT_TRUE(target->load(*std::move(SnapshotReader::open(fs, "snap/s")).value()).ok());
  EXPECT_EQ(target->state_hash().value(), hash);
}

}  // namespace
}  // namespace flux::engine
