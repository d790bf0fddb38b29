#include "api/read_codec.h"

#include <algorithm>

#include "api/limits.h"
#include "api/request_codec.h"
#include "base/codec.h"
#include "base/overloaded.h"

namespace flux::api {

OwnedRead::OwnedRead(const ReadRequest& request) : consistency(request.consistency), keyspace_(request.keyspace) {
  const auto keep = [this](std::string_view bytes) {
    bytes_.append(bytes);
    ends_.push_back(static_cast<uint32_t>(bytes_.size()));
  };
  std::visit(Overloaded{
                 [&](const GetRequest& get) {
                   kind_ = Kind::kGet;
                   ends_.reserve(get.keys.size());
                   for (const std::string_view key : get.keys) keep(key);
                 },
                 [&](const ScanRequest& scan) {
                   kind_ = Kind::kScan;
                   scan_ = scan;
                   keep(scan.start);
                   keep(scan.end);
                 },
                 [&](const CountRequest&) { kind_ = Kind::kCount; },
                 [&](const RandomKeyRequest&) { kind_ = Kind::kRandomKey; },
             },
             request.what);
}

ReadRequest OwnedRead::view(std::vector<std::string_view>& keys) const {
  keys.clear();
  uint32_t start = 0;
  for (const uint32_t end : ends_) {
    keys.push_back(std::string_view(bytes_).substr(start, end - start));
    start = end;
  }
  switch (kind_) {
    case Kind::kGet:
      return {.what = GetRequest{.keys = keys}, .keyspace = keyspace_, .consistency = consistency};
    case Kind::kScan: {
      ScanRequest scan = scan_;
      scan.start = keys.at(0);
      scan.end = keys.at(1);
      return {.what = scan, .keyspace = keyspace_, .consistency = consistency};
    }
    case Kind::kCount:
      return {.what = CountRequest{}, .keyspace = keyspace_, .consistency = consistency};
    case Kind::kRandomKey:
      break;
  }
  return {.what = RandomKeyRequest{}, .keyspace = keyspace_, .consistency = consistency};
}

void OwnedRead::encode(std::string& out) const {
  Encoder encoder(out);
  encoder.u8(static_cast<uint8_t>(kind_));
  encoder.u8(static_cast<uint8_t>(consistency));
  append_keyspace(encoder, keyspace_);
  if (kind_ == Kind::kScan) {
    encoder.u8(scan_.values ? 1 : 0);
    encoder.varint(scan_.keys_max);
  }
  encoder.varint(ends_.size());
  uint32_t start = 0;
  for (const uint32_t end : ends_) {
    encoder.bytes(std::string_view(bytes_).substr(start, end - start));
    start = end;
  }
}

Result<OwnedRead> OwnedRead::decode(std::string_view bytes) {
  OwnedRead read;
  Decoder decoder(bytes);
  const uint8_t kind = decoder.u8();
  if (kind < static_cast<uint8_t>(Kind::kGet) || kind > static_cast<uint8_t>(Kind::kRandomKey)) decoder.fail();
  read.kind_ = static_cast<Kind>(kind);
  const uint8_t level = decoder.u8();
  if (level > static_cast<uint8_t>(Consistency::kStale)) decoder.fail();
  read.consistency = static_cast<Consistency>(level);
  read.keyspace_ = read_keyspace(decoder);
  if (read.kind_ == Kind::kScan) {
    const uint8_t flags = decoder.u8();
    if (flags > 1) decoder.fail();
    read.scan_.values = flags != 0;
    read.scan_.keys_max = std::min<uint64_t>(decoder.varint(), kScanKeysMax);
  }
  const uint64_t count = decoder.count();
  const bool fits =
      read.kind_ == Kind::kGet ? count <= kCommandsPerRequestMax : count == (read.kind_ == Kind::kScan ? 2u : 0u);
  if (!fits) decoder.fail();
  for (uint64_t i = 0; i < count && decoder.ok(); ++i) {
    read.bytes_.append(decoder.bytes());
    read.ends_.push_back(static_cast<uint32_t>(read.bytes_.size()));
  }
  FLUX_RETURN_IF_ERROR(decoder.finish("a read"));
  return read;
}

OwnedReadReply::OwnedReadReply(const ReadReply& source) : reply_(source), resume_(source.scan_resume) {
  size_t bytes = 0;
  for (const Item& item : source.items) bytes += item.key.size() + item.value.size();
  storage_.reserve(bytes);  // so that views stay valid while it grows
  items_.assign(source.items.begin(), source.items.end());
  for (Item& item : items_) {
    item.key = keep(item.key);
    item.value = keep(item.value);
  }
  reply_.items = items_;
  reply_.scan_resume = resume_;
}

std::string_view OwnedReadReply::keep(std::string_view bytes) {
  const size_t at = storage_.size();
  storage_.append(bytes);
  return std::string_view(storage_).substr(at, bytes.size());
}

Status OwnedReadReply::encode(const ReadReply& reply, std::string& out) {
  Encoder encoder(out);
  encoder.u8(static_cast<uint8_t>(reply.status.code()));
  encoder.bytes(reply.status.ok() ? std::string_view() : std::string_view(reply.status.message()));
  if (!reply.status.ok()) return {};
  encoder.varint(reply.count);
  encoder.bytes(reply.scan_resume);
  encoder.id(reply.clock);
  encoder.id(reply.position.group);
  encoder.id(reply.position.index);
  encoder.id(reply.position.version);
  encoder.varint(reply.items.size());
  for (const Item& item : reply.items) {
    encoder.u8(static_cast<uint8_t>((item.found ? 1 : 0) | (item.deadline ? 2 : 0)));
    encoder.bytes(item.key);
    if (!item.found) continue;
    encoder.bytes(item.value);
    encoder.id(item.version);
    if (item.deadline) encoder.id(*item.deadline);
    if (out.size() > kPeerFrameBytesMax - 1_MiB) {
      return Status(ErrorCode::kTooLarge, "the values together are over what one answer between nodes can carry");
    }
  }
  return {};
}

Status OwnedReadReply::decode(std::string_view bytes) {
  Decoder decoder(bytes);
  const uint8_t code = decoder.u8();
  if (code > static_cast<uint8_t>(kLastErrorCode)) decoder.fail();
  const std::string_view message = decoder.bytes();
  if (code != 0) {
    FLUX_RETURN_IF_ERROR(decoder.finish("the answer to a read"));
    reply_.status = Status(static_cast<ErrorCode>(code), std::string(message));
    return {};
  }
  storage_.reserve(bytes.size());  // so that views stay valid while it grows
  reply_.count = decoder.varint();
  resume_ = decoder.bytes();
  reply_.clock = decoder.id<WallMillis>();
  reply_.position.group = decoder.id<GroupId>();
  reply_.position.index = decoder.id<Index>();
  reply_.position.version = decoder.id<Version>();
  const uint64_t count = decoder.count(2);
  for (uint64_t i = 0; i < count && decoder.ok(); ++i) {
    Item& item = items_.emplace_back();
    const uint8_t flags = decoder.u8();
    if (flags > 3 || flags == 2) decoder.fail();
    item.found = (flags & 1) != 0;
    item.key = keep(decoder.bytes());
    if (!item.found) continue;
    item.value = keep(decoder.bytes());
    item.version = decoder.id<Version>();
    if ((flags & 2) != 0) item.deadline = decoder.id<WallMillis>();
  }
  FLUX_RETURN_IF_ERROR(decoder.finish("the answer to a read"));
  reply_.items = items_;
  reply_.scan_resume = resume_;
  return {};
}

}  // namespace flux::api
