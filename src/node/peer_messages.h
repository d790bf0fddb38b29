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
#include "node/identity.h"
#include "raft/message.h"

namespace flux::node {

// Numbers are part of the peer protocol (docs/formats/peer.md): never change or reuse them.
enum class PeerMessage : uint8_t {
  kRaft = net::kFirstUserType,               // group | message (raft/message_codec.h)
  kWrite = net::kFirstUserType + 1,          // call: group | request (api/request_codec.h) -> results
  kTransfer = net::kFirstUserType + 2,       // call: TransferCall -> status
  kSnapshotOpen = net::kFirstUserType + 3,   // call: SnapshotOpen -> status, offset to go on from
  kSnapshotChunk = net::kFirstUserType + 4,  // call: SnapshotChunk -> status
  kJoin = net::kFirstUserType + 5,           // call: JoinCall -> status, JoinReply
  kRoutedWrite = net::kFirstUserType + 6,    // call: group | request -> results; passed on to the leader
  kRoutedRead = net::kFirstUserType + 7,     // call: group | read (node/requests.h) -> reply
  kShardPull = net::kFirstUserType + 8,      // call: group | kv::ExportRequest -> status, kv::ShardChunk
  kShardRelease = net::kFirstUserType + 9,   // call: ReleaseCall -> status
  kLeave = net::kFirstUserType + 10,         // call: group -> status, the leader's term
  kLoadReport = net::kFirstUserType + 11,    // call: LoadReport (node/shard_load.h) -> status
};

// Hand leadership of the group over. kNobody: to the follower that is furthest along.
struct TransferCall {
  GroupId group;
  NodeId target;
};
std::string encode_transfer_call(const TransferCall& call);
Result<TransferCall> decode_transfer_call(std::string_view body);

// The receiver of a shard has all that the group has frozen at `num`.
struct ReleaseCall {
  GroupId group;  // the giver
  ShardId shard;
  ConfigNum num;
};
std::string encode_release_call(const ReleaseCall& call);
Result<ReleaseCall> decode_release_call(std::string_view body);

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
  MetPeers met;
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
