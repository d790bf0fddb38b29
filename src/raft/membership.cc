#include "raft/membership.h"

#include <fmt/core.h>

namespace flux::raft {
namespace {

std::string join(const NodeSet& nodes) {
  std::string out;
  for (const NodeId node : nodes) {
    if (!out.empty()) out += ',';
    out += std::to_string(node.value());
  }
  return out;
}

bool is_subset(const NodeSet& inner, const NodeSet& outer) {
  return std::all_of(inner.begin(), inner.end(), [&](NodeId node) { return outer.contains(node); });
}

bool are_disjoint(const NodeSet& a, const NodeSet& b) {
  return std::none_of(a.begin(), a.end(), [&](NodeId node) { return b.contains(node); });
}

Status refuse(ErrorCode code, std::string why) { return {code, std::move(why)}; }

void encode_nodes(Encoder& encoder, const NodeSet& nodes) {
  encoder.varint(nodes.size());
  for (const NodeId node : nodes) encoder.id(node);
}

NodeSet decode_nodes(Decoder& decoder) {
  NodeSet nodes;
  const uint64_t count = decoder.count();
  if (count > kMembersMax) return decoder.fail(), nodes;
  NodeId last;
  for (uint64_t i = 0; i < count && decoder.ok(); ++i) {
    const NodeId node = decoder.id<NodeId>();
    if (node <= last) decoder.fail();  // one spelling per set; nobody is not a member
    nodes.insert(last = node);
  }
  return nodes;
}

// Puts one step into `next`, which starts as a copy of `current`.
Status apply_step(const Membership& current, const ConfigStep& step, Membership& next) {
  const NodeId node = step.node;
  switch (step.kind) {
    case ConfigStepKind::kAddVoter:
      if (current.voters.contains(node)) return {};
      next.learners.insert(node);
      next.promote_when_ready.insert(node);
      return {};
    case ConfigStepKind::kAddLearner:
      next.voters.erase(node);
      next.promote_when_ready.erase(node);
      next.learners.insert(node);
      return {};
    case ConfigStepKind::kRemove:
      next.voters.erase(node);
      next.learners.erase(node);
      next.promote_when_ready.erase(node);
      return {};
    case ConfigStepKind::kPromote:
      if (current.voters.contains(node)) return {};
      if (!current.learners.contains(node)) {
        return refuse(ErrorCode::kPrecondition, fmt::format("node {} is not a learner", node));
      }
      next.learners.erase(node);
      next.promote_when_ready.erase(node);
      next.voters.insert(node);
      return {};
  }
  return refuse(ErrorCode::kInvalidArgument, "unknown kind of membership step");
}

size_t count_changed(const NodeSet& before, const NodeSet& after) {
  size_t changed = 0;
  for (const NodeId node : before) changed += after.contains(node) ? 0U : 1U;
  for (const NodeId node : after) changed += before.contains(node) ? 0U : 1U;
  return changed;
}

}  // namespace

NodeSet Membership::members() const {
  NodeSet all = voters;
  for (const NodeId node : outgoing) all.insert(node);
  for (const NodeId node : learners) all.insert(node);
  return all;
}

Index Membership::since_of(NodeId node) const {
  const auto found = since.find(node);
  return found == since.end() ? Index(0) : found->second;
}

Membership Membership::left_joint() const {
  FLUX_CHECK(joint());
  Membership next = *this;
  next.outgoing.clear();
  next.learners_next.clear();
  for (const NodeId node : learners_next) next.learners.insert(node);
  std::erase_if(next.since, [&](const auto& item) { return !next.contains(item.first); });
  return next;
}

Status Membership::validate() const {
  if (members().size() > kMembersMax) return refuse(ErrorCode::kInvalidArgument, "too many members");
  for (const NodeId node : members()) {
    if (node == kNobody) return refuse(ErrorCode::kInvalidArgument, "node 0 cannot be a member");
  }
  if (voters.empty() && (!outgoing.empty() || !learners.empty())) {
    return refuse(ErrorCode::kInvalidArgument, "no voters");
  }
  if (!are_disjoint(learners, voters) || !are_disjoint(learners, outgoing)) {
    return refuse(ErrorCode::kInvalidArgument, "a learner votes");
  }
  if (!is_subset(learners_next, outgoing) || !are_disjoint(learners_next, voters)) {
    return refuse(ErrorCode::kInvalidArgument, "a learner-to-be is not an outgoing voter");
  }
  if (!is_subset(promote_when_ready, learners)) {
    return refuse(ErrorCode::kInvalidArgument, "a node to promote is not a learner");
  }
  for (const auto& [node, index] : since) {
    if (!contains(node) || index == Index(0)) return refuse(ErrorCode::kInvalidArgument, "a stranger has joined");
  }
  return {};
}

std::string to_string(const Membership& membership) {
  std::string out = "voters=" + join(membership.voters);
  if (membership.joint()) out += "&&" + join(membership.outgoing);
  if (!membership.learners.empty()) out += " learners=" + join(membership.learners);
  if (!membership.learners_next.empty()) out += " learners_next=" + join(membership.learners_next);
  if (!membership.promote_when_ready.empty()) out += " promoting=" + join(membership.promote_when_ready);
  return out;
}

Result<Membership> apply_change(const Membership& current, const ConfigChange& change, Index since) {
  FLUX_CHECK(since > Index(0));
  if (current.joint()) return refuse(ErrorCode::kPrecondition, "a joint membership change is under way");
  if (change.steps.empty()) return refuse(ErrorCode::kInvalidArgument, "the membership change has no steps");
  if (change.context.size() > kConfigContextBytesMax) {
    return refuse(ErrorCode::kTooLarge, "the context of the membership change is too large");
  }
  NodeSet seen;
  Membership next = current;
  for (const ConfigStep& step : change.steps) {
    if (step.node == kNobody) return refuse(ErrorCode::kInvalidArgument, "node 0 cannot be a member");
    if (!seen.insert(step.node)) return refuse(ErrorCode::kInvalidArgument, "a node appears in two steps");
    FLUX_RETURN_IF_ERROR(apply_step(current, step, next));
  }
  if (next == current) return refuse(ErrorCode::kAlreadyExists, "the membership is so already");
  if (next.voters.empty()) return refuse(ErrorCode::kPrecondition, "the last voter cannot be removed");
  if (count_changed(current.voters, next.voters) > 1) {
    next.outgoing = current.voters;
    // A voter that becomes a learner keeps voting in the old half until the change ends.
    for (const NodeId node : current.voters) {
      if (next.learners.erase(node)) next.learners_next.insert(node);
    }
  }
  std::erase_if(next.since, [&](const auto& item) { return !next.contains(item.first); });
  for (const NodeId node : next.members()) {
    if (!current.contains(node)) next.since[node] = since;
  }
  FLUX_RETURN_IF_ERROR(next.validate());
  return next;
}

void encode(Encoder& encoder, const Membership& membership) {
  encode_nodes(encoder, membership.voters);
  encode_nodes(encoder, membership.outgoing);
  encode_nodes(encoder, membership.learners);
  encode_nodes(encoder, membership.learners_next);
  encode_nodes(encoder, membership.promote_when_ready);
  encoder.varint(membership.since.size());
  for (const auto& [node, index] : membership.since) {
    encoder.id(node);
    encoder.id(index);
  }
}

Membership decode_membership(Decoder& decoder) {
  Membership membership;
  membership.voters = decode_nodes(decoder);
  membership.outgoing = decode_nodes(decoder);
  membership.learners = decode_nodes(decoder);
  membership.learners_next = decode_nodes(decoder);
  membership.promote_when_ready = decode_nodes(decoder);
  const uint64_t joined = decoder.count(2);
  if (joined > kMembersMax) decoder.fail();
  for (uint64_t i = 0; i < joined && decoder.ok(); ++i) {
    const NodeId node = decoder.id<NodeId>();
    if (!membership.since.empty() && node <= membership.since.rbegin()->first) decoder.fail();
    membership.since[node] = decoder.id<Index>();
  }
  return membership;
}

SharedBytes encode_config(const Membership& membership, std::string_view context) {
  std::string out;
  Encoder encoder(out);
  encoder.u8(1);  // version
  encode(encoder, membership);
  encoder.bytes(context);
  return SharedBytes(std::move(out));
}

Result<ConfigRecord> decode_config(std::string_view data) {
  Decoder decoder(data);
  if (decoder.u8() != 1) return refuse(ErrorCode::kCorruption, "a membership record of an unknown version");
  ConfigRecord record;
  record.membership = decode_membership(decoder);
  record.context = std::string(decoder.bytes());
  FLUX_RETURN_IF_ERROR(decoder.finish("membership record"));
  if (Status status = record.membership.validate(); !status.ok()) {
    return refuse(ErrorCode::kCorruption, "membership record: " + status.message());
  }
  if (record.membership.voters.empty()) return refuse(ErrorCode::kCorruption, "membership record without voters");
  return record;
}

void encode(Encoder& encoder, const SnapshotMeta& meta) {
  encoder.id(meta.last.index);
  encoder.id(meta.last.term);
  encode(encoder, meta.membership);
}

SnapshotMeta decode_snapshot_meta(Decoder& decoder) {
  SnapshotMeta meta;
  meta.last.index = decoder.id<Index>();
  meta.last.term = decoder.id<Term>();
  meta.membership = decode_membership(decoder);
  return meta;
}

}  // namespace flux::raft
