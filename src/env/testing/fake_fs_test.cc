// Goal: the fake disk is as treacherous as a real one, and no more than it says.
#include "env/testing/fake_fs.h"

#include <gtest/gtest.h>

namespace flux::env::testing {
namespace {

constexpr uint64_t kSector = FakeFs::kSectorBytes;

class FakeFsTest : public ::testing::Test {
 protected:
  FakeFsTest() { EXPECT_TRUE(fs.create_dirs("d").ok()); }

  std::unique_ptr<File> create(const std::string& path) { return std::move(fs.open(path, OpenMode::kCreate)).value(); }
  // A file whose bytes and name are durable.
  std::unique_ptr<File> durable(const std::string& path, const std::string& bytes) {
    std::unique_ptr<File> file = create(path);
    EXPECT_TRUE(file->write_at(0, bytes).ok());
    EXPECT_TRUE(file->sync().ok());
    EXPECT_TRUE(fs.sync_dir("d").ok());
    return file;
  }
  bool exists(const std::string& path) { return fs.exists(path).value(); }

  FakeFs fs;
};

TEST_F(FakeFsTest, what_was_synced_survives_and_the_rest_need_not) {
  std::unique_ptr<File> file = durable("d/f", std::string(2 * kSector, 'a'));
  ASSERT_TRUE(file->write_at(0, std::string(kSector, 'b')).ok());
  EXPECT_EQ(file->read_at(0, 1).value(), "b");
  fs.crash(CrashPolicy::drop_all());
  EXPECT_EQ(fs.contents("d/f"), std::string(2 * kSector, 'a'));
}

TEST_F(FakeFsTest, a_name_needs_a_sync_of_its_directory) {
  std::unique_ptr<File> file = create("d/f");
  ASSERT_TRUE(file->write_at(0, "x").ok());
  ASSERT_TRUE(file->sync().ok());
  fs.crash(CrashPolicy::drop_all());
  EXPECT_FALSE(exists("d/f"));
}

TEST_F(FakeFsTest, an_unsynced_rename_leaves_the_old_name) {
  durable("d/old", "x");
  ASSERT_TRUE(fs.rename("d/old", "d/new").ok());
  fs.crash(CrashPolicy::drop_all());
  EXPECT_TRUE(exists("d/old"));
  EXPECT_FALSE(exists("d/new"));
}

TEST_F(FakeFsTest, sectors_of_one_write_meet_their_fates_alone) {
  std::unique_ptr<File> file = durable("d/f", std::string(64 * kSector, 'a'));
  ASSERT_TRUE(file->write_at(0, std::string(64 * kSector, 'b')).ok());
  fs.crash({.seed = 7, .sector_kept = 0.5});
  const std::string bytes = fs.contents("d/f");
  size_t kept = 0;
  for (size_t sector = 0; sector < 64; ++sector) {
    const std::string one = bytes.substr(sector * kSector, kSector);
    EXPECT_TRUE(one == std::string(kSector, 'a') || one == std::string(kSector, 'b'));
    kept += one[0] == 'b';
  }
  EXPECT_GT(kept, 10u);
  EXPECT_LT(kept, 54u);
}

TEST_F(FakeFsTest, same_seed_same_crash) {
  const auto after_crash = [](uint64_t seed) {
    FakeFs other;
    EXPECT_TRUE(other.create_dirs("d").ok());
    std::unique_ptr<File> file = std::move(other.open("d/f", OpenMode::kCreate)).value();
    EXPECT_TRUE(file->write_at(0, std::string(20 * kSector, 'a')).ok() && file->sync().ok() &&
                other.sync_dir("d").ok());
    EXPECT_TRUE(file->write_at(0, std::string(20 * kSector, 'b')).ok());
    other.crash({.seed = seed, .sector_kept = 0.4, .sector_zeroed = 0.2, .sector_garbage = 0.2});
    return other.contents("d/f");
  };
  EXPECT_EQ(after_crash(1), after_crash(1));
  EXPECT_NE(after_crash(1), after_crash(2));
}

TEST_F(FakeFsTest, after_a_failed_sync_the_cache_lies_and_the_next_sync_succeeds) {
  std::unique_ptr<File> file = durable("d/f", std::string(64 * kSector, 'a'));
  ASSERT_TRUE(file->write_at(0, std::string(64 * kSector, 'b')).ok());
  fs.fail_once(FsOp::kSync, 1, ErrorCode::kIo);
  EXPECT_EQ(file->sync().code(), ErrorCode::kIo);
  EXPECT_TRUE(file->sync().ok());
  EXPECT_EQ(fs.contents("d/f"), std::string(64 * kSector, 'b'));
  EXPECT_NE(fs.durable_contents("d/f"), std::string(64 * kSector, 'b'));
  ASSERT_TRUE(file->drop_cache().ok());
  EXPECT_EQ(fs.contents("d/f"), fs.durable_contents("d/f"));
}

TEST_F(FakeFsTest, a_full_disk_takes_what_fits) {
  std::unique_ptr<File> file = create("d/f");
  fs.set_free_bytes(100);
  EXPECT_EQ(file->write_at(0, std::string(150, 'x')).code(), ErrorCode::kNoSpace);
  EXPECT_EQ(file->size().value(), 100u);
  EXPECT_TRUE(file->write_at(0, std::string(100, 'y')).ok());  // no growth, no need
  fs.set_free_bytes(50);
  EXPECT_TRUE(file->write_at(100, std::string(50, 'z')).ok());
}

TEST_F(FakeFsTest, after_the_stop_nothing_happens_any_more) {
  std::unique_ptr<File> file = durable("d/f", std::string(kSector, 'a'));
  fs.stop_after(2);
  EXPECT_TRUE(file->write_at(0, std::string(kSector, 'b')).ok());
  EXPECT_FALSE(file->sync().ok());
  EXPECT_FALSE(file->sync().ok());
  EXPECT_FALSE(fs.rename("d/f", "d/g").ok());
  fs.crash(CrashPolicy::drop_all());
  EXPECT_EQ(fs.contents("d/f"), std::string(kSector, 'a'));
  EXPECT_FALSE(file->sync().ok()) << "a file of the dead process";
}

TEST_F(FakeFsTest, what_a_sync_replaced_is_remembered) {
  std::unique_ptr<File> file = durable("d/f", std::string(2 * kSector, 'a'));
  fs.keep_replaced(2);
  ASSERT_TRUE(file->write_at(kSector, std::string(2 * kSector, 'b')).ok());
  EXPECT_TRUE(fs.replaced().empty()) << "not synced yet";
  ASSERT_TRUE(file->sync().ok());
  ASSERT_TRUE(fs.rename("d/f", "d/g").ok());
  ASSERT_EQ(fs.replaced().size(), 2u);
  EXPECT_EQ(fs.replaced()[0].path, "d/g");
  EXPECT_EQ(fs.replaced()[0].offset, kSector);
  EXPECT_EQ(fs.replaced()[0].before, std::string(kSector, 'a'));
  EXPECT_EQ(fs.replaced()[0].after, std::string(kSector, 'b'));
  EXPECT_EQ(fs.replaced()[1].before, "") << "the file was shorter";
  fs.overwrite("d/g", kSector, "x");
  EXPECT_EQ(fs.replaced().size(), 1u);
  EXPECT_EQ(fs.files(), std::vector<std::string>{"d/g"});
}

TEST_F(FakeFsTest, a_killed_process_leaves_the_page_cache) {
  std::unique_ptr<File> file = create("d/f");
  ASSERT_TRUE(file->write_at(0, "x").ok());
  const std::unique_ptr<DirLock> lock = std::move(fs.lock_dir("d")).value();
  EXPECT_EQ(fs.lock_dir("d").status().code(), ErrorCode::kPrecondition);
  fs.kill();
  EXPECT_EQ(fs.contents("d/f"), "x");
  EXPECT_TRUE(fs.lock_dir("d").ok());
}

}  // namespace
}  // namespace flux::env::testing
