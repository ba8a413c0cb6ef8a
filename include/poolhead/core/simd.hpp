// The vector layer: N lanes of T in one or more native registers, on the compilers' vector extensions.
// Everything that computes on vectors is written against this page and its neighbours, core/simd_*.hpp, where
// alone intrinsics appear.
#pragma once

#include "poolhead/core/scalar.hpp"

#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>

// The header of all instruction sets takes half a second to read.
#if defined(__AVX__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace poolhead::inline POOLHEAD_ISA::detail {

/// f(integral_constant<int, 0>) ... f(integral_constant<int, N - 1>), so that arrays indexed by the argument
/// live in registers.
template <int N, class F>
POOLHEAD_INLINE void unroll(const F& f) {
  [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) {
    (f(std::integral_constant<int, I>{}), ...);
  }
  (std::make_integer_sequence<int, N>{});
}

}  // namespace poolhead::inline POOLHEAD_ISA::detail
namespace poolhead::inline POOLHEAD_ISA::simd {

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
inline constexpr int register_bytes = 64;
inline constexpr int register_count = 32;
#elif defined(__AVX__)
inline constexpr int register_bytes = 32;
inline constexpr int register_count = 16;
#else
inline constexpr int register_bytes = 16;
inline constexpr int register_count = 16;
#endif

/// The lanes of one register of A; every vector of a computation in A has this many.
template <class A>
inline constexpr int lanes = register_bytes / static_cast<int>(sizeof(A));

template <class T, int N, bool fits = (N * static_cast<int>(sizeof(T)) <= register_bytes)>
struct Vec;

template <class T, int N>
struct Vec<T, N, true> {
  typedef T Raw __attribute__((vector_size(N * sizeof(T))));
  static constexpr bool split = false;
  static constexpr int registers = 1;
  Raw raw;
};

template <class T, int N>
struct Vec<T, N, false> {
  static constexpr bool split = true;
  static constexpr int registers = 2 * Vec<T, N / 2>::registers;
  Vec<T, N / 2> lo, hi;
};

/// The integer as wide as T: lanes of masks (all bits set or none) and of positions.
template <class T>
using IntOf = std::conditional_t<sizeof(T) == 8, std::int64_t,
                                 std::conditional_t<sizeof(T) == 2, std::int16_t, std::int32_t>>;
template <class T, int N>
using Mask = Vec<IntOf<T>, N>;

template <class T, int N>
POOLHEAD_INLINE Vec<T, N> splat(T value) {
  if constexpr (Vec<T, N>::split) {
    const auto half = splat<T, N / 2>(value);
    return {half, half};
  } else {
    return {value - typename Vec<T, N>::Raw{}};  // the difference, unlike the sum, keeps -0
  }
}

template <class V>
POOLHEAD_INLINE V zero() {
  if constexpr (V::split)
    return {zero<decltype(V::lo)>(), zero<decltype(V::hi)>()};
  else
    return {typename V::Raw{}};
}

/// first, first + 1, first + 2, ...
template <class T, int N>
POOLHEAD_INLINE Vec<T, N> iota(T first) {
  if constexpr (Vec<T, N>::split) {
    return {iota<T, N / 2>(first), iota<T, N / 2>(first + N / 2)};
  } else {
    return [&]<int... I>(std::integer_sequence<int, I...>) {
      return Vec<T, N>{typename Vec<T, N>::Raw{static_cast<T>(I)...} + first};
    }
    (std::make_integer_sequence<int, N>{});
  }
}

#define POOLHEAD_SIMD_OPERATOR(op)                                                \
  template <class T, int N>                                                       \
  POOLHEAD_INLINE Vec<T, N> operator op(const Vec<T, N>& a, const Vec<T, N>& b) { \
    if constexpr (Vec<T, N>::split)                                               \
      return {a.lo op b.lo, a.hi op b.hi};                                        \
    else                                                                          \
      return {a.raw op b.raw};                                                    \
  }
POOLHEAD_SIMD_OPERATOR(+)
POOLHEAD_SIMD_OPERATOR(-)
POOLHEAD_SIMD_OPERATOR(*)
POOLHEAD_SIMD_OPERATOR(/)
POOLHEAD_SIMD_OPERATOR(&)
POOLHEAD_SIMD_OPERATOR(|)
POOLHEAD_SIMD_OPERATOR(^)
#undef POOLHEAD_SIMD_OPERATOR

template <class T, int N>
POOLHEAD_INLINE Vec<T, N> operator~(const Vec<T, N>& a) {
  if constexpr (Vec<T, N>::split)
    return {~a.lo, ~a.hi};
  else
    return {~a.raw};
}

/// Integer lanes, shifted; >> moves zeros in.
template <std::signed_integral I, int N>
POOLHEAD_INLINE Vec<I, N> operator<<(const Vec<I, N>& a, int bits) {
  if constexpr (Vec<I, N>::split)
    return {a.lo << bits, a.hi << bits};
  else
    return {a.raw << bits};
}
template <std::signed_integral I, int N>
POOLHEAD_INLINE Vec<I, N> operator>>(const Vec<I, N>& a, int bits) {
  if constexpr (Vec<I, N>::split) {
    return {a.lo >> bits, a.hi >> bits};
  } else {
    typedef std::make_unsigned_t<I> Unsigned __attribute__((vector_size(N * sizeof(I))));
    return {(typename Vec<I, N>::Raw)((Unsigned)a.raw >> bits)};
  }
}

/// The same bits as lanes of another type.
template <class To, class T, int N>
POOLHEAD_INLINE Vec<To, N> bit_cast(const Vec<T, N>& a) {
  static_assert(sizeof(To) == sizeof(T));
  if constexpr (Vec<T, N>::split)
    return {bit_cast<To>(a.lo), bit_cast<To>(a.hi)};
  else
    return {(typename Vec<To, N>::Raw)a.raw};
}

#define POOLHEAD_SIMD_COMPARISON(op)                                               \
  template <class T, int N>                                                        \
  POOLHEAD_INLINE Mask<T, N> operator op(const Vec<T, N>& a, const Vec<T, N>& b) { \
    if constexpr (Vec<T, N>::split)                                                \
      return {a.lo op b.lo, a.hi op b.hi};                                         \
    else                                                                           \
      return {(typename Mask<T, N>::Raw)(a.raw op b.raw)};                         \
  }
POOLHEAD_SIMD_COMPARISON(<)
POOLHEAD_SIMD_COMPARISON(<=)
POOLHEAD_SIMD_COMPARISON(>)
POOLHEAD_SIMD_COMPARISON(==)
POOLHEAD_SIMD_COMPARISON(!=)
#undef POOLHEAD_SIMD_COMPARISON

namespace detail {
/// Lanes I... of a and b, lane N being the first of b.
template <class Out, int N, int... I, class Raw>
POOLHEAD_INLINE Out shuffle(const Raw& a, const Raw& b) {
#if __has_builtin(__builtin_shufflevector)
  return __builtin_shufflevector(a, b, I...);
#else  // GCC 11, which makes one instruction of it all the same
  return Out{(I < N ? a[I % N] : b[I % N])...};
#endif
}
}  // namespace detail

/// Lane by lane static_cast<To>, exact where To is wider; narrowing doubles rounds to nearest even.
template <class To, class T, int N>
POOLHEAD_INLINE Vec<To, N> convert(const Vec<T, N>& a) {
  if constexpr (std::is_same_v<To, T>) {
    return a;
  } else if constexpr (Vec<T, N>::split || Vec<To, N>::split) {
    Vec<T, N / 2> lo, hi;
    if constexpr (Vec<T, N>::split) {
      lo = a.lo;
      hi = a.hi;
    } else {
      [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) {
        lo.raw = detail::shuffle<decltype(lo.raw), N, I...>(a.raw, a.raw);
        hi.raw = detail::shuffle<decltype(hi.raw), N, (I + N / 2)...>(a.raw, a.raw);
      }
      (std::make_integer_sequence<int, N / 2>{});
    }
    const auto low = convert<To>(lo);
    const auto high = convert<To>(hi);
    if constexpr (Vec<To, N>::split) {
      return {low, high};
    } else {
      return [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) {
        return Vec<To, N>{detail::shuffle<typename Vec<To, N>::Raw, N / 2, I...>(low.raw, high.raw)};
      }
      (std::make_integer_sequence<int, N>{});
    }
  } else {
#if defined(__AVX512F__)
    // GCC 12 takes __builtin_convertvector apart into halves here. Zero-masked forms: see widen in
    // simd_16_bit.hpp.
    if constexpr (N == 8 && std::is_same_v<T, float> && std::is_same_v<To, double>) {
      return {_mm512_maskz_cvtps_pd(0xff, a.raw)};
    } else if constexpr (N == 8 && std::is_same_v<T, double> && std::is_same_v<To, float>) {
      return {_mm512_maskz_cvtpd_ps(0xff, a.raw)};
    } else if constexpr (N == 8 && std::is_same_v<T, std::int32_t> && std::is_same_v<To, std::int64_t>) {
      return {(typename Vec<To, N>::Raw)_mm512_maskz_cvtepi32_epi64(0xff, (__m256i)a.raw)};
    } else if constexpr (N == 8 && std::is_same_v<T, std::int64_t> && std::is_same_v<To, std::int32_t>) {
      return {(typename Vec<To, N>::Raw)_mm512_maskz_cvtepi64_epi32(0xff, (__m512i)a.raw)};
    }
#endif
#if defined(__AVX__)
    if constexpr (N == 4 && std::is_same_v<T, float> && std::is_same_v<To, double>) {
      return {_mm256_cvtps_pd(a.raw)};
    } else if constexpr (N == 4 && std::is_same_v<T, double> && std::is_same_v<To, float>) {
      return {_mm256_cvtpd_ps(a.raw)};
    }
#endif
    return {__builtin_convertvector(a.raw, typename Vec<To, N>::Raw)};
  }
}

/// Lane by lane mask ? a : b. The mask may be narrower or wider than the lanes of a.
template <class M, class T, int N>
POOLHEAD_INLINE Vec<T, N> select(const Vec<M, N>& mask, const Vec<T, N>& a, const Vec<T, N>& b) {
  const auto same = convert<IntOf<T>>(mask);
  if constexpr (Vec<T, N>::split) {
    return {select(same.lo, a.lo, b.lo), select(same.hi, a.hi, b.hi)};
  } else {
    return {same.raw ? a.raw : b.raw};
  }
}

}  // namespace poolhead::inline POOLHEAD_ISA::simd
