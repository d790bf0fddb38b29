// HTTP requests as hostile bytes: whatever arrives is answered the same however it is cut, keeps no more memory than
// the limits say, and does not outstay its time. The first byte chooses the cuts.
#include "api/key_text.h"
#include "env/testing/fake_net.h"
#include "server/http/door.h"
#include "server/testing/fake_admin.h"

namespace {

using namespace flux;

struct Outcome {
  std::string sent;
  bool closed = false;
  size_t changes = 0;
  size_t transfers = 0;
  bool operator==(const Outcome&) const = default;
};

// Pieces of at most `piece_max` bytes; 0: all at once.
Outcome run(std::string_view bytes, uint64_t seed, size_t piece_max) {
  env::testing::FakeLoop loop;
  env::testing::FakeNetwork network;
  server::testing::FakeAdmin admin(loop);
  admin.view.config = ConfigNum(5);
  admin.view.shards = {{.keyspace = "k", .start = std::string(bytes.substr(0, 100))}};
  const auto door = server::http::Door::open(network, loop, admin, {}).value();
  const auto wire = network.dial();
  wire->give_in_pieces(bytes, seed, piece_max);
  // What is wrong in half a header may be noticed now or at its end, so there is an end.
  wire->give("\r\n\r\n");
  FLUX_CHECK(piece_max == 0 || wire->kept_bytes_max() <= 16_KiB + piece_max);
  Outcome outcome{.sent = wire->sent(),
                  .closed = wire->closed(),
                  .changes = admin.changes.size(),
                  .transfers = admin.transfers.size()};
  loop.advance(Millis(10'000));
  FLUX_CHECK(wire->closed());
  return outcome;
}

// A key has one spelling that gives it back, whatever text it was read from.
void spell_as_key(std::string_view text) {
  const Result<std::string> key = api::parse_key_text(text);
  if (key.ok()) FLUX_CHECK(api::parse_key_text(api::key_text(*key)).value() == *key);
  if (text.size() <= 1000) FLUX_CHECK(api::parse_key_text(api::key_text(text)).value() == text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1 || size > 100'000) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  spell_as_key(bytes);
  const Outcome whole = run(bytes, 0, 0);
  const Outcome cut = run(bytes, data[0], 1 + data[0] % 64 * (data[0] % 64));
  FLUX_CHECK(whole == cut, "whole: {} {}\ncut: {} {}", whole.closed, whole.sent, cut.closed, cut.sent);
  return 0;
}
