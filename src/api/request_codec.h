// Requests that write, and their results, as bytes (docs/formats/commands.md). What a client sends on the wire
// protocol, what nodes pass on to each other and what stands in the log are the same bytes: a request is encoded once.
//
//   request  size (4): bytes that follow | flags (1) | [client (8), sequence (varint): if flags & 2] |
//            [keyspace: if flags & 4] | command count (varint) | command...
//   keyspace id (varint) | kind (1); not the default one, which a request without has
//   command  op (1) | fields in the order of the structs in api/command.h: varints, and strings with a varint length
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/kv_service.h"
#include "base/codec.h"
#include "base/status.h"

namespace flux::api {

// Appends one encoded request. kInvalidArgument or kTooLarge, with `out` as it was, if a key, a value or the request is
// outside its limits.
Status append_request(std::string& out, const WriteRequest& request);

// One decoded request; points into the bytes it was read from.
struct DecodedRequest {
  bool all_or_nothing = false;
  KeyspaceRef keyspace;
  SessionRef session;
  std::vector<Command> commands;

  WriteRequest view() const {
    return {.commands = commands, .keyspace = keyspace, .all_or_nothing = all_or_nothing, .session = session};
  }
};

// Takes a request off the front of `bytes`, into a `request` whose memory is reused. kCorruption, or kUnsupported for
// what this build does not know.
Status take_request(std::string_view& bytes, DecodedRequest& request);
// Reads what one append_request() has written, and nothing more.
Status decode_one_request(std::string_view bytes, DecodedRequest& request);

// For requests from elsewhere: an error unless `bytes` are exactly one well-formed request within the limits. The value
// is what erases_only() says of it.
Result<bool> check_request(std::string_view bytes);

// Whether a request only makes room, or is the system's own, and so passes a memory ceiling.
bool erases_only(std::span<const Command> commands);
// Whether a client may send it: the others are the system's own.
bool is_for_clients(const Command& command);

// Parts of other encodings, too; whether they were well formed the decoder tells.
bool read_bool(Decoder& decoder);
void append_keyspace(Encoder& encoder, KeyspaceRef keyspace);
KeyspaceRef read_keyspace(Decoder& decoder);

void encode_results(std::string& out, const WriteReply& reply);
Status decode_results(std::string_view bytes, WriteReply& reply);

}  // namespace flux::api
