// Entries and forwarded requests as hostile bytes: what can be read is written again in one spelling, and that reads as
// the same.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "kv/entry_codec.h"

namespace {

using namespace flux;
using namespace flux::kv;

// One request as the encoder spells it; empty if it is outside the limits of what a client may ask.
std::string spell(const api::DecodedRequest& request) {
  std::string out;
  const Status status = api::append_request(
      out, {.commands = request.commands, .all_or_nothing = request.all_or_nothing, .session = request.session});
  return status.ok() ? out : std::string();
}

void round_trip(const api::DecodedRequest& request) {
  const std::string spelled = spell(request);
  if (spelled.empty()) return;
  FLUX_CHECK(api::check_request(spelled).ok());
  std::string entry;
  begin_entry(entry);
  entry += spelled;
  EntryReader reader(entry);
  api::DecodedRequest again;
  FLUX_CHECK(reader.next(again).ok());
  FLUX_CHECK(reader.done());
  FLUX_CHECK(again.commands.size() == request.commands.size());
  FLUX_CHECK(spell(again) == spelled);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  static_cast<void>(api::check_request(bytes).ok());
  EntryReader reader(bytes);
  api::DecodedRequest request;
  if (reader.status().ok()) {
    while (!reader.done() && reader.next(request).ok()) round_trip(request);
  }
  api::WriteReply reply;
  if (!api::decode_results(bytes, reply).ok()) return 0;
  std::string spelled;
  api::encode_results(spelled, reply);
  api::WriteReply again;
  FLUX_CHECK(api::decode_results(spelled, again).ok());
  std::string once_more;
  api::encode_results(once_more, again);
  FLUX_CHECK(once_more == spelled);
  return 0;
}
