// Requests as they stand in a kCommand entry of the log (docs/formats/commands.md).
//
//   entry    format (1) = 1 | stamp (8): the leader's hybrid time | request...
//   request  size (4): bytes that follow | flags (1) | [client (8), sequence (varint): if flags & 2] |
//            [keyspace: if flags & 4] | command count (varint) | command...
//   keyspace id (varint) | kind (1); not the default one, which a request without has
//   command  op (1) | fields in the order of the structs in api/command.h: varints, and strings with a varint length
//
// A request is encoded once, at the node the client is connected to; forwarding and replication copy its bytes.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/kv_service.h"
#include "base/codec.h"
#include "base/hlc.h"
#include "base/status.h"

namespace flux::kv {

inline constexpr size_t kEntryHeaderBytes = 9;

// Begins an entry; requests are appended to it.
void begin_entry(std::string& out);
// Stamps an entry that begin_entry() began.
void stamp_entry(std::string& entry, Version stamp);

// Appends one encoded request. kInvalidArgument or kTooLarge, with `out` as it was, if a key, a value or the request is
// outside its limits.
Status append_request(std::string& out, const api::WriteRequest& request);

// One decoded request; points into the bytes it was read from.
struct DecodedRequest {
  bool all_or_nothing = false;
  api::KeyspaceRef keyspace;
  api::SessionRef session;
  std::vector<api::Command> commands;
};

// A part of other encodings; whether it was well formed the decoder tells.
void append_keyspace(Encoder& encoder, api::KeyspaceRef keyspace);
api::KeyspaceRef read_keyspace(Decoder& decoder);

// Whether a request only makes room, or is the system's own, and so passes a memory ceiling.
bool erases_only(std::span<const api::Command> commands);

// Reads what one append_request() has written. kCorruption or kUnsupported.
Status decode_one_request(std::string_view bytes, DecodedRequest& request);

// For requests that other nodes forward: an error unless `bytes` are exactly one well-formed request within the limits.
// The value is what erases_only() says of it.
Result<bool> check_request(std::string_view bytes);

// Walks the requests of one entry.
class EntryReader {
 public:
  explicit EntryReader(std::string_view entry);

  // kCorruption for a malformed header, kUnsupported for a format of a newer version.
  const Status& status() const { return status_; }
  Version stamp() const { return stamp_; }
  bool done() const { return rest_.empty(); }
  // Decodes the next request into `request`, whose memory is reused. An error is final: kCorruption, or kUnsupported
  // for an operation this build does not know.
  Status next(DecodedRequest& request);

 private:
  std::string_view rest_;
  Version stamp_;
  Status status_;
};

// The results of a request, for forwarding and for sessions.
void encode_results(std::string& out, const api::WriteReply& reply);
Status decode_results(std::string_view bytes, api::WriteReply& reply);

}  // namespace flux::kv
