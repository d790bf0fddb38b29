// Frames that tests write and read by hand.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/codec.h"
#include "base/crc32c.h"
#include "net/frame.h"

namespace flux::net::testing {

// One message in a frame of its own.
inline std::string framed(uint8_t type, uint64_t request_id, std::string_view body) {
  std::string bytes;
  FrameWriter writer(bytes);
  writer.message(type, request_id, body);
  writer.finish();
  return bytes;
}

// The messages of whole frames; they point into `bytes`.
inline std::vector<FrameMessage> messages_of(std::string_view bytes) {
  std::vector<FrameMessage> all;
  while (!bytes.empty()) {
    std::string_view messages;
    const size_t size = take_frame(bytes, bytes.size(), messages).value();
    FLUX_CHECK(size != 0, "half a frame");
    bytes.remove_prefix(size);
    while (!messages.empty()) FLUX_CHECK(take_message(messages, all.emplace_back()).ok());
  }
  return all;
}

// Makes the checksum of every frame right, as its length says.
inline void mend_checksums(std::string& bytes) {
  for (size_t at = 0; at + kFrameHeaderBytes <= bytes.size();) {
    const size_t size = get_fixed_at<uint32_t>(&bytes[at]);
    if (size > bytes.size() - at - kFrameHeaderBytes) return;
    put_fixed_at<uint32_t>(&bytes[at + 4], crc32c(std::string_view(bytes).substr(at + kFrameHeaderBytes, size)));
    at += kFrameHeaderBytes + size;
  }
}

}  // namespace flux::net::testing
