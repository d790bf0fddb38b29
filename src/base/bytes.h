// Immutable bytes shared by many holders: a log entry's payload is encoded once and held by the log, by the write to
// disk and by the frames to every follower. Copies are cheap; safe to share between threads.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace flux {

class SharedBytes {
 public:
  SharedBytes() = default;
  explicit SharedBytes(std::string bytes)
      : bytes_(bytes.empty() ? nullptr : std::make_shared<const std::string>(std::move(bytes))) {}

  std::string_view view() const { return bytes_ ? std::string_view(*bytes_) : std::string_view(); }
  size_t size() const { return bytes_ ? bytes_->size() : 0; }
  bool empty() const { return size() == 0; }
  bool operator==(const SharedBytes& other) const { return view() == other.view(); }

 private:
  std::shared_ptr<const std::string> bytes_;  // shared: see the file comment
};

}  // namespace flux
