// What fluxctl prints.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace flux::main::ctl {

enum class Format : uint8_t { kTable, kJson };

// Columns aligned by spaces, the first row as heading.
void print_table(const std::vector<std::vector<std::string>>& rows);

// Bytes as a person can read them: printable ASCII as it is, the rest as \xNN.
std::string escape(std::string_view bytes);

// "0 B", "1.5 KiB", "20.0 GiB".
std::string human_bytes(double bytes);
// "4 s", "3 min 20 s", "2 h 5 min".
std::string human_duration(double seconds);

// How fast a count grows, from its samples of the last ten seconds.
class Rate {
 public:
  // `seconds` never goes back. A count that does begins anew: it counts something else now.
  void add(double seconds, uint64_t count);
  // 0: not known, or it stands still.
  double per_second() const;

 private:
  std::deque<std::pair<double, uint64_t>> samples_;
};

// 0 to 100; of nothing 0.
uint64_t percent(uint64_t done, uint64_t total);
// "35.0 MiB of 1.2 GiB (2%), 12.0 MiB/s, about 1 min 40 s left": what is known of it.
std::string progress_text(uint64_t done, uint64_t total, double per_second);

}  // namespace flux::main::ctl
