// Memory of caches: aligned to a cache line, grown but never shrunk, copied deeply.
#pragma once

#include "poolhead/core/error.hpp"

#include <algorithm>
#include <new>
#include <vector>

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// std::allocator, 64 bytes aligned.
template <class T>
struct AlignedAllocator {
  using value_type = T;
  AlignedAllocator() = default;
  template <class U>
  AlignedAllocator(const AlignedAllocator<U>&) {}
  T* allocate(std::size_t n) { return static_cast<T*>(::operator new (n * sizeof(T), std::align_val_t{64})); }
  void deallocate(T* p, std::size_t) { ::operator delete (p, std::align_val_t{64}); }
  bool operator==(const AlignedAllocator&) const { return true; }
};

/// Scratch memory whose contents nobody relies on between calls.
template <class T>
class Buffer {
 public:
  T* data() { return values_.data(); }
  const T* data() const { return values_.data(); }
  Index size() const { return static_cast<Index>(values_.size()); }
  /// At least size elements; allocates only where there are fewer.
  T* reserve(Index size) {
    if (size > this->size()) values_.resize(static_cast<std::size_t>(size));
    return values_.data();
  }

 private:
  std::vector<T, AlignedAllocator<T>> values_;
};

/// Memory of the calling thread for as long as one call needs it: it grows to the largest need, and is freed
/// when the thread ends. Each Purpose has its own.
template <class Purpose, class T>
T* workspace(Index size) {
  static thread_local Buffer<T> buffer;
  return buffer.reserve(size);
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
