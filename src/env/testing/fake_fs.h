// A file system in memory that models what a disk may do to a program: a page cache over durable sectors, names that
// are lost unless their directory was synced, writes and syncs that fail, a full disk, rot.
//
// Deterministic: all chance comes from the seed of a CrashPolicy or from the test. Thread-safe.
//
// The model. write_at() changes the page cache and marks the touched sectors (512 bytes) as dirty; sync() copies the
// dirty sectors and the size to the disk. A crash decides for each dirty sector on its own what the disk holds of it,
// and for each change of a name, in order, whether it is kept. A sync that fails leaves each dirty sector as it may
// have come to be, and calls it clean: the cache goes on showing what the disk does not hold, and the next sync
// succeeds.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "env/fs.h"

namespace flux::env::testing {

// What a power cut leaves of what was not synced.
struct CrashPolicy {
  uint64_t seed = 0;
  // Of dirty sectors; what is left over is dropped: the sector holds what it held.
  double sector_kept = 0;
  double sector_zeroed = 0;
  double sector_garbage = 0;
  // Of changes of names: file created, removed, renamed.
  double name_kept = 0;
  // Of sizes of grown or cut files.
  double size_kept = 0;

  // Nothing that was not synced survives.
  static CrashPolicy drop_all() { return {}; }
  // All of it does.
  static CrashPolicy keep_all() { return {.sector_kept = 1, .name_kept = 1, .size_kept = 1}; }
  // Each thing for itself.
  static CrashPolicy random(uint64_t seed);
};

enum class FsOp : uint8_t { kOpen, kCreate, kRead, kWrite, kSync, kTruncate, kRemove, kRename, kSyncDir, kList };

struct FsCounts {
  uint64_t writes = 0;
  uint64_t syncs = 0;
  uint64_t dir_syncs = 0;
  uint64_t bytes_written = 0;
};

class FakeFs final : public Fs {
 public:
  static constexpr uint64_t kSectorBytes = 512;

  FakeFs();
  ~FakeFs() override;

  Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override;
  Status remove(const std::string& path) override;
  Status rename(const std::string& from, const std::string& to) override;
  Status create_dirs(const std::string& path) override;
  Status sync_dir(const std::string& path) override;
  Result<std::vector<std::string>> list(const std::string& path) override;
  Result<bool> exists(const std::string& path) override;
  Result<uint64_t> free_bytes(const std::string& path) override;
  Result<std::unique_ptr<DirLock>> lock_dir(const std::string& path) override;

  // --- Crashes. Open files and locks are dead afterwards: their calls return kIo. ------------------------------------
  // The power goes; what is durable, and what the policy keeps, is there afterwards.
  void crash(const CrashPolicy& policy);
  // The process dies; the page cache stays.
  void kill();
  // From the n-th changing operation from now on (1: the next one) every operation fails: a power cut that the program
  // has not noticed yet. The failing write may have been made in part. Ended by crash() or kill().
  void stop_after(uint64_t operations);
  bool stopped() const;
  // An empty disk, no faults.
  void format();
  // Changing operations so far: writes, syncs, truncations and changes of names.
  uint64_t operations() const;

  // --- Injected errors -----------------------------------------------------------------------------------------------
  // Asked before each operation; an error is returned in its place. A failed write may have been made in part, a failed
  // sync leaves what the class comment says.
  using Fault = std::function<Status(FsOp op, const std::string& path)>;
  void set_fault(Fault fault);
  // Fails the n-th `op` from now on (1: the next one) on a path that contains `path_part`, once.
  void fail_once(FsOp op, uint64_t nth, ErrorCode code, std::string path_part = "");
  // Bytes that may still be allocated; a write that needs more is made in part and fails with kNoSpace. nullopt: no
  // end.
  void set_free_bytes(std::optional<uint64_t> bytes);

  // --- Rot and other foul play: changes cache and disk alike ---------------------------------------------------------
  void flip_bit(const std::string& path, uint64_t bit);
  void overwrite(const std::string& path, uint64_t offset, std::string_view bytes);
  void cut(const std::string& path, uint64_t size);
  // A sector that a sync has replaced: put `before` back, and the disk has kept an old sector although it said
  // otherwise.
  struct Replaced {
    std::string path;
    uint64_t offset = 0;
    std::string before;  // shorter where the file was
    std::string after;
  };
  // Remembers the newest `sectors` of them from now on.
  void keep_replaced(size_t sectors);
  // Those that the disk still holds as they were written, oldest first, under the names that their files have now.
  std::vector<Replaced> replaced() const;
  // All files that there are, by name.
  std::vector<std::string> files() const;
  // The bytes as a program reads them, and as the disk holds them.
  std::string contents(const std::string& path) const;
  std::string durable_contents(const std::string& path) const;
  FsCounts counts() const;
  // An independent copy of the state of cache and disk, without open files and faults.
  std::unique_ptr<FakeFs> clone() const;

 private:
  friend class FakeFile;
  friend class FakeDirLock;
  struct Inode;
  using InodePtr = std::shared_ptr<Inode>;  // shared by names and open files, as on any Unix
  using Names = std::map<std::string, InodePtr>;
  // An unsynced change of names in a directory: `removed` goes, `added` comes.
  struct NameChange {
    std::string dir;
    std::string removed;
    std::string added;
    InodePtr inode;
  };

  struct OldSector {
    std::weak_ptr<Inode> inode;
    uint64_t sector = 0;
    std::string before;
    std::string after;
  };

  // All under mutex_.
  Status begin(FsOp op, const std::string& path);
  void changed_name(NameChange change);
  Status write(Inode& inode, const std::string& path, uint64_t offset, std::string_view data);
  Status sync(const InodePtr& inode, const std::string& path);
  Status charge(const std::string& path, uint64_t bytes);
  void dead_sync(Inode& inode);
  static void crash_inode(Inode& inode, const CrashPolicy& policy, Rng& rng);
  void forget_processes();
  Inode& inode_at(const std::string& path) const;

  mutable std::mutex mutex_;  // guards everything
  Names names_;               // as programs see them
  Names durable_names_;
  std::set<std::string> dirs_;
  std::set<std::string> locks_;
  std::vector<NameChange> name_changes_;  // not yet synced, in order
  uint64_t incarnation_ = 1;              // of the process; open files of an older one are dead
  std::optional<uint64_t> operations_left_;
  bool stopped_ = false;
  uint64_t operations_ = 0;
  Fault fault_;
  std::optional<uint64_t> free_bytes_;
  FsCounts counts_;
  size_t replaced_kept_ = 0;
  std::deque<OldSector> replaced_;
  Rng rng_;  // for what a failing operation leaves
};

}  // namespace flux::env::testing
