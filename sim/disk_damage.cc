#include "disk_damage.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <optional>

#include "wal/scan.h"

namespace flux::sim {
namespace {

using env::testing::FakeFs;

constexpr std::string_view kLogDir = "/data/wal";

struct Batch {
  size_t segment;
  uint64_t offset;
  uint64_t sequence;
};

class BatchCollector final : public wal::ScanVisitor {
 public:
  void on_batch(size_t segment, uint64_t offset, const wal::BatchHeader& header) override {
    batches.push_back({.segment = segment, .offset = offset, .sequence = header.sequence});
    durable_through = std::max(durable_through, header.durable_through);
  }
  void on_record(const wal::BatchHeader&, size_t, const wal::RecordView&) override {}
  void on_batch_end(const wal::BatchHeader&, bool) override {}
  void on_damage(wal::GroupSet, const std::string&) override { damaged = true; }

  std::vector<Batch> batches;
  uint64_t durable_through = 0;
  bool damaged = false;
};

// For each segment where the batches begin that no later one vouches for; nothing if the log cannot be read.
std::optional<std::map<std::string, uint64_t>> unvouched(FakeFs& fs) {
  const auto segments = wal::open_segments(fs, std::string(kLogDir), std::nullopt, env::OpenMode::kRead);
  BatchCollector found;
  if (!segments.ok() || !wal::scan(*segments, found).ok() || found.damaged) return std::nullopt;
  std::map<std::string, uint64_t> from;
  for (const Batch& batch : found.batches) {
    if (batch.sequence <= found.durable_through) continue;
    const std::string& path = (*segments)[batch.segment].path;
    const auto [known, fresh] = from.emplace(path, batch.offset);
    if (!fresh) known->second = std::min(known->second, batch.offset);
  }
  // A segment that holds nothing else keeps its header, too.
  for (auto& [path, offset] : from) {
    if (offset <= wal::kPageBytes) offset = 0;
  }
  return from;
}

Extent pick(const std::vector<Extent>& extents, Rng& rng) {
  // A small file is as good a place as a large one.
  return extents[rng.below(extents.size())];
}

std::vector<FakeFs::Replaced> candidates(const FakeFs& fs, const std::vector<Extent>& extents) {
  std::vector<FakeFs::Replaced> found = fs.replaced();
  std::erase_if(found, [&](const FakeFs::Replaced& each) {
    return std::none_of(extents.begin(), extents.end(), [&](const Extent& extent) {
      return extent.path == each.path && extent.begin <= each.offset && each.offset + each.after.size() <= extent.end;
    });
  });
  return found;
}

void put_back(FakeFs& fs, const FakeFs::Replaced& old) {
  std::string bytes = old.before;
  bytes.resize(old.after.size());
  fs.overwrite(old.path, old.offset, bytes);
}

}  // namespace

std::vector<Extent> damageable(const FakeFs& fs) {
  const std::unique_ptr<FakeFs> disk = fs.clone();
  disk->crash(env::testing::CrashPolicy::drop_all());
  const auto from = unvouched(*disk);
  if (!from) return {};
  const std::vector<std::string> now = fs.files();
  std::vector<Extent> extents;
  for (const std::string& path : disk->files()) {
    if (std::find(now.begin(), now.end(), path) == now.end() || path.ends_with("/LOCK")) continue;
    uint64_t end = std::min({disk->contents(path).size(), fs.contents(path).size(), fs.durable_contents(path).size()});
    if (const auto limit = from->find(path); limit != from->end()) end = std::min(end, limit->second);
    if (end > 0) extents.push_back({.path = path, .begin = 0, .end = end});
  }
  return extents;
}

std::string rot(FakeFs& fs, Rng& rng) {
  const std::vector<Extent> extents = damageable(fs);
  if (extents.empty()) return {};
  std::string text;
  for (uint64_t times = rng.between(1, 3); times > 0; --times) {
    const Extent extent = pick(extents, rng);
    const uint64_t at = rng.between(extent.begin, extent.end - 1);
    if (rng.chance(0.6)) {
      fs.flip_bit(extent.path, 8 * at + rng.below(8));
      text += fmt::format(", a bit at {} of {}", at, extent.path);
      continue;
    }
    const uint64_t begin = at / FakeFs::kSectorBytes * FakeFs::kSectorBytes;
    std::string bytes(std::min(FakeFs::kSectorBytes, extent.end - begin), '\0');
    if (rng.chance(0.5)) {
      for (char& byte : bytes) byte = static_cast<char>(rng.next());
    }
    fs.overwrite(extent.path, begin, bytes);
    text += fmt::format(", a sector at {} of {}", begin, extent.path);
  }
  return text.substr(2);
}

std::string stale_sector(FakeFs& fs, Rng& rng) {
  const std::vector<FakeFs::Replaced> old = candidates(fs, damageable(fs));
  if (old.empty()) return {};
  const FakeFs::Replaced& one = old[rng.below(old.size())];
  put_back(fs, one);
  return fmt::format("the sector at {} of {} is that of earlier", one.offset, one.path);
}

std::string misdirected(FakeFs& fs, Rng& rng) {
  const std::vector<Extent> extents = damageable(fs);
  const std::vector<FakeFs::Replaced> old = candidates(fs, extents);
  if (old.empty()) return {};
  const FakeFs::Replaced& one = old[rng.below(old.size())];
  Extent extent = pick(extents, rng);
  if (rng.chance(0.5)) {
    for (const Extent& each : extents) {
      if (each.path == one.path) extent = each;
    }
  }
  const uint64_t begin = rng.between(extent.begin, extent.end - 1) / FakeFs::kSectorBytes * FakeFs::kSectorBytes;
  put_back(fs, one);
  fs.overwrite(extent.path, begin, std::string_view(one.after).substr(0, extent.end - begin));
  return fmt::format("the sector at {} of {} went to {} of {}", one.offset, one.path, begin, extent.path);
}

}  // namespace flux::sim
