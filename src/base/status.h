// Errors as values. A Status is one null word when all is well; a Result<T> is a value or a Status that is not OK.
//
// A code exists only where some caller would act on it. Codes are numbered and never reused: they travel between nodes.
// Every error is either definite ("did not and will not happen") or indeterminate ("may have happened"): see
// is_indeterminate().
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/check.h"

namespace flux {

enum class ErrorCode : uint8_t {
  kOk = 0,
  kInvalidArgument = 1,  // the request can never succeed as it stands
  kNotFound = 2,         // what it names does not exist
  kAlreadyExists = 3,    // what it creates exists
  kPrecondition = 4,     // the state of the system forbids it now; the caller must change something first
  kOverloaded = 5,       // a bounded queue is full; definite; retry later
  kOutOfMemory = 6,      // the memory ceiling is reached; definite; free something first
  kNotLeader = 7,        // this replica does not lead the group; definite; ask the leader
  kUnavailable = 8,      // no leader or no quorum to be reached; definite; retry later
  kTimeout = 9,          // gave up before it was proposed; definite
  kOutcomeUnknown = 10,  // proposed, and its fate is not known: the one indeterminate code
  kCorruption = 11,      // stored or received bytes fail their checks
  kIo = 12,              // the operating system refused
  kNoSpace = 13,         // the disk is full
  kUnsupported = 14,     // a version or feature this build does not have
  kSessionExpired = 15,  // the session is gone; the command was not run again
  kStaleRequest = 16,    // an older sequence number than the session has seen; not run
  kCancelled = 17,       // the caller or a shutdown withdrew it before it was proposed
  kNotInteger = 18,      // the stored value is not an integer, or the result would not fit 64 bits
  kNotFloat = 19,        // the stored value is not a finite number, or the result would not be
  kTooLarge = 20,        // a key, value or request over its limit
  kWrongShard = 21,      // the group does not own the key's shard; definite; refresh the shard map
  kDataLoss = 22,        // no good copy of the data exists here; an operator must act
  kCrossShard = 23,      // must take effect as a whole and concerns several groups; definite
};
inline constexpr ErrorCode kLastErrorCode = ErrorCode::kCrossShard;

// The snake_case name of a code, as logs and JSON spell it.
std::string_view to_string(ErrorCode code);

// Whether the command may have taken effect, now or later, although an error was returned.
constexpr bool is_indeterminate(ErrorCode code) { return code == ErrorCode::kOutcomeUnknown; }

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(ErrorCode code, std::string message);

  Status(const Status& other) : error_(other.error_ ? std::make_unique<Error>(*other.error_) : nullptr) {}
  Status& operator=(const Status& other) {
    if (this != &other) error_ = other.error_ ? std::make_unique<Error>(*other.error_) : nullptr;
    return *this;
  }
  Status(Status&&) = default;
  Status& operator=(Status&&) = default;

  bool ok() const { return error_ == nullptr; }
  ErrorCode code() const { return error_ ? error_->code : ErrorCode::kOk; }
  const std::string& message() const;
  // "corruption: wal segment 7: record checksum differs", or "ok".
  std::string to_string() const;

  // Adds context in front of the message, at the border where it is known: status.with("wal segment 7").
  // REQUIRES: !ok().
  Status with(std::string_view context) &&;
  Status with(std::string_view context) const&;

  bool operator==(const Status& other) const { return code() == other.code(); }

 private:
  struct Error {
    ErrorCode code;
    std::string message;
  };
  std::unique_ptr<Error> error_;
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}  // NOLINT(google-explicit-constructor)
  Result(Status status) : status_(std::move(status)) { FLUX_CHECK(!status_.ok()); }  // NOLINT

  bool ok() const { return value_.has_value(); }
  const Status& status() const& { return status_; }
  Status status() && { return std::move(status_); }

  // REQUIRES: ok().
  T& value() & { return checked(), *value_; }
  const T& value() const& { return checked(), *value_; }
  T&& value() && { return checked(), std::move(*value_); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  void checked() const { FLUX_CHECK(value_.has_value(), "{}", status_.to_string()); }

  std::optional<T> value_;
  Status status_;
};

}  // namespace flux

#define FLUX_CONCAT_INNER(a, b) a##b
#define FLUX_CONCAT(a, b) FLUX_CONCAT_INNER(a, b)

// Returns the Status of the expression to the caller unless it is OK.
#define FLUX_RETURN_IF_ERROR(expression)                                                  \
  do {                                                                                    \
    if (::flux::Status flux_status = (expression); !flux_status.ok()) return flux_status; \
  } while (false)

// FLUX_TRY(auto value, function()): binds the value of a Result, or returns its Status to the caller.
#define FLUX_TRY(declaration, expression) FLUX_TRY_INNER(FLUX_CONCAT(flux_result_, __LINE__), declaration, expression)
#define FLUX_TRY_INNER(result, declaration, expression) \
  auto result = (expression);                           \
  if (!result.ok()) return std::move(result).status();  \
  declaration = std::move(result).value()
