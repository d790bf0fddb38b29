// The engine that keeps everything in memory.
#pragma once

#include <memory>

#include "engine/engine.h"

namespace flux::engine {

struct MemoryOptions {
  // Of the hash tables: random in production, so that nobody can choose keys that collide. Shows nowhere in the state.
  uint64_t hash_seed = 0;
};

std::unique_ptr<Engine> make_memory_engine(const MemoryOptions& options);

}  // namespace flux::engine
