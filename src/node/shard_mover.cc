#include "node/shard_mover.h"

#include <algorithm>

#include "base/log.h"
#include "base/probe.h"
#include "node/router.h"
#include "node/steward.h"
#include "node/worker.h"

namespace flux::node {
namespace {

// A copy rests so many times as long as its last piece took: it gets a fifth of what there is, and the slower
// everything becomes, the more it holds back.
constexpr int64_t kRests = 4;
constexpr Micros kRestMost = Millis(1'000);
// How often a copy that is as far as its giver looks for more, while the hand-over is awaited.
constexpr Micros kFollow = Millis(20);
// Pause after a giver that could not be reached, or is not as far yet. It becomes longer, but not while clients wait
// for a giver that is just being handed the same configuration.
constexpr Micros kRetry = Millis(4);
constexpr Micros kRetryMost = Millis(500);
constexpr uint32_t kQuickRetries = 16;
constexpr Micros kReportEvery = Millis(500);

}  // namespace

ShardMover::ShardMover(Steward& steward) : steward_(steward) {}
ShardMover::~ShardMover() { *alive_ = false; }

void ShardMover::rest() {
  if (jobs_.empty()) return;
  jobs_.clear();
  ++leadership_;
}

ShardMover::Job* ShardMover::free_job(ShardId shard) {
  Job& job = jobs_[shard];
  // Whoever was asked is alive, or the call would have ended with its connection, but does not answer.
  if (job.busy && steward_.worker().loop().now() >= job.call_until) {
    FLUX_PROBE("a call about a moving shard is not answered in time");
    job.busy = false;
    job.call_until = MonoTime::infinite();
  }
  return job.busy || steward_.worker().loop().now() < job.not_before ? nullptr : &job;
}

uint64_t ShardMover::begin_call(Job& job) {
  job.busy = true;
  job.call = ++calls_;
  job.asked = steward_.worker().loop().now();
  job.call_until = job.asked + steward_.worker().options().request_timeout;
  return job.call;
}

bool ShardMover::end_call(ShardId shard, uint64_t call) {
  const auto job = jobs_.find(shard);
  if (job == jobs_.end() || job->second.call != call || !job->second.busy) return false;
  job->second.call_until = MonoTime::infinite();
  job->second.busy = false;
  return true;
}

Micros ShardMover::pause_after_failure(Job& job) {
  const uint32_t quick = job.num == ConfigNum(0) ? 0 : kQuickRetries;
  const uint32_t failures = job.failures++;
  const uint32_t doublings = failures < quick ? 0 : std::min(failures - quick, 8u);
  return std::min(Micros(kRetry.count() << doublings), kRetryMost);
}

void ShardMover::again_after(ShardId shard, Micros pause) {
  env::Loop& loop = steward_.worker().loop();
  jobs_[shard].not_before = loop.now() + pause;
  loop.call_after(pause, [this, alive = alive_] {
    if (*alive && steward_.leads()) look();
  });
}

const ctrl::CopyShard* ShardMover::copy_action(ShardId shard) const {
  for (const ctrl::Action& action : steward_.worker().chart()->actions) {
    const auto* copy = std::get_if<ctrl::CopyShard>(&action);
    if (copy != nullptr && copy->move.shard == shard && copy->move.to == steward_.group().id()) return copy;
  }
  return nullptr;
}

void ShardMover::look() {
  const GroupId self = steward_.group().id();
  const ChartPtr chart = steward_.worker().chart();
  const auto table = steward_.group().state_machine().shards();
  const std::vector<kv::ShardInfo> shards(table.begin(), table.end());
  for (const kv::ShardInfo& shard : shards) receive(shard);
  for (const ctrl::Action& action : chart->actions) {
    const auto* copy = std::get_if<ctrl::CopyShard>(&action);
    if (copy == nullptr || copy->move.to != self) continue;
    const bool staged = std::any_of(shards.begin(), shards.end(),
                                    [&](const kv::ShardInfo& shard) { return shard.shard == copy->move.shard; });
    if (!staged) stage(*copy);
  }
  std::erase_if(jobs_, [&](const auto& job) {
    const bool known =
        std::any_of(shards.begin(), shards.end(), [&](const kv::ShardInfo& shard) { return shard.shard == job.first; });
    return !known && !job.second.busy && copy_action(job.first) == nullptr;
  });
}

void ShardMover::receive(const kv::ShardInfo& shard) {
  switch (shard.state) {
    case kv::ShardState::kServing:
      return keep_feed(shard);
    case kv::ShardState::kPulling:
      return pull(shard, shard.since);
    case kv::ShardState::kGcing:
      return release(shard);
    case kv::ShardState::kStaged: {
      const ctrl::CopyShard* action = copy_action(shard.shard);
      if (action != nullptr && action->plan.value() == shard.plan && action->step == shard.step) {
        return pull(shard, ConfigNum(0));
      }
      // The step may be paused, or handed over in a configuration that is yet to be applied here: then it is kept.
      const Chart::Found open = steward_.worker().chart()->open_step([&](const ctrl::Step& step) {
        const auto* move = std::get_if<ctrl::MoveShard>(&step.task);
        return move != nullptr && move->shard == shard.shard && move->to == steward_.group().id();
      });
      if (open.plan != nullptr && open.plan->id.value() == shard.plan) return;
      return propose(shard.shard, kv::EndStaging{.shard = shard.shard, .plan = shard.plan, .step = shard.step},
                     kRetryMost);
    }
    case kv::ShardState::kErasing:
      return propose(shard.shard,
                     kv::EraseSome{.shard = shard.shard, .keys_max = steward_.worker().options().shard_erase_keys},
                     kRetryMost);
    case kv::ShardState::kBePulling:
      return;
  }
}

// The giver keeps a feed for as long as somebody copies from it.
void ShardMover::keep_feed(const kv::ShardInfo& shard) {
  const GroupId self = steward_.group().id();
  for (const ctrl::Action& action : steward_.worker().chart()->actions) {
    const auto* copy = std::get_if<ctrl::CopyShard>(&action);
    if (copy == nullptr || copy->move.shard != shard.shard || copy->move.from != self) continue;
    if (shard.feed && shard.feed_plan == copy->plan.value() && shard.feed_step == copy->step) return;
    return propose(shard.shard, kv::BeginFeed{.shard = shard.shard, .plan = copy->plan.value(), .step = copy->step},
                   kRetry);
  }
  if (!shard.feed) return;
  const Chart::Found open = steward_.worker().chart()->open_step([&](const ctrl::Step& step) {
    const auto* move = std::get_if<ctrl::MoveShard>(&step.task);
    return move != nullptr && move->shard == shard.shard && move->from == self;
  });
  if (open.step != nullptr) return;  // paused, or about to be handed over
  propose(shard.shard, kv::EndFeed{.shard = shard.shard, .plan = shard.feed_plan, .step = shard.feed_step}, kRetryMost);
}

void ShardMover::stage(const ctrl::CopyShard& action) {
  Job* job = free_job(action.move.shard);
  if (job == nullptr) return;
  const ctrl::Config::Place place = steward_.worker().chart()->config->place(action.move.shard);
  if (place.shard == nullptr) return;
  const auto at = static_cast<size_t>(place.shard - place.keyspace->shards.data());
  api::KeyRange range = place.keyspace->encoded_range(at);
  *job = {};
  propose(action.move.shard,
          kv::BeginStaging{.shard = action.move.shard,
                           .start = std::move(range.start),
                           .end = std::move(range.end),
                           .from = action.move.from,
                           .plan = action.plan.value(),
                           .step = action.step},
          Millis(50));
  report(action.move.shard, action.plan, action.step, true);
}

void ShardMover::propose(ShardId shard, const kv::ShardCommand& command, Micros pause_if_refused) {
  Job* job = free_job(shard);
  if (job == nullptr) return;
  job->busy = true;
  steward_.propose(command, [this, shard, pause_if_refused, led = leadership_](const Status& status, bool) {
    if (led != leadership_) return;
    jobs_[shard].busy = false;
    if (!status.ok()) {
      log::debug("group {}: shard {}: {}", steward_.group().id(), shard, status.to_string());
      return again_after(shard, pause_if_refused);
    }
    if (steward_.leads()) look();
  });
}

// --- Copying ---------------------------------------------------------------------------------------------------------

void ShardMover::pull(const kv::ShardInfo& shard, ConfigNum num) {
  if (Job& known = jobs_[shard.shard]; known.num != num) {
    // Handed over: what it waited for has come.
    known.num = num;
    known.not_before = {};
    known.failures = 0;
  }
  Job* job = free_job(shard.shard);
  if (job == nullptr) return;
  // What changes meanwhile is not held up: else a copy would never be as far as a giver that has much to do.
  const Micros held_up = steward_.worker().copies_from() - steward_.worker().loop().now();
  if (num == ConfigNum(0) && !shard.cursor.copied_all && held_up > Micros(0)) {
    return again_after(shard.shard, held_up);
  }
  const uint64_t call = begin_call(*job);
  const kv::ExportRequest request{.shard = shard.shard,
                                  .num = num,
                                  .plan = shard.plan,
                                  .step = shard.step,
                                  .from = shard.cursor,
                                  .bytes_max = steward_.worker().options().shard_chunk_bytes};
  steward_.worker().router().pull(shard.peer, request,
                                  [this, alive = alive_, led = leadership_, call, id = shard.shard, plan = shard.plan,
                                   step = shard.step](Result<kv::ShardChunk> chunk) {
                                    if (!*alive || led != leadership_ || !end_call(id, call)) return;
                                    Job& at = jobs_[id];
                                    if (!chunk.ok()) {
                                      log::debug("group {}: shard {}: {}", steward_.group().id(), id,
                                                 chunk.status().to_string());
                                      return again_after(id, pause_after_failure(at));
                                    }
                                    at.failures = 0;
                                    const bool nothing_new = chunk->from == chunk->next && !chunk->start_over;
                                    if (nothing_new && !chunk->frozen()) {
                                      if (chunk->caught_up) {
                                        const bool first = !std::exchange(at.ready, true);
                                        report(id, ctrl::PlanId(plan), step, first);
                                      }
                                      return again_after(id, kFollow);
                                    }
                                    at.busy = true;
                                    import(id, plan, step, std::move(*chunk));
                                  });
}

void ShardMover::import(ShardId shard, uint64_t plan, uint32_t step, kv::ShardChunk chunk) {
  auto kept =
      std::make_shared<kv::Import>(kv::Import{.shard = shard, .plan = plan, .step = step, .chunk = std::move(chunk)});
  steward_.propose(*kept, [this, kept, shard, led = leadership_](const Status& status, bool applied) {
    if (led == leadership_) imported(shard, status, kept->chunk, applied);
  });
}

void ShardMover::imported(ShardId shard, const Status& status, const kv::ShardChunk& chunk, bool applied) {
  Job& job = jobs_[shard];
  job.busy = false;
  if (!status.ok()) {
    log::debug("group {}: shard {}: {}", steward_.group().id(), shard, status.to_string());
    return again_after(shard, kRetryMost);
  }
  if (applied) {
    uint64_t bytes = 0;
    for (const kv::ChunkItem& item : chunk.items) bytes += item.key.size() + (item.record ? item.record->size() : 0);
    job.keys += chunk.items.size();
    job.bytes += bytes;
    if (!chunk.frozen()) steward_.worker().count_copied(bytes);
  }
  if (const ctrl::CopyShard* action = copy_action(shard); action != nullptr) {
    const bool first = chunk.caught_up && !std::exchange(job.ready, true);
    report(shard, action->plan, action->step, first);
    if (chunk.caught_up) return again_after(shard, kFollow);
  }
  const bool may_rest = steward_.worker().options().move_bytes_per_second != 0;
  if (may_rest && !chunk.frozen() && !chunk.next.copied_all && !chunk.start_over) {
    return again_after(shard, std::min((steward_.worker().loop().now() - job.asked) * kRests, kRestMost));
  }
  if (steward_.leads()) look();
}

// `now`: the phase has changed.
void ShardMover::report(ShardId shard, ctrl::PlanId plan, uint32_t step, bool now) {
  Job& job = jobs_[shard];
  const MonoTime clock = steward_.worker().loop().now();
  const Chart& chart = *steward_.worker().chart();
  const auto found = chart.plans.find(plan);
  if (found == chart.plans.end() || step >= found->second.steps.size()) return;
  const ctrl::StepPhase known = found->second.steps[step].phase;
  const ctrl::StepPhase phase = job.ready ? ctrl::StepPhase::kReady : ctrl::StepPhase::kCopying;
  if (known == ctrl::StepPhase::kSettling) return;
  if (!now && known == phase && (clock < job.report_after || job.keys == job.keys_reported)) return;
  job.report_after = clock + kReportEvery;
  job.keys_reported = job.keys;
  steward_.tell(
      ctrl::ReportProgress{.plan = plan,
                           .step = step,
                           .phase = phase,
                           .bytes_done = job.bytes,
                           .bytes_total = job.ready ? job.bytes : 0,  // how much is left, only the giver knows
                           .keys_done = job.keys,
                           .reason = {}});
}

// --- After the hand-over ---

void ShardMover::release(const kv::ShardInfo& shard) {
  Job* job = free_job(shard.shard);
  if (job == nullptr) return;
  const uint64_t call = begin_call(*job);
  steward_.worker().router().release(
      shard.peer, shard.shard, shard.since,
      [this, alive = alive_, led = leadership_, call, id = shard.shard, num = shard.since](const Status& status) {
        if (!*alive || led != leadership_ || !end_call(id, call)) return;
        Job& at = jobs_[id];
        if (!status.ok()) {
          log::debug("group {}: shard {} is not released: {}", steward_.group().id(), id, status.to_string());
          return again_after(id, pause_after_failure(at));
        }
        at.failures = 0;
        propose(id, kv::Confirm{.shard = id, .num = num}, kRetry);
      });
}

}  // namespace flux::node
