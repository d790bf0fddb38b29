#include "api/errors.h"

namespace flux::api {

ErrorSpelling spelling_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kOk:
      return {"OK", 0, 200};
    case ErrorCode::kInvalidArgument:
      return {"ERR", 3, 400};
    case ErrorCode::kNotFound:
      return {"ERR", 5, 404};
    case ErrorCode::kAlreadyExists:
      return {"ERR", 6, 409};
    case ErrorCode::kPrecondition:
      return {"ERR", 9, 412};
    case ErrorCode::kOverloaded:
      return {"BUSY", 8, 429};
    case ErrorCode::kOutOfMemory:
      return {"OOM", 8, 507};
    case ErrorCode::kNotLeader:
      return {"TRYAGAIN", 14, 503};
    case ErrorCode::kUnavailable:
      return {"CLUSTERDOWN", 14, 503};
    case ErrorCode::kTimeout:
      return {"TRYAGAIN", 14, 504};
    case ErrorCode::kOutcomeUnknown:
      return {"UNKNOWN", 4, 504};
    case ErrorCode::kCorruption:
      return {"ERR", 15, 500};
    case ErrorCode::kIo:
      return {"ERR", 13, 500};
    case ErrorCode::kNoSpace:
      return {"OOM", 8, 507};
    case ErrorCode::kUnsupported:
      return {"ERR", 12, 501};
    case ErrorCode::kSessionExpired:
      return {"SESSIONEXPIRED", 9, 410};
    case ErrorCode::kStaleRequest:
      return {"STALEREQUEST", 9, 409};
    case ErrorCode::kCancelled:
      return {"TRYAGAIN", 1, 503};
    case ErrorCode::kNotInteger:
      return {"ERR", 9, 400};
    case ErrorCode::kNotFloat:
      return {"ERR", 9, 400};
    case ErrorCode::kTooLarge:
      return {"ERR", 3, 413};
    case ErrorCode::kWrongShard:
      return {"TRYAGAIN", 14, 503};
    case ErrorCode::kDataLoss:
      return {"ERR", 15, 500};
    case ErrorCode::kCrossShard:
      return {"CROSSSLOT", 9, 400};
  }
  return {"ERR", 2, 500};
}

std::string resp_error(const Status& status) {
  std::string text(spelling_of(status.code()).resp_prefix);
  text += ' ';
  for (const char c : status.message()) text += (c == '\r' || c == '\n') ? ' ' : c;
  return text;
}

}  // namespace flux::api
