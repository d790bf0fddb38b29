// Shared until changed: the nodes of the memory engine's trees. A snapshot holds the root; a writer that meets a node
// that somebody else holds too changes a copy of it.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

namespace flux::engine {

// Base of what Cow<> points to.
class CowNode {
 public:
  CowNode() = default;
  CowNode(const CowNode&) {}
  CowNode& operator=(const CowNode&) = delete;

 private:
  template <typename T>
  friend class Cow;
  std::atomic<uint32_t> references_{1};
};

// Pointers may be copied and dropped on any thread; mutate() belongs to the one thread that writes.
template <typename T>
class Cow {
 public:
  Cow() = default;
  explicit Cow(T* node) : node_(node) {}  // takes it over
  Cow(const Cow& other) : node_(other.node_) {
    if (node_ != nullptr) node_->references_.fetch_add(1, std::memory_order_relaxed);
  }
  Cow(Cow&& other) noexcept : node_(std::exchange(other.node_, nullptr)) {}
  Cow& operator=(Cow other) noexcept {
    std::swap(node_, other.node_);
    return *this;
  }
  ~Cow() {
    // Release: what was read here comes before the change that the sole owner may make next; acquire: the same.
    if (node_ != nullptr && node_->references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete node_;
  }

  explicit operator bool() const { return node_ != nullptr; }
  const T* operator->() const { return node_; }
  const T& operator*() const { return *node_; }
  const T* get() const { return node_; }

  // The node to change; a copy first if it is shared. REQUIRES: not null.
  T& mutate() {
    if (node_->references_.load(std::memory_order_acquire) != 1) *this = Cow(new T(*node_));
    return *node_;
  }

 private:
  T* node_ = nullptr;
};

}  // namespace flux::engine
