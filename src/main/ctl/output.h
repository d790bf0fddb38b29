// What fluxctl prints.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace flux::main::ctl {

enum class Format : uint8_t { kTable, kJson };

// Columns aligned by spaces, the first row as heading.
void print_table(const std::vector<std::vector<std::string>>& rows);

// Bytes as a person can read them: printable ASCII as it is, the rest as \xNN.
std::string escape(std::string_view bytes);

}  // namespace flux::main::ctl
