// The vector layer: N lanes of T in one or more native registers, on the compilers' vector extensions.
// Everything that computes on vectors is written against this page and core/simd_memory.hpp; intrinsics appear
// in these two alone.
#pragma once

#include "poolhead/core/scalar.hpp"

#include <cmath>
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
    // simd_memory.hpp.
    if constexpr (N == 8 && std::is_same_v<T, float> && std::is_same_v<To, double>) {
      return {_mm512_maskz_cvtps_pd(0xff, a.raw)};
    } else if constexpr (N == 8 && std::is_same_v<T, double> && std::is_same_v<To, float>) {
      return {_mm512_maskz_cvtpd_ps(0xff, a.raw)};
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

/// The sign bits, and nothing else.
template <class T, int N>
POOLHEAD_INLINE Mask<T, N> sign_bits(const Vec<T, N>& a) {
  return bit_cast<IntOf<T>>(a) & splat<IntOf<T>, N>(std::numeric_limits<IntOf<T>>::min());
}
template <class T, int N>
POOLHEAD_INLINE Vec<T, N> abs(const Vec<T, N>& a) {
  return bit_cast<T>(bit_cast<IntOf<T>>(a) & splat<IntOf<T>, N>(std::numeric_limits<IntOf<T>>::max()));
}

/// b where it is greater, else a: a NaN in b is passed over, a NaN in a stays.
template <class T, int N>
POOLHEAD_INLINE Vec<T, N> max(const Vec<T, N>& a, const Vec<T, N>& b) {
  if constexpr (Vec<T, N>::split) {
    return {max(a.lo, b.lo), max(a.hi, b.hi)};
  } else {
    // The compilers do not find these by themselves.
    [[maybe_unused]] constexpr std::size_t bytes = N * sizeof(T);
#if defined(__AVX512F__)
    if constexpr (bytes == 64 && std::is_same_v<T, float>) return {_mm512_maskz_max_ps(0xffff, b.raw, a.raw)};
    if constexpr (bytes == 64 && std::is_same_v<T, double>) return {_mm512_maskz_max_pd(0xff, b.raw, a.raw)};
#endif
#if defined(__AVX__)
    if constexpr (bytes == 32 && std::is_same_v<T, float>) return {_mm256_max_ps(b.raw, a.raw)};
    if constexpr (bytes == 32 && std::is_same_v<T, double>) return {_mm256_max_pd(b.raw, a.raw)};
#endif
#if defined(__SSE2__)
    if constexpr (bytes == 16 && std::is_same_v<T, float>) return {_mm_max_ps(b.raw, a.raw)};
    if constexpr (bytes == 16 && std::is_same_v<T, double>) return {_mm_max_pd(b.raw, a.raw)};
#endif
    return select(b > a, b, a);
  }
}

/// a where it is less, else b: a NaN in a gives b.
template <class T, int N>
POOLHEAD_INLINE Vec<T, N> min(const Vec<T, N>& a, const Vec<T, N>& b) {
  return select(a < b, a, b);
}

#if defined(__AVX2__)
inline constexpr bool has_lookup = true;
#else
inline constexpr bool has_lookup = false;
#endif

/// table[index % size] for each lane; of 8 numbers in one instruction where the machine has_lookup.
template <int N, int size>
POOLHEAD_INLINE Vec<float, N> lookup(const float (&table)[size], const Vec<std::int32_t, N>& index) {
#if defined(__AVX512F__)
  if constexpr (N == 16 && size == 8)
    return {_mm512_permutexvar_ps((__m512i)index.raw, _mm512_broadcast_f32x8(_mm256_loadu_ps(table)))};
#endif
#if defined(__AVX2__)
  if constexpr (N == 8 && size == 8)
    return {_mm256_permutevar8x32_ps(_mm256_loadu_ps(table), (__m256i)index.raw)};
#endif
  Vec<float, N> out;
  for (int i = 0; i < N; ++i) out.raw[i] = table[index.raw[i] & (size - 1)];
  return out;
}

template <class T, int N>
POOLHEAD_INLINE Vec<T, N> sqrt(const Vec<T, N>& a) {
  if constexpr (Vec<T, N>::split) {
    return {sqrt(a.lo), sqrt(a.hi)};
  } else {
    [[maybe_unused]] constexpr std::size_t bytes = N * sizeof(T);
#if defined(__AVX512F__)
    if constexpr (bytes == 64 && std::is_same_v<T, double>) return {_mm512_maskz_sqrt_pd(0xff, a.raw)};
#endif
#if defined(__AVX__)
    if constexpr (bytes == 32 && std::is_same_v<T, double>) return {_mm256_sqrt_pd(a.raw)};
#endif
#if defined(__SSE2__)
    if constexpr (bytes == 16 && std::is_same_v<T, double>) return {_mm_sqrt_pd(a.raw)};
#endif
    Vec<T, N> out;
    for (int i = 0; i < N; ++i) out.raw[i] = std::sqrt(a.raw[i]);
    return out;
  }
}

#if defined(__FMA__)
inline constexpr bool rounds_once = true;
#else
inline constexpr bool rounds_once = false;
#endif

/// a b + c, rounded once where the machine can.
template <class T, int N>
POOLHEAD_INLINE Vec<T, N> multiply_add(const Vec<T, N>& a, const Vec<T, N>& b, const Vec<T, N>& c) {
  if constexpr (Vec<T, N>::split) {
    return {multiply_add(a.lo, b.lo, c.lo), multiply_add(a.hi, b.hi, c.hi)};
  } else {
    [[maybe_unused]] constexpr std::size_t bytes = N * sizeof(T);
#if defined(__AVX512F__)
    if constexpr (bytes == 64 && std::is_same_v<T, float>) return {_mm512_fmadd_ps(a.raw, b.raw, c.raw)};
    if constexpr (bytes == 64 && std::is_same_v<T, double>) return {_mm512_fmadd_pd(a.raw, b.raw, c.raw)};
#endif
#if defined(__FMA__)
    if constexpr (bytes == 32 && std::is_same_v<T, float>) return {_mm256_fmadd_ps(a.raw, b.raw, c.raw)};
    if constexpr (bytes == 32 && std::is_same_v<T, double>) return {_mm256_fmadd_pd(a.raw, b.raw, c.raw)};
#endif
    return a * b + c;
  }
}

/// The lanes of which either is NaN.
template <class T, int N>
POOLHEAD_INLINE Mask<T, N> unordered(const Vec<T, N>& a, const Vec<T, N>& b) {
  if constexpr (Vec<T, N>::split) {
    return {unordered(a.lo, b.lo), unordered(a.hi, b.hi)};
  } else {
    [[maybe_unused]] constexpr std::size_t bytes = N * sizeof(T);
#if defined(__AVX__)
    using Raw = typename Mask<T, N>::Raw;
    if constexpr (bytes == 32 && std::is_same_v<T, float>)
      return {(Raw)_mm256_cmp_ps(a.raw, b.raw, _CMP_UNORD_Q)};
    if constexpr (bytes == 32 && std::is_same_v<T, double>)
      return {(Raw)_mm256_cmp_pd(a.raw, b.raw, _CMP_UNORD_Q)};
#endif
    return (a != a) | (b != b);
  }
}

/// Bit i is whether lane i of a mask is set.
template <class I, int N>
POOLHEAD_INLINE unsigned bits(const Vec<I, N>& mask) {
  if constexpr (Vec<I, N>::split) {
    return bits(mask.lo) | bits(mask.hi) << (N / 2);
  } else {
    [[maybe_unused]] constexpr std::size_t bytes = sizeof(mask.raw);
    [[maybe_unused]] constexpr bool wide = sizeof(I) == 8;
#if defined(__AVX512F__) && defined(__AVX512DQ__)
    if constexpr (bytes == 64 && wide) return _mm512_movepi64_mask((__m512i)mask.raw);
    if constexpr (bytes == 64) return _mm512_movepi32_mask((__m512i)mask.raw);
#endif
#if defined(__AVX__)
    if constexpr (bytes == 32 && wide)
      return static_cast<unsigned>(_mm256_movemask_pd((__m256d)mask.raw));
    else if constexpr (bytes == 32)
      return static_cast<unsigned>(_mm256_movemask_ps((__m256)mask.raw));
#endif
#if defined(__SSE2__)
    if constexpr (bytes == 16 && wide)
      return static_cast<unsigned>(_mm_movemask_pd((__m128d)mask.raw));
    else if constexpr (bytes == 16)
      return static_cast<unsigned>(_mm_movemask_ps((__m128)mask.raw));
#endif
    unsigned result = 0;
    for (int i = 0; i < N; ++i) result |= (mask.raw[i] != 0 ? 1u : 0u) << i;
    return result;
  }
}

/// Whether every lane of a mask is set.
template <class I, int N>
POOLHEAD_INLINE bool all(const Vec<I, N>& mask) {
  if constexpr (Vec<I, N>::split)
    return all(mask.lo & mask.hi);
  else
    return bits(mask) == (N == 32 ? ~0u : (1u << N % 32) - 1);
}

/// Whether any lane of a mask is set.
template <class I, int N>
POOLHEAD_INLINE bool any(const Vec<I, N>& mask) {
  return bits(mask) != 0;
}

}  // namespace poolhead::inline POOLHEAD_ISA::simd
