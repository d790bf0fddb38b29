// Which groups this directory holds a replica of, and which it held once.
//
//   DIR/replicas   magic, format, count, per group: id, state, born, known from, term, vote, founders; crc32c
//
// Written before a replica begins and before it is taken away, so that a crash between two steps leaves something to go
// on with, and so that nobody forgets a vote: only a replica that never was here begins with the founders' membership,
// and one that comes back has the term and the vote of the one before. docs/formats/replicas.md has the bytes.
#pragma once

#include <map>
#include <set>
#include <string>

#include "base/log_entry.h"
#include "base/status.h"
#include "base/types.h"
#include "env/fs.h"

namespace flux::node {

struct ReplicaRecord {
  bool here = true;  // false: it was, and has been taken away
  ConfigNum born;    // of the group's life that it is of
  // Where in group 0's log the node stood when it began: what an older configuration says of it means nothing.
  Index known_from;
  // The membership before the first entry; empty: it entered a running group.
  std::set<NodeId> founders;
  // Term and vote of the last replica that was taken away: the next one keeps to them.
  HardState spoken;
  bool operator==(const ReplicaRecord&) const = default;
};

std::string encode_replicas(const std::map<GroupId, ReplicaRecord>& records);
Result<std::map<GroupId, ReplicaRecord>> decode_replicas(std::string_view bytes);

// Not thread-safe: the node's first loop.
class Replicas {
 public:
  static Result<Replicas> open(env::Fs& fs, const std::string& data_dir);

  const std::map<GroupId, ReplicaRecord>& all() const { return records_; }
  const ReplicaRecord* find(GroupId group) const;
  // Durable on return.
  Status put(GroupId group, ReplicaRecord record);

 private:
  Replicas(env::Fs& fs, std::string data_dir) : fs_(&fs), data_dir_(std::move(data_dir)) {}

  env::Fs* fs_;
  std::string data_dir_;
  std::map<GroupId, ReplicaRecord> records_;
};

}  // namespace flux::node
