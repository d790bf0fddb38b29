#include "node/directory.h"

#include <fmt/core.h>

#include "base/codec.h"

namespace flux::node {

std::string encode_node_record(const api::NodeRecord& record) {
  std::string out;
  Encoder encoder(out);
  encoder.u8(1);
  encoder.id(record.id);
  encoder.bytes(record.name);
  encoder.bytes(record.peer_address);
  encoder.bytes(record.resp_address);
  encoder.bytes(record.http_address);
  encoder.bytes(record.wire_address);
  return out;
}

Result<api::NodeRecord> decode_node_record(std::string_view bytes) {
  Decoder decoder(bytes);
  api::NodeRecord record;
  if (decoder.u8() != 1) decoder.fail();
  record.id = decoder.id<NodeId>();
  record.name = decoder.bytes();
  record.peer_address = decoder.bytes();
  record.resp_address = decoder.bytes();
  record.http_address = decoder.bytes();
  record.wire_address = decoder.bytes();
  FLUX_RETURN_IF_ERROR(decoder.finish("a node record"));
  return record;
}

void Directory::put(const api::NodeRecord& record) {
  const std::lock_guard lock(mutex_);
  api::NodeRecord& stored = records_[record.id];
  api::NodeRecord merged = record;
  if (merged.resp_address.empty()) merged.resp_address = stored.resp_address;
  if (merged.http_address.empty()) merged.http_address = stored.http_address;
  if (merged.wire_address.empty()) merged.wire_address = stored.wire_address;
  if (stored == merged) return;
  stored = std::move(merged);
  ++generation_;
}

void Directory::erase(NodeId node) {
  const std::lock_guard lock(mutex_);
  removed_.insert(node);
  if (records_.erase(node) != 0) ++generation_;
}

bool Directory::removed(NodeId node) const {
  const std::lock_guard lock(mutex_);
  return removed_.contains(node);
}

std::optional<api::NodeRecord> Directory::find(NodeId node) const {
  const std::lock_guard lock(mutex_);
  const auto it = records_.find(node);
  if (it == records_.end()) return std::nullopt;
  return it->second;
}

std::vector<api::NodeRecord> Directory::all() const {
  const std::lock_guard lock(mutex_);
  std::vector<api::NodeRecord> all;
  for (const auto& [id, record] : records_) all.push_back(record);
  return all;
}

void Directory::set_refusal(NodeId node, std::string why) {
  const std::lock_guard lock(mutex_);
  if (why.empty()) {
    refusals_.erase(node);
  } else {
    refusals_[node] = std::move(why);
  }
}

std::string Directory::refusal() const {
  const std::lock_guard lock(mutex_);
  if (refusals_.empty()) return {};
  const auto& [node, why] = *refusals_.begin();
  return fmt::format("Node {} does not talk to this one: {}", node, why);
}

uint64_t Directory::generation() const {
  const std::lock_guard lock(mutex_);
  return generation_;
}

}  // namespace flux::node
