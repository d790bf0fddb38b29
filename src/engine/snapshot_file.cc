#include "engine/snapshot_file.h"

#include <fmt/core.h>

#include "base/codec.h"

namespace flux::engine {

// --- Writing ---------------------------------------------------------------------------------------------------------

SnapshotWriter::SnapshotWriter(env::Fs& fs, std::string dir, std::string name)
    : fs_(fs), dir_(std::move(dir)), name_(std::move(name)) {}

SnapshotWriter::~SnapshotWriter() {
  if (finished_ || file_ == nullptr) return;
  file_.reset();
  static_cast<void>(fs_.remove(temporary_path()).ok());  // a later create() removes it too
}

std::string SnapshotWriter::temporary_path() const { return dir_ + "/" + name_ + ".tmp"; }

Result<std::unique_ptr<SnapshotWriter>> SnapshotWriter::create(env::Fs& fs, std::string dir, std::string name,
                                                               std::string_view meta) {
  FLUX_RETURN_IF_ERROR(fs.create_dirs(dir));
  std::unique_ptr<SnapshotWriter> writer(new SnapshotWriter(fs, std::move(dir), std::move(name)));
  FLUX_TRY(const bool left_over, fs.exists(writer->temporary_path()));
  if (left_over) FLUX_RETURN_IF_ERROR(fs.remove(writer->temporary_path()));
  FLUX_TRY(writer->file_, fs.open(writer->temporary_path(), env::OpenMode::kCreate));
  FLUX_RETURN_IF_ERROR(writer->write_frame(FrameKind::kHeader, Family::kData, encode_snapshot_meta(meta)));
  return writer;
}

Status SnapshotWriter::add(Family family, std::string_view key, std::string_view value) {
  FLUX_CHECK(!finished_);
  if (family != family_) {
    FLUX_CHECK(family > family_);
    FLUX_RETURN_IF_ERROR(close_chunk());
    family_ = family;
    last_key_.clear();
  } else {
    FLUX_DCHECK(info_.records[static_cast<size_t>(family)] == 0 || key > last_key_);
  }
#ifdef FLUX_DCHECK_ON
  last_key_ = key;
#endif
  Encoder encoder(chunk_);
  encoder.bytes(key);
  encoder.bytes(value);
  chunk_records_ += 1;
  info_.records[static_cast<size_t>(family)] += 1;
  info_.content_bytes += key.size() + value.size();
  return chunk_.size() >= kChunkBytes ? close_chunk() : Status();
}

Status SnapshotWriter::close_chunk() {
  if (chunk_records_ == 0) return {};
  FLUX_RETURN_IF_ERROR(write_frame(FrameKind::kChunk, family_, chunk_));
  info_.chunks += 1;
  chunk_.clear();
  chunk_records_ = 0;
  return {};
}

Status SnapshotWriter::write_frame(FrameKind kind, Family family, std::string_view payload) {
  FrameHeader header{.kind = kind,
                     .family = family,
                     .number = next_number_++,
                     .record_count = kind == FrameKind::kChunk ? chunk_records_ : 0,
                     .previous_crc = previous_crc_};
  const std::string frame = encode_frame(header, payload);
  FLUX_RETURN_IF_ERROR(file_->write_at(info_.file_bytes, frame));
  info_.file_bytes += frame.size();
  previous_crc_ = header.crc;
  return {};
}

Result<SnapshotInfo> SnapshotWriter::finish() {
  FLUX_CHECK(!finished_);
  FLUX_RETURN_IF_ERROR(close_chunk());
  FLUX_RETURN_IF_ERROR(write_frame(FrameKind::kFooter, Family::kData, encode_snapshot_footer(info_)));
  info_.checksum = previous_crc_;
  FLUX_RETURN_IF_ERROR(file_->sync());
  FLUX_RETURN_IF_ERROR(fs_.rename(temporary_path(), dir_ + "/" + name_));
  finished_ = true;
  FLUX_RETURN_IF_ERROR(fs_.sync_dir(dir_));
  return info_;
}

Result<bool> SnapshotSave::step(size_t bytes) {
  for (size_t added = 0; added < bytes;) {
    if (it_ == nullptr) {
      if (next_family_ == kFamilyCount) return true;
      it_ = snapshot_.iterate(kFamilies[next_family_++], "", "");
    }
    if (!it_->valid()) {
      FLUX_RETURN_IF_ERROR(it_->status());
      it_.reset();
      continue;
    }
    FLUX_RETURN_IF_ERROR(writer_.add(kFamilies[next_family_ - 1], it_->key(), it_->value()));
    added += it_->key().size() + it_->value().size() + 2;
    it_->next();
  }
  return false;
}

Result<SnapshotInfo> save_snapshot(const Snapshot& snapshot, env::Fs& fs, std::string dir, std::string name,
                                   std::string_view meta) {
  FLUX_TRY(const std::unique_ptr<SnapshotWriter> writer,
           SnapshotWriter::create(fs, std::move(dir), std::move(name), meta));
  SnapshotSave save(snapshot, *writer);
  for (;;) {
    FLUX_TRY(const bool done, save.step(1_MiB));
    if (done) return writer->finish();
  }
}

// --- Reading ---------------------------------------------------------------------------------------------------------

Result<std::unique_ptr<SnapshotReader>> SnapshotReader::open(env::Fs& fs, const std::string& path) {
  FLUX_TRY(std::unique_ptr<env::File> file, fs.open(path, env::OpenMode::kRead));
  std::unique_ptr<SnapshotReader> reader(new SnapshotReader(path, std::move(file)));
  FLUX_RETURN_IF_ERROR(reader->verify());
  reader->rewind();
  return reader;
}

Status SnapshotReader::corrupt(std::string_view what) const {
  return Status(ErrorCode::kCorruption, fmt::format("snapshot {}: {} at byte {}", path_, what, offset_));
}

Status SnapshotReader::verify() {
  std::string payload;
  FLUX_TRY(const FrameHeader header, read_frame(payload));
  if (header.kind != FrameKind::kHeader) return corrupt("no header");
  FLUX_TRY(meta_, decode_snapshot_meta(payload));
  SnapshotInfo seen;
  for (;;) {
    FLUX_TRY(const FrameHeader frame, read_frame(payload));
    if (frame.kind == FrameKind::kFooter) {
      FLUX_TRY(info_, decode_snapshot_footer(payload));
      info_.checksum = seen.checksum = frame.crc;
      break;
    }
    if (frame.kind != FrameKind::kChunk) return corrupt("a second header");
    FLUX_RETURN_IF_ERROR(check_chunk(frame, payload));
    seen.chunks += 1;
    seen.records[static_cast<size_t>(frame.family)] += frame.record_count;
    Decoder decoder(payload);
    while (decoder.remaining() > 0) seen.content_bytes += decoder.bytes().size() + decoder.bytes().size();
  }
  FLUX_TRY(const uint64_t size, file_->size());
  if (offset_ != size) return corrupt("bytes after the end");
  info_.file_bytes = seen.file_bytes = size;
  if (info_ != seen) return corrupt("the footer does not match what is there");
  last_.reset();
  return {};
}

// The records can be read, and each is after the one before.
Status SnapshotReader::check_chunk(const FrameHeader& frame, std::string_view payload) {
  Decoder decoder(payload);
  uint32_t records = 0;
  while (decoder.ok() && decoder.remaining() > 0) {
    const std::string_view key = decoder.bytes();
    decoder.bytes();
    if (!decoder.ok()) break;
    if (last_ && (frame.family < last_->first || (frame.family == last_->first && key <= last_->second))) {
      return corrupt("records out of order");
    }
    last_.emplace(frame.family, key);
    records += 1;
  }
  if (!decoder.ok() || records != frame.record_count) return corrupt("a malformed chunk");
  return {};
}

Result<FrameHeader> SnapshotReader::read_frame(std::string& payload) {
  FLUX_TRY(const std::string bytes, file_->read_at(offset_, kFrameHeaderBytes));
  const std::optional<FrameHeader> header = decode_frame_header(bytes);
  if (!header) return corrupt("no frame");
  FLUX_TRY(payload, file_->read_at(offset_ + kFrameHeaderBytes, header->payload_bytes));
  if (payload.size() != header->payload_bytes) return corrupt("the file ends");
  if (!frame_crc_matches(bytes, payload)) return corrupt("a checksum differs");
  if (header->number != next_number_ || header->previous_crc != previous_crc_) return corrupt("a frame out of order");
  next_number_ += 1;
  previous_crc_ = header->crc;
  offset_ += kFrameHeaderBytes + payload.size();
  return *header;
}

void SnapshotReader::rewind() {
  offset_ = 0, next_number_ = 0, previous_crc_ = 0;
  chunk_.clear();
  chunk_at_ = 0;
}

Result<bool> SnapshotReader::next(Record& record) {
  while (chunk_at_ == chunk_.size()) {
    FLUX_TRY(const FrameHeader frame, read_frame(chunk_));
    chunk_at_ = frame.kind == FrameKind::kChunk ? 0 : chunk_.size();
    family_ = frame.family;
    if (frame.kind == FrameKind::kFooter) return false;
  }
  Decoder decoder(std::string_view(chunk_).substr(chunk_at_));
  record = {.family = family_, .key = decoder.bytes(), .value = {}};
  record.value = decoder.bytes();
  if (!decoder.ok()) return corrupt("a malformed chunk");
  chunk_at_ = chunk_.size() - decoder.remaining();
  return true;
}

}  // namespace flux::engine
