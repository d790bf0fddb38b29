// RocksDB's statuses in our words.
#pragma once

#include <rocksdb/status.h>

#include <string_view>

#include "base/status.h"

namespace flux::engine {

// `what` says what was attempted. NotFound is an error here: ask for it before where it is an answer.
inline Status from_rocks(const rocksdb::Status& status, std::string_view what) {
  if (status.ok()) return {};
  ErrorCode code = ErrorCode::kIo;
  if (status.IsCorruption()) {
    code = ErrorCode::kCorruption;
  } else if (status.IsNoSpace()) {
    code = ErrorCode::kNoSpace;
  } else if (status.IsNotFound()) {
    code = ErrorCode::kNotFound;
  } else if (status.IsNotSupported()) {
    code = ErrorCode::kUnsupported;
  } else if (status.IsInvalidArgument()) {
    code = ErrorCode::kInvalidArgument;
  } else if (status.IsShutdownInProgress() || status.IsAborted()) {
    code = ErrorCode::kCancelled;
  }
  return Status(code, std::string("RocksDB: ").append(what).append(": ").append(status.ToString()));
}

}  // namespace flux::engine
