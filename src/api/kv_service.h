// What every door asks of the store.
//
// A service object belongs to one loop: calls come from it and answers are given on it, each exactly once, and never
// from inside the call. Views in requests must outlive the call only; views in replies live during the callback only.
#pragma once

#include <absl/container/inlined_vector.h>
#include <absl/functional/any_invocable.h>

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "api/command.h"
#include "api/keyspace.h"
#include "base/hlc.h"
#include "base/status.h"
#include "base/types.h"

namespace flux::api {

// Where a committed write stands.
struct Position {
  GroupId group;
  Index index;
  Version version;
  bool operator==(const Position&) const = default;
};

// Makes a retry safe: the same (client, sequence) takes effect at most once.
struct SessionRef {
  uint64_t client = 0;    // 0: none
  uint64_t sequence = 0;  // from 1, rising by 1 per request of this client
};

// Commands that take effect together or not at all, in order, as one place in the log.
struct WriteRequest {
  std::span<const Command> commands;
  KeyspaceRef keyspace;
  // Nothing is done unless every command's condition holds (MSETNX). A failed request is OK with `applied` false.
  bool all_or_nothing = false;
  SessionRef session;
};

// `status` not OK: see is_indeterminate(). OK: one result per command.
struct WriteReply {
  Status status;
  absl::InlinedVector<CommandResult, 1> results;
  Position position;
};
using WriteDone = absl::AnyInvocable<void(WriteReply)>;

enum class Consistency : uint8_t {
  kDefault = 0,       // what the node was started with
  kLinearizable = 1,  // leadership is confirmed by a quorum after the request arrived
  kLease = 2,         // the leader's lease vouches; needs bounded clock drift
  kStale = 3,         // whatever this replica has
};

// Values of keys, in the order asked.
struct GetRequest {
  std::span<const std::string_view> keys;
};
// Keys in encoded order, with their values if wanted.
struct ScanRequest {
  std::string_view start;  // encoded key; empty is the beginning of the keyspace
  std::string_view end;    // encoded key, excluded; empty is the end of the keyspace
  size_t keys_max = 10;    // up to kScanKeysMax; a page of kScanBytesTarget ends earlier
  bool values = false;
};
// How many keys the keyspace has. Counts keys whose expiry has not been carried out yet.
struct CountRequest {};
// Some key of the keyspace; not found if there is none.
struct RandomKeyRequest {};

struct ReadRequest {
  std::variant<GetRequest, ScanRequest, CountRequest, RandomKeyRequest> what;
  KeyspaceRef keyspace;
  Consistency consistency = Consistency::kDefault;
};

struct Item {
  bool found = false;
  std::string_view key;  // scans and random keys: the user's key
  std::string_view value;
  Version version;
  std::optional<WallMillis> deadline;
};

struct ReadReply {
  Status status;
  std::span<const Item> items;
  uint64_t count = 0;            // CountRequest
  std::string_view scan_resume;  // the encoded key to go on at; empty: the scan is complete
  WallMillis clock;              // the log's clock that judged expiry, or the wall's if later
  Position position;             // the newest write the reply may include
};
using ReadDone = absl::AnyInvocable<void(const ReadReply&)>;

class KvService {
 public:
  virtual ~KvService() = default;
  virtual void write(const WriteRequest& request, WriteDone done) = 0;
  virtual void read(const ReadRequest& request, ReadDone done) = 0;
};

}  // namespace flux::api
