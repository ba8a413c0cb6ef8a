// Counts every allocation of the process: operator new in all its forms, and malloc and its family where the
// platform lets us see them. Include it in one translation unit of a program: it replaces global functions.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define POOLHEAD_TEST_SANITIZER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define POOLHEAD_TEST_SANITIZER
#endif
#endif

namespace poolhead::test {

/// Allocations of the process so far, by any thread.
inline std::atomic<std::size_t> allocations = 0;

/// The number of allocations that function makes.
template <class Function>
std::size_t allocations_of(Function function) {
  const std::size_t before = allocations;
  function();
  return allocations - before;
}

}  // namespace poolhead::test

#if defined(POOLHEAD_TEST_SANITIZER)

// A sanitizer owns the allocator, and calls back. (GCC does not ship the header that declares this.)
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*allocated)(const volatile void*, std::size_t),
                                                         void (*freed)(const volatile void*));
inline const int allocation_hooks_installed = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void*, std::size_t) { ++poolhead::test::allocations; }, [](const volatile void*) {});

#else

// The array and nothrow forms of the standard library call these two.
void* operator new(std::size_t size) {
  ++poolhead::test::allocations;
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  ++poolhead::test::allocations;
  const auto align = static_cast<std::size_t>(alignment);
  if (void* memory = std::aligned_alloc(align, (size + align - 1) / align * align)) return memory;
  throw std::bad_alloc();
}
// Inlined next to a new-expression, free() looks to GCC like a mismatch.
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}

#if defined(__GLIBC__)
// Eigen allocates with malloc. glibc keeps its own functions under these names for programs that replace them.
extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* memory, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);

void* malloc(std::size_t size) noexcept {
  ++poolhead::test::allocations;
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) noexcept {
  ++poolhead::test::allocations;
  return __libc_calloc(count, size);
}
void* realloc(void* memory, std::size_t size) noexcept {
  ++poolhead::test::allocations;
  return __libc_realloc(memory, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  ++poolhead::test::allocations;
  return __libc_memalign(alignment, size);
}
void* memalign(std::size_t alignment, std::size_t size) noexcept { return aligned_alloc(alignment, size); }
int posix_memalign(void** memory, std::size_t alignment, std::size_t size) noexcept {
  *memory = aligned_alloc(alignment, size);
  return *memory == nullptr ? 12 : 0;  // ENOMEM
}
}
#endif

#endif
