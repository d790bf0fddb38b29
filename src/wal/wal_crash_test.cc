// Goal: whatever happens in whatever moment, what was promised is there, and what is there is a state that once was:
// the log after a crash is the log as it stood after some prefix of all mutations, not shorter than what was durable.
#include <map>

#include "base/rng.h"
#include "wal/testing/wal_fixture.h"

namespace flux::wal::testing {
namespace {

// What a group's log should hold.
struct ModelGroup {
  HardState hard_state;
  EntryId base;
  std::map<uint64_t, std::pair<uint64_t, std::string>> entries;  // index -> term, data
  bool operator==(const ModelGroup&) const = default;

  uint64_t last() const { return entries.empty() ? base.index.value() : entries.rbegin()->first; }
  uint64_t last_term() const { return entries.empty() ? base.term.value() : entries.rbegin()->second.first; }
};
using Model = std::map<uint64_t, ModelGroup>;

class WalCrashTest : public WalFixture {
 protected:
  // States by mutation: history_[n] is the state after n mutations of this life.
  void begin_life() {
    history_ = {model_};
    base_ticket_ = wal->appended_through();
  }
  void mutated(uint64_t records) {
    for (uint64_t i = 0; i < records; ++i) history_.push_back(model_);
  }

  // One random mutation of model and log. False: the log refused it.
  bool mutate(Rng& rng) {
    const uint64_t group = rng.between(1, 4);
    ModelGroup& m = model_[group];
    const GroupId id(group);
    Status status;
    switch (rng.below(12)) {
      case 0:
        m.hard_state = {.term = Term(std::max(m.last_term(), m.hard_state.term.value()) + rng.below(2)),
                        .vote = NodeId(rng.below(4))};
        status = wal->set_hard_state(id, m.hard_state);
        mutated(1);
        break;
      case 1: {
        if (m.entries.empty()) return true;
        const uint64_t index = rng.between(m.base.index.value() + 1, m.last());
        m.base = {.index = Index(index), .term = Term(m.entries[index].first)};
        m.entries.erase(m.entries.begin(), m.entries.upper_bound(index));
        status = wal->compact(id, m.base);
        mutated(1);
        break;
      }
      case 2:
        if (!rng.chance(0.2)) return true;
        m.base = {.index = Index(m.last() + rng.below(10)), .term = Term(m.last_term() + 1)};
        m.entries.clear();
        status = wal->reset(id, m.base);
        mutated(1);
        break;
      case 3:
        if (!rng.chance(0.2)) return true;
        if (wal->has_group(id)) {
          status = wal->remove(id);
          model_.erase(group);
          mutated(1);
        } else {
          model_.erase(group);
        }
        break;
      default: {
        const uint64_t first = rng.chance(0.3) ? rng.between(m.base.index.value() + 1, m.last() + 1) : m.last() + 1;
        const uint64_t term = m.last_term() + rng.below(2);
        std::vector<std::string> data;
        for (uint64_t i = rng.between(1, 4); i > 0; --i) {
          const size_t size = rng.chance(0.1) ? rng.below(6000) : rng.below(40);
          data.push_back(std::string(size, static_cast<char>('a' + rng.below(26))));
        }
        status = wal->append(id, entries(first, term, data));
        m.entries.erase(m.entries.lower_bound(first), m.entries.end());
        for (size_t i = 0; i < data.size(); ++i) {
          m.entries[first + i] = {term, data[i]};
          mutated(1);  // a prefix may end within the append
        }
        break;
      }
    }
    return status.ok();
  }

  Model recovered() {
    Model out;
    for (const GroupId id : wal->groups()) {
      const GroupLogState now = wal->state(id);
      ModelGroup& group = out[id.value()];
      group = {.hard_state = now.hard_state, .base = now.base};
      const Status status = wal->for_each(id, [&](const Entry& entry) {
        group.entries[entry.index.value()] = {entry.term.value(), std::string(entry.data.view())};
        return Status();
      });
      EXPECT_TRUE(status.ok()) << status.to_string();
      EXPECT_EQ(now.last.index.value(), group.last());
      EXPECT_EQ(now.last.term.value(), group.last_term());
    }
    return out;
  }
  // Groups that hold nothing have no log.
  static Model pruned(const Model& model) {
    Model out;
    for (const auto& [id, group] : model) {
      if (group != ModelGroup()) out[id] = group;
    }
    return out;
  }

  // After a reopen: the log is one of the states from `durable` mutations on. The model goes on from there.
  void check_prefix(uint64_t durable, const std::string& story) {
    EXPECT_TRUE(wal->recovery().damaged.empty()) << story << ": " << wal->recovery().findings.front();
    const Model now = recovered();
    for (uint64_t n = durable; n < history_.size(); ++n) {
      if (pruned(history_[n]) == pruned(now)) {
        model_ = history_[n];
        return;
      }
    }
    ADD_FAILURE() << story << ": the log is no state from mutation " << durable << " to " << history_.size() - 1;
    model_ = now;
  }
  uint64_t durable() const { return wal->durable_through() - base_ticket_; }

  Model model_;
  std::vector<Model> history_;
  Ticket base_ticket_;
  uint64_t last_durable_ = 0;  // of the life before
};

// S15, F25, F26, F42: random histories on a small log, cut at a random operation, with random sector fates.
TEST_F(WalCrashTest, random_crashes) {
  const uint64_t seeds = std::getenv("FLUX_SEEDS") ? std::strtoull(std::getenv("FLUX_SEEDS"), nullptr, 10) : 400;
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    Rng rng(seed);
    fs.format();
    options = {.store_id = StoreId(7),
               .segment_bytes = rng.between(4, 12) * kPageBytes,
               .spare_segments = static_cast<uint32_t>(rng.below(3)),
               .spare_segments_max = static_cast<uint32_t>(rng.below(4)),
               .prefill = rng.chance(0.5)};
    model_.clear();
    for (int life = 0; life < 6; ++life) {
      const std::string story = fmt::format("seed {} life {}", seed, life);
      if (life > 0 && rng.chance(0.2)) {  // a crash while it recovers
        fs.stop_after(rng.between(1, 6));
        if (try_open().ok()) {
          check_prefix(last_durable_, story + " first open");
          history_ = {model_};  // what was shown must stay
          last_durable_ = 0;
        }
        wal.reset();
        rng.chance(0.3) ? fs.kill() : fs.crash(CrashPolicy::random(rng.next()));
      }
      const Status opened = try_open();
      ASSERT_TRUE(opened.ok()) << story << ": " << opened.to_string();
      if (life > 0) check_prefix(last_durable_, story);
      if (HasFailure()) return;
      begin_life();
      if (rng.chance(0.8)) fs.stop_after(rng.between(1, 60));
      for (uint64_t step = rng.between(1, 80); step > 0 && wal->status().ok(); --step) {
        const uint64_t what = rng.below(10);
        if (what < 6) {
          if (!mutate(rng)) break;
        } else if (what == 6) {
          wal->seal();
          static_cast<void>(wal->write().ok());
        } else if (what == 7) {
          if (!wal->maintain().ok()) break;
        } else {
          if (!wal->flush().ok()) break;
        }
      }
      if (rng.chance(0.1)) static_cast<void>(wal->close().ok());
      last_durable_ = durable();
      wal.reset();
      rng.chance(0.2) ? fs.kill() : fs.crash(CrashPolicy::random(rng.next()));
    }
    wal.reset();
  }
}

// S14: term and vote survive every rotation and every recycling of a segment.
TEST_F(WalCrashTest, S14_hardstate_rewrite) {
  options.segment_bytes = 8 * kPageBytes;
  open();
  for (uint64_t group = 1; group <= 5; ++group) vote(group, 10 + group, group);
  commit();
  for (uint64_t i = 1; i <= 60; ++i) {
    append(9, i, 1, {std::string(5000, 'x')}), commit();
    compact(9, i, 1), commit();
    maintain();
    if (i % 7 == 0) reopen();
    for (uint64_t group = 1; group <= 5; ++group) {
      ASSERT_EQ(hard_state(group), (HardState{Term(10 + group), NodeId(group)})) << i;
    }
  }
  reopen();
  EXPECT_GT(state(9).last.index, Index(50));
  EXPECT_FALSE(fs.exists(segment(1)).value());
  for (uint64_t group = 1; group <= 5; ++group) {
    EXPECT_EQ(hard_state(group), (HardState{Term(10 + group), NodeId(group)}));
  }
}

// S15, F04: the power goes at every single operation of rotating, freeing and recycling.
TEST_F(WalCrashTest, S15_segment_rotation_crash) {
  options.segment_bytes = 4 * kPageBytes;
  options.spare_segments = 1;
  for (const bool prefill : {false, true}) {
    options.prefill = prefill;
    for (uint64_t policy = 0; policy < 6; ++policy) {
      for (uint64_t stop = 1;; ++stop) {
        fs.format();
        model_.clear();
        open();
        begin_life();
        fs.stop_after(stop);
        Rng rng(stop);
        bool alive = true;
        const auto story = [&] {
          for (uint64_t i = 1; i <= 6; ++i) {
            ModelGroup& m = model_[1];
            if (!wal->append(GroupId(1), entries(i, 1, {std::string(3000, 'x')})).ok()) return false;
            m.entries[i] = {1, std::string(3000, 'x')};
            mutated(1);
            if (!wal->flush().ok()) return false;
            if (i % 2 == 1) continue;
            if (!wal->compact(GroupId(1), {.index = Index(i), .term = Term(1)}).ok()) return false;
            m.base = {.index = Index(i), .term = Term(1)};
            m.entries.clear();
            mutated(1);
            if (!wal->flush().ok() || !wal->maintain().ok()) return false;
          }
          return true;
        };
        alive = story();
        last_durable_ = durable();
        const bool over = alive && !fs.stopped();
        wal.reset();
        fs.crash(policy == 0   ? CrashPolicy::drop_all()
                 : policy == 1 ? CrashPolicy::keep_all()
                               : CrashPolicy::random(stop * 10 + policy));
        open();
        ASSERT_FALSE(HasFatalFailure()) << "stop at " << stop;
        check_prefix(last_durable_, fmt::format("stop at {} policy {}", stop, policy));
        ASSERT_FALSE(HasFailure());
        if (over) break;
        ASSERT_LT(stop, 500u);
      }
    }
  }
}

// S11, F37: the disk is full at every site that makes a segment. A definite error, nothing half written, and on it goes
// when there is space.
TEST_F(WalCrashTest, S11_enospc_every_write_site) {
  options.segment_bytes = 8 * kPageBytes;
  options.prefill = true;
  options.spare_segments = 1;
  for (uint64_t free = 0; free <= 3 * options.segment_bytes; free += 1000) {
    fs.format();
    fs.set_free_bytes(free);
    const Status opened = try_open();
    if (!opened.ok()) {
      ASSERT_EQ(opened.code(), ErrorCode::kNoSpace) << opened.to_string();
      fs.set_free_bytes(std::nullopt);
      open();
      fs.set_free_bytes(0);
    }
    std::string expected;
    uint64_t refused = 0;
    for (uint64_t i = 1; i <= 12; ++i) {
      append(1, i, 1, {std::string(6000, 'x')});
      expected += fmt::format("{}{}^1=x*6000", i == 1 ? "" : " ", i);
      Status status = wal->flush();
      if (!status.ok()) {
        refused += 1;
        ASSERT_EQ(status.code(), ErrorCode::kNoSpace) << status.to_string();
        ASSERT_LT(wal->durable_through(), wal->appended_through());
        ASSERT_TRUE(wal->status().ok()) << "not poisoned";
        EXPECT_EQ(log(1), expected) << "still to be read from memory";
        EXPECT_EQ(wal->maintain().code(), ErrorCode::kNoSpace);
        append(2, refused, 1, {"more"});
        EXPECT_EQ(wal->flush().code(), ErrorCode::kNoSpace);
        fs.set_free_bytes(std::nullopt);
        status = wal->flush();
        fs.set_free_bytes(0);
      }
      ASSERT_TRUE(status.ok()) << status.to_string();
      ASSERT_EQ(wal->durable_through(), wal->appended_through());
    }
    EXPECT_GT(refused, 0u);
    fs.set_free_bytes(std::nullopt);
    reopen();
    EXPECT_EQ(log(1), expected);
    EXPECT_EQ(state(2).last.index, Index(refused));
  }
}

}  // namespace
}  // namespace flux::wal::testing
