// A kCommand entry of the log: the requests of one turn under one stamp (docs/formats/commands.md).
//
//   entry    format (1) = 1 | stamp (8): the leader's hybrid time | request... (api/request_codec.h)
#pragma once

#include <string>
#include <string_view>

#include "api/request_codec.h"
#include "base/hlc.h"
#include "base/status.h"

namespace flux::kv {

inline constexpr size_t kEntryHeaderBytes = 9;

// Begins an entry; requests are appended to it.
void begin_entry(std::string& out);
// Stamps an entry that begin_entry() began.
void stamp_entry(std::string& entry, Version stamp);

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
  Status next(api::DecodedRequest& request);

 private:
  std::string_view rest_;
  Version stamp_;
  Status status_;
};

}  // namespace flux::kv
