// Who a data directory is: written once when it is made, and counted up at every start.
//
//   DIR/identity   magic, format, cluster, node, store, boot, engine, name, founders, crc32c (see
//   docs/formats/identity.md) DIR/peers      the store and boot count of every peer that was met
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
  uint64_t boot = 0;
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

// What a cluster tells a node that was added to it.
struct JoinTicket {
  net::ClusterId cluster;
  NodeId node;
  std::vector<FounderRecord> nodes;
};

// Reads the directory's identity, or makes one, with boot 0: as a founder, or from a ticket. kPrecondition or
// kInvalidArgument where options and directory do not fit; the message says what to change.
Result<Identity> open_identity(env::Fs& fs, const NodeOptions& options, const JoinTicket* ticket, uint64_t entropy);
// Counts the boot and makes it durable. To be called once the log is open, and before anybody is spoken to: so a
// directory with a boot behind it has had a log, and one without has promised nothing.
Status count_boot(env::Fs& fs, const NodeOptions& options, Identity& identity);
// kDataLoss if a directory that must have a log has none.
Status check_log_is_there(env::Fs& fs, const NodeOptions& options, const Identity& identity);
// Whether the directory has a node already.
Result<bool> has_identity(env::Fs& fs, const std::string& data_dir);

// Remembers the peers that were met, so that one that lost its promises is refused. Thread-safe.
class KnownPeers {
 public:
  static Result<std::unique_ptr<KnownPeers>> open(env::Fs& fs, std::string data_dir);
  // kPrecondition if this is not the store we met under that node id, or an older copy of it.
  Status admit(const net::Hello& hello);

 private:
  struct Met {
    uint64_t store = 0;
    uint64_t boot = 0;
  };
  KnownPeers(env::Fs& fs, std::string data_dir) : fs_(fs), data_dir_(std::move(data_dir)) {}
  Status save();

  env::Fs& fs_;
  const std::string data_dir_;
  std::mutex mutex_;
  std::map<NodeId, Met> met_;  // guarded by mutex_
};

}  // namespace flux::node
