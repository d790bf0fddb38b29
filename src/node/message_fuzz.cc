// Any bytes as what another node asks or answers, and as the files that say who is who: they have one spelling, or are
// refused.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "node/identity.h"
#include "node/peer_messages.h"
#include "node/replicas.h"
#include "node/requests.h"
#include "node/shard_load.h"

namespace {

using namespace flux;
using namespace flux::node;

template <typename Decode, typename Encode>
void one_spelling(std::string_view bytes, Decode decode, Encode encode) {
  const auto value = decode(bytes);
  if (value.ok()) FLUX_CHECK(encode(*value) == bytes);
}

// How much a scan may bring is cut to what is allowed: what was read once is read as it is written.
void read_request(std::string_view bytes) {
  const auto again = [](std::string_view request) -> std::optional<std::string> {
    const Result<WaitingRead> read = WaitingRead::decode(request, [](const api::ReadReply&) {}, MonoTime());
    if (!read.ok()) return std::nullopt;
    std::string out;
    read->encode(out);
    return out;
  };
  if (const auto once = again(bytes)) FLUX_CHECK(again(*once) == once);
}

void read_reply(std::string_view bytes) {
  api::OwnedReadReply reply;
  if (!reply.decode(bytes).ok()) return;
  std::string again;
  const Status status = api::OwnedReadReply::encode(reply.view(), again);
  FLUX_CHECK(status.ok() || status.code() == ErrorCode::kTooLarge, "{}", status.to_string());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 11) {
    case 0:
      one_spelling(bytes, decode_transfer_call, encode_transfer_call);
      break;
    case 1:
      one_spelling(bytes, decode_release_call, encode_release_call);
      break;
    case 2:
      one_spelling(bytes, decode_snapshot_open, encode_snapshot_open);
      break;
    case 3:
      one_spelling(bytes, decode_snapshot_chunk, encode_snapshot_chunk);
      break;
    case 4:
      one_spelling(bytes, decode_join_call, encode_join_call);
      break;
    case 5:
      one_spelling(bytes, decode_join_reply, encode_join_reply);
      break;
    case 6:
      one_spelling(bytes, decode_load_report, encode_load_report);
      break;
    case 7:
      one_spelling(bytes, decode_identity, encode_identity);
      break;
    case 8:
      one_spelling(bytes, decode_replicas, encode_replicas);
      break;
    case 9:
      read_request(bytes);
      break;
    default:
      read_reply(bytes);
  }
  return 0;
}
