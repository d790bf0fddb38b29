// Whatever bytes a log directory holds: opening it fails cleanly or gives a log that can be read, written and opened
// again. The input is laid over a real log, with checksums mended so that it gets past them.
#include <cstdlib>

#include "env/testing/fake_fs.h"
#include "wal/dump.h"
#include "wal/wal.h"
#include "wal/wal_format.h"

namespace {

using namespace flux;

constexpr uint64_t kSegmentBytes = 8 * wal::kPageBytes;
const wal::Options kOptions{
    .store_id = wal::StoreId(7), .segment_bytes = kSegmentBytes, .spare_segments = 0, .prefill = false};

void must(bool condition) {
  if (!condition) std::abort();
}

std::unique_ptr<env::testing::FakeFs> real_log() {
  auto fs = std::make_unique<env::testing::FakeFs>();
  auto log = std::move(wal::Wal::open(*fs, "wal", kOptions)).value();
  for (uint64_t i = 1; i <= 18; ++i) {
    const Entry entry{.index = Index(i),
                      .term = Term(i / 4),
                      .type = EntryType::kCommand,
                      .data = SharedBytes(std::string(2000, 'x'))};
    must(log->append(GroupId(1), std::span(&entry, 1)).ok());
    must(log->set_hard_state(GroupId(2), {.term = Term(i), .vote = NodeId(1)}).ok());
    must(log->flush().ok());
  }
  return fs;
}

// Makes the checksums of whatever stands at a page right again: a header, or a batch and its records.
void mend(std::string& segment, size_t page) {
  if (page == 0) {
    const wal::SegmentHeader header{.version = get_fixed_at<uint32_t>(&segment[8]),
                                    .store_id = wal::StoreId(get_fixed_at<uint64_t>(&segment[16])),
                                    .segment_id = wal::SegmentId(get_fixed_at<uint64_t>(&segment[24])),
                                    .segment_bytes = get_fixed_at<uint64_t>(&segment[32])};
    segment.replace(0, wal::kPageBytes, wal::encode_segment_header(header));
    return;
  }
  char* const at = &segment[page];
  wal::BatchHeader header{.segment_id = wal::SegmentId(get_fixed_at<uint64_t>(at + 8)),
                          .sequence = get_fixed_at<uint64_t>(at + 16),
                          .durable_through = get_fixed_at<uint64_t>(at + 24),
                          .groups = get_fixed_at<uint64_t>(at + 32),
                          .epoch = get_fixed_at<uint32_t>(at + 40),
                          .records_bytes = get_fixed_at<uint32_t>(at + 44),
                          .record_count = get_fixed_at<uint32_t>(at + 48),
                          .flags = get_fixed_at<uint32_t>(at + 52)};
  wal::encode_batch_header(header, kOptions.store_id, at);
  const uint32_t salt = header.salt(kOptions.store_id);
  const size_t end = std::min<size_t>(segment.size(), page + wal::kBatchHeaderBytes + header.records_bytes);
  for (size_t record = page + wal::kBatchHeaderBytes; record < end;) {
    const size_t size = wal::record_size(std::string_view(segment).substr(record, end - record));
    if (size == 0) break;
    wal::seal_record(&segment[record], size, salt);
    record += size;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::unique_ptr<env::testing::FakeFs> kReal = real_log();
  if (size < 4) return 0;
  const std::unique_ptr<env::testing::FakeFs> fs = kReal->clone();
  // Edits of 4 bytes and a length: segment, page, offset in the page, how many bytes, and whether to mend.
  size_t at = 0;
  while (at + 6 <= size) {
    const std::string path = "wal/" + wal::segment_name(wal::SegmentId(1 + data[at] % 3));
    const size_t page = size_t{data[at + 1]} % 8 * wal::kPageBytes;
    const size_t offset = page + data[at + 2] + size_t{data[at + 3]} % 16 * 256;
    const size_t count = std::min<size_t>(data[at + 4], size - at - 6);
    const bool mended = (data[at + 5] & 1) != 0;
    at += 6;
    std::string bytes = fs->contents(path);
    bytes.resize(kSegmentBytes);
    bytes.replace(std::min(offset, bytes.size()), count, reinterpret_cast<const char*>(data + at), count);
    bytes.resize(kSegmentBytes);
    at += count;
    if (mended) mend(bytes, page);
    fs->overwrite(path, 0, bytes);
  }
  static_cast<void>(wal::dump(*fs, "wal", [](std::string_view) {}).ok());
  for (int life = 0; life < 2; ++life) {
    Result<std::unique_ptr<wal::Wal>> opened = wal::Wal::open(*fs, "wal", kOptions);
    if (!opened.ok()) {
      must(life == 0);  // what was once opened and written can be opened again
      return 0;
    }
    wal::Wal& log = **opened;
    for (const GroupId group : log.groups()) {
      const wal::GroupLogState state = log.state(group);
      must(state.base.index <= state.last.index);
      static_cast<void>(log.for_each(group, [](const Entry&) { return Status(); }).ok());
    }
    if (!log.set_hard_state(GroupId(99), {.term = Term(1)}).ok()) return 0;
    must(log.flush().ok());
    opened = Status(ErrorCode::kCancelled, "closed");
    fs->crash(env::testing::CrashPolicy::drop_all());
  }
  return 0;
}
