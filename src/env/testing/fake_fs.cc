#include "env/testing/fake_fs.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace flux::env::testing {

CrashPolicy CrashPolicy::random(uint64_t seed) {
  Rng rng(seed);
  CrashPolicy policy{.seed = rng.next()};
  // Whole outcomes are as likely as mixtures: both find bugs of their own.
  policy.sector_kept = rng.chance(0.3) ? 1 : rng.unit();
  const double rest = 1 - policy.sector_kept;
  policy.sector_zeroed = rng.chance(0.5) ? 0 : rest * rng.unit() / 2;
  policy.sector_garbage = rng.chance(0.5) ? 0 : rest * rng.unit() / 2;
  policy.name_kept = rng.chance(0.5) ? 1 : rng.unit();
  policy.size_kept = rng.chance(0.5) ? 1 : rng.unit();
  return policy;
}

struct FakeFs::Inode {
  std::string cache;         // what programs read
  std::string disk;          // what a power cut leaves
  std::set<uint64_t> dirty;  // sectors of the cache that were not synced
  bool size_dirty = false;
};

class FakeFile final : public File {
 public:
  FakeFile(FakeFs& fs, std::string path, FakeFs::InodePtr inode, OpenMode mode)
      : fs_(fs), path_(std::move(path)), inode_(std::move(inode)), mode_(mode), incarnation_(fs.incarnation_) {}

  Result<std::string> read_at(uint64_t offset, size_t size) const override {
    const std::lock_guard lock(fs_.mutex_);
    FLUX_RETURN_IF_ERROR(alive());
    FLUX_RETURN_IF_ERROR(fs_.begin(FsOp::kRead, path_));
    if (offset >= inode_->cache.size()) return std::string();
    return inode_->cache.substr(offset, size);
  }
  Status write_at(uint64_t offset, std::string_view data) override {
    const std::lock_guard lock(fs_.mutex_);
    FLUX_RETURN_IF_ERROR(writable());
    return fs_.write(*inode_, path_, offset, data);
  }
  Status sync() override {
    const std::lock_guard lock(fs_.mutex_);
    FLUX_RETURN_IF_ERROR(alive());
    return fs_.sync(inode_, path_);
  }
  Result<uint64_t> size() const override {
    const std::lock_guard lock(fs_.mutex_);
    FLUX_RETURN_IF_ERROR(alive());
    return uint64_t{inode_->cache.size()};
  }
  Status truncate(uint64_t size) override {
    const std::lock_guard lock(fs_.mutex_);
    FLUX_RETURN_IF_ERROR(writable());
    FLUX_RETURN_IF_ERROR(fs_.begin(FsOp::kTruncate, path_));
    inode_->cache.resize(size);
    inode_->size_dirty = true;
    return {};
  }
  Status drop_cache() override {
    const std::lock_guard lock(fs_.mutex_);
    FLUX_RETURN_IF_ERROR(alive());
    // Dirty pages stay, as with posix_fadvise().
    if (!inode_->size_dirty && inode_->dirty.empty()) inode_->cache = inode_->disk;
    return {};
  }

 private:
  Status alive() const {
    if (incarnation_ == fs_.incarnation_) return {};
    return Status(ErrorCode::kIo, fmt::format("{} was opened by a process that is gone", path_));
  }
  Status writable() const {
    FLUX_RETURN_IF_ERROR(alive());
    FLUX_CHECK(mode_ != OpenMode::kRead, "{} is open for reading", path_);
    return {};
  }

  FakeFs& fs_;
  const std::string path_;
  const FakeFs::InodePtr inode_;
  const OpenMode mode_;
  const uint64_t incarnation_;
};

class FakeDirLock final : public DirLock {
 public:
  FakeDirLock(FakeFs& fs, std::string path) : fs_(fs), path_(std::move(path)), incarnation_(fs.incarnation_) {}
  ~FakeDirLock() override {
    const std::lock_guard lock(fs_.mutex_);
    if (incarnation_ == fs_.incarnation_) fs_.locks_.erase(path_);
  }

 private:
  FakeFs& fs_;
  const std::string path_;
  const uint64_t incarnation_;
};

namespace {

constexpr uint64_t kSeed = 0x5EED;  // of what failing operations leave

std::string dir_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

std::string name_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

Status not_found(const std::string& path) {
  return Status(ErrorCode::kNotFound, fmt::format("{} does not exist", path));
}

bool is_change(FsOp op) {
  switch (op) {
    case FsOp::kOpen:
    case FsOp::kRead:
    case FsOp::kList:
      return false;
    case FsOp::kCreate:
    case FsOp::kWrite:
    case FsOp::kSync:
    case FsOp::kTruncate:
    case FsOp::kRemove:
    case FsOp::kRename:
    case FsOp::kSyncDir:
      return true;
  }
  return true;
}

// The sectors that bytes [offset, offset + size) touch.
std::pair<uint64_t, uint64_t> sectors_of(uint64_t offset, uint64_t size) {
  return {offset / FakeFs::kSectorBytes, (offset + size + FakeFs::kSectorBytes - 1) / FakeFs::kSectorBytes};
}

void copy_sector(std::string& to, const std::string& from, uint64_t sector) {
  const size_t begin = sector * FakeFs::kSectorBytes;
  if (begin >= from.size()) return;
  const size_t end = std::min(begin + FakeFs::kSectorBytes, from.size());
  if (to.size() < end) to.resize(end);
  std::copy(from.begin() + static_cast<ptrdiff_t>(begin), from.begin() + static_cast<ptrdiff_t>(end),
            to.begin() + static_cast<ptrdiff_t>(begin));
}

std::string sector_of(const std::string& bytes, uint64_t sector) {
  const size_t begin = sector * FakeFs::kSectorBytes;
  return begin < bytes.size() ? bytes.substr(begin, FakeFs::kSectorBytes) : std::string();
}

}  // namespace

FakeFs::FakeFs() : rng_(kSeed) {}
FakeFs::~FakeFs() = default;

// --- Operations ------------------------------------------------------------------------------------------------------

Status FakeFs::begin(FsOp op, const std::string& path) {
  if (is_change(op)) {
    operations_ += 1;
    if (operations_left_ && !stopped_) {
      *operations_left_ -= 1;
      stopped_ = *operations_left_ == 0;
    }
  }
  if (stopped_) return Status(ErrorCode::kIo, fmt::format("{}: the machine has stopped", path));
  return fault_ ? fault_(op, path) : Status();
}

Result<std::unique_ptr<File>> FakeFs::open(const std::string& path, OpenMode mode) {
  const std::lock_guard lock(mutex_);
  FLUX_RETURN_IF_ERROR(begin(mode == OpenMode::kCreate ? FsOp::kCreate : FsOp::kOpen, path));
  const auto found = names_.find(path);
  if (mode != OpenMode::kCreate) {
    if (found == names_.end()) return not_found(path);
    return std::unique_ptr<File>(std::make_unique<FakeFile>(*this, path, found->second, mode));
  }
  if (found != names_.end()) return Status(ErrorCode::kAlreadyExists, fmt::format("{} exists", path));
  if (!dirs_.contains(dir_of(path))) return not_found(dir_of(path));
  const auto inode = std::make_shared<Inode>();
  names_[path] = inode;
  changed_name({.dir = dir_of(path), .removed = "", .added = path, .inode = inode});
  return std::unique_ptr<File>(std::make_unique<FakeFile>(*this, path, inode, mode));
}

Status FakeFs::remove(const std::string& path) {
  const std::lock_guard lock(mutex_);
  FLUX_RETURN_IF_ERROR(begin(FsOp::kRemove, path));
  const auto found = names_.find(path);
  if (found == names_.end()) return not_found(path);
  if (free_bytes_) *free_bytes_ += found->second->cache.size();
  names_.erase(found);
  changed_name({.dir = dir_of(path), .removed = path, .added = "", .inode = nullptr});
  return {};
}

Status FakeFs::rename(const std::string& from, const std::string& to) {
  const std::lock_guard lock(mutex_);
  FLUX_RETURN_IF_ERROR(begin(FsOp::kRename, from));
  FLUX_CHECK(dir_of(from) == dir_of(to), "renames between directories are not modelled");
  const auto found = names_.find(from);
  if (found == names_.end()) return not_found(from);
  const InodePtr inode = found->second;
  names_.erase(found);
  names_[to] = inode;
  changed_name({.dir = dir_of(from), .removed = from, .added = to, .inode = inode});
  return {};
}

void FakeFs::changed_name(NameChange change) { name_changes_.push_back(std::move(change)); }

Status FakeFs::create_dirs(const std::string& path) {
  const std::lock_guard lock(mutex_);
  // Directories last at once: none of the programs that run here depends on losing one.
  for (std::string dir = path;; dir = dir_of(dir)) {
    dirs_.insert(dir);
    if (dir.empty()) return {};
  }
}

Status FakeFs::sync_dir(const std::string& path) {
  const std::lock_guard lock(mutex_);
  FLUX_RETURN_IF_ERROR(begin(FsOp::kSyncDir, path));
  counts_.dir_syncs += 1;
  for (const NameChange& change : name_changes_) {
    if (change.dir != path) continue;
    if (!change.removed.empty()) durable_names_.erase(change.removed);
    if (!change.added.empty()) durable_names_[change.added] = change.inode;
  }
  std::erase_if(name_changes_, [&](const NameChange& change) { return change.dir == path; });
  return {};
}

Result<std::vector<std::string>> FakeFs::list(const std::string& path) {
  const std::lock_guard lock(mutex_);
  FLUX_RETURN_IF_ERROR(begin(FsOp::kList, path));
  if (!dirs_.contains(path)) return not_found(path);
  std::vector<std::string> names;
  for (const auto& [file, inode] : names_) {
    if (dir_of(file) == path) names.push_back(name_of(file));
  }
  return names;
}

Result<bool> FakeFs::exists(const std::string& path) {
  const std::lock_guard lock(mutex_);
  FLUX_RETURN_IF_ERROR(begin(FsOp::kOpen, path));
  return names_.contains(path) || dirs_.contains(path);
}

Result<uint64_t> FakeFs::free_bytes(const std::string&) {
  const std::lock_guard lock(mutex_);
  return free_bytes_.value_or(uint64_t{1} << 40);
}

Result<std::unique_ptr<DirLock>> FakeFs::lock_dir(const std::string& path) {
  const std::lock_guard lock(mutex_);
  if (!locks_.insert(path).second) {
    return Status(ErrorCode::kPrecondition, fmt::format("{} is in use by another process", path));
  }
  return std::unique_ptr<DirLock>(std::make_unique<FakeDirLock>(*this, path));
}

Status FakeFs::write(Inode& inode, const std::string& path, uint64_t offset, std::string_view data) {
  const bool was_stopped = stopped_;
  Status failed = begin(FsOp::kWrite, path);
  if (was_stopped) return failed;
  counts_.writes += 1;
  const uint64_t growth = offset + data.size() - std::min<uint64_t>(offset + data.size(), inode.cache.size());
  if (!failed.ok()) {
    data = data.substr(0, rng_.below(data.size() + 1));  // made in part
  } else if (free_bytes_ && growth > *free_bytes_) {
    failed = Status(ErrorCode::kNoSpace, fmt::format("{}: no space left on device", path));
    data = data.substr(0, data.size() - std::min<uint64_t>(growth - *free_bytes_, data.size()));
  }
  if (!data.empty()) {
    const uint64_t end = offset + data.size();
    if (end > inode.cache.size()) {
      if (free_bytes_) *free_bytes_ -= std::min(*free_bytes_, end - inode.cache.size());
      inode.cache.resize(end);
      inode.size_dirty = true;
    }
    std::copy(data.begin(), data.end(), inode.cache.begin() + static_cast<ptrdiff_t>(offset));
    const auto [first, last] = sectors_of(offset, data.size());
    for (uint64_t sector = first; sector < last; ++sector) inode.dirty.insert(sector);
    counts_.bytes_written += data.size();
  }
  return failed;
}

Status FakeFs::sync(const InodePtr& shared, const std::string& path) {
  Inode& inode = *shared;
  const bool was_stopped = stopped_;
  if (Status failed = begin(FsOp::kSync, path); !failed.ok()) {
    if (!was_stopped && !stopped_) dead_sync(inode);
    return failed;
  }
  counts_.syncs += 1;
  if (replaced_kept_ > 0) {
    for (const uint64_t sector : inode.dirty) {
      std::string after = sector_of(inode.cache, sector);
      std::string before = sector_of(inode.disk, sector);
      if (after == before) continue;
      replaced_.push_back({.inode = shared, .sector = sector, .before = std::move(before), .after = std::move(after)});
      if (replaced_.size() > replaced_kept_) replaced_.pop_front();
    }
  }
  inode.disk.resize(inode.cache.size());
  for (const uint64_t sector : inode.dirty) copy_sector(inode.disk, inode.cache, sector);
  inode.dirty.clear();
  inode.size_dirty = false;
  return {};
}

// A failed sync: some sectors made it, none is dirty any more.
void FakeFs::dead_sync(Inode& inode) {
  inode.disk.resize(inode.cache.size());
  for (const uint64_t sector : inode.dirty) {
    if (rng_.chance(0.5)) copy_sector(inode.disk, inode.cache, sector);
  }
  inode.dirty.clear();
  inode.size_dirty = false;
}

// --- Crashes ---------------------------------------------------------------------------------------------------------

void FakeFs::crash(const CrashPolicy& policy) {
  const std::lock_guard lock(mutex_);
  Rng rng(policy.seed);
  for (const NameChange& change : name_changes_) {
    if (!rng.chance(policy.name_kept)) continue;
    if (!change.removed.empty()) durable_names_.erase(change.removed);
    if (!change.added.empty()) durable_names_[change.added] = change.inode;
  }
  name_changes_.clear();
  names_ = durable_names_;
  std::set<Inode*> done;  // only to visit each once; the order is that of the names
  for (const auto& [path, inode] : names_) {
    if (done.insert(inode.get()).second) crash_inode(*inode, policy, rng);
  }
  forget_processes();
}

void FakeFs::crash_inode(Inode& inode, const CrashPolicy& policy, Rng& rng) {
  if (inode.size_dirty && rng.chance(policy.size_kept)) inode.disk.resize(inode.cache.size());
  const uint64_t disk_sectors = (inode.disk.size() + kSectorBytes - 1) / kSectorBytes;
  for (const uint64_t sector : inode.dirty) {
    const double draw = rng.unit();
    if (sector >= disk_sectors) continue;
    const size_t begin = sector * kSectorBytes;
    const size_t end = std::min<size_t>(begin + kSectorBytes, inode.disk.size());
    if (draw < policy.sector_kept) {
      const size_t size = inode.disk.size();
      copy_sector(inode.disk, inode.cache, sector);
      inode.disk.resize(size);
    } else if (draw < policy.sector_kept + policy.sector_zeroed) {
      std::fill(inode.disk.begin() + static_cast<ptrdiff_t>(begin), inode.disk.begin() + static_cast<ptrdiff_t>(end),
                '\0');
    } else if (draw < policy.sector_kept + policy.sector_zeroed + policy.sector_garbage) {
      for (size_t i = begin; i < end; ++i) inode.disk[i] = static_cast<char>(rng.next());
    }
  }
  inode.dirty.clear();
  inode.size_dirty = false;
  inode.cache = inode.disk;
}

void FakeFs::kill() {
  const std::lock_guard lock(mutex_);
  forget_processes();
}

void FakeFs::forget_processes() {
  incarnation_ += 1;
  locks_.clear();
  stopped_ = false;
  operations_left_.reset();
  fault_ = nullptr;
}

void FakeFs::format() {
  const std::lock_guard lock(mutex_);
  forget_processes();
  names_.clear();
  durable_names_.clear();
  name_changes_.clear();
  dirs_.clear();
  free_bytes_.reset();
  operations_ = 0;
  counts_ = {};
  rng_ = Rng(kSeed);
}

void FakeFs::stop_after(uint64_t operations) {
  const std::lock_guard lock(mutex_);
  FLUX_CHECK(operations > 0);
  operations_left_ = operations;
  stopped_ = false;
}

bool FakeFs::stopped() const {
  const std::lock_guard lock(mutex_);
  return stopped_;
}

uint64_t FakeFs::operations() const {
  const std::lock_guard lock(mutex_);
  return operations_;
}

// --- Errors and rot --------------------------------------------------------------------------------------------------

void FakeFs::set_fault(Fault fault) {
  const std::lock_guard lock(mutex_);
  fault_ = std::move(fault);
}

void FakeFs::fail_once(FsOp op, uint64_t nth, ErrorCode code, std::string path_part) {
  set_fault([op, left = nth, code, path_part = std::move(path_part)](FsOp asked, const std::string& path) mutable {
    if (asked != op || path.find(path_part) == std::string::npos || left == 0) return Status();
    left -= 1;
    return left == 0 ? Status(code, fmt::format("{}: injected error", path)) : Status();
  });
}

void FakeFs::set_free_bytes(std::optional<uint64_t> bytes) {
  const std::lock_guard lock(mutex_);
  free_bytes_ = bytes;
}

FakeFs::Inode& FakeFs::inode_at(const std::string& path) const {
  const auto found = names_.find(path);
  FLUX_CHECK(found != names_.end(), "{} does not exist", path);
  return *found->second;
}

void FakeFs::flip_bit(const std::string& path, uint64_t bit) {
  const std::lock_guard lock(mutex_);
  Inode& inode = inode_at(path);
  for (std::string* bytes : {&inode.cache, &inode.disk}) {
    FLUX_CHECK(bit / 8 < bytes->size());
    (*bytes)[bit / 8] = static_cast<char>((*bytes)[bit / 8] ^ (1 << (bit % 8)));
  }
}

void FakeFs::overwrite(const std::string& path, uint64_t offset, std::string_view data) {
  const std::lock_guard lock(mutex_);
  Inode& inode = inode_at(path);
  for (std::string* bytes : {&inode.cache, &inode.disk}) {
    if (bytes->size() < offset + data.size()) bytes->resize(offset + data.size());
    std::copy(data.begin(), data.end(), bytes->begin() + static_cast<ptrdiff_t>(offset));
  }
}

void FakeFs::cut(const std::string& path, uint64_t size) {
  const std::lock_guard lock(mutex_);
  Inode& inode = inode_at(path);
  inode.cache.resize(size);
  inode.disk.resize(size);
}

void FakeFs::keep_replaced(size_t sectors) {
  const std::lock_guard lock(mutex_);
  replaced_kept_ = sectors;
}

std::vector<FakeFs::Replaced> FakeFs::replaced() const {
  const std::lock_guard lock(mutex_);
  std::vector<Replaced> found;
  for (const OldSector& old : replaced_) {
    const InodePtr inode = old.inode.lock();
    if (inode == nullptr || sector_of(inode->disk, old.sector) != old.after) continue;
    const auto named =
        std::find_if(names_.begin(), names_.end(), [&](const auto& each) { return each.second == inode; });
    if (named == names_.end()) continue;
    found.push_back(
        {.path = named->first, .offset = old.sector * kSectorBytes, .before = old.before, .after = old.after});
  }
  return found;
}

std::vector<std::string> FakeFs::files() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> paths;
  for (const auto& [path, inode] : names_) paths.push_back(path);
  return paths;
}

std::string FakeFs::contents(const std::string& path) const {
  const std::lock_guard lock(mutex_);
  return inode_at(path).cache;
}

std::string FakeFs::durable_contents(const std::string& path) const {
  const std::lock_guard lock(mutex_);
  return inode_at(path).disk;
}

FsCounts FakeFs::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

std::unique_ptr<FakeFs> FakeFs::clone() const {
  const std::lock_guard lock(mutex_);
  auto copy = std::make_unique<FakeFs>();
  std::map<const Inode*, InodePtr> copies;  // looked up, never walked
  const auto copied = [&](const InodePtr& inode) -> InodePtr {
    if (inode == nullptr) return nullptr;
    InodePtr& twin = copies[inode.get()];
    if (twin == nullptr) twin = std::make_shared<Inode>(*inode);
    return twin;
  };
  for (const auto& [path, inode] : names_) copy->names_[path] = copied(inode);
  for (const auto& [path, inode] : durable_names_) copy->durable_names_[path] = copied(inode);
  for (const NameChange& change : name_changes_) {
    copy->name_changes_.push_back(change);
    copy->name_changes_.back().inode = copied(change.inode);
  }
  copy->dirs_ = dirs_;
  copy->free_bytes_ = free_bytes_;
  return copy;
}

}  // namespace flux::env::testing
