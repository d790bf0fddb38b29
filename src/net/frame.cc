#include "net/frame.h"

#include <fmt/core.h>

#include "base/crc32c.h"

namespace flux::net {

void FrameWriter::message(uint8_t type, uint64_t request_id, std::string_view body) {
  if (!open_) {
    start_ = out_.size();
    out_.append(kFrameHeaderBytes, '\0');
    open_ = true;
  }
  Encoder encoder(out_);
  encoder.u8(type);
  encoder.varint(request_id);
  encoder.bytes(body);
}

void FrameWriter::finish() {
  if (!open_) return;
  const std::string_view payload = std::string_view(out_).substr(start_ + kFrameHeaderBytes);
  put_fixed_at(out_.data() + start_, static_cast<uint32_t>(payload.size()));
  put_fixed_at(out_.data() + start_ + 4, crc32c(payload));
  open_ = false;
}

Result<size_t> take_frame(std::string_view data, size_t frame_bytes_max, std::string_view& messages) {
  if (data.size() < kFrameHeaderBytes) return size_t{0};
  const auto size = get_fixed_at<uint32_t>(data.data());
  if (size > frame_bytes_max) {
    return Status(ErrorCode::kTooLarge,
                  fmt::format("a frame of {} bytes is over the limit of {}", size, frame_bytes_max));
  }
  if (size == 0) return Status(ErrorCode::kCorruption, "an empty frame");
  if (data.size() - kFrameHeaderBytes < size) return size_t{0};
  messages = data.substr(kFrameHeaderBytes, size);
  if (crc32c(messages) != get_fixed_at<uint32_t>(data.data() + 4)) {
    return Status(ErrorCode::kCorruption, "a frame's checksum differs");
  }
  return kFrameHeaderBytes + size;
}

Status take_message(std::string_view& messages, FrameMessage& message) {
  Decoder decoder(messages);
  message.type = decoder.u8();
  message.request_id = decoder.varint();
  message.body = decoder.bytes();
  if (!decoder.ok()) return Status(ErrorCode::kCorruption, "a frame ends inside a message");
  messages = decoder.raw(decoder.remaining());
  return {};
}

}  // namespace flux::net
