#include "main/ctl/output.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <iterator>

namespace flux::main::ctl {

void print_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size()) line += std::string(widths[i] - row[i].size() + 2, ' ');
    }
    fmt::print("{}\n", line);
  }
}

std::string escape(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c >= ' ' && c <= '~') {
      out += c;
    } else {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

std::string human_bytes(double bytes) {
  static constexpr std::string_view kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < std::size(kUnits)) bytes /= 1024, ++unit;
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, kUnits[unit]);
}

std::string human_duration(double seconds) {
  const auto whole = static_cast<uint64_t>(std::clamp(std::ceil(seconds), 0.0, 1e9));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
}

void Rate::add(double seconds, uint64_t count) {
  constexpr double kWindowSeconds = 10;
  if (!samples_.empty() && count < samples_.back().second) samples_.clear();
  samples_.emplace_back(seconds, count);
  while (samples_.size() > 2 && samples_.front().first < seconds - kWindowSeconds) samples_.pop_front();
}

double Rate::per_second() const {
  if (samples_.size() < 2) return 0;
  const double seconds = samples_.back().first - samples_.front().first;
  return seconds <= 0 ? 0 : static_cast<double>(samples_.back().second - samples_.front().second) / seconds;
}

uint64_t percent(uint64_t done, uint64_t total) {
  if (total == 0) return 0;
  return std::min<uint64_t>(static_cast<uint64_t>(static_cast<double>(done) * 100 / static_cast<double>(total)), 100);
}

std::string progress_text(uint64_t done, uint64_t total, double per_second) {
  std::string out = human_bytes(static_cast<double>(done));
  // A total is an estimate, which writes may overtake.
  total = total == 0 ? 0 : std::max(done, total);
  if (total != 0) out += fmt::format(" of {} ({}%)", human_bytes(static_cast<double>(total)), percent(done, total));
  if (per_second <= 0) return out;
  out += fmt::format(", {}/s", human_bytes(per_second));
  if (total > done)
    out += fmt::format(", about {} left", human_duration(static_cast<double>(total - done) / per_second));
  return out;
}

}  // namespace flux::main::ctl
