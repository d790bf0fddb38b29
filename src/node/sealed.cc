#include "node/sealed.h"

#include <fmt/core.h>

#include "base/codec.h"
#include "base/crc32c.h"

namespace flux::node {
namespace {

constexpr uint32_t kFormat = 1;

}  // namespace

std::string seal(std::string_view magic, std::string_view body) {
  std::string out(magic);
  Encoder encoder(out);
  encoder.u32(kFormat);
  encoder.bytes(body);
  encoder.u32(crc32c(out));
  return out;
}

Result<std::string_view> unseal(std::string_view magic, std::string_view bytes, std::string_view what) {
  if (bytes.size() < magic.size() + 8 || !bytes.starts_with(magic)) {
    return Status(ErrorCode::kCorruption, fmt::format("{} is not a FluxKV file", what));
  }
  const std::string_view covered = bytes.substr(0, bytes.size() - 4);
  if (crc32c(covered) != get_fixed_at<uint32_t>(bytes.data() + covered.size())) {
    return Status(ErrorCode::kCorruption, fmt::format("{} is damaged: its checksum differs", what));
  }
  Decoder decoder(covered.substr(magic.size()));
  const uint32_t format = decoder.u32();
  if (format != kFormat) {
    return Status(ErrorCode::kUnsupported,
                  fmt::format("{} has format {}, this version reads {}; use the version that wrote it, or a newer one",
                              what, format, kFormat));
  }
  const std::string_view body = decoder.bytes();
  FLUX_RETURN_IF_ERROR(decoder.finish(what));
  return body;
}

}  // namespace flux::node
