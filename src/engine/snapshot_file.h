// Snapshots as files: written under a temporary name and renamed when complete and synced, so a crash leaves the old
// file or the new one; read only after every byte was verified. The same bytes are what a peer is sent.
#pragma once

#include <memory>
#include <string>

#include "engine/engine.h"
#include "engine/snapshot_format.h"
#include "env/fs.h"

namespace flux::engine {

// Not thread-safe. Destroyed before finish() has succeeded it removes what it wrote.
class SnapshotWriter {
 public:
  // Will make `dir`/`name`. `meta` is the caller's, returned by the reader. Errors of all calls: kNoSpace, kIo.
  static Result<std::unique_ptr<SnapshotWriter>> create(env::Fs& fs, std::string dir, std::string name,
                                                        std::string_view meta);
  ~SnapshotWriter();
  SnapshotWriter(const SnapshotWriter&) = delete;
  SnapshotWriter& operator=(const SnapshotWriter&) = delete;

  // REQUIRES: families ascend, keys ascend within each.
  Status add(Family family, std::string_view key, std::string_view value);
  // The file is durable under its name. Nothing may be added any more.
  Result<SnapshotInfo> finish();

 private:
  SnapshotWriter(env::Fs& fs, std::string dir, std::string name);
  Status write_frame(FrameKind kind, Family family, std::string_view payload);
  Status close_chunk();
  std::string temporary_path() const;

  env::Fs& fs_;
  const std::string dir_;
  const std::string name_;
  std::unique_ptr<env::File> file_;
  std::string chunk_;
  std::string last_key_;
  Family family_ = Family::kData;
  uint32_t chunk_records_ = 0;
  uint32_t next_number_ = 0;
  uint32_t previous_crc_ = 0;
  SnapshotInfo info_;
  bool finished_ = false;
};

// Not thread-safe.
class SnapshotReader {
 public:
  // Verifies the whole file. kCorruption: any byte is wrong, missing or too many; nothing of it may be used.
  // kUnsupported: a newer format. kNotFound, kIo.
  static Result<std::unique_ptr<SnapshotReader>> open(env::Fs& fs, const std::string& path);

  const std::string& meta() const { return meta_; }
  const SnapshotInfo& info() const { return info_; }

  struct Record {
    Family family;
    std::string_view key;
    std::string_view value;
  };
  // The next record, valid until the next call; false at the end. Errors: kCorruption, kIo (the disk changed its mind).
  Result<bool> next(Record& record);
  // Begins again with the first record.
  void rewind();

 private:
  SnapshotReader(std::string path, std::unique_ptr<env::File> file) : path_(std::move(path)), file_(std::move(file)) {}
  Status verify();
  // The next frame and its payload, checked against the one before it.
  Result<FrameHeader> read_frame(std::string& payload);
  Status check_chunk(const FrameHeader& frame, std::string_view payload);
  Status corrupt(std::string_view what) const;

  const std::string path_;
  const std::unique_ptr<env::File> file_;
  std::string meta_;
  SnapshotInfo info_;
  // Where the reading is.
  uint64_t offset_ = 0;
  uint32_t next_number_ = 0;
  uint32_t previous_crc_ = 0;
  std::string chunk_;
  size_t chunk_at_ = 0;
  Family family_ = Family::kData;
  // Only while verifying.
  std::optional<std::pair<Family, std::string>> last_;
};

// Writes a snapshot in pieces, so that a loop can do other work between them. Both must outlive it.
class SnapshotSave {
 public:
  SnapshotSave(const Snapshot& snapshot, SnapshotWriter& writer) : snapshot_(snapshot), writer_(writer) {}

  // Adds about `bytes` more. True when all was added and finish() may be called on the writer.
  Result<bool> step(size_t bytes);

 private:
  const Snapshot& snapshot_;
  SnapshotWriter& writer_;
  size_t next_family_ = 0;
  std::unique_ptr<Iterator> it_;
};

// All of it at once.
Result<SnapshotInfo> save_snapshot(const Snapshot& snapshot, env::Fs& fs, std::string dir, std::string name,
                                   std::string_view meta);

}  // namespace flux::engine
