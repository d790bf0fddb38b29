// ThreadSanitizer does not see the locks inside RocksDB, which is not built with it: what RocksDB, or LZ4 for it,
// writes into a block looks unordered with another thread that reads it. Libraries are named, not functions: so no
// symbolizer is needed.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
extern "C" const char* __tsan_default_suppressions() {
  return "race:librocksdb\nrace:liblz4\ncalled_from_lib:librocksdb\ncalled_from_lib:liblz4\n";
}
#endif
#endif
