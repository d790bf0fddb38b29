// RocksDB's views of bytes and the standard library's.
#pragma once

#include <rocksdb/slice.h>

#include <string_view>

namespace flux::engine {

inline rocksdb::Slice slice(std::string_view bytes) { return {bytes.data(), bytes.size()}; }
inline std::string_view view(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

}  // namespace flux::engine
