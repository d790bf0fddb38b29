#include "base/status.h"

namespace flux {

std::string_view to_string(ErrorCode code) {
  switch (code) {
    case ErrorCode::kOk:
      return "ok";
    case ErrorCode::kInvalidArgument:
      return "invalid_argument";
    case ErrorCode::kNotFound:
      return "not_found";
    case ErrorCode::kAlreadyExists:
      return "already_exists";
    case ErrorCode::kPrecondition:
      return "precondition";
    case ErrorCode::kOverloaded:
      return "overloaded";
    case ErrorCode::kOutOfMemory:
      return "out_of_memory";
    case ErrorCode::kNotLeader:
      return "not_leader";
    case ErrorCode::kUnavailable:
      return "unavailable";
    case ErrorCode::kTimeout:
      return "timeout";
    case ErrorCode::kOutcomeUnknown:
      return "outcome_unknown";
    case ErrorCode::kCorruption:
      return "corruption";
    case ErrorCode::kIo:
      return "io";
    case ErrorCode::kNoSpace:
      return "no_space";
    case ErrorCode::kUnsupported:
      return "unsupported";
    case ErrorCode::kSessionExpired:
      return "session_expired";
    case ErrorCode::kStaleRequest:
      return "stale_request";
    case ErrorCode::kCancelled:
      return "cancelled";
    case ErrorCode::kNotInteger:
      return "not_integer";
    case ErrorCode::kNotFloat:
      return "not_float";
    case ErrorCode::kTooLarge:
      return "too_large";
    case ErrorCode::kWrongShard:
      return "wrong_shard";
    case ErrorCode::kDataLoss:
      return "data_loss";
    case ErrorCode::kCrossShard:
      return "cross_shard";
  }
  return "unknown_error";
}

Status::Status(ErrorCode code, std::string message) {
  FLUX_CHECK(code != ErrorCode::kOk);
  error_ = std::make_unique<Error>(Error{.code = code, .message = std::move(message)});
}

const std::string& Status::message() const {
  static const std::string kEmpty;
  return error_ ? error_->message : kEmpty;
}

std::string Status::to_string() const {
  if (ok()) return "ok";
  return std::string(flux::to_string(code())) + ": " + message();
}

Status Status::with(std::string_view context) && {
  FLUX_CHECK(!ok());
  error_->message.insert(0, std::string(context) + ": ");
  return std::move(*this);
}

Status Status::with(std::string_view context) const& { return Status(*this).with(context); }

}  // namespace flux
