// Who a data directory is: written once when it is made, and counted up at every start.
//
//   DIR/identity   magic, format, cluster, node, store, boot, starts, engine, name, founders, crc32c
//   DIR/peers      the store and the newest start of every peer that was met
//
// docs/formats/identity.md has the bytes.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "net/handshake.h"
#include "node/options.h"

namespace flux::node {

struct FounderRecord {
  NodeId id;
  std::string name;
  std::string address;
  bool operator==(const FounderRecord&) const = default;
};

struct Identity {
  net::ClusterId cluster;
  NodeId node;
  uint64_t store = 0;
  uint64_t boot = 0;             // starts of the directory so far, this one included
  std::vector<uint64_t> starts;  // random numbers of the newest of them, see net::Hello
  EngineKind engine = EngineKind::kMemory;
  std::string name;
  // Whether the node entered a running cluster; it then learns its membership from the leader.
  bool joined = false;
  // The first members of the cluster; for a node that joined, those it was told of.
  std::vector<FounderRecord> founders;
  bool operator==(const Identity&) const = default;
};

std::string encode_identity(const Identity& identity);
Result<Identity> decode_identity(std::string_view bytes);

// The newest start of a peer that was met.
struct MetPeer {
  uint64_t store = 0;
  uint64_t boot = 0;
  uint64_t start = 0;  // its random number
  bool operator==(const MetPeer&) const = default;
};
using MetPeers = std::map<NodeId, MetPeer>;

// What a cluster tells a node that was added to it.
struct JoinTicket {
  net::ClusterId cluster;
  NodeId node;
  std::vector<FounderRecord> nodes;
  // Whom the node that answers has met, itself among them: who lost what it promised before we came is refused by us
  // too.
  MetPeers met;
};

// Reads the directory's identity, or makes one, with boot 0: as a founder, or from a ticket. kPrecondition or
// kInvalidArgument where options and directory do not fit; the message says what to change.
Result<Identity> open_identity(env::Fs& fs, const NodeOptions& options, const JoinTicket* ticket, uint64_t entropy);
// Counts the boot, gives it a number, and makes both durable. To be called once the log is open, and before anybody is
// spoken to: so a directory with a boot behind it has had a log, and one without has promised nothing.
Status count_boot(env::Fs& fs, const NodeOptions& options, Identity& identity, uint64_t entropy);
// What the node says of itself when it meets another.
net::Hello hello_of(const Identity& identity, const NodeOptions& options, net::Channel channel);
// kDataLoss if a directory that must have a log has none.
Status check_log_is_there(env::Fs& fs, const NodeOptions& options, const Identity& identity);
// Whether the directory has a node already.
Result<bool> has_identity(env::Fs& fs, const std::string& data_dir);

// Remembers the peers that were met, so that one that lost its promises is refused. Thread-safe.
class KnownPeers {
 public:
  static std::string encode(const MetPeers& met);
  static Result<MetPeers> decode(std::string_view bytes);
  static Result<std::unique_ptr<KnownPeers>> open(env::Fs& fs, std::string data_dir);
  // kPrecondition if this is not the store we met under that node id, or an older copy of it.
  Status admit(const net::Hello& hello);
  // What somebody else knows, of those that were not met here. Durable on return.
  Status learn(const MetPeers& met);
  MetPeers all();

 private:
  KnownPeers(env::Fs& fs, std::string data_dir) : fs_(fs), data_dir_(std::move(data_dir)) {}
  Status save();

  env::Fs& fs_;
  const std::string data_dir_;
  std::mutex mutex_;
  MetPeers met_;  // guarded by mutex_
};

}  // namespace flux::node
