#include "base/probe.h"

// Made by the linker; weak, for a program without probes has no such section.
extern "C" {
__attribute__((weak)) extern flux::Probe __start_flux_probes[];  // NOLINT(bugprone-reserved-identifier)
__attribute__((weak)) extern flux::Probe __stop_flux_probes[];   // NOLINT(bugprone-reserved-identifier)
}

namespace flux {

std::span<Probe> probes() { return {__start_flux_probes, __stop_flux_probes}; }

}  // namespace flux
