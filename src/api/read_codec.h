// Reads and their answers, as values that own what they speak of and as bytes (docs/formats/peer.md).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/kv_service.h"
#include "base/status.h"

namespace flux::api {

// A read that owns what it asks for.
class OwnedRead {
 public:
  explicit OwnedRead(const ReadRequest& request);

  void encode(std::string& out) const;
  static Result<OwnedRead> decode(std::string_view bytes);

  // The request; points into this object and `keys`, which must not be moved meanwhile.
  ReadRequest view(std::vector<std::string_view>& keys) const;

  Consistency consistency = Consistency::kDefault;

 private:
  // Numbers are part of the protocols.
  enum class Kind : uint8_t { kGet = 1, kScan = 2, kCount = 3, kRandomKey = 4 };
  OwnedRead() = default;
  Kind kind_ = Kind::kCount;
  std::string bytes_;           // all keys, one after the other
  std::vector<uint32_t> ends_;  // where each ends
  KeyspaceRef keyspace_;
  ScanRequest scan_;  // without its views
};

// A reply that owns what its views point to.
class OwnedReadReply {
 public:
  OwnedReadReply() = default;
  explicit OwnedReadReply(const ReadReply& source);
  OwnedReadReply(const OwnedReadReply&) = delete;
  OwnedReadReply& operator=(const OwnedReadReply&) = delete;

  // kTooLarge if it does not fit a frame.
  static Status encode(const ReadReply& reply, std::string& out);
  Status decode(std::string_view bytes);

  const ReadReply& view() const { return reply_; }

 private:
  std::string_view keep(std::string_view bytes);

  ReadReply reply_;
  std::string storage_;
  std::vector<Item> items_;
  std::string resume_;
};

}  // namespace flux::api
