// Any bytes: they decode to a message with one spelling, or are refused; a core that is handed the result stands.
#include <cstddef>
#include <cstdint>

#include "raft/core.h"
#include "raft/message_codec.h"

namespace {

class EmptyReader final : public flux::raft::LogReader {
 public:
  flux::Result<std::vector<flux::Entry>> read(flux::Index, flux::Index, size_t) override {
    return flux::Status(flux::ErrorCode::kIo, "nothing there");
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace flux;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  Result<raft::Message> message = raft::decode(bytes);
  if (!message.ok()) return 0;
  std::string again;
  raft::encode(*message, again);
  FLUX_CHECK(again == bytes);

  EmptyReader reader;
  raft::SnapshotMeta base{.last = {.index = Index(3), .term = Term(2)},
                          .membership = {.voters = {NodeId(1), NodeId(2)}}};
  raft::RestoreBuilder builder({.term = Term(2), .vote = kNobody}, base);
  raft::Core core({.id = NodeId(1), .check_invariants = true}, std::move(builder).build(Index(3)).value(), reader,
                  Rng(1), MonoTime());
  message->to = NodeId(1);
  core.step(MonoTime(Micros(1'000'000)), raft::Received{std::move(*message)});
  while (core.has_update()) core.take_update();
  return 0;
}
