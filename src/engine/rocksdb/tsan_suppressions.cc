// ThreadSanitizer does not see the locks inside RocksDB, which is not built with it.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
extern "C" const char* __tsan_default_suppressions() {
  return "race:librocksdb\nrace:LZ4_decompress\ncalled_from_lib:librocksdb\n";
}
#endif
#endif
