// How far ahead memory is asked for what will be read. The processor does so by itself, but not across pages;
// and the more is computed for each line of a cache, the fewer of them it has on their way.
#pragma once

#include "poolhead/core/lanes.hpp"

#include <cstdint>

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// What a second-level cache holds of a map, what all caches do while others want them, too, and what the
/// last-level one does.
inline constexpr Index small_map_bytes = 1 << 20;
inline constexpr Index near_map_bytes = 8 << 20;
inline constexpr Index cached_map_bytes = 16 << 20;

template <class X>
Index bytes_of(const X& x) {
  return x.size() * static_cast<Index>(sizeof(typename X::Scalar));
}

/// How far ahead of one stream memory beyond the caches is best asked for: some pages, and less than a
/// first-level cache holds. 8 to 24 KB differ by a few percent.
inline constexpr Index far_ahead = 16384;

/// Asks for what lies some bytes behind what is read, if that is worth an instruction for each line.
class ReadAhead {
 public:
  static constexpr bool may_ask = true;

  explicit ReadAhead(Index distance = 0) : distance_(static_cast<std::uintptr_t>(distance)) {}

  bool asks() const { return distance_ != 0; }
  /// p: the first of `bytes` that are read now. What is asked for may lie behind the end of the map.
  template <std::size_t bytes>
  POOLHEAD_INLINE void fetch(const void* p) const {
    if (distance_ == 0) return;
    unroll<static_cast<int>((bytes + line - 1) / line)>([&](auto i) __attribute__((always_inline)) {
      fetch_line(p, i * line);
    });
  }

  /// p: a row's v-th vector, of so many bytes.
  template <std::size_t bytes>
  POOLHEAD_INLINE void fetch_vector(const void* p, Index v) const {
    if (bytes >= line || v % static_cast<Index>(line / bytes) == 0) fetch<bytes>(p);
  }
  /// Elements p[0] .. p[size - 1]. `level`: of the cache they go to.
  template <int level = 1, class T>
  POOLHEAD_INLINE void fetch(const T* p, Index size) const {
    if (distance_ == 0) return;
    for (Index i = 0; i < size; i += static_cast<Index>(line / sizeof(T))) fetch_line<level>(p + i, 0);
  }

 private:
  static constexpr std::uintptr_t line = 64;
  template <int level = 1>
  POOLHEAD_INLINE void fetch_line(const void* p, std::uintptr_t offset) const {
    __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<std::uintptr_t>(p) + distance_ + offset),
                       0, 4 - level);
  }

  std::uintptr_t distance_;
};

/// Does not ask, and costs nothing.
struct NoReadAhead {
  static constexpr bool may_ask = false;
  static constexpr bool asks() { return false; }
  template <std::size_t bytes>
  POOLHEAD_INLINE void fetch(const void*) const {}
  template <std::size_t bytes>
  POOLHEAD_INLINE void fetch_vector(const void*, Index) const {}
};

/// What a reduction computes for each vector that it reads: sums, or comparisons of values and places, too, or
/// functions, which take longer than a cache does.
enum class Effort { sums, compares, computes };

template <class R>
constexpr Effort effort_of() {
  if constexpr (requires { R::effort; })
    return R::effort;
  else
    return Effort::computes;
}

template <class X>
inline constexpr bool is_narrow = sizeof(typename X::Scalar) < sizeof(float);

/// Whether caches are slower to give x than it takes to compute with it. (Elements of 16 bits are converted
/// first.)
template <class X>
bool is_far(const X& x) {
  return bytes_of(x) > (is_narrow<X> ? cached_map_bytes : near_map_bytes);
}

/// For planes of NCHW, one after the other.
template <class R, class X>
ReadAhead ahead_of_planes(const X& x, bool are_short) {
  constexpr bool keeps_up = effort_of<R>() != Effort::computes;
  // Of short ones, a vector of planes is asked for at once, after one has been read.
  if (are_short) return ReadAhead(keeps_up && is_far(x) ? far_ahead - 4096 : 0);
  if (is_far(x)) return ReadAhead(far_ahead);
  // Half a KB reaches across the end of a page. 2 KB are 10 to 15 % faster on a Zen 5 and as much slower on a
  // Zen 4.
  return ReadAhead(keeps_up && !is_narrow<X> && bytes_of(x) > small_map_bytes ? 512 : 0);
}

/// The vectors of a row of NHWC.
template <class A, class X>
Index row_vectors(const X& x) {
  return (x.channels() + simd::lanes<A> - 1) / simd::lanes<A>;
}

/// For the rows of NHWC, in so many streams. (Streams of more than a vector at a time keep up with sums.)
template <class R, class X>
auto ahead_of_rows(const X& x, Index streams) {
  constexpr bool are_sums = effort_of<R>() == Effort::sums;
  if constexpr (are_sums && is_narrow<X>) {
    return NoReadAhead{};
  } else {
    const bool keeps_up = are_sums && row_vectors<typename R::Accumulator>(x) > 1;
    return ReadAhead(is_far(x) && !keeps_up ? far_ahead / streams : 0);
  }
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
