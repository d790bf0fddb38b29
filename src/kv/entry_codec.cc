#include "kv/entry_codec.h"

#include <fmt/core.h>

#include "base/codec.h"

namespace flux::kv {
namespace {

constexpr uint8_t kFormat = 1;

}  // namespace

void begin_entry(std::string& out) {
  out.clear();
  Encoder encoder(out);
  encoder.u8(kFormat);
  encoder.u64(0);
}

void stamp_entry(std::string& entry, Version stamp) {
  FLUX_CHECK(entry.size() >= kEntryHeaderBytes);
  put_fixed_at(entry.data() + 1, stamp.value());
}

EntryReader::EntryReader(std::string_view entry) {
  Decoder decoder(entry);
  const uint8_t format = decoder.u8();
  stamp_ = Version(decoder.u64());
  rest_ = decoder.raw(decoder.remaining());
  if (!decoder.ok()) {
    status_ = Status(ErrorCode::kCorruption, "a log entry is too short");
  } else if (format != kFormat) {
    status_ = Status(ErrorCode::kUnsupported,
                     fmt::format("log entry format {} is not known to this version; upgrade this node", format));
  }
}

Status EntryReader::next(api::DecodedRequest& request) {
  FLUX_CHECK(status_.ok());
  FLUX_CHECK(!rest_.empty());
  return api::take_request(rest_, request);
}

}  // namespace flux::kv
