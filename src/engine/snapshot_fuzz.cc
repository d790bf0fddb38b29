// Whatever bytes a snapshot file holds: it is refused, or it loads as what it says. With checksums mended, so that the
// bytes get past them.
#include <cstdlib>

#include "base/codec.h"
#include "base/crc32c.h"
#include "engine/memory/memory_engine.h"
#include "engine/snapshot_file.h"
#include "env/testing/fake_fs.h"

namespace {

using namespace flux;
using namespace flux::engine;

void must(bool condition) {
  if (!condition) std::abort();
}

// Walks frames as their lengths say and makes their checksums and the chain right.
void mend(std::string& bytes) {
  uint32_t previous = 0;
  for (size_t at = 0; at + kFrameHeaderBytes <= bytes.size();) {
    const size_t payload = get_fixed_at<uint32_t>(&bytes[at + 16]);
    if (payload > bytes.size() - at - kFrameHeaderBytes) return;
    put_fixed_at<uint32_t>(&bytes[at + 24], previous);
    previous = crc32c(std::string_view(bytes).substr(at + 8, kFrameHeaderBytes - 8 + payload));
    put_fixed_at<uint32_t>(&bytes[at + 4], previous);
    at += kFrameHeaderBytes + payload;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  std::string bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  if ((data[0] & 1) != 0) mend(bytes);
  env::testing::FakeFs fs;
  must(fs.create_dirs("d").ok());
  must(env::write_file_atomically(fs, "d", "s", bytes).ok());
  Result<std::unique_ptr<SnapshotReader>> reader = SnapshotReader::open(fs, "d/s");
  if (!reader.ok()) return 0;
  const std::unique_ptr<Engine> engine = make_memory_engine({});
  const Status loaded = engine->load(**reader);
  if (loaded.code() == ErrorCode::kTooLarge) return 0;
  must(loaded.ok());
  must(engine->count() == (*reader)->info().records[0]);
  const SnapshotInfo again = save_snapshot(*engine->snapshot(), fs, "d", "t", (*reader)->meta()).value();
  must(again.records == (*reader)->info().records);
  must(again.content_bytes == (*reader)->info().content_bytes);
  return 0;
}
