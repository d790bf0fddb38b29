// Any line is an operation or a clear error, and what is read comes back the same.
#include <cstdlib>

#include "history/operation.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto operation =
      flux::history::operation_from_json(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!operation.ok()) return 0;
  const std::string line = flux::history::to_json(*operation);
  const auto again = flux::history::operation_from_json(line);
  if (!again.ok() || flux::history::to_json(*again) != line) std::abort();
  return 0;
}
