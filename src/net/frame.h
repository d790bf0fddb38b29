// What travels between two nodes.
//
//   frame    size (4): bytes after these eight | crc32c of them (4) | message...
//   message  type (1) | request id (varint; 0: no answer wanted, or none asked) | size (varint) | body
//
// All that one node has for another in one turn of a loop leaves as one frame: one length, one checksum, one system
// call. Integers are little-endian.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/codec.h"
#include "base/status.h"

namespace flux::net {

inline constexpr size_t kFrameHeaderBytes = 8;

// Appends messages to one frame in a string that also holds frames before it. Finish before the bytes leave.
class FrameWriter {
 public:
  explicit FrameWriter(std::string& out) : out_(out) {}

  void message(uint8_t type, uint64_t request_id, std::string_view body);
  bool open() const { return open_; }
  // Bytes of the open frame's messages.
  size_t bytes() const { return open_ ? out_.size() - start_ - kFrameHeaderBytes : 0; }
  void finish();

 private:
  std::string& out_;
  size_t start_ = 0;
  bool open_ = false;
};

struct FrameMessage {
  uint8_t type = 0;
  uint64_t request_id = 0;
  std::string_view body;
};

// Takes one frame off the front of what was received. Returns how many bytes it takes, 0 if it is not all there yet, or
// kCorruption (wrong checksum), kTooLarge (over `frame_bytes_max`). `messages` points into `data`.
Result<size_t> take_frame(std::string_view data, size_t frame_bytes_max, std::string_view& messages);

// Takes the next message off the front of a frame's messages.
Status take_message(std::string_view& messages, FrameMessage& message);

}  // namespace flux::net
