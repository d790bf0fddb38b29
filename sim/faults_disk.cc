// What goes wrong with disks.
#include <fmt/core.h>

#include <algorithm>
#include <iterator>

#include "disk_damage.h"
#include "faults.h"

namespace flux::sim {

using env::testing::FakeFs;
using env::testing::FsOp;

namespace {

// The starts that an image knows of.
uint64_t boots_of(const FakeFs& image) {
  const std::vector<std::string> files = image.files();
  if (std::find(files.begin(), files.end(), "/data/identity") == files.end()) return 0;
  const Result<node::Identity> identity = node::decode_identity(image.contents("/data/identity"));
  return identity.ok() ? identity->boot : 0;
}

}  // namespace

// --- Operations that are late or fail --------------------------------------------------------------------------------

bool Faults::slow_disk(size_t victim, Rng& rng) {
  const auto factor = static_cast<int64_t>(rng.between(5, 200));
  world_.say("disk of n{} is {} times slower", victim + 1, factor);
  cluster_.slow_disk(victim, factor);
  after(draw_micros(rng, 100'000, 3'000'000), [this, victim] { cluster_.slow_disk(victim, 1); });
  return true;
}

bool Faults::sync_fails(size_t victim, Rng& rng) {
  if (cluster_.may_fail(victim)) return false;
  world_.say("a sync will fail at n{}", victim + 1);
  cluster_.expect_failure(victim);
  cluster_.fs(victim).fail_once(rng.chance(0.8) ? FsOp::kSync : FsOp::kWrite, rng.between(1, 5), ErrorCode::kIo);
  supervise(victim, rng);
  return true;
}

bool Faults::disk_full(size_t victim, Rng& rng) {
  if (cluster_.may_fail(victim)) return false;
  const uint64_t left = rng.chance(0.5) ? 0 : rng.below(100'000);
  world_.say("disk of n{} has {} bytes left", victim + 1, left);
  cluster_.expect_failure(victim);
  cluster_.fs(victim).set_free_bytes(left);
  after(draw_micros(rng, 100'000, 5'000'000), [this, victim] {
    world_.say("disk of n{} has space again", victim + 1);
    cluster_.fs(victim).set_free_bytes(std::nullopt);
    cluster_.start(victim);
    // What failed until now may be heard of a little later.
    forgive_when_heard(victim, cluster_.disk_done_at(victim));
  });
  return true;
}

bool Faults::write_error(size_t victim, Rng& rng) {
  constexpr FsOp kChanges[] = {FsOp::kWrite,    FsOp::kWrite,  FsOp::kWrite,   FsOp::kCreate,
                               FsOp::kTruncate, FsOp::kRename, FsOp::kSyncDir, FsOp::kRemove};
  if (cluster_.may_fail(victim)) return false;
  cluster_.expect_failure(victim);
  const FsOp op = kChanges[rng.below(std::size(kChanges))];
  world_.say("a change of files (kind {}) will fail at n{}", static_cast<int>(op), victim + 1);
  cluster_.fs(victim).fail_once(op, rng.between(1, 5), ErrorCode::kIo);
  supervise(victim, rng);
  return true;
}

bool Faults::read_error(size_t victim, Rng& rng) {
  if (cluster_.may_fail(victim)) return false;
  cluster_.expect_failure(victim);
  world_.say("a read will fail at n{}", victim + 1);
  // A start reads more than anything else does.
  const bool starts = rng.chance(0.6);
  if (starts) cluster_.kill(victim);
  cluster_.fs(victim).fail_once(FsOp::kRead, rng.between(1, starts ? 40 : 4), ErrorCode::kIo);
  if (starts) cluster_.start(victim);
  supervise(victim, rng);
  return true;
}

// What failed until now is heard of when the disk has done what it was asked for, and the process is awake.
void Faults::forgive_when_heard(size_t victim, MonoTime disk_done) {
  const MonoTime heard = std::max(disk_done, world_.paused_until(Cluster::host_id(victim))) + Millis(1);
  after(heard - world_.now(), [this, victim, disk_done] {
    if (world_.paused_until(Cluster::host_id(victim)) > world_.now()) return forgive_when_heard(victim, disk_done);
    cluster_.forgive(victim);
  });
}

// Whoever supervises the process starts it again.
void Faults::supervise(size_t victim, Rng& rng) {
  after(draw_micros(rng, 200'000, 2'000'000), [this, victim] {
    cluster_.fs(victim).set_fault(nullptr);
    if (cluster_.up(victim)) cluster_.kill(victim);
    cluster_.forgive(victim);
    cluster_.start(victim);
  });
}

// --- Data at rest ----------------------------------------------------------------------------------------------------

bool Faults::damage(FaultKind kind, size_t victim, Rng& rng) {
  if (cluster_.may_fail(victim) || !operator_.can_lose(victim, false)) return false;
  FakeFs& fs = cluster_.fs(victim);
  const std::string done = kind == FaultKind::kRot           ? rot(fs, rng)
                           : kind == FaultKind::kStaleSector ? stale_sector(fs, rng)
                                                             : misdirected(fs, rng);
  if (done.empty()) return false;
  world_.say("disk of n{}: {}", victim + 1, done);
  operator_.replace(victim);
  // A start is what finds most of it.
  if (rng.chance(0.7)) {
    after(draw_micros(rng, 0, 3'000'000), [this, victim, lights_out = rng.chance(0.5), policy = draw_policy(rng)] {
      if (cluster_.retired(victim)) return;
      lights_out ? cluster_.power_cut(victim, policy) : cluster_.kill(victim);
      cluster_.start(victim);
    });
  }
  return true;
}

bool Faults::wipe(size_t victim, Rng& rng) {
  if (cluster_.may_fail(victim) || !operator_.can_lose(victim, true)) return false;
  world_.say("n{} loses its disk and gets an empty one", victim + 1);
  operator_.replace(victim);
  cluster_.power_cut(victim, draw_policy(rng));
  cluster_.fs(victim).format();
  restart_later(victim, rng);
  return true;
}

bool Faults::rollback(size_t victim, Rng& rng) {
  if (cluster_.may_fail(victim) || !operator_.can_lose(victim, true)) return false;
  // From before this start: within one start nobody can tell.
  const uint64_t boot = cluster_.node(victim).identity().boot;
  std::vector<const FakeFs*> images;
  for (const auto& image : cluster_.images(victim)) {
    if (boots_of(*image) < boot) images.push_back(image.get());
  }
  if (images.empty()) return false;
  const FakeFs& image = *images[rng.below(images.size())];
  world_.say("n{} comes back with its disk as of start {}, this was {}", victim + 1, boots_of(image), boot);
  operator_.replace(victim);
  cluster_.power_cut(victim, draw_policy(rng));
  cluster_.set_disk(victim, image.clone());
  restart_later(victim, rng);
  return true;
}

// Somebody puts two disks back into each other's machines. Nothing is lost, as long as neither of them runs.
bool Faults::swap_disks(size_t one, size_t other, Rng& rng) {
  const auto unfit = [&](size_t i) {
    return cluster_.may_fail(i) || cluster_.damaged(i) ||
           std::any_of(swapped_.begin(), swapped_.end(), [i](const auto& s) { return s.first == i || s.second == i; });
  };
  if (one == other || unfit(one) || unfit(other)) return false;
  world_.say("n{} and n{} get each other's disks", one + 1, other + 1);
  for (const size_t each : {one, other}) {
    cluster_.expect_failure(each);
    cluster_.power_cut(each, draw_policy(rng));
  }
  cluster_.swap_disks(one, other);
  swapped_.emplace_back(one, other);
  for (const size_t each : {one, other}) cluster_.start(each);
  after(draw_micros(rng, 10'000, 3'000'000), [this] { swap_back(); });
  return true;
}

// The pair that was swapped first.
void Faults::swap_back() {
  if (swapped_.empty()) return;
  const auto [one, other] = swapped_.front();
  swapped_.erase(swapped_.begin());
  for (const size_t each : {one, other}) {
    if (cluster_.up(each)) cluster_.report(fmt::format("n{} runs on the disk of another", each + 1));
    cluster_.kill(each);
  }
  world_.say("n{} and n{} have their own disks again", one + 1, other + 1);
  cluster_.swap_disks(one, other);
  for (const size_t each : {one, other}) {
    cluster_.forgive(each);
    cluster_.start(each);
  }
}

}  // namespace flux::sim
