// The snapshot files of a node: saving, restoring, sending, receiving.
//
//   DIR/snapshots/group-1/<index>-<term>.snap            complete, synced; the newest few are kept
//   DIR/snapshots/group-1/<index>-<term>.snap.incoming   on its way from a peer, in order from the beginning
//
// The files are engine-neutral (docs/formats/snapshot.md); their meta is a raft::SnapshotMeta. What is loaded has been
// verified as a whole before.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "engine/engine.h"
#include "env/fs.h"
#include "node/group.h"
#include "node/peer_messages.h"
#include "raft/membership.h"

namespace flux::node {

struct SavedSnapshot {
  raft::SnapshotMeta meta;
  std::string path;
  uint64_t bytes = 0;
};

// Thread-safe.
class SnapshotStore {
 public:
  SnapshotStore(env::Fs& fs, std::string dir) : fs_(fs), dir_(std::move(dir)) {}

  // Loads the newest good snapshot if it is ahead of what the engine holds. Removes what a crash left half-done.
  Status restore(GroupId group, engine::Engine& engine);
  // Writes a snapshot, syncs it, and forgets older ones. Slow.
  Result<SavedSnapshot> save(GroupId group, const engine::Snapshot& snapshot, const raft::SnapshotMeta& meta);
  // The newest complete one that is not damaged. Errors: kIo, about which no older one can help.
  Result<std::optional<SavedSnapshot>> newest(GroupId group);

  // --- Receiving -----------------------------------------------------------------------------------------------------
  // A peer wants to send; returns the offset to go on from.
  Result<uint64_t> open_incoming(const SnapshotOpen& open);
  // The next bytes. Returns whether the file has all of them now.
  Result<bool> receive(const SnapshotChunk& chunk);
  // Syncs and verifies a file that has all its bytes. On failure the file is gone. Slow.
  Result<raft::SnapshotMeta> verify_incoming(GroupId group, EntryId last);
  // Makes a verified incoming file ours. Durable on return.
  Result<SavedSnapshot> adopt(GroupId group, EntryId last);
  void discard_incoming(GroupId group, EntryId last);

  // Forgets all of a group, durably: a group of that number that comes again would begin with it.
  Status remove(GroupId group);

  // Loads a file into an engine. Slow.
  Status load(const std::string& path, engine::Engine& engine);

 private:
  struct Incoming {
    EntryId last;
    Term term;  // of the leader that sends it
    uint64_t bytes_total = 0;
    uint64_t bytes_here = 0;
    bool offered_again = false;  // all is here; the last bytes come once more, and with them the offer
    std::unique_ptr<env::File> file;
  };
  std::string group_dir(GroupId group) const;
  std::string path_of(GroupId group, EntryId last) const;
  std::string incoming_path(GroupId group, EntryId last) const { return path_of(group, last) + ".incoming"; }
  void forget_older(GroupId group, EntryId last);

  env::Fs& fs_;
  const std::string dir_;
  std::mutex mutex_;
  std::map<GroupId, Incoming> incoming_;  // guarded by mutex_
};

}  // namespace flux::node
