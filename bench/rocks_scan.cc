// A RocksDB with nothing around it: fills it with the keys that `bench/scan.py` gives FluxKV, then walks a prefix and
// copies what it finds, once for each line on standard input. Prints a line of JSON for each walk.
//
//   rocks_scan DIR KEYS VALUE-BYTES PREFIX
#include <fmt/core.h>
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/slice_transform.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include <chrono>
#include <cstdlib>
#include <ctime>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <string_view>

namespace {

void check(const rocksdb::Status& status) {
  if (status.ok()) return;
  fmt::print(stderr, "rocks_scan: {}\n", status.ToString());
  std::exit(1);
}

// As the store of FluxKV sets them.
std::unique_ptr<rocksdb::DB> open(const std::string& dir) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(256 << 20);
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.block_size = 16 << 10;
  table.format_version = 5;
  rocksdb::Options options;
  options.create_if_missing = true;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  rocksdb::DB* db = nullptr;
  check(rocksdb::DB::Open(options, dir, &db));
  return std::unique_ptr<rocksdb::DB>(db);
}

void fill(rocksdb::DB& db, uint64_t keys, size_t value_bytes) {
  rocksdb::WriteOptions options;
  options.disableWAL = true;
  std::mt19937_64 random(1);
  std::string value(value_bytes, '\0');
  rocksdb::WriteBatch batch;
  for (uint64_t i = 0; i < keys; ++i) {
    for (char& byte : value) byte = static_cast<char>(random());
    check(batch.Put(fmt::format("key:{:012}", i), value));
    if (i % 1000 != 999) continue;
    check(db.Write(options, &batch));
    batch.Clear();
  }
  check(db.Write(options, &batch));
  check(db.Flush({}));
}

void walk(rocksdb::DB& db, std::string_view prefix) {
  const auto begun = std::chrono::steady_clock::now();
  const std::clock_t cpu = std::clock();
  std::string copied;
  uint64_t keys = 0;
  const std::unique_ptr<rocksdb::Iterator> it(db.NewIterator({}));
  for (it->Seek({prefix.data(), prefix.size()}); it->Valid() && it->key().starts_with({prefix.data(), prefix.size()});
       it->Next()) {
    // What a scan hands out, a page at a time.
    if (keys % 10'000 == 0) copied.clear();
    copied.append(it->key().data(), it->key().size());
    copied.append(it->value().data(), it->value().size());
    ++keys;
  }
  check(it->status());
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  fmt::print("{{\"keys\": {}, \"seconds\": {}, \"cpu_seconds\": {}}}\n", keys, seconds,
             static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    fmt::print(stderr, "usage: rocks_scan DIR KEYS VALUE-BYTES PREFIX\n");
    return 2;
  }
  const std::unique_ptr<rocksdb::DB> db = open(argv[1]);
  fill(*db, std::strtoull(argv[2], nullptr, 10), std::strtoull(argv[3], nullptr, 10));
  fmt::print("ready\n");
  std::fflush(stdout);
  for (std::string line; std::getline(std::cin, line);) walk(*db, argv[4]);
  return 0;
}
