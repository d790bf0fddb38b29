// Entries and forwarded requests as hostile bytes.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "kv/command_codec.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  (void)flux::kv::check_request(bytes).ok();
  flux::kv::EntryReader reader(bytes);
  if (!reader.status().ok()) return 0;
  flux::kv::DecodedRequest request;
  while (!reader.done() && reader.next(request).ok()) {
  }
  flux::api::WriteReply reply;
  (void)flux::kv::decode_results(bytes, reply).ok();
  return 0;
}
