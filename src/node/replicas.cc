#include "node/replicas.h"

#include "base/codec.h"
#include "node/sealed.h"

namespace flux::node {
namespace {

constexpr std::string_view kMagic = "FLUXREPL";
constexpr std::string_view kName = "replicas";
constexpr uint64_t kFileBytesMax = 4_MiB;
constexpr uint8_t kHere = 1;
constexpr uint8_t kGone = 2;

}  // namespace

std::string encode_replicas(const std::map<GroupId, ReplicaRecord>& records) {
  std::string body;
  Encoder encoder(body);
  encoder.varint(records.size());
  for (const auto& [group, record] : records) {
    encoder.id(group);
    encoder.u8(record.here ? kHere : kGone);
    encoder.id(record.born);
    encoder.id(record.known_from);
    encoder.id(record.spoken.term);
    encoder.id(record.spoken.vote);
    encoder.varint(record.founders.size());
    for (const NodeId founder : record.founders) encoder.id(founder);
  }
  return seal(kMagic, body);
}

Result<std::map<GroupId, ReplicaRecord>> decode_replicas(std::string_view bytes) {
  FLUX_TRY(const std::string_view body, unseal(kMagic, bytes, "the file of replicas"));
  Decoder decoder(body);
  std::map<GroupId, ReplicaRecord> records;
  const uint64_t count = decoder.count(7);
  for (uint64_t i = 0; i < count && decoder.ok(); ++i) {
    ReplicaRecord& record = records[decoder.id<GroupId>()];
    const uint8_t state = decoder.u8();
    if (state != kHere && state != kGone) decoder.fail();
    record.here = state == kHere;
    record.born = decoder.id<ConfigNum>();
    record.known_from = decoder.id<Index>();
    record.spoken.term = decoder.id<Term>();
    record.spoken.vote = decoder.id<NodeId>();
    const uint64_t founders = decoder.count();
    for (uint64_t n = 0; n < founders && decoder.ok(); ++n) record.founders.insert(decoder.id<NodeId>());
  }
  FLUX_RETURN_IF_ERROR(decoder.finish("the file of replicas"));
  return records;
}

Result<Replicas> Replicas::open(env::Fs& fs, const std::string& data_dir) {
  Replicas replicas(fs, data_dir);
  const std::string path = data_dir + "/" + std::string(kName);
  FLUX_TRY(const bool exists, fs.exists(path));
  if (!exists) return replicas;
  FLUX_TRY(const std::string bytes, env::read_file(fs, path, kFileBytesMax));
  FLUX_TRY(replicas.records_, decode_replicas(bytes));
  return replicas;
}

const ReplicaRecord* Replicas::find(GroupId group) const {
  const auto found = records_.find(group);
  return found == records_.end() ? nullptr : &found->second;
}

Status Replicas::put(GroupId group, ReplicaRecord record) {
  std::map<GroupId, ReplicaRecord> next = records_;
  next[group] = std::move(record);
  FLUX_RETURN_IF_ERROR(env::write_file_atomically(*fs_, data_dir_, std::string(kName), encode_replicas(next)));
  records_ = std::move(next);
  return {};
}

}  // namespace flux::node
