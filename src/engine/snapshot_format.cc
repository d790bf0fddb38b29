#include "engine/snapshot_format.h"

#include "base/codec.h"
#include "base/crc32c.h"

namespace flux::engine {
namespace {

constexpr uint32_t kFrameMagic = 0x5358'4C46;  // "FLXS"

}  // namespace

std::string encode_frame(FrameHeader& header, std::string_view payload) {
  FLUX_CHECK(payload.size() <= kFramePayloadBytesMax);
  header.payload_bytes = static_cast<uint32_t>(payload.size());
  std::string out;
  out.reserve(kFrameHeaderBytes + payload.size());
  Encoder encoder(out);
  encoder.u32(kFrameMagic);
  encoder.u32(0);
  encoder.u8(static_cast<uint8_t>(header.kind));
  encoder.u8(static_cast<uint8_t>(header.family));
  encoder.u16(0);
  encoder.u32(header.number);
  encoder.u32(header.payload_bytes);
  encoder.u32(header.record_count);
  encoder.u32(header.previous_crc);
  encoder.u32(0);
  encoder.raw(payload);
  header.crc = crc32c(std::string_view(out).substr(8));
  put_fixed_at<uint32_t>(&out[4], header.crc);
  return out;
}

std::optional<FrameHeader> decode_frame_header(std::string_view bytes) {
  if (bytes.size() < kFrameHeaderBytes) return std::nullopt;
  Decoder decoder(bytes.substr(0, kFrameHeaderBytes));
  if (decoder.u32() != kFrameMagic) return std::nullopt;
  FrameHeader header;
  header.crc = decoder.u32();
  const uint8_t kind = decoder.u8();
  const uint8_t family = decoder.u8();
  decoder.u16();
  header.number = decoder.u32();
  header.payload_bytes = decoder.u32();
  header.record_count = decoder.u32();
  header.previous_crc = decoder.u32();
  if (kind < 1 || kind > 3 || family >= kFamilyCount) return std::nullopt;
  if (header.payload_bytes > kFramePayloadBytesMax) return std::nullopt;
  header.kind = FrameKind(kind);
  header.family = Family(family);
  return header;
}

bool frame_crc_matches(std::string_view header_bytes, std::string_view payload) {
  return crc32c(payload, crc32c(header_bytes.substr(8))) == get_fixed_at<uint32_t>(&header_bytes[4]);
}

std::string encode_snapshot_meta(std::string_view meta) {
  std::string out;
  Encoder encoder(out);
  encoder.u32(kSnapshotFormatVersion);
  encoder.bytes(meta);
  return out;
}

Result<std::string> decode_snapshot_meta(std::string_view payload) {
  Decoder decoder(payload);
  const uint32_t version = decoder.u32();
  if (decoder.ok() && version != kSnapshotFormatVersion) {
    return Status(ErrorCode::kUnsupported,
                  fmt::format("snapshot format {}; this build reads {}", version, kSnapshotFormatVersion));
  }
  const std::string meta(decoder.bytes());
  FLUX_RETURN_IF_ERROR(decoder.finish("snapshot header"));
  return meta;
}

std::string encode_snapshot_footer(const SnapshotInfo& info) {
  std::string out;
  Encoder encoder(out);
  encoder.u32(info.chunks);
  encoder.u32(kFamilyCount);
  for (const uint64_t records : info.records) encoder.u64(records);
  encoder.u64(info.content_bytes);
  return out;
}

Result<SnapshotInfo> decode_snapshot_footer(std::string_view payload) {
  Decoder decoder(payload);
  SnapshotInfo info;
  info.chunks = decoder.u32();
  if (decoder.u32() != kFamilyCount) decoder.fail();
  for (uint64_t& records : info.records) records = decoder.u64();
  info.content_bytes = decoder.u64();
  FLUX_RETURN_IF_ERROR(decoder.finish("snapshot footer"));
  return info;
}

}  // namespace flux::engine
