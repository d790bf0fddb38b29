// The bytes of a message between nodes. Little-endian and varints as in base/codec.h:
//
//   message  = version u8 (1) | kind u8 | from id | to id | term id | body
//   entry    = type u8 | term id | data bytes                     the index follows from prev
//   append   = prev | commit id | round varint | since id | count varint | entry*
//   ...      one function per body in message_codec.cc, fields in the order of raft/message.h
//   prev, last, hint = index id | term id
//
// Kinds and their layouts never change; a new layout is a new kind or version. Decoding faces the network: every length
// is checked, and what decodes is still only as true as its sender.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "raft/message.h"

namespace flux::raft {

// Appends the message's bytes to `out`.
void encode(const Message& message, std::string& out);

// kCorruption unless the bytes are exactly one message; kUnsupported for a version or entry type from the future.
Result<Message> decode(std::string_view bytes);

}  // namespace flux::raft
