// RESP requests as hostile bytes: parsing must end, consume what it says, and point into its input.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "server/resp/glob.h"
#include "server/resp/parser.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using flux::server::resp::Parsed;
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  flux::server::resp::Parser parser({.arguments_max = 64, .bulk_bytes_max = 1024});
  size_t consumed = 0;
  while (!rest.empty() && parser.parse(rest, consumed) == Parsed::kRequest) {
    if (consumed == 0 || consumed > rest.size()) std::abort();
    if (parser.arguments().size() == 2) {
      (void)flux::server::resp::glob_match(parser.arguments()[0], parser.arguments()[1]);
    }
    rest.remove_prefix(consumed);
  }
  return 0;
}
