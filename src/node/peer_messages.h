// What nodes say to each other above frames (net/frame.h): message types and their bodies.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "api/admin_service.h"
#include "base/status.h"
#include "net/handshake.h"
#include "net/peer_link.h"
#include "raft/message.h"

namespace flux::node {

// Numbers are part of the peer protocol (docs/formats/peer.md): never change or reuse them.
enum class PeerMessage : uint8_t {
  kRaft = net::kFirstUserType,               // group | message (raft/message_codec.h)
  kWrite = net::kFirstUserType + 1,          // call: group | request (kv/command_codec.h) -> results
  kAdmin = net::kFirstUserType + 2,          // call: AdminCall -> status
  kSnapshotOpen = net::kFirstUserType + 3,   // call: SnapshotOpen -> status, offset to go on from
  kSnapshotChunk = net::kFirstUserType + 4,  // call: SnapshotChunk -> status
  kJoin = net::kFirstUserType + 5,           // call: JoinCall -> status, JoinReply
};

// What an operator's command becomes when another node leads.
struct AdminCall {
  enum class Kind : uint8_t { kChangeMember = 1, kTransfer = 2 };
  Kind kind = Kind::kTransfer;
  GroupId group;
  NodeId target;             // kTransfer
  api::MemberChange change;  // kChangeMember
};
std::string encode_admin_call(const AdminCall& call);
Result<AdminCall> decode_admin_call(std::string_view body);

// A snapshot file that is on its way: group, the leader's term, the file's name by what it holds, and its size.
struct SnapshotOpen {
  GroupId group;
  Term term;
  EntryId last;
  uint64_t bytes = 0;
};
std::string encode_snapshot_open(const SnapshotOpen& open);
Result<SnapshotOpen> decode_snapshot_open(std::string_view body);

struct SnapshotChunk {
  GroupId group;
  EntryId last;
  uint64_t offset = 0;
  std::string_view bytes;  // points into the body
};
std::string encode_snapshot_chunk(const SnapshotChunk& chunk);
Result<SnapshotChunk> decode_snapshot_chunk(std::string_view body);

struct JoinCall {
  std::string name;
};
struct JoinReply {
  net::ClusterId cluster;
  NodeId node;
  std::vector<api::NodeRecord> nodes;
};
std::string encode_join_call(const JoinCall& call);
Result<JoinCall> decode_join_call(std::string_view body);
std::string encode_join_reply(const JoinReply& reply);
Result<JoinReply> decode_join_reply(std::string_view body);

// Every answer begins with a status; what follows it is the call's own.
void encode_status(std::string& out, const Status& status);
// Reads the status off the front of `body`. An error to read it is that status.
Status take_status(std::string_view& body);

}  // namespace flux::node
