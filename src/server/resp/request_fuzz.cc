// RESP requests as hostile bytes: parsing ends, consumes what it says, and finds the same requests however their bytes
// arrive.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "server/resp/glob.h"
#include "server/resp/parser.h"

namespace {

using flux::server::resp::Parsed;
using flux::server::resp::Parser;

constexpr flux::server::resp::ParserLimits kLimits{.arguments_max = 64, .bulk_bytes_max = 1024};

std::vector<std::string> arguments_of(const Parser& parser) {
  return {parser.arguments().begin(), parser.arguments().end()};
}

// The same request, of which some had come before the rest.
void again_in_pieces(std::string_view request, size_t cut, const std::vector<std::string>& arguments) {
  Parser parser(kLimits);
  size_t consumed = 0;
  FLUX_CHECK(parser.parse(request.substr(0, cut), consumed) == Parsed::kIncomplete, "{} of {}", cut, request.size());
  FLUX_CHECK(consumed == 0);
  FLUX_CHECK(parser.parse(request, consumed) == Parsed::kRequest);
  FLUX_CHECK(consumed == request.size());
  FLUX_CHECK(arguments_of(parser) == arguments);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  Parser parser(kLimits);
  size_t consumed = 0;
  size_t cut = size;  // anything that differs from one input to the next
  while (!rest.empty() && parser.parse(rest, consumed) == Parsed::kRequest) {
    FLUX_CHECK(consumed > 0);
    FLUX_CHECK(consumed <= rest.size());
    cut = cut * 31 + consumed;
    again_in_pieces(rest.substr(0, consumed), cut % consumed, arguments_of(parser));
    if (parser.arguments().size() == 2) {
      static_cast<void>(flux::server::resp::glob_match(parser.arguments()[0], parser.arguments()[1]));
    }
    rest.remove_prefix(consumed);
  }
  return 0;
}
