#include "node/identity.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/codec.h"
#include "base/rng.h"
#include "node/sealed.h"

namespace flux::node {
namespace {

constexpr std::string_view kIdentityMagic = "FLUXIDEN";
constexpr std::string_view kPeersMagic = "FLUXPEER";
constexpr uint64_t kFileBytesMax = 1_MiB;

// FNV-1a, 64 bits: every founder computes the same cluster id from the same list.
uint64_t fnv1a(std::string_view text) {
  uint64_t hash = 0xCBF29CE484222325ULL;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  return hash;
}

Result<Identity> found(const NodeOptions& options, uint64_t entropy) {
  std::vector<Founder> founders = options.initial_cluster;
  const bool alone = founders.empty();
  if (alone) founders.push_back({.name = options.name, .address = options.advertise_peer});
  std::sort(founders.begin(), founders.end(), [](const Founder& a, const Founder& b) { return a.name < b.name; });
  Identity identity;
  identity.name = options.name;
  std::string list;
  for (const Founder& founder : founders) {
    const NodeId id(identity.founders.size() + 1);
    if (!identity.founders.empty() && identity.founders.back().name == founder.name) {
      return Status(ErrorCode::kInvalidArgument, fmt::format("--initial-cluster names '{}' twice", founder.name));
    }
    if (founder.name == options.name) identity.node = id;
    identity.founders.push_back({.id = id, .name = founder.name, .address = founder.address.to_string()});
    list += fmt::format("{}={},", founder.name, founder.address.to_string());
  }
  if (identity.node == kNobody) {
    return Status(ErrorCode::kInvalidArgument,
                  fmt::format("--initial-cluster does not name this node, '{}'", options.name));
  }
  identity.cluster = net::ClusterId(alone ? entropy : fnv1a(list));
  return identity;
}

Status save(env::Fs& fs, const NodeOptions& options, const Identity& identity) {
  return env::write_file_atomically(fs, options.data_dir, "identity", encode_identity(identity));
}

}  // namespace

std::string_view to_string(EngineKind kind) { return kind == EngineKind::kMemory ? "memory" : "rocksdb"; }

std::string_view to_string(FsyncMode mode) {
  switch (mode) {
    case FsyncMode::kAlways:
      return "always";
    case FsyncMode::kEverySecond:
      return "everysec";
    case FsyncMode::kNo:
      return "no";
  }
  return "unknown";
}

std::string encode_identity(const Identity& identity) {
  std::string body;
  Encoder encoder(body);
  encoder.u64(identity.cluster.value());
  encoder.u64(identity.node.value());
  encoder.u64(identity.store);
  encoder.u64(identity.boot);
  encoder.varint(identity.starts.size());
  for (const uint64_t start : identity.starts) encoder.u64(start);
  encoder.u8(static_cast<uint8_t>(identity.engine));
  encoder.bytes(identity.name);
  encoder.u8(identity.joined);
  encoder.varint(identity.founders.size());
  for (const FounderRecord& founder : identity.founders) {
    encoder.id(founder.id);
    encoder.bytes(founder.name);
    encoder.bytes(founder.address);
  }
  return seal(kIdentityMagic, body);
}

Result<Identity> decode_identity(std::string_view bytes) {
  FLUX_TRY(const std::string_view body, unseal(kIdentityMagic, bytes, "the identity file"));
  Decoder decoder(body);
  Identity identity;
  identity.cluster = net::ClusterId(decoder.u64());
  identity.node = NodeId(decoder.u64());
  identity.store = decoder.u64();
  identity.boot = decoder.u64();
  const uint64_t starts = decoder.count(8);
  for (uint64_t i = 0; i < starts && decoder.ok(); ++i) identity.starts.push_back(decoder.u64());
  const uint8_t engine = decoder.u8();
  if (engine > static_cast<uint8_t>(EngineKind::kRocksDb)) decoder.fail();
  identity.engine = static_cast<EngineKind>(engine);
  identity.name = decoder.bytes();
  identity.joined = decoder.u8() != 0;
  const uint64_t count = decoder.count(3);
  for (uint64_t i = 0; i < count; ++i) {
    FounderRecord& founder = identity.founders.emplace_back();
    founder.id = decoder.id<NodeId>();
    founder.name = decoder.bytes();
    founder.address = decoder.bytes();
  }
  FLUX_RETURN_IF_ERROR(decoder.finish("the identity file"));
  return identity;
}

Result<bool> has_identity(env::Fs& fs, const std::string& data_dir) { return fs.exists(data_dir + "/identity"); }

Result<Identity> open_identity(env::Fs& fs, const NodeOptions& options, const JoinTicket* ticket, uint64_t entropy) {
  const std::string path = options.data_dir + "/identity";
  FLUX_TRY(const bool exists, fs.exists(path));
  Identity identity;
  if (exists) {
    FLUX_TRY(const std::string bytes, env::read_file(fs, path, kFileBytesMax));
    Result<Identity> stored = decode_identity(bytes);
    if (!stored.ok()) return stored.status().with(options.data_dir);
    identity = std::move(stored).value();
    if (identity.name != options.name) {
      return Status(ErrorCode::kPrecondition,
                    fmt::format("{} belongs to node '{}', this one is called '{}'; use --name {} or another --data-dir",
                                options.data_dir, identity.name, options.name, identity.name));
    }
    if (identity.engine != options.engine) {
      return Status(
          ErrorCode::kPrecondition,
          fmt::format("{} was made with --engine {}; an engine cannot be changed in place. Start with --engine "
                      "{}, or add a new node with the other engine and remove this one",
                      options.data_dir, to_string(identity.engine), to_string(identity.engine)));
    }
  } else {
    FLUX_TRY(const std::vector<std::string> names, fs.list(options.data_dir));
    const auto stray = std::find_if(names.begin(), names.end(),
                                    [](const std::string& name) { return name != "LOCK" && name != "lost+found"; });
    if (stray != names.end() && *stray != "identity.tmp") {
      return Status(ErrorCode::kPrecondition,
                    fmt::format("{} holds '{}' but no node; FluxKV makes its data only in an empty directory. Choose "
                                "another --data-dir, or restore the identity file",
                                options.data_dir, *stray));
    }
    Rng rng(entropy);
    if (ticket != nullptr) {
      identity.cluster = ticket->cluster;
      identity.node = ticket->node;
      identity.name = options.name;
      identity.joined = true;
      identity.founders = ticket->nodes;
    } else {
      FLUX_TRY(identity, found(options, rng.next()));
    }
    identity.engine = options.engine;
    identity.store = rng.next() | 1;
    FLUX_RETURN_IF_ERROR(save(fs, options, identity));
  }
  return identity;
}

Status count_boot(env::Fs& fs, const NodeOptions& options, Identity& identity, uint64_t entropy) {
  ++identity.boot;
  std::vector<uint64_t>& starts = identity.starts;
  if (starts.size() >= net::kStartsKept) starts.erase(starts.begin());
  starts.push_back(Rng(entropy ^ identity.store).next());
  return save(fs, options, identity);
}

net::Hello hello_of(const Identity& identity, const NodeOptions& options, net::Channel channel) {
  return {.cluster = identity.cluster,
          .node = identity.node,
          .store = identity.store,
          .boot = identity.boot,
          .channel = channel,
          .name = identity.name,
          .peer_address = options.advertise_peer.to_string(),
          .starts = identity.starts};
}

Status check_log_is_there(env::Fs& fs, const NodeOptions& options, const Identity& identity) {
  if (identity.boot == 0) return {};
  const std::string dir = options.data_dir + "/wal";
  FLUX_TRY(const bool exists, fs.exists(dir));
  if (exists) {
    FLUX_TRY(const std::vector<std::string> names, fs.list(dir));
    const auto is_segment = [](const std::string& name) { return name.starts_with("wal-"); };
    if (std::any_of(names.begin(), names.end(), is_segment)) return {};
  }
  return Status(ErrorCode::kDataLoss,
                fmt::format("{} has lost its log, and with it votes and entries that it promised; it must not vote. "
                            "Restore {}, or remove the member, empty the directory and add the node anew",
                            options.data_dir, dir));
}

std::string KnownPeers::encode(const MetPeers& met) {
  std::string body;
  Encoder encoder(body);
  for (const auto& [node, peer] : met) {
    encoder.u64(node.value());
    encoder.u64(peer.store);
    encoder.u64(peer.boot);
    encoder.u64(peer.start);
  }
  return seal(kPeersMagic, body);
}

Result<MetPeers> KnownPeers::decode(std::string_view bytes) {
  FLUX_TRY(const std::string_view body, unseal(kPeersMagic, bytes, "the peers file"));
  MetPeers all;
  Decoder decoder(body);
  while (decoder.ok() && decoder.remaining() > 0) {
    const NodeId node(decoder.u64());
    MetPeer& met = all[node];
    met.store = decoder.u64();
    met.boot = decoder.u64();
    met.start = decoder.u64();
  }
  FLUX_RETURN_IF_ERROR(decoder.finish("the peers file"));
  return all;
}

Result<std::unique_ptr<KnownPeers>> KnownPeers::open(env::Fs& fs, std::string data_dir) {
  std::unique_ptr<KnownPeers> known(new KnownPeers(fs, std::move(data_dir)));
  const std::string path = known->data_dir_ + "/peers";
  FLUX_TRY(const bool exists, fs.exists(path));
  if (!exists) return known;
  FLUX_TRY(const std::string bytes, env::read_file(fs, path, kFileBytesMax));
  Result<MetPeers> met = decode(bytes);
  if (!met.ok()) return met.status().with(known->data_dir_);
  known->met_ = std::move(met).value();
  return known;
}

Status KnownPeers::admit(const net::Hello& hello) {
  const std::lock_guard lock(mutex_);
  MetPeer& met = met_[hello.node];
  if (met.store != 0 && met.store != hello.store) {
    return Status(
        ErrorCode::kPrecondition,
        fmt::format("node {} ('{}') came back with another data directory; it has forgotten what it promised. "
                    "Remove the member and add the node anew",
                    hello.node, hello.name));
  }
  if (hello.boot < met.boot) {
    return Status(
        ErrorCode::kPrecondition,
        fmt::format("node {} ('{}') came back with an older copy of its data directory (start {}, we have met "
                    "{}). Remove the member and add the node anew",
                    hello.node, hello.name, hello.boot, met.boot));
  }
  // A copy goes on counting, but it cannot know the number of a start that came after it was taken.
  const uint64_t since = hello.boot - met.boot;
  if (met.store != 0 && since < hello.starts.size() && hello.starts[hello.starts.size() - 1 - since] != met.start) {
    return Status(ErrorCode::kPrecondition,
                  fmt::format("node {} ('{}') came back with an older copy of its data directory (it does not know the "
                              "start {} that we have met). Remove the member and add the node anew",
                              hello.node, hello.name, met.boot));
  }
  if (met.store == hello.store && met.boot == hello.boot) return {};
  met = {.store = hello.store, .boot = hello.boot, .start = hello.starts.empty() ? 0 : hello.starts.back()};
  return save();
}

Status KnownPeers::learn(const MetPeers& met) {
  const std::lock_guard lock(mutex_);
  const size_t before = met_.size();
  met_.insert(met.begin(), met.end());
  return met_.size() == before ? Status() : save();
}

MetPeers KnownPeers::all() {
  const std::lock_guard lock(mutex_);
  return met_;
}

Status KnownPeers::save() { return env::write_file_atomically(fs_, data_dir_, "peers", encode(met_)); }

}  // namespace flux::node
