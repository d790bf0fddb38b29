// One suite for both engines: a test fixture that makes an engine of the kind that the parameter names.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/memory/memory_engine.h"
#include "engine/rocksdb/rocks_store.h"
#include "engine/snapshot_file.h"
#include "env/testing/fake_fs.h"

namespace flux::engine::testing {

enum class Kind : uint8_t { kMemory, kRocks };

inline std::string kind_name(const ::testing::TestParamInfo<Kind>& info) {
  return info.param == Kind::kMemory ? "memory" : "rocksdb";
}

// A directory that is gone when the test is over.
class TemporaryDir {
 public:
  TemporaryDir() : path_(::testing::TempDir() + "/flux_engine_XXXXXX") { FLUX_CHECK(mkdtemp(path_.data()) != nullptr); }
  ~TemporaryDir() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Where engines of one kind come from.
class Engines {
 public:
  explicit Engines(Kind kind) : kind_(kind) {
    if (kind == Kind::kRocks) open_store();
  }
  std::unique_ptr<Engine> make(uint64_t group = 1) {
    if (kind_ == Kind::kMemory) return make_memory_engine({.hash_seed = group});
    return std::move(store_->engine(GroupId(group))).value();
  }
  void open_store() {
    store_.reset();
    store_ = std::move(RocksStore::open(
                           dir_.path() + "/db",
                           {.block_cache_bytes = 8_MiB, .write_buffers_bytes = 4_MiB, .write_buffer_bytes = 1_MiB}))
                 .value();
  }
  RocksStore& store() { return *store_; }
  const std::string& dir() const { return dir_.path(); }

 private:
  const Kind kind_;
  TemporaryDir dir_;
  std::unique_ptr<RocksStore> store_;
};

class EngineFixture : public ::testing::TestWithParam<Kind> {
 protected:
  EngineFixture() : engines(GetParam()), engine(engines.make()) {}

  void put(const std::string& key, const std::string& value, Family family = Family::kData) {
    Batch batch;
    batch.put(family, key, value);
    write(std::move(batch));
  }
  void erase(const std::string& key, Family family = Family::kData) {
    Batch batch;
    batch.erase(family, key);
    write(std::move(batch));
  }
  void erase_range(const std::string& low, const std::string& high, Family family = Family::kData) {
    Batch batch;
    batch.erase_range(family, low, high);
    write(std::move(batch));
  }
  void write(Batch&& batch) {
    const Status status = engine->write(std::move(batch));
    ASSERT_TRUE(status.ok()) << status.to_string();
  }
  std::string get(const std::string& key, Family family = Family::kData) {
    PinnedValue value;
    const Result<bool> found = engine->get(family, key, value);
    EXPECT_TRUE(found.ok());
    return found.value() ? std::string(value.view()) : "(none)";
  }
  // "a=1 b=2"
  static std::string text(Iterator& it) {
    std::string out;
    for (; it.valid(); it.next()) {
      if (!out.empty()) out += ' ';
      out.append(it.key()).append("=").append(it.value());
    }
    EXPECT_TRUE(it.status().ok());
    return out;
  }
  std::string list(const std::string& low = "", const std::string& high = "", Family family = Family::kData) {
    return text(*engine->iterate(family, low, high));
  }
  static std::string list(const Snapshot& snapshot, const std::string& low = "", const std::string& high = "",
                          Family family = Family::kData) {
    return text(*snapshot.iterate(family, low, high));
  }

  env::testing::FakeFs fs;
  Engines engines;
  std::unique_ptr<Engine> engine;
};

}  // namespace flux::engine::testing
