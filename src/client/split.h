// Requests that concern several groups: cut into a part for each, and the answers put together again. Pure.
//
// Commands of one part take effect together, as one place in the log of its group; parts are independent of each other.
#pragma once

#include <vector>

#include "api/kv_service.h"
#include "client/routing_map.h"

namespace flux::client {

struct WritePart {
  GroupId group;
  // Its commands have no keys: it is for this group, wherever shards have gone.
  bool bound() const;
  std::vector<api::Command> commands;  // views of the request's
  std::vector<size_t> places;          // of each, in the request
};

// The group that a request belongs to as a whole; ctrl::kNoGroup if there is no such one, or none is known.
GroupId single_group(const RoutingMap& map, const api::WriteRequest& request);
// Whether a request in a session may be carried out: all its keys have one slot, or where keys are in order are one, so
// that they stay in one shard wherever it moves, and the reply that is kept for a retry is that of the whole request.
// kCrossShard otherwise.
Status check_session(const api::WriteRequest& request);
// One part per group, ascending. kUnavailable: nobody is known to own the keys. kCrossShard: the request must take
// effect as a whole and concerns several groups.
Result<std::vector<WritePart>> split_write(const RoutingMap& map, const api::WriteRequest& request);

// Puts the answers to the parts of a write together.
class WriteMerge {
 public:
  WriteMerge(size_t commands, size_t parts);
  void add(const WritePart& part, api::WriteReply reply);
  bool complete() const { return left_ == 0; }
  // REQUIRES: complete(). An error is definite if no part took effect.
  api::WriteReply take();

 private:
  api::WriteReply merged_;
  Status failure_;  // the first
  size_t left_;
  bool some_happened_ = false;  // or may have
};

struct ReadPart {
  GroupId group;
  std::vector<std::string_view> keys;
  std::vector<size_t> places;
};
GroupId single_group(const RoutingMap& map, api::KeyspaceRef keyspace, const api::GetRequest& request);
Result<std::vector<ReadPart>> split_get(const RoutingMap& map, api::KeyspaceRef keyspace,
                                        const api::GetRequest& request);

}  // namespace flux::client
