// Commands for shards and pieces of shards as hostile bytes: what can be read has one spelling, and leaves a state
// machine whose shards are read back from its engine as they are.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "engine/memory/memory_engine.h"
#include "kv/entry_codec.h"
#include "kv/state_machine.h"

namespace {

using namespace flux;
using namespace flux::kv;

// A group with a shard in each state that a command could meet.
class Group {
 public:
  Group() : engine_(engine::make_memory_engine({})), machine_(make()) {
    const auto own = [](uint64_t shard, std::string start, std::string end, uint64_t peer = 0) {
      return ShardCut{.shard = ShardId(shard), .start = std::move(start), .end = std::move(end), .peer = GroupId(peer)};
    };
    const auto give = [](ShardCut cut, ShardCut::Kind kind, uint64_t peer) {
      cut.kind = kind;
      cut.peer = GroupId(peer);
      return cut;
    };
    FLUX_CHECK(apply(ApplyConfig{ConfigNum(1), {own(1, "", "b"), own(2, "b", "c"), own(3, "c", "d")}}));
    FLUX_CHECK(apply(BeginFeed{ShardId(1), 1, 1}));
    FLUX_CHECK(apply(BeginStaging{ShardId(4), "d", "e", GroupId(2), 1, 1}));
    FLUX_CHECK(apply(BeginStaging{ShardId(5), "e", "f", GroupId(2), 1, 2}));
    const ApplyConfig next{
        ConfigNum(2),
        {own(1, "", "b"), give(own(2, "b", "c"), ShardCut::Kind::kGive, 2),
         give(own(3, "c", "d"), ShardCut::Kind::kDrop, 0), own(5, "e", "f", 2), own(6, "f", "g", 2)}};
    FLUX_CHECK(apply(next));
  }

  // Whether it took effect.
  bool apply(const ShardCommand& command) {
    const std::string bytes = encode(command);
    const api::Command change = api::ShardChange{.bytes = bytes};
    std::string entry;
    begin_entry(entry);
    if (!api::append_request(entry, {.commands = std::span(&change, 1)}).ok()) return false;
    stamp_entry(entry, version_at(WallMillis(1000)));
    std::vector<api::WriteReply> replies;
    FLUX_CHECK(machine_
                   ->apply({.index = machine_->applied().index + 1,
                            .term = Term(1),
                            .type = EntryType::kCommand,
                            .data = SharedBytes(std::move(entry))},
                           &replies)
                   .ok());
    FLUX_CHECK(machine_->commit().ok());
    return replies.at(0).results.at(0).applied;
  }
  void check() {
    const auto again = make();
    FLUX_CHECK(std::ranges::equal(again->shards(), machine_->shards()));
    FLUX_CHECK(again->config_num() == machine_->config_num());
    FLUX_CHECK(again->session_count() == machine_->session_count());
  }
  StateMachine& machine() { return *machine_; }

 private:
  std::unique_ptr<StateMachine> make() {
    auto made = std::make_unique<StateMachine>(GroupId(1), *engine_, api::StateLimits(), nullptr, Sharding::kOn);
    FLUX_CHECK(made->load().ok());
    return made;
  }
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<StateMachine> machine_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const Result<ShardCommand> command = decode_shard_command(bytes); command.ok()) {
    FLUX_CHECK(encode(*command) == bytes);
    Group group;
    group.apply(*command);
    group.check();
    group.apply(*command);
    group.check();
  }
  if (const Result<ShardChunk> chunk = decode_shard_chunk(bytes); chunk.ok()) FLUX_CHECK(encode(*chunk) == bytes);
  if (const Result<ExportRequest> request = decode_export_request(bytes); request.ok()) {
    FLUX_CHECK(encode(*request) == bytes);
    Group group;
    if (const Result<ShardChunk> chunk = group.machine().export_chunk(*request); chunk.ok()) {
      FLUX_CHECK(decode_shard_chunk(encode(*chunk)).ok());
    }
  }
  return 0;
}
