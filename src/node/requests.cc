#include "node/requests.h"

#include <iterator>

#include "api/limits.h"
#include "base/codec.h"
#include "base/overloaded.h"

namespace flux::node {

WaitingRead::WaitingRead(const api::ReadRequest& request, api::Consistency level, api::ReadDone on_done, MonoTime until)
    : consistency(level), done(std::move(on_done)), deadline(until), kind_(Kind::kCount), keyspace_(request.keyspace) {
  const auto keep = [this](std::string_view bytes) {
    bytes_.append(bytes);
    ends_.push_back(static_cast<uint32_t>(bytes_.size()));
  };
  std::visit(Overloaded{
                 [&](const api::GetRequest& get) {
                   kind_ = Kind::kGet;
                   ends_.reserve(get.keys.size());
                   for (const std::string_view key : get.keys) keep(key);
                 },
                 [&](const api::ScanRequest& scan) {
                   kind_ = Kind::kScan;
                   scan_ = scan;
                   keep(scan.start);
                   keep(scan.end);
                 },
                 [&](const api::CountRequest&) { kind_ = Kind::kCount; },
                 [&](const api::RandomKeyRequest&) { kind_ = Kind::kRandomKey; },
             },
             request.what);
}

api::ReadRequest WaitingRead::view(std::vector<std::string_view>& keys) const {
  keys.clear();
  uint32_t start = 0;
  for (const uint32_t end : ends_) {
    keys.push_back(std::string_view(bytes_).substr(start, end - start));
    start = end;
  }
  switch (kind_) {
    case Kind::kGet:
      return {.what = api::GetRequest{.keys = keys}, .keyspace = keyspace_, .consistency = consistency};
    case Kind::kScan: {
      api::ScanRequest scan = scan_;
      scan.start = keys.at(0);
      scan.end = keys.at(1);
      return {.what = scan, .keyspace = keyspace_, .consistency = consistency};
    }
    case Kind::kCount:
      return {.what = api::CountRequest{}, .keyspace = keyspace_, .consistency = consistency};
    case Kind::kRandomKey:
      break;
  }
  return {.what = api::RandomKeyRequest{}, .keyspace = keyspace_, .consistency = consistency};
}

void WaitingRead::encode(std::string& out) const {
  Encoder encoder(out);
  encoder.u8(static_cast<uint8_t>(kind_));
  encoder.u8(static_cast<uint8_t>(consistency));
  kv::append_keyspace(encoder, keyspace_);
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

Result<WaitingRead> WaitingRead::decode(std::string_view bytes, api::ReadDone on_done, MonoTime until) {
  WaitingRead read(std::move(on_done), until);
  Decoder decoder(bytes);
  const uint8_t kind = decoder.u8();
  if (kind < static_cast<uint8_t>(Kind::kGet) || kind > static_cast<uint8_t>(Kind::kRandomKey)) decoder.fail();
  read.kind_ = static_cast<Kind>(kind);
  const uint8_t level = decoder.u8();
  if (level > static_cast<uint8_t>(api::Consistency::kStale)) decoder.fail();
  read.consistency = static_cast<api::Consistency>(level);
  read.keyspace_ = kv::read_keyspace(decoder);
  if (read.kind_ == Kind::kScan) {
    const uint8_t flags = decoder.u8();
    if (flags > 1) decoder.fail();
    read.scan_.values = flags != 0;
    read.scan_.keys_max = std::min<uint64_t>(decoder.varint(), api::kScanKeysMax);
  }
  const uint64_t count = decoder.count();
  const bool fits =
      read.kind_ == Kind::kGet ? count <= api::kCommandsPerRequestMax : count == (read.kind_ == Kind::kScan ? 2u : 0u);
  if (!fits) decoder.fail();
  for (uint64_t i = 0; i < count && decoder.ok(); ++i) {
    read.bytes_.append(decoder.bytes());
    read.ends_.push_back(static_cast<uint32_t>(read.bytes_.size()));
  }
  FLUX_RETURN_IF_ERROR(decoder.finish("a read"));
  return read;
}

OwnedReadReply::OwnedReadReply(const api::ReadReply& source) : reply_(source), resume_(source.scan_resume) {
  size_t bytes = 0;
  for (const api::Item& item : source.items) bytes += item.key.size() + item.value.size();
  storage_.reserve(bytes);  // so that views stay valid while it grows
  items_.assign(source.items.begin(), source.items.end());
  for (api::Item& item : items_) {
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

Status OwnedReadReply::encode(const api::ReadReply& reply, std::string& out) {
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
  for (const api::Item& item : reply.items) {
    encoder.u8(static_cast<uint8_t>((item.found ? 1 : 0) | (item.deadline ? 2 : 0)));
    encoder.bytes(item.key);
    if (!item.found) continue;
    encoder.bytes(item.value);
    encoder.id(item.version);
    if (item.deadline) encoder.id(*item.deadline);
    if (out.size() > api::kPeerFrameBytesMax - 1_MiB) {
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
    api::Item& item = items_.emplace_back();
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

std::vector<WriteWaiter> Waiters::add(EntryId id, std::vector<WriteWaiter> waiters) {
  std::vector<WriteWaiter> overtaken;
  for (; !entries_.empty() && entries_.back().id.index >= id.index; entries_.pop_back()) {
    FLUX_CHECK(entries_.back().id.term < id.term);
    std::vector<WriteWaiter>& back = entries_.back().waiters;
    std::move(back.begin(), back.end(), std::back_inserter(overtaken));
  }
  entries_.push_back({.id = id, .waiters = std::move(waiters)});
  return overtaken;
}

std::vector<WriteWaiter> Waiters::resolve(EntryId id, std::vector<WriteWaiter>& lost) {
  while (!entries_.empty() && entries_.front().id.index <= id.index) {
    Entry front = std::move(entries_.front());
    entries_.pop_front();
    if (front.id == id) return std::move(front.waiters);
    std::move(front.waiters.begin(), front.waiters.end(), std::back_inserter(lost));
  }
  return {};
}

std::vector<api::WriteDone> Waiters::take_late(MonoTime now) {
  std::vector<api::WriteDone> late;
  for (Entry& entry : entries_) {
    bool in_time = false;
    for (WriteWaiter& waiter : entry.waiters) {
      if (!waiter.done) continue;
      if (waiter.deadline <= now) {
        late.push_back(std::exchange(waiter.done, nullptr));
      } else {
        in_time = true;
      }
    }
    if (in_time) break;  // those behind it came later
  }
  return late;
}

std::vector<WriteWaiter> Waiters::take_through(Index index) {
  std::vector<WriteWaiter> all;
  for (; !entries_.empty() && entries_.front().id.index <= index; entries_.pop_front()) {
    std::vector<WriteWaiter>& front = entries_.front().waiters;
    std::move(front.begin(), front.end(), std::back_inserter(all));
  }
  return all;
}

std::vector<WriteWaiter> Waiters::take_all() { return take_through(Index(UINT64_MAX)); }

}  // namespace flux::node
