// Marks of rare branches, so that a test campaign can tell whether it ever went there: a fault that never leads to its
// branch tests nothing.
//
//   FLUX_PROBE("a conflict cuts the log");
//
// The text names what happened, once in the program. Costs one relaxed increment; for rare branches only. In .cc files,
// outside of templates and inline functions.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

namespace flux {

// Aligned so that probes of several files stand in the section without gaps.
struct alignas(32) Probe {
  const char* what;
  const char* file;
  std::atomic<uint64_t> hits;
};

// All probes that were linked into this program, in an order that is the same in every run of it.
std::span<Probe> probes();

}  // namespace flux

// The linker gathers the probes of all files in one section.
#define FLUX_PROBE(text)                                                                                         \
  do {                                                                                                           \
    __attribute__((section("flux_probes"), used)) static constinit ::flux::Probe flux_probe{text, __FILE__, {}}; \
    flux_probe.hits.fetch_add(1, std::memory_order_relaxed);                                                     \
  } while (false)
