// Makes segment files: new ones, filled with zeros, or old ones under a new id. A segment gets its name only when it is
// complete and synced, so a crash leaves a whole segment or none.
#pragma once

#include <memory>
#include <string>

#include "env/fs.h"
#include "wal/segment.h"
#include "wal/wal.h"

namespace flux::wal {

// Not thread-safe; the caller makes one segment at a time.
class SegmentPool {
 public:
  SegmentPool(env::Fs& fs, std::string dir, const Options& options)
      : fs_(fs), dir_(std::move(dir)), options_(options) {}

  // Removes what a crash left half made.
  Status clean_up();
  // A new file, named and durable. On an error nothing is left behind.
  Result<std::shared_ptr<Segment>> create(SegmentId id);
  // The file of `old` under a new id. REQUIRES: nobody else uses it, and it has the size that new segments have.
  Result<std::shared_ptr<Segment>> recycle(const std::shared_ptr<Segment>& old, SegmentId id);
  // Removes the file, durably.
  Status remove(const std::shared_ptr<Segment>& old);

 private:
  std::string unfinished_path() const { return dir_ + "/segment.tmp"; }
  Status fill(env::File& file) const;
  Result<std::shared_ptr<Segment>> finish(std::unique_ptr<env::File> file, SegmentId id);

  env::Fs& fs_;
  const std::string dir_;
  const Options& options_;  // of the log
};

}  // namespace flux::wal
