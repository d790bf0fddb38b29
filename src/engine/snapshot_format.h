// The bytes of a snapshot file; docs/formats/snapshot.md explains them. All integers are little-endian.
//
//   file = header frame, chunk frames, footer frame; nothing after it
//
//   frame (32 bytes and the payload)
//    0  u32 magic "FLXS"
//    4  u32 crc: CRC-32C of bytes 8 to 32 and the payload
//    8  u8  kind: 1 header, 2 chunk, 3 footer
//    9  u8  family of the chunk's records; else 0
//   10  u16 zero
//   12  u32 number: 0 header, 1.. chunks, then the footer
//   16  u32 payload bytes
//   20  u32 number of records in the chunk; else 0
//   24  u32 crc of the frame before; 0 in the header frame
//   28  u32 zero
//   32  payload
//
//   header payload   u32 format version; varint size and bytes of the caller's meta
//   chunk payload    per record: varint key size, key, varint value size, value; keys ascend within a family, and
//                    families ascend
//   footer payload   u32 number of chunks; u32 number of families; u64 records of each; u64 bytes of keys and values
//
// Every crc covers the one before it, so the footer's crc stands for the whole file.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "base/types.h"
#include "engine/family.h"

namespace flux::engine {

inline constexpr uint32_t kSnapshotFormatVersion = 1;
inline constexpr size_t kFrameHeaderBytes = 32;
// A chunk is closed when it has reached this size; one record may take it over.
inline constexpr size_t kChunkBytes = 256_KiB;
inline constexpr uint32_t kFramePayloadBytesMax = 64u << 20;

enum class FrameKind : uint8_t { kHeader = 1, kChunk = 2, kFooter = 3 };

struct FrameHeader {
  FrameKind kind = FrameKind::kHeader;
  Family family = Family::kData;
  uint32_t number = 0;
  uint32_t payload_bytes = 0;
  uint32_t record_count = 0;
  uint32_t previous_crc = 0;
  uint32_t crc = 0;
};

// What a snapshot holds.
struct SnapshotInfo {
  uint32_t chunks = 0;
  std::array<uint64_t, kFamilyCount> records{};
  uint64_t content_bytes = 0;  // keys and values
  uint64_t file_bytes = 0;
  uint32_t checksum = 0;  // of the footer frame: stands for the whole file
  bool operator==(const SnapshotInfo&) const = default;
};

// The frame's bytes. Sets header.payload_bytes and header.crc.
std::string encode_frame(FrameHeader& header, std::string_view payload);
// From the first 32 bytes; the crc is still to be checked. nullopt: not a frame.
std::optional<FrameHeader> decode_frame_header(std::string_view bytes);
bool frame_crc_matches(std::string_view header_bytes, std::string_view payload);

std::string encode_snapshot_meta(std::string_view meta);
// kUnsupported: a newer format. kCorruption.
Result<std::string> decode_snapshot_meta(std::string_view payload);
std::string encode_snapshot_footer(const SnapshotInfo& info);
// chunks, records and content_bytes only.
Result<SnapshotInfo> decode_snapshot_footer(std::string_view payload);

}  // namespace flux::engine
